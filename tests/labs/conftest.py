import pytest
from lab_process import LABS
from warm_processes import warm_workers

from dlip_reg.studies import workspace


@pytest.fixture(autouse=True)
def warm_local_workers(monkeypatch):
    """The workers of studies that run in the tests' own process."""
    monkeypatch.setattr(workspace, "local_workers", warm_workers)


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request):
    """Each of the labs, made small."""
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is marked `costly` runs with one lab, and with the others only by name (`-m slow`).

    All share one command line, so what one of them does there the others do.
    """
    first = next(iter(LABS.values()))
    for item in items:
        lab = getattr(item, "callspec", None) and item.callspec.params.get("lab")
        if item.get_closest_marker("costly") and lab not in (None, first):
            item.add_marker(pytest.mark.slow)
