"""Which values the checks accept, and the sentences of their errors."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from dlip_reg.checks import (
    Checked,
    checked,
    optional,
    require_bool,
    require_number,
    require_positive,
    require_rate,
    require_whole,
)


@pytest.mark.parametrize("kind", [int, np.int8, np.uint64, np.array])
def test_integers_become_ints(kind):
    value = require_whole("n", kind(3))
    assert type(value) is int and value == 3


@pytest.mark.parametrize(
    "kind", [int, float, np.float16, np.float32, np.float64, np.int32, Fraction, np.array]
)
def test_numbers_become_floats(kind):
    value = require_positive("x", kind(2))
    assert type(value) is float and value == 2.0


@pytest.mark.parametrize(
    ("check", "accepted", "others"),
    [
        (require_whole, "a whole number of 1 or more", [2.0, np.float32(2), math.nan]),
        (require_positive, "a finite number above 0", [0, -1.0, math.inf, math.nan, 10**400]),
        (require_rate, "a number of at least 0 and below 1", [-1e-300, 1, 1.5, math.nan]),
    ],
)
def test_other_values_are_refused_by_name(check, accepted, others):
    for value in [True, False, np.True_, "1", None, [1], 1j, b"1", object, *others]:
        with pytest.raises(ValueError) as error:
            check("x", value)
        assert str(error.value) == f"x must be {accepted}, not {value!r}."


def test_ends_of_the_ranges():
    assert require_whole("n", 0, least=0) == 0 and require_whole("n", 5, most=5) == 5
    assert require_rate("rate", 0) == 0.0 and require_rate("rate", math.nextafter(1, 0)) < 1
    assert require_positive("x", 5e-324) == 5e-324
    for value in (1, 6):
        with pytest.raises(
            ValueError, match=f"^n must be a whole number from 2 to 5, not {value}.$"
        ):
            require_whole("n", value, least=2, most=5)


def test_a_range_of_ones_own():
    assert require_number("share", 1, "a share from 0 to 1", lambda x: 0 <= x <= 1) == 1.0
    with pytest.raises(ValueError, match=r"^share must be a share from 0 to 1, not 2\.$"):
        require_number("share", 2, "a share from 0 to 1", lambda x: 0 <= x <= 1)


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.True_])
def test_only_true_and_false_are_bools(value):
    assert require_bool("flag", True) is True and require_bool("flag", False) is False
    with pytest.raises(ValueError, match="flag must be True or False, not "):
        require_bool("flag", value)


@dataclass(frozen=True)
class Options(Checked):
    name: str = checked(lambda name, value: value.lower())
    plain: str = "A"
    most: int | None = checked(optional(require_whole), None)


def test_checked_fields_of_a_dataclass_are_converted_and_the_others_are_not():
    assert Options("A") == Options("a", "A", None)
    assert type(Options("a", most=np.int8(3)).most) is int
    with pytest.raises(ValueError, match=r"^most must be a whole number of 1 or more, not 0"):
        Options("a", most=0)


def test_names_that_are_no_fields_are_listed():
    assert Options.from_names({"name": "A"}, "option") == Options("a")
    with pytest.raises(ValueError, match=r"^Unknown option a, b; known are name, plain, most\.$"):
        Options.from_names({"name": "A", "b": 1, "a": 2}, "option")
