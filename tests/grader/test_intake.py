"""Submissions as they come: what is read, what is left out, what cannot be read."""

import contextlib
import gzip
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from archives import hand_in, link_in_zip, tarred, zipped

from dlip_reg.grading import entries, names
from dlip_reg.grading.errors import EmptySubmissionError, GradingError, SubmissionError
from dlip_reg.grading.intake import find_submissions, read_submission
from dlip_reg.grading.marks import Marks, TestMark
from dlip_reg.grading.names import Label, label_of
from dlip_reg.grading.results import file_name

SOURCE = b"def honest(number):\n    return -number\n"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def written(path, data):
    path.write_bytes(data)
    return path


MAKERS = {
    "zip": lambda folder, entries: written(folder / "ann.zip", zipped(entries)),
    "tar": lambda folder, entries: written(folder / "ann.tar", tarred(entries, "w")),
    "tar.gz": lambda folder, entries: written(folder / "ann.tar.gz", tarred(entries)),
    "tar.xz": lambda folder, entries: written(folder / "ann.txz", tarred(entries, "w:xz")),
    "folder": lambda folder, entries: hand_in(folder / "ann", entries),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("top", ["", "my work/", "a/b/"])
def test_folders_and_archives(tmp_path, make, top):
    path = make(tmp_path, [(f"{top}submission.py", SOURCE), (f"{top}data/x.csv", b"1")])
    read = read_submission(path)
    assert (read.name, read.main, read.notes) == ("ann", "submission.py", ())
    assert read.files == {"submission.py": SOURCE, "data/x.csv": b"1"}


def test_an_empty_folder_is_missing(tmp_path):
    (tmp_path / "ann").mkdir()
    with pytest.raises(EmptySubmissionError):
        read_submission(hand_in(tmp_path / "ann", {".DS_Store": b"x", ".git/config": b"x"}))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_main_file_comes_before_a_library_of_many_files(tmp_path, make):
    names = [*(f"a_library/part{n}.py" for n in range(300)), "submission.py"]
    read = read_submission(make(tmp_path, [(name, SOURCE) for name in names]))
    assert read.main == "submission.py"
    names = ["lib/x.py", *(f"lib/deep/part{n}.py" for n in range(300)), "lab.py"]
    (tmp_path / "deep").mkdir()
    read = read_submission(make(tmp_path / "deep", [(name, SOURCE) for name in names]))
    assert read.main == "lab.py"


def test_an_archive_beside_a_file_of_another_name_is_noted(tmp_path):
    for name, archive, notes in (
        ("lab.py", zipped({"submission.py": SOURCE}), ("Not opened: a.zip; graded is lab.py.",)),
        ("submission.py", b"x", ()),
    ):
        files = {name: SOURCE, "a.zip": archive}
        assert read_submission(hand_in(tmp_path / name, files)).notes == notes


def test_a_file_with_the_same_functions_as_the_main_one_is_noted(tmp_path):
    notebook = {"cells": [{"cell_type": "code", "source": f"{SOURCE.decode()}\ndef g(): pass"}]}
    files = {"submission.py": SOURCE, "helpers.py": b"x = 1\n", "final.py": SOURCE}
    files["lab.ipynb"] = json.dumps(notebook).encode()
    read = read_submission(hand_in(tmp_path / "ann", files))
    said = "defines all that submission.py does; it is not graded."
    assert read.notes == (f"final.py {said}", f"lab.ipynb {said}")
    for score, for_staff in ((1, f"ann lost points, and final.py {said}"), (2, "")):
        test = TestMark("test_f", "test_lab", "f", True, 2, score, "partial")
        assert Marks("ann", (test,), notes=read.notes).for_staff == for_staff


@pytest.mark.timeout(20)
def test_an_encoding_that_takes_long_is_not_tried(tmp_path):
    """Minutes, and for the largest file a day."""
    text = b"# coding: %s\n" + 300_000 * b"a" + b"-" + 300_000 * b"b"
    read = read_submission(hand_in(tmp_path, {"ann/lab.py": text % b"punycode"}) / "ann")
    assert read.files["lab.py"] == text % b"utf-8"


def test_files_that_are_too_much_together_say_so(tmp_path):
    files = {f"{n}.bin": os.urandom(9 << 20) for n in range(3)} | {"submission.py": SOURCE}
    read = read_submission(hand_in(tmp_path / "ann", files | {"0.big": bytes(11 << 20)}))
    assert "'0.big': it is larger than 10 MB" in read.notes[0]
    assert "'2.bin': all files together are larger than 20 MB" in read.notes[1]


NO_MAIN = "no submission.py and no notebook"


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["submission_v1.py", "submission_final.py"], "2 candidates, and none is called"),
        (["lab.ipynb", "helpers.py"], "2 candidates, and none is called"),
        (["submission.py", "Submission.PY"], "2 candidates, and their names differ in capital"),
        (["submission.py.txt", "report.pdf"], NO_MAIN),
        (["one/submission.py", "two/submission.py"], "2 candidates, and they lie in several fold"),
        (["one.zip", "two.zip"], NO_MAIN),
        (["submission.pyc"], "no notebook, but submission.pyc"),
        (["public_tests/submission.py"], "no notebook, but public_tests"),
        (["venv/lab.py"], "no notebook, but venv"),
        (["__pycache__/x.pyc"], "no notebook, but __pycache__"),
        (["empty.zip"], "no notebook, but nothing"),
    ],
)
def test_files_without_a_main_file_need_staff(tmp_path, make, names, why):
    empty = {"empty.zip": zipped({"__MACOSX/x": b""})}
    path = make(tmp_path, [(name, empty.get(name, SOURCE)) for name in names])
    with pytest.raises(SubmissionError, match=f"holds no submission.py that can be read.*{why}"):
        read_submission(path)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    "name",
    [
        *("code/submission.py", "code/Submission.PY", "code/my solution.py", "a/b/SUBMISSION.py"),
        *("تمرین\u200cها/می\u200cخواهم.py", "👩\u200d🎓/lab.py"),
    ],
)
def test_a_main_file_beside_a_report_is_found(tmp_path, make, name):
    folder = name.rpartition("/")[0]
    others = [(f"{folder}/helpers/x.py", b"x = 1"), (f"{folder}/__init__.py", b"")]
    read = read_submission(make(tmp_path, [(name, SOURCE), ("report.pdf", b"%PDF"), *others]))
    assert read.main.endswith(".py")
    assert (read.files[read.main], read.files["helpers/x.py"]) == (SOURCE, b"x = 1")
    (note,) = read.notes
    assert "'report.pdf': it is outside the folder" in note


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_a_lone_archive_within_is_opened(tmp_path, kind):
    inner = MAKERS[kind](tmp_path, [("work/submission.py", SOURCE), ("work/x.csv", b"1")])
    entries = {"hw.ZIP": zipped({inner.name: inner.read_bytes()}), "onlinetext.html": b"<p>"}
    read = read_submission(hand_in(tmp_path / "Ng_4705_assignsubmission_file_", entries))
    assert (read.main, read.files) == ("submission.py", {"submission.py": SOURCE, "x.csv": b"1"})


