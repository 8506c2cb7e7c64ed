import pytest
import training_samples


@pytest.fixture(scope="session")
def train():
    """Trains in a worker process; the same one for all tests, one after another."""
    with training_samples.open_worker() as worker:
        yield lambda spec, **arrays: worker.submit(
            training_samples.train_tiny, spec, **arrays
        ).result()
