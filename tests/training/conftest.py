import functools
from dataclasses import replace

import pytest
import training_samples
from warm_processes import warm_workers


@pytest.fixture(scope="module")
def train():
    """Trains in a worker process; the same one for all tests of a file, one after another."""
    with warm_workers(1) as worker:

        def train(spec, **arrays):
            call = functools.partial(training_samples.train_tiny, spec, **arrays)
            return worker.submit(call).result()

        yield train


@pytest.fixture(scope="session")
def dataset():
    """The data of all specifications with the seed 0, the caller's own."""
    return training_samples.load(replace(training_samples.PLAIN, seed=0))
