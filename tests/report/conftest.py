import pytest
import report_samples


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The folder of a report with figures of several kinds."""
    folder = tmp_path_factory.mktemp("report")
    report_samples.write_sample_report(folder)
    return folder
