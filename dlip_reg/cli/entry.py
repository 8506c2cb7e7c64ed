"""The command `dlip-reg`: the labs, the tuning lab and the grader by name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from dlip_reg import __version__
from dlip_reg.cli.command import OneLineParser, main as run_lab
from dlip_reg.streams import guard_output

PROGRAM = "dlip-reg"
LABS = ("regularization", "batch-norm", "batch-size", "all")
_EPILOG = "Each command has its own --help, for example: dlip-reg lab regularization --help"


@guard_output
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the package's programs.

    Args:
        arguments: The command line's (default: those of this process).

    Returns:
        The exit status of the program (see `dlip_reg.cli.main`).
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Only the command's name is parsed here: its own parser gets all that follows.
    name_words = 2 if arguments[:1] == ["lab"] else 1
    options = _parser().parse_args(arguments[:name_words])
    # The program's own parser finds its name and its arguments where a script would.
    program = options.command if options.command != "lab" else f"lab {options.name}"
    sys.argv = [f"{PROGRAM} {program}", *arguments[name_words:]]
    if options.command == "lab":
        study = import_module(f"dlip_reg.studies.{options.name.replace('-', '_')}").STUDY
        return run_lab(study)
    if options.command == "tune":
        from dlip_reg.cli.tuning import main as run_tuning

        return run_tuning()
    from dlip_reg.grading.__main__ import main as run_grader

    return run_grader([options.command, *sys.argv[1:]], PROGRAM)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog=PROGRAM,
        description="Labs on loss functions and regularization, tuning, and grading.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, title="commands")
    lab = commands.add_parser("lab", help=f"measure claims: {', '.join(LABS)}")
    lab.add_argument("name", choices=LABS, metavar=f"{{{','.join(LABS)}}}")
    commands.add_parser("tune", help="search L2 strengths", add_help=False)
    commands.add_parser("check", help="run the public tests on a submission", add_help=False)
    commands.add_parser("grade", help="mark a folder of submissions", add_help=False)
    commands.add_parser("assign", help="make an assignment from its master", add_help=False)
    # What an error names where the command is missing.
    commands.metavar = f"{{{','.join(commands.choices)}}}"
    return parser
