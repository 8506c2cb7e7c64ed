import pytest
from headless_chromium import open_page


@pytest.fixture
def open_report():
    """Opens `FOLDER/report.html` in Chromium (see `open_page`); skips the test without one."""

    def open_(folder, **options):
        return open_page(folder / "report.html", **options)

    return open_
