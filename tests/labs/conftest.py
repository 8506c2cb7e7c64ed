import json
import os
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


@pytest.fixture(scope="session")
def lab():
    """One of the labs, made small; they share one command line, so the others do the same."""
    return LABS["lab_batch_norm"]


@pytest.fixture(scope="session")
def tiny_of(made_once):
    """The folder of a lab's tiny run, and what the terminal showed; not to be written to."""

    def tiny_of_lab(lab):
        def run(work):
            # A relative folder with a blank in its name, as a student may well give it.
            (work / "temporary").mkdir()
            env = {**os.environ, "TMPDIR": str(work / "temporary")}
            done = lab.run_tiny("my results/lab run/", "--workers", 1, cwd=work, env=env)
            shown = [done.args, done.returncode, done.stdout, done.stderr]
            (work / "shown.json").write_text(json.dumps(shown))

        work = made_once(f"tiny_{lab.name}", run)
        done = subprocess.CompletedProcess(*json.loads((work / "shown.json").read_text()))
        return work / "my results" / "lab run", done

    return tiny_of_lab


@pytest.fixture(scope="session")
def tiny(lab, tiny_of):
    return tiny_of(lab)
