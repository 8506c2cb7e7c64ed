"""Hostile submissions in the strong tier."""

from dataclasses import replace

import pytest
from attack_checks import ATTACKS
from further_cases import thorough_after
from tiny_assignment import LIMITS, attack, tiny_sandbox

from dlip_reg.grading.errors import StudentMemoryError

TIER = "strong"


# They are listed by kind: one in five of each kind by default.
BY_DEFAULT = list(ATTACKS)[::5]


@pytest.mark.parametrize(
    "name",
    thorough_after(len(BY_DEFAULT), sorted(ATTACKS, key=lambda name: name not in BY_DEFAULT)),
)
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, name):
    attack_range.is_repelled(name)


@pytest.mark.thorough
def test_tables_that_map_memory_are_memory():
    limits = replace(LIMITS, memory_mb=100)
    with tiny_sandbox(limits=limits, tier=TIER) as sandbox:
        assert attack(sandbox, "import numpy\nreturn 1", seconds=30) == 1  # has enough
        with pytest.raises(StudentMemoryError):
            attack(sandbox, ATTACKS["page tables of a library"], seconds=30)
