"""Hostile submissions in the medium tier."""

import attacks_on_the_machine
import attacks_on_the_marks
import pytest

TIER = "medium"
ATTACKS = attacks_on_the_machine.ATTACKS | attacks_on_the_marks.ATTACKS
# The kinds of attack are those of the strong tier, which run always. Here, where there are no
# namespaces, always those of which each is stopped by another part of the sandbox.
ALWAYS = (
    "kill -1",
    "signal through a file's owner",
    "memory file",
    "disk bomb",
    "file outside",
    "cut file outside",
    "changed modes",
    "orphan in a session of its own",
    "exec",
    "connects",
    "reads its parent's memory",
    "opens its parent's memory",
    "searches the disk for tests",
    "other submissions",
)


@pytest.mark.parametrize("attack", ALWAYS)
def test_each_part_of_the_sandbox_holds(attack_range, attack):
    attack_range.is_repelled(ATTACKS[attack])


def test_files_that_only_a_thread_has_open_are_refused(attack_range):
    found = attack_range.is_repelled(ATTACKS["files that only a thread has open"]).tests[1]
    assert (found.verdict, "libc.clone" in found.message) == ("error", True)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_earns_its_honest_part_and_leaves_nothing(attack_range, attack):
    attack_range.is_repelled(ATTACKS[attack])


@pytest.mark.slow
@pytest.mark.parametrize("attack", attacks_on_the_marks.SELF_HARM)
def test_a_child_that_broke_itself_earns_what_came_before(attack_range, attack):
    attack_range.is_repelled(attacks_on_the_marks.SELF_HARM[attack], honest_part=1)
