"""Hostile submissions in the strong tier."""

from dataclasses import replace

import attacks_on_the_machine
import attacks_on_the_marks
import pytest
from tiny_assignment import LIMITS, attack, tiny_sandbox

from dlip_reg.grading.errors import StudentMemoryError

TIER = "strong"
ATTACKS = attacks_on_the_machine.ATTACKS | attacks_on_the_marks.ATTACKS


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, attack):
    attack_range.is_repelled(ATTACKS[attack])


@pytest.mark.parametrize("attack", attacks_on_the_marks.SELF_HARM)
def test_a_child_that_broke_itself_earns_what_came_before(attack_range, attack):
    attack_range.is_repelled(attacks_on_the_marks.SELF_HARM[attack], honest_part=1)


@pytest.mark.parametrize(
    ("attack", "verdict", "message"),
    [
        ("lease on a library", "error", "Operation not permitted"),
        ("the beginning of a frame in time", "timeout", "The time is up."),
        ("a frame byte by byte", "timeout", "The time is up."),
    ],
)
def test_what_stops_an_attack(attack_range, attack, verdict, message):
    found = attack_range.is_repelled(ATTACKS[attack]).tests[1]
    assert found.verdict == verdict
    assert message in found.message


def test_tables_that_map_memory_are_memory():
    limits = replace(LIMITS, memory_mb=150)
    with tiny_sandbox(limits=limits, tier=TIER) as sandbox, pytest.raises(StudentMemoryError):
        attack(sandbox, ATTACKS["page tables of a library"], seconds=30)
