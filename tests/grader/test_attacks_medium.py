"""Hostile submissions in the medium tier."""

import pytest
from attack_checks import ATTACKS

TIER = "medium"
# The kinds of attack are those of the strong tier. Here, where there are no
# namespaces, always those of which each is stopped by another part of the sandbox.
ALWAYS = (
    *("kill -1", "signal through a file's owner", "memory file", "disk bomb", "file outside"),
    *("cut file outside", "changed modes", "orphan in a session of its own", "exec", "connects"),
    *("reads its parent's memory", "opens its parent's memory", "searches the disk for tests"),
    *("other submissions", "files that only a thread has open", "folders with long names"),
)
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ATTACKS if name not in ALWAYS]


@pytest.mark.parametrize("name", [*ALWAYS, *OTHERS])
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, name):
    attack_range.is_repelled(name)
