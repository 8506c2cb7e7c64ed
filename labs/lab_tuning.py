"""Search convolution and dense strengths apart and tied, with keras-tuner's oracles, in parallel.

python labs/lab_tuning.py                             random search, the standard preset
python labs/lab_tuning.py --tuner random,bayesian     two kinds of search, in one report
python labs/lab_tuning.py --tied --max-trials 8       one strength for all layers
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from front_door import (
    DEFAULT_PRESET,
    BadInput,
    Session,
    accept_any_terminal,
    answer,
    common_parser,
    positive_argument,
)
from session import NothingMeasured, Progress, counted

from dlip_reg.claims import judge_claims
from dlip_reg.claims.regularization import CLAIMS
from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.experiments.regularization import L2_RANGE
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec
from dlip_reg.training.process import configure_process
from dlip_reg.tuning import TUNERS
from dlip_reg.tuning.folder import DamagedState
from dlip_reg.tuning.hyperband import rounds
from dlip_reg.tuning.strength_search import (
    Preset,
    Search,
    drawn,
    errors,
    finals,
    outcome,
    strengths_of,
)

NAME, DEFAULT_MODEL = "lab_tuning", "lenet5"
PRESETS = {
    "quick": Preset(
        3, trials=8, epochs=10, n_train=500, n_validation=1000, minutes=1, measured=True
    ),
    "standard": Preset(
        5, trials=16, epochs=15, n_train=1000, n_validation=2000, minutes=4, measured=True
    ),
    "full": Preset(10, trials=36, epochs=20, n_train=5000, n_validation=2000, minutes=180),
}
CLAIM = replace(
    next(claim for claim in CLAIMS if claim.id == "reg-separate"),
    figures=("response_surface", "strengths"),
)
RANGES = dict.fromkeys(("conv_l2", "dense_l2", "l2"), L2_RANGE)
TITLE = "Strengths of L2, tuned"
LEAD = (
    "Strengths of the L2 penalty for convolutions and dense layers, searched apart and tied with "
    "the same number of trials, seeds and range; every trial starts from the same weights."
)
TIED_LEAD = (
    "One strength of the L2 penalty for convolutions and dense layers together; every trial starts "
    "from the same weights."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, search, write; the exit status is that of every lab (see `front_door.main`)."""
    accept_any_terminal()
    parser = _parser()
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / NAME
    return answer(parser.prog, options, lambda: _run(options))


def _run(options: argparse.Namespace) -> Path:
    options.preset = options.preset or DEFAULT_PRESET
    options.model = options.model or DEFAULT_MODEL
    options.dataset = options.dataset or DATASET_NAMES[0]
    preset = PRESETS[options.preset]
    preset = replace(
        preset,
        trials=options.max_trials or preset.trials,
        executions=options.executions_per_trial or preset.executions,
    )
    ways = [True] if options.tied else [False, True]
    searches = [Search(kind, tied) for kind in options.tuner for tied in ways]
    run = preset.run(options.model, options.dataset)
    with Session(NAME, options) as session:
        if session.kernel_kinds(run) != {"conv", "dense"} and not options.tied:
            raise BadInput(
                f"{run.model} has no convolutions, so there is nothing to search apart; give "
                "--tied, or another --model."
            )
        session.open(_announcement(options, preset, searches))
        try:
            return _searched(session, options, preset, searches, run)
        except DamagedState as error:
            raise BadInput(str(error)) from error


