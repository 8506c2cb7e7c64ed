"""What every lab's command line has in common: its arguments, its progress line, its exit status.

Imports nothing heavy, so that ``--help`` and a wrong argument answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from lab import Lab, Labs, Plan, figures_named_by
from session import BadInput, NothingMeasured, Session, counted

from dlip_reg.datasets import DATASET_NAMES, DataError
from dlip_reg.experiments import SchedulerError, SweepStopped, WrongFolder, count_runs
from dlip_reg.models import MODEL_NAMES

__all__ = [
    "DEFAULT_PRESET",
    "BadInput",
    "Lab",
    "Labs",
    "Session",
    "accept_any_terminal",
    "answer",
    "common_parser",
    "folder_argument",
    "main",
    "positive_argument",
]

DEFAULT_PRESET = "standard"
WRITTEN, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(lab: Lab | Labs, arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what can go wrong into one sentence and an exit status.

    0: the report was written. 1: it was not, and not by the caller's fault. 2: the input has to
    change. 130: interrupted.
    """
    accept_any_terminal()
    parser = _parser(lab)
    options = parser.parse_args(arguments)
    if options.paper:
        lab = lab.papers[options.paper]
        if options.list_claims:
            parser.error(f"--paper {options.paper} has no claims to list")
    if options.list_claims:
        for claim in lab.claims:
            print(f"{claim.id:22} {claim.sentence}")
        return WRITTEN
    options.out = options.out or Path("runs") / lab.name
    return answer(parser.prog, options, lambda: _run(lab, options))


def accept_any_terminal() -> None:
    """A terminal or pipe that knows no minus sign or box must not cost the report."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def answer(prog: str, options: argparse.Namespace, run: Callable[[], Path]) -> int:
    """The exit status of `run`, which gives the report's path, and what there is to say.

    `options` have `out`, where the results go, and `fresh`; see `main`.
    """
    again = "the same command" + (" without --fresh" if options.fresh else "")
    try:
        report = run()
    except KeyboardInterrupt:
        _say(f"\nStopped: what is finished is kept in {options.out}; {again} goes on from there.")
        return INTERRUPTED
    except (NothingMeasured, SweepStopped) as error:
        _say(f"{prog}: {error}")
        return FAILED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _say(
            f"{prog}: {error.strerror or error}{where}: what is finished is kept in "
            f"{options.out}; once that is mended, {again} goes on from there."
        )
        return BAD_INPUT
    except (BadInput, DataError, SchedulerError, WrongFolder) as error:
        _say(f"{prog}: {error}")
        return BAD_INPUT
    print(f"Report: {report}")
    return WRITTEN


def _run(lab: Lab | Labs, options: argparse.Namespace) -> Path:
    """Do the lab as the options say; returns the report's path."""
    if options.paper and options.preset:
        raise BadInput(f"--paper {options.paper} comes in one size; leave out --preset.")
    options.preset = options.preset or (
        next(iter(lab.presets)) if options.paper else DEFAULT_PRESET
    )
    plans = _plans(lab, options)
    announcement = _announcement(plans, options)
    # From here on for the folder and the report: whose results these are.
    options.model = options.model or _default_models(lab)
    options.dataset = options.dataset or lab.labs[0].default_dataset
    with Session(lab.name, options) as session:
        for plan in plans:
            session.check_models(plan.experiments)
            if plan.lab.check is not None:
                plan.lab.check(session, plan.experiments)
        session.open(announcement)
        outcomes = session.run([job for plan in plans for job in plan.jobs])
        claims, sections, facts = [], [], {}
        for plan in plans:
            judged, drawn = plan.judge(outcomes)
            if len(lab.labs) > 1:
                judged, drawn = figures_named_by(plan.lab, judged, drawn)
            claims += judged
            sections += drawn
            of_lab = f" ({plan.lab.name})" if len(plans) > 1 else ""
            facts |= {name + of_lab: told for name, told in plan.lab.facts(plan.preset).items()}
        return session.write(lab.title, lab.lead, claims, sections, facts)


