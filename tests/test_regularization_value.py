"""The frozen value that says which regularizers go where."""

import json
import math
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from dlip_reg.regularization import Regularization

RATES = ["conv_dropout", "dense_dropout"]
STRENGTHS = ["conv_l1", "conv_l2", "dense_l1", "dense_l2"]
EVERYTHING = {
    "batch_norm": True,
    "conv_dropout": 0.1,
    "dense_dropout": 0.5,
    "conv_l1": 1e-4,
    "conv_l2": 2e-4,
    "dense_l1": 3e-4,
    "dense_l2": 4e-4,
    "max_norm": 3.0,
}


def test_nothing_is_there_by_default_and_nothing_can_be_set():
    nothing = Regularization()
    assert nothing.max_norm is None and not any(nothing.to_json().values())
    with pytest.raises(FrozenInstanceError):
        nothing.conv_l2 = 0.1


def test_equal_values_are_one_key_and_every_field_tells_values_apart():
    values = [Regularization(), *(Regularization(**{k: v}) for k, v in EVERYTHING.items())]
    assert len(set(values)) == 1 + len(EVERYTHING)
    assert set(EVERYTHING) == {field.name for field in fields(Regularization)}
    assert {Regularization(conv_l2=1)} == {Regularization(conv_l2=1.0)}


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"conv_dropout": 1 / 3}])
def test_json_round_trip(values):
    value = Regularization(**values)
    text = json.dumps(value.to_json())
    assert Regularization.from_json(json.loads(text)) == value
    assert list(json.loads(text)) == list(EVERYTHING)
    assert Regularization.from_json(values) == value  # what is not named keeps its default


@pytest.mark.parametrize("name", [*RATES, *STRENGTHS, "max_norm"])
def test_numbers_become_floats(name):
    exact = 0.25 if name in RATES else 2  # in every format
    numbers = [kind(exact) for kind in (type(exact), np.float16, np.float32, np.float64)]
    values = [Regularization(**{name: number}) for number in numbers]
    assert {type(getattr(value, name)) for value in values} == {float}
    assert len({json.dumps(value.to_json()) for value in values}) == len(set(values)) == 1


ACCEPTED = {
    "batch_norm": "True or False",
    **dict.fromkeys(RATES, "a dropout rate, 0 <= rate < 1"),
    **dict.fromkeys(STRENGTHS, "a finite strength of 0 or more"),
    "max_norm": "None or a norm above 0",
}
INVALID = {
    "batch_norm": [1, None, "yes", 0.9],
    **dict.fromkeys(RATES, (1, 1.0, 1.5, -0.1, math.nan, True, None, "half", [0.5, 0.5])),
    **dict.fromkeys(STRENGTHS, (-1e-9, math.inf, math.nan, True, None, "l2", 1j)),
    "max_norm": [0, 0.0, -1, math.inf, math.nan, True, "large"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
def test_invalid_value_is_told_what_is_accepted(name, value):
    with pytest.raises(ValueError) as error:
        Regularization(**{name: value})
    assert str(error.value) == f"{name} must be {ACCEPTED[name]}, not {value!r}."


def test_from_json_names_what_it_does_not_know_and_checks_values():
    with pytest.raises(ValueError) as error:
        Regularization.from_json({"dropout": 0.5, "conv_l2": 0.1, "L1": 0.1})
    known = ", ".join(EVERYTHING)
    assert str(error.value) == f"Unknown regularization L1, dropout; known are {known}."
    with pytest.raises(ValueError, match="conv_l2 must be a finite strength"):
        Regularization.from_json({"conv_l2": -1})
