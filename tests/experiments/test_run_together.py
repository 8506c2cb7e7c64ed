"""Several experiments go on in lock-step, and what they have in common is run once."""

from dataclasses import replace

from fake_runs import make_record, make_specs

from dlip_reg.experiments import Experiment, count_runs, run_together

SPECS = make_specs(4)


def longer(spec):
    return replace(spec, epochs=spec.epochs + 1)


def experiment(name, *stages, runs=None):
    """An experiment with these stages; its outcome is what it was sent."""

    def steps():
        sent = []
        for specs in stages:
            sent.append((yield specs))
        return sent

    return Experiment(name, name, sum(map(len, stages)) if runs is None else runs, steps)


def run_all(*experiments, failing=()):
    """The outcomes, what was run at every stage, and how many runs were expected then."""
    stages, expected = [], []

    def run(specs):
        stages.append(specs)
        return {spec: make_record(spec) for spec in specs if spec not in failing}

    return run_together(experiments, run, expected.append), stages, expected


def test_a_stage_is_one_sweep_by_seed_and_each_run_is_there_once():
    first = experiment("first", [SPECS[2], SPECS[0]], [longer(SPECS[0])])
    second = experiment("second", [SPECS[1], longer(SPECS[0]), SPECS[0]])
    outcomes, stages, _ = run_all(first, second)
    # Equal seeds stay in the order asked for.
    assert stages == [[SPECS[0], longer(SPECS[0]), SPECS[1], SPECS[2]], [longer(SPECS[0])]]
    assert list(outcomes) == ["first", "second"]


def test_each_is_sent_its_own_records_in_its_own_order_without_the_failed():
    asked = [SPECS[3], SPECS[1], SPECS[0], SPECS[1]]
    outcomes, _, _ = run_all(
        experiment("one", asked), experiment("other", SPECS[1:3]), failing=[SPECS[0], SPECS[2]]
    )
    (own,), (others,) = outcomes["one"], outcomes["other"]
    assert list(own) == [SPECS[3], SPECS[1]]
    assert own[SPECS[3]] == make_record(SPECS[3])
    assert list(others) == [SPECS[1]]


def test_what_comes_next_depends_on_the_records():
    def steps():
        tried = yield SPECS[:3]
        best = max(tried, key=lambda spec: tried[spec]["measures"]["val_accuracy"])
        finals = yield [longer(best)]
        return list(finals)

    search = Experiment("search", "search", 4, steps)
    outcomes, stages, _ = run_all(search, experiment("over at once"))
    assert stages == [SPECS[:3], [longer(SPECS[0])]]
    assert outcomes == {"search": [longer(SPECS[0])], "over at once": []}
    assert run_all(search)[1] == stages  # begun anew each time


def test_the_number_of_runs_gets_more_exact_with_every_stage():
    one = experiment("one", SPECS[:2], [longer(s) for s in SPECS[:2]])
    same = experiment("same", SPECS[:2], [longer(s) for s in SPECS[:2]])
    less = experiment("less", SPECS[2:3], [], runs=5)
    # Only what the beginnings share is known beforehand: 3 runs, and then up to 2, 2 and 4.
    assert count_runs([one, same, less]) == 3 + 8
    _, stages, expected = run_all(one, same, less)
    assert expected == [3 + 8, 5 + 4, 5]
    assert sum(map(len, stages)) == 5


def test_nothing_to_do_is_done():
    assert run_all() == ({}, [], [0])
    assert count_runs([]) == 0