def _plans(lab: Lab | Labs, options: argparse.Namespace) -> list[Plan]:
    """What each lab is to do; one of whose claims none is wanted is left out."""
    wanted = _chosen_claims(lab, options.claims)
    plans = []
    for part in lab.labs:
        claims = [claim for claim in part.claims if claim.id in wanted]
        if claims or not part.claims:
            whole = part.presets[options.preset]
            preset = replace(whole, seeds=options.seeds or whole.seeds)
            plans.append(Plan.of(part, preset, claims, options.model, options.dataset))
    return plans


def _announcement(plans: Sequence[Plan], options: argparse.Namespace) -> str:
    """How much will be run, and how long the whole of it takes."""
    whole = [Plan.of(p.lab, p.lab.presets[options.preset], p.lab.claims, None, None) for p in plans]
    jobs, every = ([job for plan in some for job in plan.jobs] for some in (plans, whole))
    seeds = dict.fromkeys(counted(plan.preset.seeds, "seed") for plan in plans)
    kind = "Paper check" if options.paper else "Preset"
    return (
        f"{kind} {options.paper or options.preset}: {counted(count_runs(jobs), 'run')} "
        f"({counted(len(jobs), 'experiment')}, {' or '.join(seeds)}). The whole {kind.lower()}'s "
        f"{count_runs(every)} take about {' + '.join(plan.preset.duration for plan in whole)} on "
        "two cores with the default model and data."
    )


def _default_models(lab: Lab | Labs) -> str:
    return ", ".join(dict.fromkeys(part.default_model for part in lab.labs))


def _say(sentence: str) -> None:
    print(sentence.rstrip(".") + ".", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str) -> NoReturn:
        _say(f"{self.prog}: {message}")
        self.exit(BAD_INPUT)


def common_parser(
    description: str, name: str, presets: Mapping[str, object], default_models: str
) -> argparse.ArgumentParser:
    """A parser with the options of every lab; it says what is wrong in one line."""
    parser = _Parser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--preset",
        choices=list(presets),
        help=f"how much to measure (default: {DEFAULT_PRESET})",
    )
    parser.add_argument(
        "--dataset",
        choices=DATASET_NAMES,
        metavar="NAME",
        help=f"one of {', '.join(DATASET_NAMES)} (default: the first, which ships with the labs)",
    )
    parser.add_argument(
        "--model",
        choices=MODEL_NAMES,
        metavar="NAME",
        help=f"one of {', '.join(MODEL_NAMES)} (default: {default_models})",
    )
    parser.add_argument(
        "--workers",
        type=positive_argument,
        help="processes of one thread each (default: one per core)",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on the Dask cluster whose scheduler is there"
    )
    parser.add_argument(
        "--data-dir",
        type=folder_argument,
        help="folder with full data sets as NAME.npz, for example a share",
    )
    parser.add_argument(
        "--out",
        type=folder_argument,
        help=f"output folder (default: runs/{name})",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="throw the output folder's earlier results away"
    )
    return parser


def _parser(lab: Lab | Labs) -> argparse.ArgumentParser:
    parser = common_parser(lab.description, lab.name, lab.labs[0].presets, _default_models(lab))
    parser.add_argument(
        "--seeds", type=positive_argument, help="how many seeds (default: the preset's)"
    )
    parser.add_argument(
        "--claims", metavar="ID,...", help="measure only these claims (see --list-claims)"
    )
    parser.add_argument("--list-claims", action="store_true", help="list the claims and stop")
    if lab.papers:
        parser.add_argument(
            "--paper",
            choices=list(lab.papers),
            metavar="NAME",
            help=f"check instead what a paper printed: {', '.join(lab.papers)}",
        )
    else:
        parser.set_defaults(paper=None)
    return parser


def positive_argument(text: str) -> int:
    """A whole number of 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of 1 or more, not {text!r}")
    return number


def folder_argument(text: str) -> Path:
    """A folder's path."""
    # Shells leave the ~ of --out=~/lab to the program.
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _chosen_claims(lab: Lab | Labs, ids: str | None) -> list[str]:
    known = [claim.id for claim in lab.claims]
    if ids is None:
        return known
    wanted = [name.strip() for name in ids.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "there are no claims to choose from"
        raise BadInput(f"--claims knows no {', '.join(map(repr, unknown))}; {takes}.")
    return wanted
