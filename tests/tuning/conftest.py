import pytest

from dlip_reg.experiments import local_workers


@pytest.fixture(scope="session")
def workers():
    """Two worker processes, the same for all tests."""
    with local_workers(2) as workers:
        yield workers
