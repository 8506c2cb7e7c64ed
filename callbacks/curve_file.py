"""Columns of numbers in a CSV file that grows line by line and outlives a killed process."""

from __future__ import annotations

from pathlib import Path

from dlip_reg.files import write_csv

Columns = dict[str, list[float | int | None]]

_COUNTS = ("epoch", "step")


def read_columns(path: Path) -> Columns:
    """The file's columns; what follows the last newline is a torn line and left out.

    `epoch` and `step` are ints, all else floats, an empty field is None. ValueError for a file
    that holds anything but numbers under one header.
    """
    # Split at newlines alone: the piece after the last one is empty, or torn.
    header, *lines = path.read_bytes().decode("utf-8", "replace").split("\n")[:-1] or [""]
    names = header.split(",") if header else []
    try:
        rows = [
            [_number(name, text) for name, text in zip(names, line.split(","), strict=True)]
            for line in lines
        ]
    except ValueError:
        raise ValueError(
            f"{path} can't be continued: it is not a file of numbers under one header; "
            "move it away or name another."
        ) from None
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def write_columns(path: Path, columns: Columns) -> None:
    """Write the whole file, atomically."""
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    write_csv(path, rows, list(columns))


def append_line(path: Path, values: list[float | int | None] | list[str]) -> None:
    """Add one line in a single write: a crash leaves all of it, or a torn end of the file."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{_line(values)}\n".encode())


def _line(values) -> str:
    # repr: the shortest text that reads back as the same float.
    return ",".join(
        value if isinstance(value, str) else "" if value is None else repr(value)
        for value in values
    )


def _number(name: str, text: str) -> float | int | None:
    if not text:
        return None
    return int(text) if name in _COUNTS else float(text)
