"""Records: what is written is read back, and nothing else is taken for a record."""

import json
from dataclasses import replace
from typing import get_origin, get_type_hints

import numpy as np
import pytest

from dlip_reg.codec import from_plain, to_plain
from dlip_reg.training import DataSpec, RunSpec, records
from dlip_reg.training.records import Curves, Measures, Record, dumps, loads
from dlip_reg.training.specification import InterpolationSpec, ThroughputSpec

RUN = RunSpec("mlp", DataSpec("mnist"), builder={"hidden": [3]}, measures=("curves",))
SPECS = [
    RUN,
    InterpolationSpec(RUN, replace(RUN, batch_size=8), surfaces=True),
    ThroughputSpec(RUN, seconds=0.25),
]


def sample(kind, rng):
    """A random value of a type as records have them."""
    text = str(kind)
    if "Spec" in text:
        return RUN
    if kind is int:
        return int(rng.integers(100))
    if kind is bool:
        return bool(rng.integers(2))
    if kind is str or "Literal" in text:
        return "diverged"
    if kind is float:
        return float(rng.normal())
    if get_origin(kind) is tuple:
        return tuple(sample(kind.__args__[0], rng) for _ in range(rng.integers(3)))
    if hasattr(kind, "__dataclass_fields__"):
        types = get_type_hints(kind)
        return kind(**{name: sample(types[name], rng) for name in kind.__dataclass_fields__})
    inner = next(argument for argument in kind.__args__ if argument is not type(None))
    return sample(inner, rng) if rng.integers(3) else None


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("seed", range(5))
def test_a_record_is_read_as_it_was_written(spec, seed):
    record = replace(sample(Record, np.random.default_rng(seed)), spec=spec)
    assert loads(dumps(record)) == record
    assert json.loads(dumps(record))["schema"] == records.SCHEMA


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_another_seed_is_the_only_difference(spec):
    other = spec.at_seed(7)
    assert (other.seed, type(other)) == (7, type(spec))
    assert other.at_seed(spec.seed) == spec
    assert other.identity("data") != spec.identity("data")


def test_numbers_that_are_not_finite_are_none():
    record = Record("a", RUN, "diverged", Measures(val_loss=np.nan, penalty=np.inf))
    assert loads(dumps(record)).measures == Measures()
    made = records.make_record(RUN, "data", False, measures={"val_loss": np.nan, "penalty": 1})
    assert made.measures == Measures(penalty=1.0)
    assert (made.id, made.status) == (RUN.identity("data"), "diverged")
    nan = {name: [np.nan, 1.0] for name in get_type_hints(Curves)} | {"epoch": [0, 1]}
    assert from_plain(Curves, nan).clean_loss == (None, 1.0)
    assert to_plain((1.0, np.inf)) == [1.0, None]


@pytest.mark.parametrize(
    "change",
    [
        *({"schema": schema} for schema in (0, None)),
        *({"spec": spec} for spec in ({"kind": "walk"}, {**RUN.to_json(), "epochs": 0}, None)),
        *({"curves": curves} for curves in ({"epoch": [0]}, 3)),
        {"measures": {"speed": 1.0}},
        {"parts": []},
    ],
)
def test_another_schema_or_structure_is_no_record(change):
    values = json.loads(dumps(Record("a", RUN, "finished")))
    assert loads(json.dumps(values)) is not None
    assert loads(json.dumps(values | change)) is None
    assert loads(json.dumps([values])) is None
