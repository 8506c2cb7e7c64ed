"""The report of the paper check: Keskar's F1, our numbers beside the paper's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlip_reg.claims.paired import Records, Values, log_ratio, measure, per_seed, percent
from dlip_reg.claims.verdict import t_interval
from dlip_reg.experiments.keskar_f1 import LARGE, PAPER, SMALL
from dlip_reg.report import figures
from dlip_reg.report.numbers import format_estimate, format_number
from dlip_reg.report.page import FigureItem, Section

_PHI = {
    "keskar_1e-3": "φ, full space, ε = 10⁻³",
    "keskar_5e-4": "φ, full space, ε = 5·10⁻⁴",
    "keskar_subspace_1e-3": "φ, 100 random dimensions, ε = 10⁻³",
    "keskar_subspace_5e-4": "φ, 100 random dimensions, ε = 5·10⁻⁴",
}
# What the statuses of SciPy's L-BFGS-B begin with.
_LBFGSB_ENDS = {"0:": "it converged", "1:": "it made its ten iterations"}
# Where every search's own finding is told: dimensions (None: all of them) -> words.
_TOLD_BY_SEARCH = {None: "full space", 100: "100 random dimensions"}
_ARMS = {SMALL: f"batch {SMALL}", LARGE: f"batch {LARGE:,}"}


def keskar_f1_sections(outcomes: Mapping[str, Any]) -> list[Section]:
    """The one section: accuracy and sharpness, ours and the paper's."""
    runs: Mapping[int, Records] = outcomes["f1"]
    rows = {
        label: {
            arm: (_finite(per_seed(runs[size], measure(name))), PAPER[size].get(name))
            for size, arm in _ARMS.items()
        }
        for name, label in _PHI.items()
    }
    accuracy = {
        size: percent(per_seed(runs[size], measure("recalibrated_test_accuracy"))) for size in _ARMS
    }
    return [
        Section(
            "Ours beside the paper's",
            (
                _accuracies(accuracy),
                *(_sharpness(label, row) for label, row in rows.items()),
                _ratios(runs),
                *(_searches(runs, *box) for box in _TOLD_BY_SEARCH.items()),
                "Where ours differ from the paper's: φ is the best of three searches. "
                f"{_ends(runs)}It is taken on 10,000 of the training images, with batch statistics "
                "over 1,000 each; accuracies are those with batch normalization's statistics "
                "re-estimated on all training images. The paper does not say when exactly the loss "
                "had stopped improving, and φ depends on it: it grows with the distance from zero "
                "loss.",
            ),
            (
                FigureItem(
                    "paper",
                    figures.beside_paper(rows, "φ (% of 1 + loss)"),
                    "Keskar's sharpness of small-batch and large-batch solutions, ours beside the "
                    "paper's: "
                    + "; ".join(_sharpness(label, row) for label, row in rows.items()),
                    "Tables 3 and 4 of Keskar et al. 2017. Dots: our seeds; filled: their "
                    "geometric mean with its 95 % interval; diamond: the paper's mean, with its "
                    "standard deviation where we have it.",
                ),
            ),
        )
    ]  # fmt: skip


def _accuracies(accuracy: Mapping[int, Values]) -> str:
    told = "; ".join(
        f"{arm} {format_estimate(*t_interval(accuracy[size]))} %, the paper's "
        f"{PAPER[size]['test_accuracy'][0]} %"
        for size, arm in _ARMS.items()
    )
    return f"Test accuracy (mean and 95 % interval over seeds): {told}."


def _sharpness(label: str, row: Mapping[str, Any]) -> str:
    told = "; ".join(
        f"{arm} {format_estimate(*t_interval(values))}"
        + (f", the paper's {_paper(theirs)}" if theirs else "")
        for arm, (values, theirs) in row.items()
    )
    return f"{label}: {told}."


def _ratios(runs: Mapping[int, Records]) -> str:
    name = "keskar_1e-3"
    ratios = log_ratio(*(per_seed(runs[size], measure(name)) for size in (LARGE, SMALL)))
    theirs = PAPER[LARGE][name][0] / PAPER[SMALL][name][0]
    return (
        "Large over small batch, φ in full space at ε = 10⁻³, seed by seed: "
        + ", ".join(map(_times, ratios))
        + f" times; the paper's means, {theirs:.0f} times."
    )


def _paper(number: tuple[float, float | None]) -> str:
    mean, deviation = number
    return f"{mean:g}" if deviation is None else f"{mean:g} ± {deviation:g}"


def _searches(runs: Mapping[int, Records], subspace: int | None, words: str) -> str:
    """What each search found at 1e-3, as means over the seeds."""
    told = []
    for size, arm in _ARMS.items():
        found: dict[str, list[Mapping[str, Any]]] = {}
        for search in _all_searches(runs[size]):
            if search["epsilon"] == 1e-3 and search["subspace"] == subspace:
                found.setdefault(search["name"], []).append(search)
        of_arm = []
        for name, searches in found.items():
            values = [s["value"] for s in searches if s["value"] is not None]
            failed = sum(s["failed"] for s in searches)
            mean = format_number(sum(values) / len(values)) if values else "–"
            of_arm.append(f"{name} {mean}" + (f" ({failed} failed)" if failed else ""))
        told.append(f"{arm}: {', '.join(of_arm)}")
    return f"What each search found ({words}, ε = 10⁻³, means): " + "; ".join(told) + "."


def _ends(runs: Mapping[int, Records]) -> str:
    """How L-BFGS-B, as the paper ran it, came to its ends, and which search found the most."""
    ends, boxes = Counter(), {}
    for size, records in runs.items():
        for seed, record in records.items():
            for search in _all_searches({seed: record}):
                if search["name"] == "l-bfgs-b":
                    ends[_LBFGSB_ENDS.get(search["status"][:2], "it gave up")] += 1
                if search["value"] is not None:
                    box = size, seed, search["epsilon"], search["subspace"]
                    boxes.setdefault(box, {})[search["name"]] = search["value"]
    if not ends:
        return ""
    best = Counter(max(found, key=found.__getitem__) for found in boxes.values())
    return (
        f"L-BFGS-B, as the paper ran it, in {sum(ends.values())} boxes: "
        + ", ".join(f"{end} in {count}" for end, count in ends.items())
        + "; the most was found by "
        + ", ".join(f"{name} in {count}" for name, count in best.items())
        + ". "
    )


def _all_searches(records: Records) -> Iterator[Mapping[str, Any]]:
    for record in records.values():
        yield from (record or {}).get("keskar", ())


def _times(log_ratio: float) -> str:
    return "–" if math.isnan(log_ratio) else f"{math.exp(log_ratio):.3g}"


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
