import shutil
import sys

import pytest
from attack_checks import open_range
from tiny_assignment import HERE, tiny_setting, write_tests


@pytest.fixture(scope="session")
def tests(tmp_path_factory):
    """The tiny assignment's folder of marking tests."""
    return write_tests(tmp_path_factory.mktemp("tiny") / "marking")


@pytest.fixture(scope="module")
def attack_range(request, tests, tmp_path_factory):
    """A grader in the tier that the module names, ready to be attacked."""
    if sys.platform != "linux":
        pytest.skip("isolation needs Linux")
    place = tmp_path_factory.mktemp("range")
    probes = shutil.copytree(HERE / "tiny_probes", place / "tiny_probes")
    setting = tiny_setting(tests, tier=request.module.TIER, packages=[probes])
    with open_range(setting, tests, place) as range_:
        yield range_
