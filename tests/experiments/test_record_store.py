"""Records and their folder: whole or not there, and never in someone else's place."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import FINGERPRINT, make_record, make_specs

from dlip_reg.experiments import OutputDirConflictError, RecordStore, RunFolder
from dlip_reg.experiments.rows import failure_row, record_row
from dlip_reg.experiments.sweep import Failure
from dlip_reg.training import RunSpec, records
from dlip_reg.training.records import ColourRow, Images, Measures
from dlip_reg.training.specification import InterpolationSpec

SPEC = make_specs(1)[0]
RECORD = make_record(SPEC)
CONFIGURATION = {"lab": "one", "preset": "quick"}


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "records")


@pytest.fixture
def lab(tmp_path):
    """A lab's output folder with a record in it."""
    folder = RunFolder(tmp_path / "lab", CONFIGURATION)
    folder.open()
    folder.save(RECORD)
    return folder.path


@pytest.fixture
def full_disk():
    """No file can grow beyond 100 kB, as on a disk that is nearly full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tree(path):
    """Everything below `path`: relative name -> content."""
    files = [file for file in Path(path).rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_a_folder_that_is_moved_during_the_runs_is_not_made_anew(tmp_path):
    folder = RunFolder(tmp_path / "lab", CONFIGURATION)
    folder.open()
    folder.save(RECORD)
    folder.release()  # Windows moves no folder with an open file
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(OutputDirConflictError, match="lab was deleted or moved"):
        folder.save(replace(RECORD, id="0" * 16))
    with pytest.raises(OutputDirConflictError, match="lab was deleted or moved"):
        folder.log_timing("0" * 16, 1.0, 1, "failed")  # a run without a record
    assert not folder.path.exists()


def test_a_record_comes_back_as_it_was(store):
    record = replace(RECORD, measures=Measures(val_loss=0.1 + 0.2))
    store.save(record)
    assert store.load(record.id) == record
    assert store.load("0" * 16) is None
    store.save(replace(RECORD, measures=Measures(val_loss=float("nan"))))
    assert store.load(RECORD.id).measures.val_loss is None


def test_a_crash_before_the_record_is_in_place_leaves_the_old_one(store, tmp_path, monkeypatch):
    store.save(RECORD)
    before = tree(tmp_path)

    def crash(*paths):
        assert len(tree(tmp_path)) == 2  # the new one is written whole, aside
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.save(replace(RECORD, status="diverged"))
    assert tree(tmp_path) == before


def test_what_is_no_whole_record_of_that_name_counts_as_missing(store, tmp_path, monkeypatch):
    store.save(RECORD)
    file = tmp_path / "records" / f"{RECORD.id}.json"
    whole = file.read_bytes()
    damaged = [b'{"id"', b"\xff\xfe\x00", b"[]", b"null", b"{}"]
    for content in (*damaged, *(whole[:size] for size in range(0, len(whole), 3))):
        file.write_bytes(content)
        assert store.load(RECORD.id) is None
    file.write_bytes(whole)
    assert store.load(RECORD.id) == RECORD
    with monkeypatch.context() as patch:
        patch.setattr(records, "SCHEMA", records.SCHEMA + 1)
        assert store.load(RECORD.id) is None
    file.rename(file.with_name("abc.json"))
    assert store.load("abc") is None


def test_looking_makes_nothing_and_opening_makes_the_folder(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b", CONFIGURATION)
    assert tree(tmp_path) == {}
    assert not folder.path.exists()
    folder.open()
    folder.release()
    assert json.loads((folder.path / "folder.json").read_text()) == CONFIGURATION
    assert list(tree(tmp_path)) == [os.path.join("a", "b", "folder.json")]  # noqa: PTH118


def test_the_same_configuration_goes_on(lab):
    folder = RunFolder(lab, dict(reversed(CONFIGURATION.items())))
    folder.open()
    assert folder.records.load(RECORD.id) == RECORD


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["", "deep/thesis.txt", "film.mkv.part", "folder.json"])
def test_what_is_no_labs_output_is_left_alone(tmp_path, name, fresh):
    path = tmp_path / "mine"
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text('{"title": "thesis"}')
    before = tree(tmp_path)
    with pytest.raises(OutputDirConflictError, match=r"mine .*[.]$"):
        RunFolder(path, CONFIGURATION, fresh=fresh).open()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("marker", [None, b"", b"[1]", b"\xff"])
def test_another_configurations_folder_is_left_alone(lab, marker):
    if marker is not None:
        (lab / "folder.json").write_bytes(marker)
    before = tree(lab)
    with pytest.raises(
        OutputDirConflictError, match=r"preset .* where this run has 'full'"
    ) as caught:
        RunFolder(lab, CONFIGURATION | {"preset": "full"}).open()
    assert str(caught.value).count("\n") == 0
    assert ("where this run has 'one'" in str(caught.value)) == (marker is not None)
    assert tree(lab) == before


def test_hashes_are_not_shown(tmp_path):
    folder = RunFolder(tmp_path / "out", CONFIGURATION | {"code": "0123abcd"})
    folder.open()
    folder.release()
    with pytest.raises(OutputDirConflictError, match=r"another configuration \(code differs\); "):
        RunFolder(tmp_path / "out", CONFIGURATION | {"code": "4567abcd"})


def test_fresh_empties_a_labs_folder_and_nothing_beyond(lab, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    try:
        (lab / "link").symlink_to(outside, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    wanted = CONFIGURATION | {"preset": "full"}
    folder = RunFolder(lab, wanted, fresh=True)
    assert folder.records.load(RECORD.id) == RECORD  # looking has not emptied it
    folder.open()
    folder.release()
    assert list(tree(lab)) == ["folder.json"]
    assert json.loads((lab / "folder.json").read_text()) == wanted
    assert tree(outside) == {"kept.txt": b"kept"}


def test_opening_clears_what_a_kill_left_half_written(lab, tmp_path):
    half = lab / "records" / f".{RECORD.id}.json.4711.part"
    half.write_text('{"id": "')
    before = tree(lab)
    RunFolder(lab, CONFIGURATION).open()
    assert set(before) - set(tree(lab)) == {str(half.relative_to(lab))}
    # A folder whose own file was being written is a new one.
    new = tmp_path / "new"
    new.mkdir()
    (new / ".folder.json.4711.part").write_text('{"lab": "o')
    RunFolder(new, CONFIGURATION).open()
    assert list(tree(new)) == ["folder.json"]


def test_timings_that_another_program_saved_are_kept(lab):
    """Spreadsheets have encodings of their own."""
    (lab / "timings.csv").write_bytes(b"id\xff\n")
    RunFolder(lab, CONFIGURATION).log_timing("a", 1.0, 1, "finished")
    assert (lab / "timings.csv").read_text("utf-8") == "id\ufffd\na,1.000,1,finished\n"


def test_a_disk_that_fills_up_leaves_records_and_timings_as_they_were(lab, full_disk):
    folder = RunFolder(lab, CONFIGURATION)
    folder.log_timing("a" * 99_900, 1.0, 1, "finished")
    before = tree(lab)
    images = ColourRow("grey", 0.5, None, Images((1,), "x" * 200_000))
    with pytest.raises(OSError):
        folder.save(replace(RECORD, colours=(images,)))
    with pytest.raises(OSError):
        folder.log_timing("b" * 100, 1.0, 1, "finished")
    assert tree(lab) == before
    assert folder.records.load(RECORD.id) == RECORD


def test_a_full_disk_is_found_before_any_run_and_the_folder_can_be_used_again(lab, full_disk):
    folder = RunFolder(lab, CONFIGURATION, fresh=True)
    with pytest.raises(OSError):
        folder.open()
    assert list(tree(lab)) == ["folder.json"]  # still known as a lab's, and not locked


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_without_permission_is_an_os_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            RunFolder(tmp_path / "out", CONFIGURATION).open()
    finally:
        tmp_path.chmod(0o700)


def test_rows_are_flat_and_name_what_was_run():
    row = record_row(RECORD)
    failed = failure_row(SPEC.identity(FINGERPRINT), Failure(SPEC, "no memory"))
    assert row["id"] == failed["id"] == RECORD.id
    assert (row["status"], failed["status"], failed["cause"]) == ("finished", "failed", "no memory")
    assert row["val_accuracy"] == 1 / 3
    for each in (row, failed):
        assert not any(isinstance(value, (dict, list, tuple)) for value in each.values())
        assert (each["model"], each["dataset"], each["seed"]) == ("mlp", "fake", 0)
        assert each["dense_l2"] == 0.0
    asked = replace(SPEC, measures=("curves", "test"))
    row = record_row(replace(RECORD, spec=asked, measures=Measures(test_accuracy=0.0)))
    assert (row["measures"], row["test_accuracy"]) == ("curves+test", 0.0)


def test_a_row_of_what_has_parts_of_its_own_is_flat_and_can_be_read_back():
    spec = InterpolationSpec(SPEC, SPEC, surfaces=True)
    record = records.make_record(spec, FINGERPRINT, True)
    for row in (record_row(record), failure_row("abc", Failure(spec, "no memory"))):
        assert row["surfaces"] is True
        for end in ("first", "second"):
            assert RunSpec.from_json(json.loads(row[end])) == SPEC
        assert "line" not in row
