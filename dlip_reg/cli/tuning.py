"""The command line of the tuning lab."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dlip_reg.cli.command import accept_any_terminal, print_verdicts, run_command
from dlip_reg.cli.parser import common_parser, positive_argument
from dlip_reg.studies.run import DEFAULT_PRESET
from dlip_reg.tuning import TUNERS
from dlip_reg.tuning.strength_study import DEFAULT_MODEL, NAME, PRESETS, run_strength_searches

DESCRIPTION = "Search convolution and dense L2 strengths, separate and tied, in parallel."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (see `dlip_reg.cli.main`)."""
    accept_any_terminal()
    parser = _parser()
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / NAME
    return run_command(parser.prog, options, lambda: _run(options))


def _run(options: argparse.Namespace) -> Path:
    result = run_strength_searches(
        options.preset or DEFAULT_PRESET,
        options.tuner,
        tied_only=options.tied,
        trials=options.max_trials,
        executions=options.executions_per_trial,
        retry_failed=options.retry_failed,
        model=options.model,
        dataset=options.dataset,
        out=options.out,
        data_dir=options.data_dir,
        workers=options.workers,
        scheduler=options.scheduler,
        fresh=options.fresh,
        announce=lambda sentence: print(sentence, flush=True),
    )
    print_verdicts(result)
    return result.report


def _parser() -> argparse.ArgumentParser:
    parser = common_parser(DESCRIPTION, NAME, PRESETS, DEFAULT_PRESET, DEFAULT_MODEL)
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
        help="trials of each search (default: the preset's); a grid uses the largest square number "
        "up to it, at least 4, and hyperband completes its brackets",
    )
    parser.add_argument(
        "--executions-per-trial",
        type=positive_argument,
        help="seeds of each trial, and of the final runs (default: the preset's); verdicts are "
        "given at 5, 10 and 20",
    )
    parser.add_argument(
        "--tied",
        action="store_true",
        help="search one strength for all layers only (default: separate ones as well)",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="rerun trials that failed in an earlier session",
    )
    return parser


def _kinds(text: str) -> list[str]:
    kinds = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [kind for kind in kinds if kind not in TUNERS]:
        raise argparse.ArgumentTypeError(
            f"takes {', '.join(TUNERS)}, not {', '.join(map(repr, unknown))}"
        )
    return kinds
