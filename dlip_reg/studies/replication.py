"""Whether claims hold elsewhere: the same study on other data sets and models, as a matrix."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlip_reg import report
from dlip_reg.evidence import ClaimResult
from dlip_reg.report.wording import control_status
from dlip_reg.studies.drawing import Drawn, figure, section
from dlip_reg.studies.part import StudyPart

# (data set, model). A convolutional network on clothes and on digits, and a residual network: the
# first two data sets ship with the package.
SETTINGS = (
    ("fashion_mnist_subset", "lenet5"),
    ("mnist_subset", "lenet5"),
    ("fashion_mnist_subset", "resnet_small"),
)
COLOUR_SETTING = ("cifar10", "lenet5")  # where its file is at hand
# Mean seconds of a run over those of LeNet-5, to say before the start how long a replication takes:
# of the residual network in the standard preset of the regularization lab, and of the perceptron in
# the first 217 runs of that of the batch-size lab.
_SECONDS = {"mlp": 0.15, "lenet5": 1.0, "resnet_small": 2.7}


def default_settings(data_dir: str | Path | None = None) -> tuple[tuple[str, str], ...]:
    """`SETTINGS`, with CIFAR-10 if its file is at hand.

    Args:
        data_dir: Where cifar10.npz may lie (default: the environment variable DLIP_DATA_DIR).
    """
    folder = data_dir or os.environ.get("DLIP_DATA_DIR")
    dataset, _ = COLOUR_SETTING
    at_hand = folder and (Path(folder).expanduser() / f"{dataset}.npz").is_file()
    return (*SETTINGS, COLOUR_SETTING) if at_hand else SETTINGS


def relative_seconds(model: str, default: str) -> float | None:
    """About how long a run of a network takes over one of another; None if that is not known."""
    if model == default:
        return 1.0
    known = _SECONDS.keys() >= {model, default}
    return _SECONDS[model] / _SECONDS[default] if known else None


@dataclass(frozen=True)
class Replication:
    """The claims of one study on one setting.

    Attributes:
        study: The study's name.
        dataset: The data set.
        model: The model.
        main: Whether it is the setting whose figures the report shows.
        claims: The judged claims.
    """

    study: str
    dataset: str
    model: str
    main: bool
    claims: tuple[ClaimResult, ...]

    @property
    def name(self) -> str:
        """The name of the setting in tables."""
        return f"{self.dataset} × {self.model}"


def replications(parts: Sequence[StudyPart]) -> tuple[Replication, ...]:
    """The judged claims of each setting; () if the study ran on one setting alone."""
    if not any(part.replicates for part in parts):
        return ()
    return tuple(
        Replication(
            part.study.name,
            part.setting.dataset or part.data.name,
            part.model_name,
            not part.replicates,
            tuple(part.results[claim.id] for claim in part.claims),
        )
        for part in parts
    )


def by_claim(
    results: Sequence[Replication],
) -> tuple[dict[str, dict[str, ClaimResult]], list[str]]:
    """Claim -> setting -> the claim's result there; and the names of all settings."""
    matrix: dict[str, dict[str, ClaimResult]] = {}
    for result in results:
        for claim in result.claims:
            matrix.setdefault(claim.id, {})[result.name] = claim
    return matrix, list(dict.fromkeys(result.name for result in results))


@section("Replication")
def replication_section(results: Sequence[Replication], still_open: Sequence[str] = ()) -> Drawn:
    """The same claims with the same smallest effects, controls and rule on other data sets and
    networks. Each setting is tuned anew, and each has the error of a whole table, so {settings}
    settings have {settings} times the false verdicts of one.

    {sentences}
    """
    matrix, settings = by_claim(results)
    sentences = [f"{name}: {where_it_holds(row)}." for name, row in matrix.items()]
    sentences += still_open
    yield (
        draw_matrix(matrix, settings),
        {"settings": len(settings), "sentences": "\n\n".join(sentences)},
    )


@figure("replication")
def draw_matrix(matrix: Mapping[str, Mapping[str, ClaimResult]], settings: Sequence[str]) -> Drawn:
    """Verdict, effect and interval of each claim (rows) on each data set and network (columns).

    A claim that is supported in one column only is a finding about that column.
    """
    yield report.figures.replication_matrix(matrix, settings)


def where_it_holds(results: Mapping[str, ClaimResult]) -> str:
    """The settings by verdict, in one sentence without its full stop.

    Args:
        results: Setting -> the claim's result there.
    """
    by_verdict: dict[str, list[str]] = {}
    for setting, claim in results.items():
        failing = dict.fromkeys(
            control.kind for control in claim.controls if control_status(control, claim) == "fails"
        )
        why = f" ({' and '.join(failing)} control failing)" if failing else ""
        by_verdict.setdefault(claim.verdict or _side(claim), []).append(setting + why)
    if len(by_verdict) == 1:
        (verdict,) = by_verdict
        return f"{verdict} on all {len(results)} settings" if len(results) > 1 else verdict
    return "; ".join(f"{verdict} on {_listed(where)}" for verdict, where in by_verdict.items())


def _side(claim: ClaimResult) -> str:
    """What is said of an estimate without a verdict."""
    if claim.effect is None:
        return "not measured"
    if not claim.direction:  # it asserts a value, and there is no side
        return "estimate"
    if not claim.effect:
        return "estimate of 0"
    side = "asserted" if claim.effect * claim.direction > 0 else "opposite"
    return f"estimate on the {side} side"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