def _searched(
    session: Session,
    options: argparse.Namespace,
    preset: Preset,
    searches: Sequence[Search],
    run: RunSpec,
) -> Path:
    """Search, try the winners, and write everything; returns the report's path."""
    configure_process()  # before anything brings TensorFlow, which else greets at length
    from dlip_reg.report.tuning import tuning_sections
    from dlip_reg.tuning.results import best_json

    folder = session.path / "searches"
    tuners = {s: s.tuner(preset, run, session.workers, folder) for s in searches}
    for search, tuner in tuners.items():
        # Those of an earlier sitting: one search with more than another would compare unlike ones.
        if (held := len(tuner.oracle.trials)) > search.trials(preset):
            raise BadInput(
                f"{tuner.project_dir} holds {held} trials already; give --max-trials {held} or "
                "more, or another --out."
            )
    trials = sum(search.trials(preset) for search in searches)
    with Progress((trials + len(searches) + 1) * preset.executions) as progress:
        for search, tuner in tuners.items():
            tuner.on_progress = _Shown(progress, search, tuner, preset)
            tuner.search(
                run.data,
                epochs=preset.epochs,
                batch_size=preset.batch_size,
                data_dir=session.data_dir,
                retry_failed=options.retry_failed,
            )
        best = {search: best_json(tuner) for search, tuner in tuners.items()}
        if not any(best.values()):
            causes = {error for tuner in tuners.values() for error in errors(tuner)}
            raise NothingMeasured(f"Every trial failed: {'; '.join(sorted(causes))}.")
        wanted = {s: finals(run, strengths_of(best[s]), preset.executions) for s in searches}
        none = finals(run, Regularization(), preset.executions)
        specs = list(dict.fromkeys(s for of_one in (*wanted.values(), none) for s in of_one))
        progress.describe("the winners, on the test set")
        progress.expect(progress.completed + len(specs))
        records = session.train(specs, progress.advance)
        session.workers.close()
    session.other_runs = sum(
        len(tuner.executions(t)) for tuner in tuners.values() for t in tuner.oracle.trials.values()
    )
    _write_tables(session.path, tuners, best)
    if options.tensorboard:
        from dlip_reg.tuning.hparams import write_hparams

        for search, tuner in tuners.items():
            write_hparams(tuner, session.path / "tensorboard" / search.name)
    outcomes = {s: outcome(t, preset.epochs, wanted[s], records) for s, t in tuners.items()}
    claims = []
    if not options.tied:
        separate, tied = searches[:2]  # of the first kind of search
        claims = judge_claims([CLAIM], {"l2_separate": outcomes[separate], "l2": outcomes[tied]})
    told = {
        search.label: {
            "tied": search.tied,
            "trials": drawn(tuner, preset.epochs),
            "best": best[search],
            "test": [_measured(o.final, "test_accuracy") for o in outcomes[search].values()],
            "errors": errors(tuner),
        }
        for search, tuner in tuners.items()
    }
    baseline = [_measured(records.get(spec), "val_accuracy") for spec in none]
    sections = tuning_sections(told, RANGES, baseline)
    lead = TIED_LEAD if options.tied else LEAD
    return session.write(TITLE, lead, claims, sections, _facts(preset, told))


class _Shown:
    """The live display: which search, which trial, the best so far."""

    def __init__(self, progress: Progress, search: Search, tuner: Any, preset: Preset) -> None:
        self._progress, self._search, self._tuner = progress, search, tuner
        self._trials = search.trials(preset)
        self._describe()

    def __call__(self) -> None:
        self._progress.advance()
        self._describe()

    def _describe(self) -> None:
        best = self._tuner.oracle.get_best_trials(1)
        text = ""
        if best:
            epochs = counted(best[0].best_step, "epoch")
            text = f", best {100 * best[0].score:.1f} % after {epochs}"
        self._progress.describe(
            f"{self._search.label}: trial {len(self._tuner.oracle.trials)}/{self._trials}{text}"
        )


def _write_tables(folder: Path, tuners, best) -> None:
    """trials.csv, executions.csv, best.json and best.py."""
    from dlip_reg.report import write_csv
    from dlip_reg.report.files import Staged
    from dlip_reg.tuning.results import execution_rows, python_line, trial_rows

    for name, rows_of in (("trials", trial_rows), ("executions", execution_rows)):
        rows = [
            {"search": search.name, **row}
            for search, tuner in tuners.items()
            for row in rows_of(tuner)
        ]
        write_csv(folder / f"{name}.csv", rows)
    named = {search.name: found for search, found in best.items()}
    lines = []
    for search, found in best.items():
        if found:
            told = f"{100 * found['score']:.2f} % after {counted(found['epochs'], 'epoch')}"
            line = python_line(tuners[search].hypermodel, strengths_of(found), search.name)
            lines.append(f"# {search.label}: validation accuracy {told}\n{line}\n")
    with Staged() as staged:
        staged.write(folder / "best.json", (json.dumps(named, indent=2) + "\n").encode())
        staged.write(folder / "best.py", "\n".join(lines).encode())


