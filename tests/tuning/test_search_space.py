"""What is searched, and what a trial's values stand for."""

import json
import math

import keras_tuner
import pytest

from dlip_reg.regularization import Regularization
from dlip_reg.tuning import SearchSpace, make_objective, make_oracle, oracles


def declared(space, **values):
    """The hyperparameters of `space` with these values, all conditions looked at."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    space.declare(hp)
    return hp


def test_conv_and_dense_strengths_are_hyperparameters_named_like_the_fields():
    hp = declared(SearchSpace(none=False))
    names = ["conv_l1", "dense_l1", "conv_l2", "dense_l2", "conv_dropout", "dense_dropout"]
    assert [p.name for p in hp.space] == names
    scales = {p.name: p.sampling for p in hp.space}
    assert set(scales.values()) == {"log", "linear"}
    assert all((scales[name] == "linear") == name.endswith("dropout") for name in names)


def test_tied_is_one_strength_for_both():
    space = SearchSpace(l1=None, l2=(1e-4, 1e-2), dropout=None, tied=True, none=False)
    assert [p.name for p in declared(space).space] == ["l2"]
    assert space.regularization({"l2": 0.003}) == Regularization(conv_l2=0.003, dense_l2=0.003)


def test_none_is_a_choice_and_its_strength_is_inactive_then():
    space = SearchSpace(l1=None, l2=(1e-4, 1e-2), dropout=None)
    hp = declared(space, use_conv_l2=False, use_dense_l2=True, dense_l2=0.002)
    assert [p.name for p in hp.space] == ["use_conv_l2", "conv_l2", "use_dense_l2", "dense_l2"]
    assert not hp.is_active("conv_l2")
    assert space.regularization(hp.values) == Regularization(dense_l2=0.002)


def test_points_are_a_log_grid_with_none_as_one_more():
    space = SearchSpace(l1=None, l2=(1e-4, 1e-2), dropout=(0.1, 0.7), points=3)
    values = {p.name: list(p.values) for p in declared(space).space}
    assert values["conv_l2"] == [0.0, 1e-4, 1e-3, 1e-2]
    assert values["dense_dropout"] == [0.0, 0.1, 0.4, 0.7]


def test_the_learning_rate_is_searched_if_wanted():
    space = SearchSpace(
        l1=None, l2=(1e-4, 1e-2), dropout=None, none=False, learning_rate=(1e-4, 1e-2)
    )
    hp = declared(space, conv_l2=1e-3, dense_l2=2e-3, learning_rate=3e-3)
    assert space.rate(hp.values) == 3e-3
    assert space.regularization(hp.values) == Regularization(conv_l2=1e-3, dense_l2=2e-3)


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


@pytest.mark.parametrize("name", ["val_loss", "val_accuracy", "loss", "magic"])
def test_an_objective_that_includes_the_penalty_is_refused(name):
    with pytest.raises(ValueError, match=r"clean_val_accuracy or clean_val_loss, not "):
        make_objective(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "evolution"}, "random, bayesian, hyperband, grid"),
        ({"max_trials": 0}, "max_trials"),
        ({"max_trials": 2.5}, "max_trials"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"seed": -1}, "seed"),
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
