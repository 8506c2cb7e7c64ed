"""The code of a Jupyter notebook as a module."""

from __future__ import annotations

import json

_KEPT_CELL_MAGICS = ("%%time", "%%timeit", "%%capture")


class NotANotebook(ValueError):
    """Bytes that are no notebook."""


def source_of(data: bytes) -> bytes:
    """The code cells one after the other as Python source, magics and shell commands left out."""
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise NotANotebook("The file is no JSON.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise NotANotebook("The file has no cells (a notebook of format 4 has).")
    sources = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            if isinstance(source, list):
                source = "".join(part for part in source if isinstance(part, str))
            if isinstance(source, str):
                sources.append(_without_magics(source))
    return "\n\n".join(sources).encode("utf-8", "replace")


def _without_magics(source: str) -> str:
    lines = source.splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") and not first.startswith(_KEPT_CELL_MAGICS):
        return ""
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)
