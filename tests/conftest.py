import gc

import pytest
from headless_chromium import open_page


@pytest.fixture(scope="module", autouse=True)
def short_garbage_collections():
    """What outlives a module is not looked through again.

    TensorFlow's graphs are so many objects that late in a run one collection took half a minute.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def open_report():
    """Opens `FOLDER/report.html` in Chromium (see `open_page`); skips the test without one."""

    def open_(folder, **options):
        return open_page(folder / "report.html", **options)

    return open_
