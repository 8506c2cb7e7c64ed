"""Runs of a study whose records are made up."""

import inspect

from dlip_reg.studies import Runs, Setting
from dlip_reg.studies.arms import ArmResolver, tuning_seeds
from dlip_reg.studies.judging import is_open, judge_claim
from dlip_reg.studies.run import StudyPart, expected_runs
from dlip_reg.training.records import Curves, Measures, Record


def make_record(spec, losses=None, status="finished", **measures):
    """A record whose training and validation loss are the same."""
    curves = None
    if losses is not None:
        none = (None,) * len(losses)
        losses = tuple(losses)
        curves = Curves(tuple(range(len(losses))), losses, none, losses, none, none, none)
        measures.setdefault("val_loss", losses[-1])
    return Record("", spec, status, Measures(**measures), curves)


def part(result, label):
    """The effect of the part with that label."""
    (found,) = (part for part in result.parts if part.label == label)
    return found.effect


def assert_looks_stand(made, claims):
    """Judged with 20 seeds, claims say of their earlier looks what they said with 5 and 10."""
    for claim in claims:
        for family in (len(claims), 10**9):  # the latter decides nothing and goes on
            whole = judge_claim(claim, made, family)
            for look in (5, 10):
                then = judge_claim(claim, made.first(look), family)
                assert whole.estimates[: len(then.estimates)] == then.estimates
                assert is_open(then) or whole == then


def arms_read(function, runs):
    """The arms whose records `function` reads; a generator has to give something."""
    found = set()

    class Reading(Runs):
        def __getitem__(self, arm):
            found.add(arm)
            return super().__getitem__(arm)

    result = function(Reading(runs.seeds, runs._records, runs.trials, runs.chosen, runs.labels))
    assert not inspect.isgenerator(result) or list(result)
    return found


def fake_runs(study, preset, record_of, model="lenet5", dataset="mnist", claims=None):
    """The runs of the arms of `claims` (default: all), tuned as a real study tunes them.

    `record_of` maps a specification to its record; None for a lost run.
    """
    setting = Setting(preset, model, dataset)
    arms = study.arms_for(setting, study.claims if claims is None else claims)
    resolver = ArmResolver(arms, tuning_seeds(preset.tuning_seeds, 0))
    while requests := resolver.requests():
        made = {spec: record_of(spec) for spec in requests}
        resolver.advance({spec: record for spec, record in made.items() if record is not None})
    seeds = range(preset.seeds)
    records = {
        name: {seed: record_of(spec.at_seed(seed)) for seed in seeds} if spec is not None else {}
        for name, spec in resolver.chosen.items()
    }
    labels = {name: arm.label for name, arm in arms.items()}
    records = {name: records[name] for name in arms}
    return Runs(seeds, records, resolver.trials, resolver.chosen, labels)


def announced_and_run(study, preset, record_of):
    """How many runs for tuning and to the first look are announced, and how many there are."""
    setting = Setting(preset, study.default_model, study.default_dataset)
    arms = study.arms_for(setting, study.claims)
    made = StudyPart(study, setting, "", study.claims, arms, 0)
    announced, tuning = expected_runs([made]), set()
    while requests := made.resolver.requests():
        tuning.update(requests)
        made.resolver.advance({spec: record_of(spec) for spec in requests})
    first = {spec for *_, spec in made.missing(made.looks[0])}
    return announced[:2], (len(tuning), len(first))
