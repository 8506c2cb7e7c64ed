import json
import subprocess

import pytest
from blank_pictures import blank_pictures
from lab_process import LABS
from warm_processes import warm_workers

from dlip_reg.studies import workspace


@pytest.fixture(autouse=True)
def quick_studies(monkeypatch):
    """Studies that run in the tests' own process have warm workers and draw nothing."""
    monkeypatch.setattr(workspace, "local_workers", warm_workers)
    with blank_pictures():
        yield


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request):
    """Each of the labs, made small."""
    return request.param


@pytest.fixture(scope="module")
def tiny(lab, made_once):
    """The folder of the lab's tiny run, and what the terminal showed; not to be written to."""

    def run(work):
        # A relative folder with a blank in its name, as a student may well give it.
        done = lab.run_tiny("my results/lab run/", "--workers", 1, cwd=work)
        shown = [done.args, done.returncode, done.stdout, done.stderr]
        (work / "shown.json").write_text(json.dumps(shown))

    work = made_once(f"tiny_{lab.name}", run)
    done = subprocess.CompletedProcess(*json.loads((work / "shown.json").read_text()))
    return work / "my results" / "lab run", done


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is marked `costly` runs with one lab, and with the others only by name (`-m slow`).

    All share one command line, so what one of them does there the others do.
    """
    others = [*LABS.values()][1:]
    for item in items:
        if item.get_closest_marker("costly") and item.callspec.params.get("lab") in others:
            item.add_marker(pytest.mark.slow)
