"""The command line of the tuning lab."""

import argparse
from collections.abc import Sequence

from dlip_reg.cli.command import common_parser, run_command, whole_number
from dlip_reg.streams import guard_output
from dlip_reg.studies.run import DEFAULT_PRESET
from dlip_reg.studies.strength_search import DEFAULT_MODEL, NAME, PRESETS, run_strength_searches
from dlip_reg.tuning import TUNERS

DESCRIPTION = "Search convolution and dense L2 strengths, separate and tied, in parallel."


@guard_output
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (see `dlip_reg.cli.main`)."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    return run_command(parser.prog, NAME, PRESETS, run_strength_searches, **options)


def _parser() -> argparse.ArgumentParser:
    """A parser whose options are the arguments of `run_strength_searches`."""
    parser = common_parser(DESCRIPTION, NAME, PRESETS, DEFAULT_MODEL)
    parser.set_defaults(preset=DEFAULT_PRESET)
    parser.add_argument(
        "--tuner",
        dest="kinds",
        type=_kinds,
        default=["random"],
        metavar="NAME,...",
        help=f"kinds of search, of {', '.join(TUNERS)} (default: random); the claim is measured "
        "with the first",
    )
    parser.add_argument(
        "--max-trials",
        dest="trials",
        type=whole_number(1),
        help="trials of each search (default: the preset's); a grid uses the largest square number "
        "up to it, at least 4, and hyperband completes its brackets",
    )
    parser.add_argument(
        "--executions-per-trial",
        dest="executions",
        type=whole_number(1),
        help="seeds of each trial, and of the final runs (default: the preset's); verdicts are "
        "given at 5, 10 and 20",
    )
    parser.add_argument(
        "--folds",
        type=whole_number(2),
        metavar="N",
        help="cross-validate each trial on N folds of the training images, with each seed "
        "(default: validate it on other images)",
    )
    parser.add_argument(
        "--racing",
        action="store_true",
        help="stop a trial as soon as its seeds and folds show that it will not become the best",
    )
    parser.add_argument(
        "--tied",
        dest="tied_only",
        action="store_true",
        help="search one strength for all layers only (default: separate ones as well)",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="rerun trials that failed in an earlier session"
    )
    return parser


def _kinds(text: str) -> list[str]:
    kinds = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [kind for kind in kinds if kind not in TUNERS]:
        raise argparse.ArgumentTypeError(
            f"takes {', '.join(TUNERS)}, not {', '.join(map(repr, unknown))}"
        )
    return kinds
