"""Files are written atomically, and CSV and JSON read back as what was written."""

import contextlib
import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from dlip_reg import files
from dlip_reg.files import PART, Staged, write_atomically, write_csv, write_json


def test_csv_reads_back_exactly(tmp_path):
    rows = [
        {"name": 'a "quoted", comma', "loss": 0.1 + 0.2, "n": 3},
        {"name": "ünï", "extra": True, "loss": None, "n": np.int64(4)},
        {"loss": np.float64(1e-300), "name": "two\nlines"},
    ]
    path = tmp_path / "new" / "records.csv"
    write_csv(path, iter(rows))
    content = path.read_bytes()
    assert b"\r" not in content
    read = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert list(read[0]) == ["name", "loss", "n", "extra"]
    assert float(read[0]["loss"]) == 0.1 + 0.2
    assert float(read[2]["loss"]) == 1e-300
    assert [row["name"] for row in read] == [row["name"] for row in rows]
    assert read[1] == {"name": "ünï", "loss": "", "n": "4", "extra": "True"}
    assert [entry.name for entry in path.parent.iterdir()] == ["records.csv"]


def test_json_is_strict_and_in_the_order_given(tmp_path):
    path = tmp_path / "claims.json"
    claims = [
        {
            "id": "b",
            "effect": math.nan,
            "ci_low": -math.inf,
            "parts": [{"effect": np.float32(0.5)}],
        },
        {"id": "a", "n_seeds": np.int64(5), "figures": ("gaps",), "verdict": "supported"},
    ]
    write_json(path, claims, indent=2)
    content = path.read_bytes()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(content, parse_constant=refuse) == [
        {"id": "b", "effect": None, "ci_low": None, "parts": [{"effect": 0.5}]},
        {"id": "a", "n_seeds": 5, "figures": ["gaps"], "verdict": "supported"},
    ]
    write_json(path, claims, indent=2)
    assert path.read_bytes() == content


@pytest.mark.parametrize("write", [write_csv, write_json])
def test_a_failed_write_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "file"
    write(path, [{"id": 1}])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, [{"id": object()}] if write is write_json else [3])
    with pytest.raises(OSError):
        write(path / "below a file", [{"id": 1}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_is_not_the_home_folder_keeps_its_tilde(monkeypatch):
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(Path("/home/ann")))
    read = {text: files.path_argument(text) for text in ("~/lab", "./~", "./~/lab")}
    assert list(read.values()) == [Path("/home/ann/lab"), Path("~"), Path("~/lab")]


def test_a_csv_file_without_rows_is_empty(tmp_path):
    path = tmp_path / "empty.csv"
    write_csv(path, [])
    assert path.read_bytes() == b""


def test_text_is_utf_8_with_its_own_line_ends(tmp_path):
    path = tmp_path / "deep" / "text"
    write_atomically(path, "ü\r\n\n")
    assert path.read_bytes() == b"\xc3\xbc\r\n\n"
    write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert list(path.parent.iterdir()) == [path]


def test_the_name_of_a_file_that_is_no_utf_8_is_escaped(tmp_path):
    name = "caf\udce9"  # as Python has the bytes caf\xe9
    write_json(tmp_path / "name.json", [name])
    assert json.loads((tmp_path / "name.json").read_text("utf-8")) == [name]


def test_staged_files_appear_together_when_the_block_ends(tmp_path):
    first, second = tmp_path / "first", tmp_path / "folder" / "second"
    with Staged() as staged:
        staged.write(first, "1")
        with staged.temporary(second).open("wb") as file:
            file.write(b"2")
        assert not first.exists() and not second.exists()
        # What a killed process would leave behind has a name of its own.
        assert all(path.suffix == PART for path in tmp_path.rglob("*") if path.is_file())
    assert (first.read_text(), second.read_text()) == ("1", "2")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_all_staged_files_as_they_were(tmp_path, error):
    old, new = tmp_path / "old", tmp_path / "new"
    write_atomically(old, "old")
    with pytest.raises(error), Staged() as staged:
        staged.write(old, "changed")
        staged.write(new, "new")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("pauses", "refusals", "ends"), [((0, 0), 2, True), ((0, 0), 3, False), ((), 1, False)]
)
def test_a_file_that_another_program_has_open_is_replaced_when_it_is_closed(
    tmp_path, monkeypatch, pauses, refusals, ends
):
    """As on Windows; elsewhere, without pauses, what is refused stays so."""
    path = tmp_path / "old"
    write_atomically(path, "old")
    refused = iter(range(refusals))
    replace = os.replace

    def replace_when_closed(source, target):
        for _ in refused:
            raise PermissionError(13, "Access is denied", str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(files, "PAUSES", pauses)
    monkeypatch.setattr(os, "replace", replace_when_closed)
    with contextlib.nullcontext() if ends else pytest.raises(PermissionError, match="old"):
        write_atomically(path, "new")
    assert path.read_text() == ("new" if ends else "old")
    assert list(tmp_path.iterdir()) == [path]
