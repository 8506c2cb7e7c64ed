"""Hostile submissions behind the strong walls."""

import attacks_on_the_machine
import attacks_on_the_marks
import pytest

TIER = "strong"
ATTACKS = attacks_on_the_machine.ATTACKS | attacks_on_the_marks.ATTACKS


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, attack):
    attack_range.is_repelled(ATTACKS[attack])


@pytest.mark.parametrize("attack", attacks_on_the_marks.SELF_HARM)
def test_a_child_that_broke_itself_earns_what_came_before(attack_range, attack):
    attack_range.is_repelled(attacks_on_the_marks.SELF_HARM[attack], honest_part=1)
