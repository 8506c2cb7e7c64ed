"""Notebooks as submissions: their code as a module, without what only Jupyter understands."""

import json

import pytest

from dlip_reg.grading.intake import BadSubmission, read_submission
from dlip_reg.grading.notebooks import source_of


def notebook(*sources):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def names_in(*sources):
    """What the cells define as a module."""
    names = {}
    exec(source_of(notebook(*sources)), names)
    return names


NOTEBOOK = {
    "nbformat": 4,
    "cells": [
        {"cell_type": "markdown", "source": "def honest(number): wrong"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install x\n", "a = 1"]},
        {"cell_type": "code", "source": "%%bash\nrm -rf /"},
        {"cell_type": "code", "source": "%%time\ndef honest(number):\n    return -number"},
        {"cell_type": "code", "source": None},
        "not a cell",
    ],
}


def test_a_notebook_is_its_code_without_magics(tmp_path):
    (tmp_path / "ann.ipynb").write_text(json.dumps(NOTEBOOK))
    read = read_submission(tmp_path / "ann.ipynb")
    assert read.main == "submission.py"
    names = {}
    exec(read.files["submission.py"], names)
    assert (names["a"], names["honest"](3)) == (1, -3)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"cells": 1}'])
def test_what_is_no_notebook_needs_staff(tmp_path, data):
    (tmp_path / "ann.ipynb").write_bytes(data)
    with pytest.raises(BadSubmission, match=r"The file (is no JSON|has no cells)"):
        read_submission(tmp_path / "ann.ipynb")


def test_a_notebook_in_a_folder(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "work.ipynb").write_text(json.dumps(NOTEBOOK))
    (tmp_path / "ann" / "x.txt").touch()
    read = read_submission(tmp_path / "ann")
    assert read.main == "submission.py"
    assert read.files["submission.py"] == source_of(json.dumps(NOTEBOOK).encode())


PLAIN = [
    "x = (10\n % 3)",
    "def f(a, n):\n    return (a\n        % n)\nx = f(7, 3)",
    "x = 1 if (2\n!= 3) else 0",
    "x = 10 \\\n% 3",
    'x = len("""\n%a\n!b\n""") - 6',
    "x = len('a\\\n%b') - 2  # (\n",
    'y = "(" # an opening one: ([{"\nx = 1',
    "y = '''a'b(\"\"\"'''; x = {'(': [1]}['('][0]",
    "y = 'a\u2028b\x0c'\nx = 1",
]


@pytest.mark.parametrize("source", PLAIN)
def test_python_is_kept_as_it_is(source):
    names = {}
    exec(source, names)
    assert names["x"] == 1
    assert source_of(notebook(source)).decode() == source
    # What stands before and after is still taken for what it is.
    assert names_in(f"%magic\n{source}\n!command")["x"] == 1


MAGIC = [
    "%m",
    " !ls -l",
    "%time f(')",
    "!a \\\n  b \\\n  c",
    "?help",
    "a.b??",
    "y = !ls",
    "y = %who",
]


@pytest.mark.parametrize("magic", MAGIC)
def test_a_magic_is_left_out_and_its_block_stays_one(magic):
    indented = magic.strip().replace("\n", "\n    ")
    assert names_in(f"x = 1\n{magic.strip()}\ny = 2")["y"] == 2
    assert names_in(f"x = 1\nif x:\n    {indented}\r\nz = 3")["z"] == 3


@pytest.mark.parametrize(
    ("first", "kept"),
    [("%%time", True), ("%%timeit -n 1", True), ("\n%%capture out", True), ("%%html", False)],
)
def test_cells_in_other_languages_are_left_out(first, kept):
    assert ("x" in names_in(f"{first}\nx = 1")) is kept


def test_the_hand_out_pasted_into_a_later_cell_is_a_module():
    future = "from __future__ import annotations\n"
    names = names_in("import os", f'"""Text."""\n\n{future}\nx = 1', f"{future}def f(a: b): ...")
    assert names["x"] == 1
    assert names["f"].__annotations__ == {"a": "b"}


def test_a_cell_of_lines_that_never_close_is_read_at_once():
    source_of(notebook("([{'" * 500_000, "%m\n" * 500_000))
