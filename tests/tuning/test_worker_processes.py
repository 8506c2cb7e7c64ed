"""Worker processes of a search: replaced when they have grown."""

import os

from fake_executions import FakeExecutions
from tuning_samples import fake_search
from warm_processes import warm_workers

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
    with warm_workers(1) as workers:
        first = workers.submit(os.getpid).result()
        workers.most_growth = 3 * STEP
        tuner = fake_search(tmp_path, workers, fake=fake, **options)
        last = workers.submit(os.getpid).result()
    assert last != first
    assert len(tuner.get_best_hyperparameters(6)) == 6
    assert set(fake.count().values()) == {1} and len(fake.count()) == 12
    by_process = [call.name.split("-")[2] for call in fake.calls.iterdir()]
    assert 3 <= by_process.count(str(first)) <= 7
    assert len(fake.pids()) >= 2
