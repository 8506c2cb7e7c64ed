import pytest
import report_samples


@pytest.fixture(scope="session")
def report(made_once):
    """The folder of a report with figures of several kinds."""
    return made_once("report", report_samples.write_sample_report)
