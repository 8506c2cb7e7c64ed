"""Worker processes of a search: replaced when they have grown, and quiet."""

import os
import subprocess
import sys

from fake_executions import FakeExecutions
from tuning_samples import fake_search

from dlip_reg.experiments import local_workers

STEP = 60_000_000  # bytes
_held = []


class HoardingExecutions(FakeExecutions):
    """Each execution leaves memory behind."""

    def __call__(self, spec, job):
        _held.append(b"1" * STEP)
        return super().__call__(spec, job)


def test_a_worker_that_has_grown_is_replaced_between_executions(tmp_path):
    fake = HoardingExecutions(tmp_path / "calls")
    options = {"oracle": {"max_trials": 6}, "executions_per_trial": 2}
    with local_workers(1) as workers:
        first = workers.submit(imported).result()
        workers.most_growth = 3 * STEP
        tuner = fake_search(tmp_path, workers, fake=fake, **options)
        last = workers.submit(os.getpid).result()
    assert last != first
    assert len(tuner.get_best_hyperparameters(6)) == 6
    assert set(fake.count().values()) == {1} and len(fake.count()) == 12
    by_process = [call.name.split("-")[2] for call in fake.calls.iterdir()]
    assert 3 <= by_process.count(str(first)) <= 7
    assert len(fake.pids()) >= 2


def imported():
    import tensorflow  # noqa: F401

    return os.getpid()


SCRIPT = """
import os
import keras

from dlip_reg.experiments import local_workers

if __name__ == "__main__":
    with local_workers(1) as workers:
        print(workers.submit(os.getenv, "TF_CPP_MIN_LOG_LEVEL").result())
"""


def test_workers_of_a_script_that_imports_keras_log_less_of_tensorflow_s_import(tmp_path):
    # The script imports Keras in two processes, and one of them logs at all levels. (Some lines
    # TensorFlow writes whatever the level is.)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=200,
        check=True, env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "3"
    assert done.stderr.count("cpu_feature_guard") <= 1


def test_a_level_of_logging_that_the_user_has_set_is_kept(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    with local_workers(1) as workers:
        assert workers.submit(os.getenv, "TF_CPP_MIN_LOG_LEVEL").result() == "1"
