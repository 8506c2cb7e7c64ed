"""The marking tests' fixtures."""

from dlip_reg.grading.pytest_plugin import *  # noqa: F403
from dlip_reg.grading.pytest_plugin import SESSION


def pytest_ignore_collect(collection_path, config):
    """While a submission is marked, the tests of the marking itself stay away."""
    marking = config.pluginmanager.has_plugin(SESSION)
    return True if marking and collection_path.name == "test_solutions.py" else None