LEADING_OUT = ["../evil.py", "a/../../evil.py", "/evil.py", "C:/evil.py", "..\\evil.py"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", LEADING_OUT)
def test_paths_that_lead_out_are_left_out(tmp_path, kind, name):
    inside = tmp_path / "in" / "side"
    inside.mkdir(parents=True)
    read = read_submission(MAKERS[kind](inside, [(name, b"evil"), ("submission.py", SOURCE)]))
    assert read.files == {"submission.py": SOURCE}
    assert "leads out" in read.notes[0]
    assert {path.name for path in tmp_path.rglob("*")} == {"in", "side", f"ann.{kind}"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "zip"]
)
def test_links_and_devices_in_an_archive_are_left_out(tmp_path, kind):
    entries = {"x.py": (kind, "/etc/passwd"), "submission.py": SOURCE}
    if kind == "zip":
        entries = {link_in_zip("x.py"): "/etc/passwd", "submission.py": SOURCE}
    read = read_submission(MAKERS["zip" if kind == "zip" else "tar"](tmp_path, entries))
    assert read.files == {"submission.py": SOURCE}
    assert "it is a link" in read.notes[0]


@posix
def test_links_and_pipes_in_a_folder_are_left_out(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = hand_in(tmp_path / "ann", {"submission.py": SOURCE})
    (folder / "link.py").symlink_to(tmp_path / "secret")
    (folder / "there").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.py")
    read = read_submission(folder)
    assert read.files == {"submission.py": SOURCE}
    assert sorted(note.split("'")[1] for note in read.notes) == ["link.py", "pipe.py", "there"]


@posix
def test_a_submission_that_is_a_link_needs_staff(tmp_path):
    (tmp_path / "ann").mkdir()
    for link, why in (
        (tmp_path / "ann.py", r"ann\.py is a link, which is not followed"),
        (tmp_path / "ann" / "submission.py", r"no submission\.py that can be read.* is a link"),
    ):
        link.symlink_to("/etc/hosts")
        with pytest.raises(SubmissionError, match=why):
            read_submission(tmp_path / link.relative_to(tmp_path).parts[0])


def test_a_file_that_cannot_be_opened_needs_staff(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(entries, "opened", refuse)
    folder = hand_in(tmp_path / "ann", {"submission.py": SOURCE})
    with pytest.raises(SubmissionError, match=r"'submission\.py': it cannot be read \(Permission"):
        read_submission(folder)


@pytest.mark.parametrize("broken", [False, True])
def test_an_archive_cannot_unpack_to_endless_work(tmp_path, monkeypatch, broken):
    """Neither what is refused nor what turns out to be unreadable is read again and again."""
    size = 10 << 20
    entries = [("submission.py", SOURCE), *((f"{n}.bin", bytes(size)) for n in range(20))]
    data, read = zipped(entries), []
    if broken:
        data = data.replace(zlib.crc32(bytes(size)).to_bytes(4, "little"), b"wrong"[:4])
    wrapped = zipfile.ZipExtFile.read

    def count(stream, most):
        read.append(most)
        return wrapped(stream, most)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", count)
    found = read_submission(written(tmp_path / "ann.zip", data))
    assert found.files["submission.py"] == SOURCE
    assert sum(read) < 21 << 20


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_files_are_left_out(tmp_path, kind):
    entries = [("submission.py", SOURCE), *((f"f{n}", b"") for n in range(6_000))]
    read = read_submission(MAKERS[kind](tmp_path, entries))
    assert len(read.files) == 200
    assert "submission.py" in read.files
    assert read.notes[3:] == ("Left out 4797 more.",)


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_folders_count_too(tmp_path, kind):
    """Each takes a place on the disk of the child, which has 1,000."""
    deep = [(f"{number}/b/c/d/e/f/x", b"") for number in range(199)]
    read = read_submission(MAKERS[kind](tmp_path, [("submission.py", SOURCE), *deep]))
    folders = {parent for name in read.files for parent in PurePosixPath(name).parents[:-1]}
    assert "submission.py" in read.files
    assert 180 < len(read.files) + len(folders) <= 200
    assert "files and folders" in read.notes[0]


ODD = ["a\nb.py", "a\u202eb.py", "a\x1b[31m.py", "x" * 300, "/".join("abcdefghijk")]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names_are_left_out(tmp_path, name):
    read = read_submission(MAKERS["zip"](tmp_path, {name: b"", "submission.py": SOURCE}))
    assert read.files == {"submission.py": SOURCE}
    assert len(read.notes) == 1


def test_names_that_windows_does_not_allow_are_left_out_there(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "os", SimpleNamespace(name="nt", fsencode=os.fsencode))
    odd = ["what?.txt", "12:30.csv", "aux.py", "a/con", "data./a.csv"]
    entries = dict.fromkeys([*odd, "constants.py", "comb.py"], b"")
    read = read_submission(MAKERS["zip"](tmp_path, entries | {"submission.py": SOURCE}))
    assert set(read.files) == {"submission.py", "constants.py", "comb.py"}
    assert read.notes[0] == "Left out 'aux.py': Windows does not allow its name."


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["a", "a"]])
def test_one_name_is_one_file(tmp_path, names):
    entries = [*zip(names, (b"older", b"newer"), strict=True), ("submission.py", SOURCE)]
    with pytest.warns(UserWarning) if names == ["a", "a"] else contextlib.nullcontext():
        path = MAKERS["zip"](tmp_path, entries)
    read = read_submission(path)
    assert read.files == {"a": dict(entries)["a"], "submission.py": SOURCE}
    assert "already" in read.notes[0]


