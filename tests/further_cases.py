"""Cases that only some runs of the tests have: those of `.ci/run`, or those with a later Keras."""

from importlib.metadata import version

import pytest
from packaging.version import Version


def since_keras(first):
    """A mark for a case that needs what Keras has had since that version."""
    is_older = Version(version("keras")) < Version(first)
    return pytest.mark.skipif(is_older, reason=f"needs Keras {first}")


def thorough_after(count, cases):
    """Cases for `parametrize`, of which those after the first `count` are marked as thorough."""
    cases = list(cases)
    return [
        *cases[:count],
        *(
            pytest.param(*case.values, marks=[*case.marks, pytest.mark.thorough], id=case.id)
            if hasattr(case, "marks")
            else pytest.param(case, marks=pytest.mark.thorough)
            for case in cases[count:]
        ),
    ]