def _announcement(options: argparse.Namespace, preset: Preset, searches: Sequence[Search]) -> str:
    """What will be run, and how long that takes."""
    ways = "tied, {}" if options.tied else "apart and tied, {} each"
    told = "; ".join(
        f"{search.kind} {ways.format(counted(search.trials(preset), 'trial'))}"
        f"{_rounds(search, preset)}"
        for search in searches
        if search.tied
    )
    whole = PRESETS[options.preset]
    share = sum(search.trainings(preset) for search in searches) / (2 * whole.trials)
    share *= preset.executions / whole.executions
    minutes = math.ceil(share * whole.minutes)
    time = f"{minutes / 60:.0f} hours" if minutes >= 120 else counted(minutes, "minute")
    estimated = "" if whole.measured and share == 1 else " (estimated)"
    return (
        f"Preset {options.preset}: {told}; {counted(preset.executions, 'seed')} a trial. On two "
        f"cores with the default model and data this takes about {time}{estimated}."
    )


def _rounds(search: Search, preset: Preset) -> str:
    """What is to be said of Hyperband's epochs."""
    if search.kind != "hyperband":
        return ""
    by_epochs: Counter[int] = Counter()
    for part in rounds(preset.epochs):
        by_epochs[part.epochs] += part.trials
    runs = search.trials(preset) // by_epochs.total()
    told = [f"{runs * by_epochs[epochs]} to epoch {epochs}" for epochs in sorted(by_epochs)]
    return f" in whole brackets ({', '.join(told)})"


def _facts(preset: Preset, searches: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    low, high = L2_RANGE
    trials = []
    for label, search in searches.items():
        whole = sum(trial["whole"] for trial in search["trials"])
        begun = len(search["trials"])
        part = f" ({whole} of them through all epochs)" if whole < begun else ""
        trials.append(f"{label} {begun}{part}")
    return {
        "Trials": f"{'; '.join(trials)}; each with {counted(preset.executions, 'seed')}",
        "Range": f"L2 strengths from {low:g} to {high:g}, on a log scale",
        "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
        f"{preset.learning_rate:g}, batches of {preset.batch_size}",
        "Validation": f"{preset.n_validation} images, drawn by seed",
    }


def _measured(record: dict[str, Any] | None, name: str) -> float | None:
    return record["measures"][name] if record and record["status"] == "finished" else None


def _parser() -> argparse.ArgumentParser:
    parser = common_parser(__doc__.splitlines()[0], NAME, PRESETS, DEFAULT_MODEL)
    parser.set_defaults(paper=None)
    parser.add_argument(
        "--tuner",
        type=_kinds,
        default=["random"],
        metavar="NAME,...",
        help=f"kinds of search, of {', '.join(TUNERS)} (default: random); the claim is measured "
        "with the first",
    )
    parser.add_argument(
        "--max-trials",
        type=positive_argument,
        help="trials of a search (default: the preset's); a grid takes the largest square number "
        "of them, at least 4, and hyperband fills its brackets",
    )
    parser.add_argument(
        "--executions-per-trial",
        type=positive_argument,
        help="seeds of each trial (default: the preset's)",
    )
    parser.add_argument(
        "--tied",
        action="store_true",
        help="search one strength for all layers only (default: apart as well, and compare)",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="run failed trials of an earlier sitting again"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write logs for TensorBoard's HParams"
    )
    return parser


def _kinds(text: str) -> list[str]:
    kinds = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [kind for kind in kinds if kind not in TUNERS]:
        raise argparse.ArgumentTypeError(
            f"knows no {', '.join(map(repr, unknown))}; it takes {', '.join(TUNERS)}"
        )
    return kinds


if __name__ == "__main__":
    sys.exit(main())
