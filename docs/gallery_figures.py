"""An mkdocs hook: run the code of the gallery's page, and show each figure below its code.

A block that assigns `figure` makes one. The blocks share their names, and run in `docs/gallery`,
where the numbers are. Neither TensorFlow nor Keras is imported.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dlip_reg.report.figures.kit import rendered

PAGE = "gallery.md"
_FOLDER = Path(__file__).parent / "gallery"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def draw(text: str) -> dict[int, bytes]:
    """Run the Python blocks of a page: number of the block -> its figure as a PNG file."""
    known: dict[str, Any] = {}
    found = {}
    with contextlib.chdir(_FOLDER), contextlib.redirect_stdout(None):
        for number, block in enumerate(_BLOCK.findall(text)):
            known.pop("figure", None)
            exec(block, known)
            if "figure" in known:
                found[number] = rendered(known["figure"], "png", 150)
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Draw the figures."""
    for number, image in draw((_FOLDER.parent / PAGE).read_text("utf-8")).items():
        files.append(File.generated(config, _path(number), content=image))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put each figure of the gallery below its code; its heading is its alternative text."""
    if page.file.src_uri != PAGE:
        return markdown
    blocks = list(_BLOCK.finditer(markdown))
    for number, block in reversed(list(enumerate(blocks))):
        if files.get_file_from_path(_path(number)):
            before = markdown[: block.start()]
            (*_, heading) = re.findall(r"^## (.*)", before, re.MULTILINE)
            image = f"\n![{heading}]({_path(number)})\n"
            markdown = markdown[: block.end()] + image + markdown[block.end() :]
    return markdown


def _path(number: int) -> str:
    return f"gallery/figure_{number}.png"
