"""Cases that the default tests leave to `.ci/run`, so that they end within minutes."""

import pytest


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