def test_caches_and_droppings_are_left_out_quietly(tmp_path):
    names = ["__pycache__/submission.pyc", "evil.pth", "__MACOSX/._submission.py", ".DS_Store"]
    names += ["hw\\"]  # a folder, as PowerShell writes it
    entries = {"submission.py": SOURCE} | dict.fromkeys(names, b"x")
    read = read_submission(MAKERS["zip"](tmp_path, entries))
    assert (read.files, read.notes) == ({"submission.py": SOURCE}, ())


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".txz"])
@pytest.mark.parametrize("data", [b"", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_archive_is_one_sentence(tmp_path, ending, data):
    with pytest.raises(SubmissionError, match=rf"^ann\{ending} cannot be read: [^\n]+$"):
        read_submission(written(tmp_path / f"ann{ending}", data))


def encrypted(entries):
    data = bytearray(zipped(entries))
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + at] |= 1
    return data


def with_field(data, at, field):
    """The tar archive with the header's field at `at` put otherwise."""
    data, start = bytearray(data), at // 512 * 512
    data[at : at + len(field)] = field
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


# The second entry's size, -512, leads tarfile back to that entry.
BACK_TO_ITSELF = with_field(
    tarred([("a", b""), (".DS_Store", b"")], "w"), 512 + 124, (256**12 - 512).to_bytes(12, "big")
)
# An extended header with a megabyte of digits takes Python 3.11.7 more than ten minutes.
EXTENDED = with_field(tarred({"x": b"1" * (1 << 20)}, "w"), 156, tarfile.XHDTYPE)
# A million entries would take seconds and half a gigabyte.
LISTED = (b"PK\x01\x02" + bytes(42)) * 230_000
LISTED += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(LISTED), 0, 0)
UNREADABLE = {
    "amy.tar": (BACK_TO_ITSELF, "a file's size is negative"),
    "ada.tgz": (gzip.compress(EXTENDED), "extended headers are too large"),
    "amy.zip": (LISTED, "lists too many files"),
    "ann.tgz": (tarred({"submission.py": SOURCE, "b": os.urandom(9999)})[:-5000], "be read: Com"),
    "ann.zip": (encrypted({"submission.py": SOURCE}), r"no submission\.py.* it is encrypted"),
    "bob.zip": (
        zipped({"sübmission.py": SOURCE}).replace("ü".encode(), b"\xff\xff"),
        r"^bob\.zip cannot be read: .*utf-8",
    ),
    "cem.zip": (zipped({"hw.zip": b"garbage"}), "cannot be read"),
    "dan.zip": (zipped({}), NO_MAIN),
    "eve.docx": (b"x", r"^eve\.docx is neither a folder nor one of \.py"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_needs_staff(tmp_path, name):
    data, why = UNREADABLE[name]
    with pytest.raises(SubmissionError, match=why):
        read_submission(written(tmp_path / name, data))


def test_submissions_are_found(tmp_path):
    names = ("a.zip", "ann.py", "c/submission.py", ".hidden.py", ".DS_Store", "__MACOSX/x.py")
    hand_in(tmp_path, dict.fromkeys(names, b""))
    assert [path.name for path in find_submissions(tmp_path)] == ["a.zip", "ann.py", "c"]
    for one in (tmp_path, tmp_path / "ann.py"):
        assert find_submissions(one, single=True) == [one]
    with pytest.raises(GradingError, match=r"is a file, not a folder of submissions.*--single"):
        find_submissions(tmp_path / "ann.py")


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("ann.py", "ann"),
        ("ann.tar.gz", "ann"),
        ("a.b.ZIP", "a.b"),
        ("ann", "ann"),
        (".py", ".py"),
        ("Mu\u0308ller.py", "M\u00fcller"),  # as a Mac writes it
        ("Änne Ng.py", "Änne Ng"),
        ("b\udcff.py", "b\\udcff"),
        ("a\x1b[31m\n.py", "a\\x1b[31m\\n"),
    ],
)
def test_the_student_is_the_name(tmp_path, name, student):
    assert label_of(tmp_path / name) == Label(student)


def test_file_names_are_plain_and_never_shared():
    students = ["ann", "Ann", "a/b", "a_b", "../x", "x" * 500, "", "ä", "é", "nul\0", "=1+1"]
    students += ["CON", "con", "lpt1"]
    names = [file_name(student).lower() for student in students]
    assert len(set(names)) == len(students)
    for name in names:
        assert name.replace(".", "").replace("_", "").replace("-", "").isalnum()
        # Devices on Windows, whatever their ending.
        assert name.partition(".")[0] not in ("con", "nul", "lpt1")
        assert len(name) < 80
