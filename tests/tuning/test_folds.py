"""Cross-validation: each fold is the validation data of one execution."""

import functools

import keras
import keras_tuner
import numpy as np
import pytest
import user_builders as users
from sklearn.model_selection import StratifiedKFold
from test_user_builders import STILL, X, Y, loss_of, searched
from tuning_samples import DATA

from dlip_reg.tuning.fit_arguments import made, named_data


def split(y, seed=0, folds=5, **options):
    """The validation targets of each fold, of examples that are their own numbers."""
    x = np.arange(len(y))
    return [
        made({"x": x, "y": y, **options}, seed, True, fold, folds)["validation_data"]
        for fold in range(folds)
    ]


def test_every_example_is_validated_once_and_never_trained_on_then():
    x = np.arange(53)
    for fold, (held, *_) in enumerate(split(np.arange(53) % 4)):
        train = made({"x": x, "y": np.arange(53) % 4}, 0, True, fold, 5)["x"]
        assert sorted([*held, *train]) == list(x)
    assert sorted(np.concatenate([held for held, *_ in split(np.arange(53) % 4)])) == list(x)


@pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
def test_classes_are_stratified(form):
    y = np.repeat([0, 1, 2], [50, 30, 20])
    given = {"numbers": y, "column": y[:, None], "one-hot": np.eye(3)[y]}[form]
    for held, _ in split(given):
        assert np.bincount(y[held]).tolist() == [10, 6, 4]


@pytest.mark.parametrize("kind", [float, str, object])
def test_targets_that_are_no_classes_are_split_at_random(kind):
    y = np.linspace(0, 1, 50) if kind is float else np.array(["cat", "dog"] * 25, dtype=kind)
    folds, again, others = ([x.tolist() for x, _ in split(y, seed=seed)] for seed in (0, 0, 1))
    assert all(len(part) == 10 for part in folds)
    assert folds == again != others


def test_dicts_and_sample_weights_are_split_alike():
    numbers = np.arange(20)
    data = {"x": {"a": numbers, "b": -numbers}, "y": numbers % 2, "sample_weight": numbers / 2}
    found = made(data, 3, False, 1, 4)
    x, y, weight = found["validation_data"]
    assert (x["a"] == -x["b"]).all() and (weight == x["a"] / 2).all() and (y == x["a"] % 2).all()
    assert len(found["x"]["a"]) == len(found["sample_weight"]) == 15


def test_a_named_data_set_is_split_by_each_seed():
    load, _ = named_data(DATA, None)
    found = [made({"x": load}, 0, True, fold, 3) for fold in range(3)]
    assert [len(part["validation_data"][0]) for part in found] == [20, 20, 20]  # of 60
    assert all(len(part["x"]) == 40 for part in found)


def test_folds_and_seeds_give_the_builder_s_own_scores(workers, tmp_path):
    still = functools.partial(users.compiled, users.plain, STILL)
    options = {"executions_per_trial": 2, "folds": 3}
    tuner = searched(
        tmp_path, workers, still, (X, Y), None, keras_tuner.Objective("val_loss", "min"),
        options=options, batch_size=32,
    )  # fmt: skip
    (trial,) = tuner.oracle.trials.values()
    records = tuner.executions(trial)
    assert [(r.seed, r.fold) for r in records] == [(s, f) for s in range(2) for f in range(3)]
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = still(keras_tuner.HyperParameters())
        parts = list(StratifiedKFold(3, shuffle=True, random_state=seed).split(X, Y))
        for record in records[3 * seed : 3 * seed + 3]:
            held = parts[record.fold][1]
            assert record.score == pytest.approx(loss_of(model, X[held], Y[held]), rel=1e-4)
            assert record.curve["val_loss"] == [record.score]
    assert trial.score == pytest.approx(np.mean([record.score for record in records]))
    # The best model is that of the best execution, which training has left as it was built.
    best, worst = (end(records, key=lambda record: record.score) for end in (min, max))
    (model,) = tuner.get_best_models()
    weights = {}
    for record in (best, worst):
        keras.utils.set_random_seed(record.seed)
        weights[record.seed] = still(keras_tuner.HyperParameters()).get_weights()[0]
    assert best.seed != worst.seed
    np.testing.assert_allclose(model.get_weights()[0], weights[best.seed], rtol=1e-5)
    frame = tuner.to_dataframe()
    assert frame[["seed", "fold"]].values.tolist() == [[r.seed, r.fold] for r in records]
