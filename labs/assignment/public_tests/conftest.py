"""The fixtures and options of marking tests."""

from dlip_reg.grading.pytest_plugin import *  # noqa: F403
