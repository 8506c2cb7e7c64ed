"""Make a command line of a study: options in, one sentence and an exit status for errors out."""

import argparse
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlip_reg.datasets import DATASET_NAMES
from dlip_reg.errors import DlipRegError
from dlip_reg.evidence import ClaimResult
from dlip_reg.experiments.sweep import SweepStoppedError
from dlip_reg.extras import require_extra
from dlip_reg.files import path_argument
from dlip_reg.models import MODEL_NAMES
from dlip_reg.streams import guard_output
from dlip_reg.studies import NoResultsError, Study, StudyGroup, StudyResult, run_study
from dlip_reg.studies.progress import duration
from dlip_reg.studies.replication import COLOUR_SETTING, SETTINGS, by_claim
from dlip_reg.studies.result import effect_text
from dlip_reg.studies.run import default_out, default_preset
from dlip_reg.training.process import KERAS_BACKEND

WRITTEN, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@guard_output
def main(study: Study | StudyGroup, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `study`.

    Args:
        study: What to measure.
        arguments: The command line's (default: those of this process).

    Returns:
        0: the report was written. 1: it was not, and not by the caller's fault, or the output was
        closed. 2: the arguments have to change. 130: interrupted.
    """
    parser = _parser(study)
    options = vars(parser.parse_args(arguments))
    paper, list_claims = options.pop("paper"), options.pop("list_claims")
    if paper:
        if list_claims:
            parser.error(f"--paper {paper} has no claims to list")
        study = study.papers[paper]
    if list_claims:
        for claim in study.claims:
            print(f"{claim.id:22} {claim.sentence}")
        return WRITTEN
    lab = (study.name, study.presets)
    return run_command(parser.prog, *lab, run_study, study=study, **options)


def run_command(
    prog: str,
    name: str,
    presets: Mapping[str, Any],
    run: Callable[..., StudyResult],
    *,
    out: Path | None,
    **options: Any,
) -> int:
    """Call `run`, print its verdicts, and say in one sentence what went wrong.

    Args:
        prog: The program's name.
        name: Names the default output folder.
        presets: Name -> preset.
        run: What to run, with `out` and the other `options`.
        out: The output folder.
        **options: With those of `common_parser`.

    Returns:
        The exit status (see `main`).
    """
    asked = [options.get(option) for option in ("model", "dataset", "size", "folds")]
    out = out or default_out(name, presets, options["preset"], *asked)
    os.environ.update(KERAS_BACKEND)  # for data sets that Keras loads, and keras-tuner
    again = "the same command" + (" without --fresh" if options["fresh"] else "")
    with contextlib.suppress(ValueError):  # in a thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as of a batch system's limit
    try:
        require_extra("labs", "A lab")
        result = run(out=out, announce=functools.partial(print, flush=True), **options)
    except KeyboardInterrupt:
        say(f"\nInterrupted: finished runs are kept in {out}; {again} resumes from there.")
        return INTERRUPTED
    except (NoResultsError, SweepStoppedError) as error:
        say(f"{prog}: {error}")
        return FAILED
    except BrokenPipeError:  # see `guard_output`
        raise
    except OSError as error:
        path = error.filename2 or error.filename  # of a file that is replaced, not the new one
        where = f" ({path})" if path else ""
        say(
            f"{prog}: {error.strerror or error}{where}: finished runs are kept in {out}; "
            f"after fixing this, {again} resumes from there."
        )
        return BAD_INPUT
    except DlipRegError as error:  # every other one asks for other arguments
        say(f"{prog}: {error}")
        return BAD_INPUT
    print_verdicts(result)
    print(f"Report: {out / result.report.name}")
    return WRITTEN


def print_verdicts(result: StudyResult) -> None:
    """Print the claims as a table, one more of where they hold if replicated, and the notes."""
    if result.claims:
        rows = [(one.id, effect_text(one), _verdict(one)) for one in result.claims]
        _print_table(("claim", "effect [interval]", "verdict"), rows)
        if any(claim.verdict is None for claim in result.claims):
            print("Estimates only: verdicts are given at 5, 10 and 20 seeds.")
    if result.replications:
        matrix, settings = by_claim(result.replications)
        found = [
            (name, *(_verdict(row[setting]) if setting in row else "" for setting in settings))
            for name, row in matrix.items()
        ]
        # With spaces, at which a long name is wrapped.
        _print_table(("claim", *(name.replace("_", " ") for name in settings)), found)
    for note in result.notes:
        print(note)


def _verdict(claim: ClaimResult) -> str:
    return claim.verdict or "(estimate)"


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal, or of 80 columns where there is none.

    In a terminal that is too narrow for the words its lines are wrapped, and nothing is cut.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    columns = [Column(name, overflow="fold", min_width=len("contradicted")) for name in names]
    columns[0].min_width = min(20, max(len(row[0]) for row in rows))  # most ids in one line
    table = Table(*columns, box=box.SIMPLE, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, columns[0].min_width + 20 * len(columns[1:]))
    console.print(table)


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        self.exit(BAD_INPUT)


def say(sentence: str) -> None:
    """Print one sentence on stderr."""
    print(sentence.rstrip(".") + ".", file=sys.stderr)


def common_parser(
    description: str, name: str, presets: Mapping[str, Any], models: str
) -> argparse.ArgumentParser:
    """A parser with the options of every lab.

    Args:
        description: The first line of ``--help``.
        name: Names the default output folder.
        presets: Name -> preset; their sizes stand in ``--help``.
        models: What ``--help`` calls the default model.
    """
    parser = OneLineParser(description=description, allow_abbrev=False)
    add = parser.add_argument
    sizes = "; ".join(f"{key}: {_size(preset)}" for key, preset in presets.items())
    preset = f"how much to measure (default: {default_preset(presets)}). {sizes}"
    add("--preset", choices=list(presets), help=preset)
    add(
        "--dataset",
        metavar="NAME",
        help=f"one of {', '.join(DATASET_NAMES)} (default: {DATASET_NAMES[0]}, which ships with "
        "the package), folder:PATH with one subfolder of images for each class, readable:PATH for "
        "the same without files that cannot be read, or file:PATH.npz with arrays",
    )
    add(
        "--size",
        type=whole_number(1),
        metavar="PIXELS",
        help="with folder:PATH, the height and width to which images are resized (default: 28)",
    )
    add(
        "--model",
        type=_model,
        metavar="NAME",
        help=f"one of {', '.join(MODEL_NAMES)}, or package.module:function for a function that "
        f"builds a model (default: {models})",
    )
    workers = "processes of one thread each (default: one per core, as memory allows)"
    add("--workers", type=whole_number(1), help=workers)
    cluster = "run on the Dask cluster with the scheduler at this address"
    add("--scheduler", metavar="ADDRESS", help=cluster)
    data = "folder with full data sets as NAME.npz (default: the variable DLIP_DATA_DIR)"
    add("--data-dir", type=path_argument, help=data)
    where = f"output folder (default: runs/{name}, followed by the named preset, model and data)"
    add("--out", type=path_argument, help=where)
    add("--fresh", action="store_true", help="empty the output folder first")
    return parser


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least `least`."""

    def read(text: str) -> int:
        if text.strip().isdecimal() and int(text) >= least:
            return int(text)
        raise argparse.ArgumentTypeError(f"takes a whole number of {least} or more, not {text!r}")

    return read


def _model(text: str) -> str:
    """The text; if it names a function, that is also looked for in the working directory."""
    # Python puts the folder of the script on its path, not the one it was started in.
    if ":" in text and str(Path.cwd()) not in sys.path:
        sys.path.insert(1, str(Path.cwd()))
    return text


def _size(preset: Any) -> str:
    minutes = preset.minutes
    taken = "" if minutes is None else f", about {duration(60 * minutes)} on two cores"
    return f"{preset.seeds} seeds at most{taken}"


def _parser(study: Study | StudyGroup) -> argparse.ArgumentParser:
    models = ", ".join(dict.fromkeys(part.default_model for part in study.studies))
    parser = common_parser(
        study.description or study.title, study.name, study.presets, models or "that of the study"
    )
    parser.add_argument(
        "--seeds",
        type=whole_number(1),
        help="the most seeds to run: 5, 10 or 20, or fewer than 5 for estimates without verdicts "
        "(default: the preset's)",
    )
    parser.add_argument(
        "--first-seed",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="the first seed; one that is 20 or more away repeats the study on other data splits "
        "(default: 0)",
    )
    parser.add_argument(
        "--claims",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="ID,...",
        help="measure only these claims (see --list-claims)",
    )
    parser.add_argument(
        "--replicate",
        action="store_true",
        help="measure the claims on further data sets and networks, too "
        f"({', '.join(map(' × '.join, SETTINGS))}; and {' × '.join(COLOUR_SETTING)} if --data-dir "
        "has it), and report where they hold",
    )
    parser.add_argument("--list-claims", action="store_true", help="list the claims and stop")
    parser.set_defaults(paper=None)
    if papers := ", ".join(study.papers):
        parser.add_argument(
            "--paper",
            choices=list(study.papers),
            metavar="NAME",
            help=f"check instead what a paper printed: {papers}",
        )
    return parser
