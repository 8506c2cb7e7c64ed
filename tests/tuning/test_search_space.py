"""What is searched, and what a trial's values stand for."""

import json
import math

import keras_tuner
import pytest

from dlip_reg.regularization import Regularization
from dlip_reg.tuning import SearchSpace, make_oracle, oracles


def declared(space, **values):
    """The hyperparameters of `space` with these values, all conditions looked at."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    space.declare(hp)
    return hp


L2 = {"l1": None, "l2": (1e-4, 1e-2), "dropout": None}


@pytest.mark.parametrize(
    ("options", "names", "values", "conv", "dense"),
    [
        ({}, "conv_l2 dense_l2", {"conv_l2": 0.01, "dense_l2": 0.02}, 0.01, 0.02),
        ({"tied": True}, "l2", {"l2": 0.003}, 0.003, 0.003),
        ({"none": True}, "use_conv_l2 conv_l2 use_dense_l2 dense_l2",
         {"use_conv_l2": False, "dense_l2": 0.002}, 0.0, 0.002),
        ({"learning_rate": (1e-4, 1e-2)}, "conv_l2 dense_l2 learning_rate",
         {"conv_l2": 0.01, "dense_l2": 0.02, "learning_rate": 3e-3}, 0.01, 0.02),
    ],
)  # fmt: skip
def test_what_is_searched_has_names_and_stands_for_strengths(options, names, values, conv, dense):
    space = SearchSpace(**L2 | {"none": False} | options)
    hp = declared(space, **values)
    assert " ".join(parameter.name for parameter in hp.space) == names
    assert space.regularization(hp.values) == Regularization(conv_l2=conv, dense_l2=dense)
    assert space.rate(hp.values) == values.get("learning_rate", 1e-3)


def test_strengths_are_on_a_log_scale_and_rates_of_dropout_on_a_linear_one():
    scales = {p.name: p.sampling for p in declared(SearchSpace(none=False)).space}
    assert scales == {
        f"{kind}_{term}": "linear" if term == "dropout" else "log"
        for term in ("l1", "l2", "dropout")
        for kind in ("conv", "dense")
    }


def test_points_are_a_grid_on_that_scale_within_the_range_and_none_is_one_more():
    # Three digits, which must not leave the range.
    for dropout, rates in (((0.1, 0.7), [0.1, 0.4, 0.7]), ((0.2, 0.9996), [0.2, 0.6, 0.9996])):
        space = SearchSpace(**L2 | {"dropout": dropout}, points=3)
        values = {p.name: list(p.values) for p in declared(space).space}
        assert values["conv_l2"] == [0.0, 1e-4, 1e-3, 1e-2]
        assert values["dense_dropout"] == [0.0, *rates]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"l2": (1e-2, 1e-4)}, "low < high"),
        ({"l2": (1e-3, 1e-3)}, "low < high"),
        ({"l2": ()}, "range"),
        ({"l2": 0.1}, "range"),
        ({"l1": (0, 1e-2)}, "above 0"),
        ({"l2": (0.0, float("inf"))}, "low < high"),
        ({"dropout": (0.2, 1.0)}, r"\[0, 1\)"),
        ({"dropout": (-0.1, 0.5)}, r"\[0, 1\)"),
        ({"learning_rate": (0, 0.1)}, "above 0"),
        ({"learning_rate": 0}, "above 0"),
        ({"learning_rate": "fast"}, "above 0"),
        ({"tied": "both"}, "True or False"),
        ({"points": 1}, "2 or more"),
        ({"l1": None, "l2": None, "dropout": None}, "Nothing is left"),
    ],
)
def test_an_impossible_space_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said) as caught:
        SearchSpace(**options)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "evolution"}, "random, bayesian, hyperband, grid"),
        ({"max_trials": 0}, "max_trials"),
        ({"max_trials": 2.5}, "max_trials"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"seed": -1}, "seed"),
        ({"objective": "val_loss"}, "clean_val_accuracy or clean_val_loss, not 'val_loss'"),
    ],
)
def test_an_impossible_oracle_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        make_oracle(**options)


def prepared(kind, seed=0):
    """An oracle over one strength."""
    oracle = make_oracle(kind, max_trials=9, seed=seed)
    oracle.hyperparameters.Float("l2", 1e-4, 1e-1, sampling="log")
    oracles.prepare(oracle)
    return oracle


@pytest.mark.thorough
def test_a_new_session_proposes_the_same_with_trials_in_flight():
    oracle, log = prepared("bayesian"), []
    for number in range(6):
        values = oracles.ask(oracle).hyperparameters.values
        accuracy = 0.8 - 0.1 * (math.log10(values["l2"]) + 2.5) ** 2
        log.append((dict(values), [accuracy]))
        if number < 5:
            oracles.tell(oracle, f"{number:04}", log[-1][1], 1)
    again = prepared("bayesian")
    for number, (values, scores) in enumerate(json.loads(json.dumps(log))):
        assert oracles.ask(again, values).hyperparameters.values == values
        if number < 5:
            oracles.tell(again, f"{number:04}", scores, 1)
    assert len(again.ongoing_trials) == 1
    assert oracles.ask(again).hyperparameters.values == oracles.ask(oracle).hyperparameters.values


def test_neighbouring_seeds_share_no_trials():
    def trials(seed):
        oracle = prepared("random", seed)
        return [oracles.ask(oracle).hyperparameters.values["l2"] for _ in range(6)]

    drawn = [trials(seed) for seed in range(4)]
    assert len({value for values in drawn for value in values}) == 24
    assert drawn[0] == trials(0)  # seed 0 is a seed
