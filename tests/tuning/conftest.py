import pytest
from warm_processes import warm_workers


@pytest.fixture(scope="module")
def workers():
    """Two worker processes, the same for all tests of a file; they take memory while they live."""
    with warm_workers(2) as workers:
        yield workers
