"""What every lab's command line has in common: its arguments, its progress line, its exit status.

Imports nothing heavy, so that ``--help`` and a wrong argument answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from session import BadInput, NothingMeasured

from dlip_reg.claims import Claim
from dlip_reg.datasets import DATASET_NAMES, DataError
from dlip_reg.experiments import SchedulerError, SweepStopped, WrongFolder
from dlip_reg.models import MODEL_NAMES

WRITTEN, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Lab:
    """One lab: its name, what its parser says, its presets and claims, and the job itself.

    `run(arguments, claims)` does the job and returns the path of the report it wrote.
    """

    name: str
    description: str
    presets: Mapping[str, Any]
    claims: Sequence[Claim]
    run: Callable[[argparse.Namespace, Sequence[Claim]], Path]


def main(lab: Lab, arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what can go wrong into one sentence and an exit status.

    0: the report was written. 1: it was not, and not by the caller's fault. 2: the input has to
    change. 130: interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that knows no minus sign or box must not cost the report.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _parser(lab)
    options = parser.parse_args(arguments)
    if options.list_claims:
        for claim in lab.claims:
            print(f"{claim.id:22} {claim.sentence}")
        return WRITTEN
    again = "the same command" + (" without --fresh" if options.fresh else "")
    try:
        claims = _chosen_claims(lab, options.claims)
        report = lab.run(options, claims)
    except KeyboardInterrupt:
        _say(f"\nStopped: what is finished is kept in {options.out}; {again} goes on from there.")
        return INTERRUPTED
    except (NothingMeasured, SweepStopped) as error:
        _say(f"{parser.prog}: {error}")
        return FAILED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _say(
            f"{parser.prog}: {error.strerror or error}{where}: what is finished is kept in "
            f"{options.out}; once that is mended, {again} goes on from there."
        )
        return BAD_INPUT
    except (BadInput, DataError, SchedulerError, WrongFolder) as error:
        _say(f"{parser.prog}: {error}")
        return BAD_INPUT
    print(f"Report: {report}")
    return WRITTEN


def _say(sentence: str) -> None:
    print(sentence.rstrip(".") + ".", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str) -> NoReturn:
        _say(f"{self.prog}: {message}")
        self.exit(BAD_INPUT)


def _parser(lab: Lab) -> argparse.ArgumentParser:
    parser = _Parser(description=lab.description, allow_abbrev=False)
    parser.add_argument(
        "--preset",
        choices=list(lab.presets),
        default="standard",
        help="how much to measure (default: standard)",
    )
    parser.add_argument(
        "--dataset",
        choices=DATASET_NAMES,
        default=DATASET_NAMES[0],
        metavar="NAME",
        help=f"one of {', '.join(DATASET_NAMES)} (default: the first, which ships with the labs)",
    )
    parser.add_argument(
        "--model",
        choices=MODEL_NAMES,
        default="lenet5",
        metavar="NAME",
        help=f"one of {', '.join(MODEL_NAMES)} (default: lenet5)",
    )
    parser.add_argument("--seeds", type=_positive, help="how many seeds (default: the preset's)")
    parser.add_argument(
        "--workers", type=_positive, help="processes of one thread each (default: one per core)"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on the Dask cluster whose scheduler is there"
    )
    parser.add_argument(
        "--data-dir",
        type=_folder,
        help="folder with full data sets as NAME.npz, for example a share",
    )
    parser.add_argument(
        "--out",
        type=_folder,
        default=Path("runs") / lab.name,
        help=f"output folder (default: runs/{lab.name})",
    )
    parser.add_argument(
        "--claims", metavar="ID,...", help="measure only these claims (see --list-claims)"
    )
    parser.add_argument("--list-claims", action="store_true", help="list the claims and stop")
    parser.add_argument(
        "--fresh", action="store_true", help="throw the output folder's earlier results away"
    )
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of 1 or more, not {text!r}")
    return number


def _folder(text: str) -> Path:
    # Shells leave the ~ of --out=~/lab to the program.
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _chosen_claims(lab: Lab, ids: str | None) -> Sequence[Claim]:
    if ids is None:
        return lab.claims
    wanted = [name.strip() for name in ids.split(",")]
    known = {claim.id: claim for claim in lab.claims}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise BadInput(
            f"--claims knows no {', '.join(map(repr, unknown))}; it takes {', '.join(known)}."
        )
    return [claim for claim in lab.claims if claim.id in wanted]
