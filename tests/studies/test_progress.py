"""What a long job says of itself: lines without a terminal, one display in a notebook."""

import sys
import time
from types import SimpleNamespace

import pytest

from dlip_reg.studies import progress
from dlip_reg.studies.progress import Progress, duration


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    return Clock(monkeypatch)


def advance(shown, clock, runs, seconds):
    for _ in range(runs):
        clock.now += seconds
        shown.advance(seconds)


def test_without_a_terminal_there_is_a_line_a_minute(clock, capsys):
    with Progress() as shown:
        shown.stage("Look at 5 seeds", 30)
        advance(shown, clock, 30, 10)  # 5 minutes
        assert capsys.readouterr().err.splitlines() == [
            "Look at 5 seeds: 6/30 runs, about 4 minutes left of this stage",
            "Look at 5 seeds: 12/30 runs, about 3 minutes left of this stage",
            "Look at 5 seeds: 18/30 runs, about 2 minutes left of this stage",
            "Look at 5 seeds: 24/30 runs, about 60 seconds left of this stage",
            "Look at 5 seeds: 30/30 runs",
        ]
        # The next stage has a count of its own, and runs that end faster are not told one by one.
        shown.stage("Look at 10 seeds", 1000)
        advance(shown, clock, 590, 0.1)
        assert capsys.readouterr().err == ""
        advance(shown, clock, 20, 0.1)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("Look at 10 seeds: 6")
        assert line.endswith("about 40 seconds left of this stage")
    assert capsys.readouterr().err.startswith("Look at 10 seeds: 610/1000 runs")


def test_the_last_line_is_not_repeated_at_the_end(clock, capsys):
    with Progress() as shown:
        shown.stage("Look at 5 seeds", 1)
        advance(shown, clock, 1, 60)
    assert capsys.readouterr().err == "Look at 5 seeds: 1/1 runs\n"


def test_a_run_that_takes_long_does_not_stop_the_lines(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(progress._Lines, "every", 0.02)
    monkeypatch.setattr(progress, "_CHECK_EVERY", 0.01)
    with Progress() as shown:
        shown.stage("Look at 5 seeds", 2)
        capsys.readouterr()
        deadline = time.monotonic() + 30
        lines = []
        while len(lines) < 3 and time.monotonic() < deadline:  # no run ends meanwhile
            time.sleep(0.02)
            lines += capsys.readouterr().err.splitlines()
    assert len(lines) >= 3 and set(lines) == {"Look at 5 seeds: 0/2 runs"}
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_runs_found_on_disk_tell_nothing_about_the_time_left(clock, capsys):
    with Progress() as shown:
        shown.stage("Look at 10 seeds", 30)
        for _ in range(20):
            shown.advance(None)
        clock.now += 60
        shown.advance(None)
        assert capsys.readouterr().err == "Look at 10 seeds: 21/30 runs\n"
        advance(shown, clock, 1, 60)
        # One run took 120 seconds since the stage began, and 8 are left.
        assert capsys.readouterr().err.endswith("22/30 runs, about 16 minutes left of this stage\n")


@pytest.mark.parametrize(
    ("seconds", "workers", "says"),
    [(2, 2, "10 minutes"), (4, 2, "20 minutes"), (2, 1, "20 minutes"), (2, 4, "5 minutes")],
)
def test_the_first_runs_scale_the_stated_time_to_this_machine(
    clock, capsys, seconds, workers, says
):
    with Progress(minutes=10, run_seconds=2, workers=workers) as shown:
        shown.stage("Tuning, stage 1", 100)
        for _ in range(5):
            shown.advance(None)  # found on disk
        advance(shown, clock, 7, seconds)
        assert "expect" not in capsys.readouterr().err
        advance(shown, clock, 20, seconds)
    assert (
        capsys.readouterr().err.count(f"On this machine expect about {says} for these runs.") == 1
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 second"), (0.6, "1 second"), (89, "89 seconds"), (90, "2 minutes"),
     (3600, "60 minutes"), (5400, "2 hours"), (36000, "10 hours")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_plain_ipython_shell_is_no_notebook(monkeypatch):
    module = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert not progress.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not progress.in_notebook()


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as shown:
        shown.stage("Look at 5 seeds", 2)
        shown.advance(1.0)
        assert shown._text().startswith("Look at 5 seeds: 1/2 runs")
