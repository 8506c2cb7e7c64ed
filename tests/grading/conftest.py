"""The marks of marking tests, for tests that look into their modules."""

from dlip_reg.grading.pytest_plugin import pytest_configure  # noqa: F401
