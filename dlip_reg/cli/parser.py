"""The options that all labs share, and errors about them in one line."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from dlip_reg.datasets import DATASET_NAMES, check_dataset_name
from dlip_reg.models import MODEL_NAMES
from dlip_reg.studies.progress import duration

BAD_INPUT = 2


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        self.exit(BAD_INPUT)


def say(sentence: str) -> None:
    """Print one sentence on stderr."""
    print(sentence.rstrip(".") + ".", file=sys.stderr)


def common_parser(
    description: str, name: str, presets: Mapping[str, Any], default: str, models: str
) -> argparse.ArgumentParser:
    """A parser with the options of every lab.

    Args:
        description: The first line of ``--help``.
        name: Names the default output folder.
        presets: Name -> preset; their sizes stand in ``--help``.
        default: The name of the default preset.
        models: What ``--help`` calls the default model.
    """
    parser = OneLineParser(description=description, allow_abbrev=False)
    sizes = "; ".join(f"{key}: {_size(preset)}" for key, preset in presets.items())
    parser.add_argument(
        "--preset",
        choices=list(presets),
        help=f"how much to measure (default: {default}). {sizes}",
    )
    parser.add_argument(
        "--dataset",
        type=_dataset,
        metavar="NAME",
        help=f"one of {', '.join(DATASET_NAMES)} (default: {DATASET_NAMES[0]}, which ships with "
        "the package), or folder:PATH with one subfolder of images for each class",
    )
    parser.add_argument(
        "--model",
        type=_model,
        metavar="NAME",
        help=f"one of {', '.join(MODEL_NAMES)}, or package.module:function for a function that "
        f"builds a model (default: {models})",
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
    parser.add_argument("--out", type=folder_argument, help=f"output folder (default: runs/{name})")
    parser.add_argument(
        "--fresh", action="store_true", help="delete the output folder's earlier results"
    )
    return parser


def positive_argument(text: str) -> int:
    """A whole number of 1 or more."""
    return _whole(text, 1)


def seed_argument(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def folder_argument(text: str) -> Path:
    """The path of a folder."""
    # Shells leave the ~ of --out=~/lab to the program.
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"takes a whole number of {least} or more, not {text!r}")
    return number


def _dataset(text: str) -> str:
    try:
        return check_dataset_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _model(text: str) -> str:
    if text in MODEL_NAMES:
        return text
    module, colon, function = text.partition(":")
    if colon and function.isidentifier() and all(p.isidentifier() for p in module.split(".")):
        # Python puts the folder of the script on its path, not the one it was started in.
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(1, str(Path.cwd()))
        return text
    raise argparse.ArgumentTypeError(
        f"takes one of {', '.join(MODEL_NAMES)}, or package.module:function, not {text!r}"
    )


def _size(preset: Any) -> str:
    minutes = getattr(preset, "minutes", None)
    taken = "" if minutes is None else f", about {duration(60 * minutes)} on two cores"
    return f"{preset.seeds} seeds at most{taken}"
