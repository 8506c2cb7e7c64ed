import gc
import os
import re

import pytest
from filelock import FileLock
from headless_chromium import open_page
from warm_processes import share_server

# Folders and files; the others take a few seconds a file.
SLOWEST_FIRST = (
    *("labs", "grading", "tuning", "training", "experiments", "grader", "callbacks", "curvature"),
    *("report", "test_sam.py", "studies", "models", "evidence", "test_readme.py", "docs"),
)


def pytest_configure(config):
    """The test processes of a run of all tests share the server of warm processes."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_whole and config.getoption("numprocesses", 0) and not hasattr(config, "workerinput"):
        share_server()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the files that take longest first, so that no worker ends long after the others.

    With `--no-loadscope-reorder` files are handed out in this order.
    """
    ranks = {name: rank for rank, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: ranks.get(re.split("/|::", item.nodeid)[1], len(ranks)))


def pytest_collection_finish():
    """What is imported is not looked through by any garbage collection, and there are fewer."""
    gc.set_threshold(20_000, 20, 20)
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def short_garbage_collections():
    """What outlives a module is not looked through again.

    TensorFlow's graphs are so many objects that late in a run one collection took half a minute.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: a folder that `make(folder)` fills, once in all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name, make):
        folder, whole = shared / name, shared / f"{name}.made"
        with FileLock(f"{folder}.lock"):
            if not whole.exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture
def open_report():
    """Opens `FOLDER/report.html` in Chromium (see `open_page`); skips the test without one."""

    def open_(folder, **options):
        return open_page(folder / "report.html", **options)

    return open_
