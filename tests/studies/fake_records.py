"""Runs of a study whose records are made up."""

import dataclasses
import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from dlip_reg.studies import Preset, Runs, Setting, Study
from dlip_reg.studies.announcement import expected_runs
from dlip_reg.studies.arm_resolver import TUNING_SEEDS_FROM, ArmResolver, tuning_seeds
from dlip_reg.studies.judging import judge_claim
from dlip_reg.studies.part import StudyPart
from dlip_reg.training.identity import identity_of
from dlip_reg.training.records import Curves, Measures, Record
from dlip_reg.training.specification import RunSpec


def number_of(spec):
    """A number that belongs to a specification, whatever code runs it."""
    return zlib.crc32(identity_of(spec.to_json(), "").encode())


@dataclass(frozen=True)
class MadeUpLab:
    """A lab on made-up runs, so that what it measures is known."""

    study: Study
    preset: Preset
    record_of: Callable[..., Record]  # of a specification
    diverged: Callable[..., Record]  # the record of the same run, had it diverged
    is_treated: Callable[..., bool]  # whether the run of a specification has what the claims are on
    model: str = "lenet5"
    small: Preset | None = None  # for what takes long
    read_as_trials: tuple[str, ...] = ()  # how arms begin of which a measure may read the tuning

    @property
    def claims(self):
        return {claim.id: claim for claim in self.study.claims}

    def runs(self, *claims, spoil=lambda spec, record: record, preset=None):
        """The runs that `claims` (default: all) read, each record as `spoil` gives it."""

        def record_of(spec):
            return spoil(spec, self.record_of(spec))

        picked = [self.claims[name] for name in claims] or None
        return fake_runs(self.study, preset or self.preset, record_of, self.model, claims=picked)

    def judged(self, made, name):
        return judge_claim(self.claims[name], made, len(self.claims))


def in_verdicts(change):
    """Records of the verdicts' seeds as `change(spec, record)` gives them, those of tuning kept."""

    def spoil(spec, record):
        return record if spec.seed >= TUNING_SEEDS_FROM else change(spec, record)

    return spoil


# What says where and how something was measured, and speed, which is never 0.
_PLACES = (
    "id", "spec", "status", "epoch", "step", "level", "alpha", "position", "edges", "histogram",
    "threshold", "step_lengths", "multiples", "rate", "epsilon", "samples", "name",
    "examples_per_second",
)  # fmt: skip


def with_numbers(part, change, name=""):
    """A record, or a part of one, with `change(name, number)` for each float that was measured."""
    if dataclasses.is_dataclass(part):
        measured = [field.name for field in dataclasses.fields(part) if field.name not in _PLACES]
        return replace(part, **{n: with_numbers(getattr(part, n), change, n) for n in measured})
    if isinstance(part, tuple):
        return tuple(with_numbers(item, change, name) for item in part)
    return change(name, part) if isinstance(part, float) else part


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

    def made_at(arm, spec, seed):
        watch = arm.watch if seed < arm.watch_seeds and isinstance(spec, RunSpec) else ()
        spec = replace(spec.at_seed(seed), measures=(*spec.measures, *watch)) if watch else spec
        return record_of(spec.at_seed(seed))

    records = {
        name: {seed: made_at(arms[name], spec, seed) for seed in seeds} if spec else {}
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
