"""The code of a Jupyter notebook as a module."""

from __future__ import annotations

import json
import re

_KEPT_CELL_MAGICS = ("%%time", "%%timeit", "%%capture")
_FUTURE = re.compile(r"from\s+__future__\s[^(]*$")
# No statement of Python's begins like these: %magic, !command, ?help, help?, x = !command.
_MAGIC = re.compile(r"\s*([%!?]|[\w.]+\?{1,2}\s*$|[\w.]+\s*=\s*[%!])")
_LEXICAL = re.compile(r"""\\.|\"{3}|'{3}|["'#()\[\]{}]""")


class NotANotebook(ValueError):
    """Bytes that are no notebook."""


def source_of(data: bytes) -> bytes:
    """The code cells one after the other as Python source, magics and shell commands left out.

    Imports from __future__ come first: a cell may begin with them, a module has one beginning.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise NotANotebook("The file is no JSON.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise NotANotebook("The file has no cells (a notebook of format 4 has).")
    sources: list[str] = []
    futures: list[str] = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            if isinstance(source, list):
                source = "".join(part for part in source if isinstance(part, str))
            if isinstance(source, str):
                sources.append(_as_module(source, futures))
    return "\n\n".join([*futures, *sources]).encode("utf-8", "replace")


def _as_module(source: str, futures: list[str]) -> str:
    """`source` with `pass` for each magic, and for what is moved to `futures`; a line within
    brackets or a string is neither."""
    word = next(iter(source.split()), "")
    if word.startswith("%%") and word not in _KEPT_CELL_MAGICS:
        return ""
    kept, goes_on, in_magic = [], (0, "", False), False
    for line in source.replace("\r\n", "\n").split("\n"):
        if in_magic or (not any(goes_on) and _MAGIC.match(line)):
            indentation = line[: len(line) - len(line.lstrip())]
            kept.append("" if in_magic else f"{indentation}pass")
            in_magic = line.endswith("\\")
        elif not any(goes_on) and _FUTURE.match(line):
            futures.append(line)
            kept.append("pass")
        else:
            kept.append(line)
            goes_on = _open_after(line, *goes_on)
    return "\n".join(kept)


def _open_after(line: str, depth: int, quote: str, _: bool) -> tuple[int, str, bool]:
    """What the next line goes on with: so many brackets, a string of such quotes, a backslash."""
    in_comment = False
    for piece in _LEXICAL.findall(line):
        if quote:
            quote = "" if piece.startswith(quote) else quote
        elif piece == "#":
            in_comment = True
            break
        elif piece[0] in "\"'":
            quote = piece
        elif piece in "([{":
            depth += 1
        elif piece in ")]}":
            depth = max(depth - 1, 0)
    joined = line.endswith("\\") and not in_comment
    if len(quote) == 1 and not joined:  # a string that was never closed
        quote = ""
    return depth, quote, joined
