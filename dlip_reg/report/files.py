"""Files that are written whole or not at all: aside first, then `os.replace`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class Staged:
    """Writes files aside and puts all in place, in order, when the block ends without an error.

    Whatever goes wrong before (a full disk, a folder that can't be written) leaves the old files as
    they were and nothing beside them; the OSError goes on to the caller.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def __enter__(self) -> Staged:
        return self

    def write(self, path: Path, content: bytes) -> None:
        """Write `content` beside `path`, making its folder if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._files.append((aside, path))
        aside.write_bytes(content)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for aside, path in self._files:
                    os.replace(aside, path)  # noqa: PTH105 - the name says it is atomic
        finally:
            for aside, _ in self._files:
                with contextlib.suppress(OSError):
                    aside.unlink(missing_ok=True)


def write_claims(path: str | Path, claims: Sequence[Mapping[str, Any]]) -> None:
    """`claims.json`: a JSON list in the order given; NaN and infinity become null.

    NumPy numbers and arrays are welcome. Raises OSError if the file can't be written.
    """
    text = json.dumps(_plain(claims), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with Staged() as staged:
        staged.write(Path(path), text.encode())


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file whose columns are the rows' keys in the order first seen.

    Floats are written by repr, so that they read back exactly; None and lacking keys are empty
    fields; lines end with "\\n" on every system. Raises OSError if the file can't be written.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _field(value) for key, value in row.items()})
    with Staged() as staged:
        staged.write(Path(path), text.getvalue().encode())


def _field(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return repr(value) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    """`value` in JSON's own types."""
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
