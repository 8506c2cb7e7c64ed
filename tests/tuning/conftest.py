import pytest
from warm_processes import warm_workers


@pytest.fixture(scope="session")
def workers():
    """Two worker processes, the same for all tests."""
    with warm_workers(2) as workers:
        yield workers
