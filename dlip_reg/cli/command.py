"""Make a command line of a study: options in, one sentence and an exit status for errors out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dlip_reg.cli.parser import BAD_INPUT, common_parser, positive_argument, say, seed_argument
from dlip_reg.datasets import DataError, DatasetArgumentError
from dlip_reg.experiments.executors import MainGuardError, SchedulerError
from dlip_reg.experiments.store import OutputDirConflictError
from dlip_reg.experiments.sweep import SweepStoppedError
from dlip_reg.studies import (
    NoResultsError,
    Study,
    StudyGroup,
    StudyResult,
    UsageError,
    run_study,
)
from dlip_reg.studies.replication import COLOUR_SETTING, SETTINGS
from dlip_reg.studies.run import DEFAULT_PRESET

WRITTEN, FAILED, INTERRUPTED = 0, 1, 130
_CALLERS_ERRORS = (
    UsageError,
    DataError,
    DatasetArgumentError,
    SchedulerError,
    OutputDirConflictError,
    MainGuardError,
)


def main(study: Study | StudyGroup, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `study`.

    Args:
        study: What to measure.
        arguments: The command line's (default: those of this process).

    Returns:
        0: the report was written. 1: it was not, and not by the caller's fault. 2: the arguments
        have to change. 130: interrupted.
    """
    accept_any_terminal()
    parser = _parser(study)
    options = parser.parse_args(arguments)
    if options.paper:
        if options.preset:
            parser.error(f"--paper {options.paper} has one size; leave out --preset")
        if options.list_claims:
            parser.error(f"--paper {options.paper} has no claims to list")
        if options.replicate:
            parser.error(f"--paper {options.paper} has no claims to replicate")
        study = study.papers[options.paper]
    if options.list_claims:
        for claim in study.claims:
            print(f"{claim.id:22} {claim.sentence}")
        return WRITTEN
    options.out = options.out or Path("runs") / study.name
    return run_command(parser.prog, options, lambda: _run(study, options))


def run_command(prog: str, options: argparse.Namespace, run: Callable[[], Path]) -> int:
    """Call `run`, which gives the report's path, and say in one sentence what went wrong.

    Args:
        prog: The program's name.
        options: With `out`, where the results go, and `fresh`.
        run: What to run.

    Returns:
        The exit status (see `main`).
    """
    again = "the same command" + (" without --fresh" if options.fresh else "")
    try:
        report = run()
    except KeyboardInterrupt:
        say(f"\nInterrupted: finished runs are kept in {options.out}; {again} resumes from there.")
        return INTERRUPTED
    except (NoResultsError, SweepStoppedError) as error:
        say(f"{prog}: {error}")
        return FAILED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        say(
            f"{prog}: {error.strerror or error}{where}: finished runs are kept in {options.out}; "
            f"after fixing this, {again} resumes from there."
        )
        return BAD_INPUT
    except _CALLERS_ERRORS as error:
        say(f"{prog}: {error}")
        return BAD_INPUT
    print(f"Report: {report}")
    return WRITTEN


def accept_any_terminal() -> None:
    """Replace characters that the terminal or pipe cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _run(study: Study | StudyGroup, options: argparse.Namespace) -> Path:
    claims = options.claims
    result = run_study(
        study,
        options.preset,
        out=options.out,
        seeds=options.seeds,
        first_seed=options.first_seed,
        claims=None if claims is None else [name.strip() for name in claims.split(",")],
        model=options.model,
        dataset=options.dataset,
        size=options.size,
        data_dir=options.data_dir,
        replicate=options.replicate,
        workers=options.workers,
        scheduler=options.scheduler,
        fresh=options.fresh,
    )
    print_verdicts(result)
    return result.report


def print_verdicts(result: StudyResult) -> None:
    """Print the claims as a table of at most 80 columns, then the notes."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from dlip_reg.report.numbers import format_estimate

    if result.claims:
        table = Table(
            Column("claim", no_wrap=True),
            "effect [interval]",
            Column("verdict", no_wrap=True),
            box=box.SIMPLE,
            pad_edge=False,
        )
        for claim in result.claims:
            estimate = format_estimate(claim.effect, claim.ci_low, claim.ci_high)
            unit = "" if claim.effect is None else f" {claim.unit}"
            table.add_row(claim.id, estimate + unit, claim.verdict or "(estimate)")
        Console().print(table)
        if any(claim.verdict is None for claim in result.claims):
            print("Estimates only: verdicts are given at 5, 10 and 20 seeds.")
    for note in result.notes:
        print(note)


def _parser(study: Study | StudyGroup) -> argparse.ArgumentParser:
    presets = study.presets
    default = DEFAULT_PRESET if DEFAULT_PRESET in presets else next(iter(presets))
    models = ", ".join(dict.fromkeys(part.default_model for part in study.studies))
    parser = common_parser(
        study.description or study.title,
        study.name,
        presets,
        default,
        models or "that of the study",
    )
    parser.add_argument(
        "--size",
        type=positive_argument,
        metavar="PIXELS",
        help="with folder:PATH, the height and width to which images are resized (default: 28)",
    )
    parser.add_argument(
        "--seeds",
        type=positive_argument,
        help="at which number of seeds to stop at most: 5, 10 or 20, or fewer than 5 for estimates "
        "without verdicts (default: the preset's)",
    )
    parser.add_argument(
        "--first-seed",
        type=seed_argument,
        default=0,
        metavar="N",
        help="the first seed; another one repeats the study on other data splits (default: 0)",
    )
    parser.add_argument(
        "--claims", metavar="ID,...", help="measure only these claims (see --list-claims)"
    )
    parser.add_argument(
        "--replicate",
        action="store_true",
        help="measure the claims on further data sets and networks, too "
        f"({', '.join(map(' × '.join, SETTINGS))}; and {' × '.join(COLOUR_SETTING)} if --data-dir "
        "has it), and report where they hold",
    )
    parser.add_argument("--list-claims", action="store_true", help="list the claims and stop")
    if study.papers:
        parser.add_argument(
            "--paper",
            choices=list(study.papers),
            metavar="NAME",
            help=f"check instead what a paper printed: {', '.join(study.papers)}",
        )
    else:
        parser.set_defaults(paper=None)
    return parser
