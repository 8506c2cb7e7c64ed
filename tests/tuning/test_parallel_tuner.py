"""The tuner on real trainings, in two worker processes."""

import keras
import numpy as np
import pytest
from tuning_samples import (
    CLASSES,
    DATA,
    SHAPE,
    exploding_net,
    l2_only,
    make_tuner,
    picky_net,
    small_net,
)

from callbacks.evaluation import clean_metrics
from dlip_reg.datasets import load_dataset
from dlip_reg.regularization import Regularization
from dlip_reg.tuning import CleanValidation, RegularizationHyperModel
from dlip_reg.tuning.results import best_json, execution_rows, trial_rows

EVERYTHING = {
    **{"l1": (1e-5, 1e-2), "l2": (1e-4, 1e-1), "dropout": (0.1, 0.6)},
    **{"none": True, "learning_rate": (1e-3, 1e-2)},
}


@pytest.fixture(scope="module")
def searched(workers, tmp_path_factory):
    """A finished search over all there is, with two seeds."""
    hypermodel = RegularizationHyperModel("lenet5", SHAPE, CLASSES, **EVERYTHING)
    path = tmp_path_factory.mktemp("searched") / "search"
    tuner = make_tuner(
        path, workers, hypermodel=hypermodel, oracle={"max_trials": 3}, executions_per_trial=2
    )
    tuner.search(DATA, epochs=2, batch_size=16)
    return tuner


def fresh_curve(tuner, trial, seed, legs=((0, 2),), batch_size=16):
    """The same execution by hand: a freshly built model and plain `fit`, with the tuner's seeds."""
    data = load_dataset(DATA.name, n_train=60, n_validation=40, n_test=10, seed=seed)
    keras.utils.set_random_seed(seed)
    model = tuner.hypermodel.build(trial.hyperparameters.copy())
    curve = []
    for start, end in legs:
        keras.utils.set_random_seed(seed + 1_000_003 * start)
        curve += model.fit(
            data.x_train, data.y_train, batch_size=batch_size, initial_epoch=start, epochs=end,
            callbacks=[CleanValidation((data.x_validation, data.y_validation))], verbose=0,
        ).history["clean_val_loss"]  # fmt: skip
    return curve


@pytest.mark.thorough
def test_compiled_once_gives_what_a_freshly_built_model_gives(searched):
    # Trials differ in structure and in numbers, and ran in any order in two processes.
    assert len({tuple(t.hyperparameters.values) for t in searched.oracle.trials.values()}) > 1
    for number, trial in enumerate(searched.oracle.trials.values()):
        record = searched.executions(trial)[number % 2]
        curve = fresh_curve(searched, trial, record.seed)
        assert record.not_shared == ""
        # float32 rounding, through the steps of two epochs and Adam's division
        assert record.curve["clean_val_loss"] == pytest.approx(curve, rel=2e-3)


@pytest.mark.thorough
def test_the_best_models_are_distinct_and_have_the_scores_on_record(searched):
    first, second = searched.get_best_models(2)
    assert first is not second
    for model, trial in zip((first, second), searched.oracle.get_best_trials(2), strict=True):
        records = searched.executions(trial)
        best = max(records, key=lambda record: record.score)
        seed = best.seed
        data = load_dataset(DATA.name, n_train=60, n_validation=40, n_test=10, seed=seed)
        found = clean_metrics(model, data.x_validation, data.y_validation)
        assert found["accuracy"] == pytest.approx(best.score, abs=1e-6)
        assert found["loss"] == pytest.approx(best.curve["clean_val_loss"][-1], rel=1e-5)
    # The first one still has its own weights.
    assert not np.allclose(first.get_weights()[0], second.get_weights()[0])


@pytest.mark.thorough
def test_the_line_of_python_rebuilds_the_best_trial(searched):
    best = best_json(searched)
    assert "\n" not in best["python"]
    namespace = {}
    exec(best["python"], namespace)
    rebuilt, model = namespace["model"], searched.get_best_models(1)[0]
    assert [layer.name for layer in rebuilt.layers] == [layer.name for layer in model.layers]
    strengths = Regularization.from_json(best["regularization"])
    own = searched.hypermodel.regularization(searched.get_best_hyperparameters(1)[0])
    assert own == strengths
    for ours, theirs in zip(rebuilt.layers, model.layers, strict=True):
        drop = ("kernel_initializer", "seed")
        configs = [{k: v for k, v in layer.get_config().items() if k not in drop}
                   for layer in (ours, theirs)]  # fmt: skip
        assert configs[0] == configs[1]


# The layers of a caller's own builder have names that Keras numbers through the whole process.
@pytest.mark.thorough
@pytest.mark.parametrize("model", ["mlp", small_net])
def test_every_trial_begins_at_the_same_weights_and_sees_the_same_batches(model, workers, tmp_path):
    # Strengths so weak that nothing but the pairing can make the trials alike.
    hypermodel = l2_only(model, l2=(1e-12, 1e-11))
    tuner = make_tuner(
        tmp_path / "search", workers, hypermodel=hypermodel, oracle={"max_trials": 3},
        executions_per_trial=2,
    )  # fmt: skip
    tuner.search(DATA, epochs=2, batch_size=16)
    rows = execution_rows(tuner)
    for seed in (0, 1):
        losses = [row["val_loss"] for row in rows if row["seed"] == seed]
        assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
    assert abs(rows[0]["val_loss"] - rows[1]["val_loss"]) > 1e-3  # and seeds differ


@pytest.mark.thorough
def test_hyperband_goes_on_with_weights_and_optimizer(workers, tmp_path):
    # One structure, which is compiled once.
    hypermodel = l2_only(small_net, dropout=(0.1, 0.6), learning_rate=(4e-3, 1e-2))
    tuner = make_tuner(
        tmp_path / "search", workers, "hyperband", hypermodel=hypermodel,
        oracle={"max_trials": 10, "max_epochs": 4},
    )  # fmt: skip
    tuner.search(DATA, batch_size=16)
    continued = [
        t for t in tuner.oracle.trials.values() if "tuner/trial_id" in t.hyperparameters.values
    ]
    assert continued
    for trial in continued:
        (record,) = tuner.executions(trial)
        assert record.initial_epoch == 2
        assert record.epochs == len(record.curve["clean_val_loss"]) == 4
    # As if it had never stopped: without Adam's moments it would differ by 1 %, and without the
    # random state of dropout by 0.02 %.
    whole = fresh_curve(tuner, trial, 0, ((0, 2), (2, 4)))
    assert record.curve["clean_val_loss"] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    ("build", "said"),
    [(picky_net, "RuntimeError: no net with "), (exploding_net, "diverged")],
)
def test_a_builder_that_fails_fails_its_trial_and_not_the_search(workers, tmp_path, build, said):
    tuner = make_tuner(tmp_path / "search", workers, "grid", hypermodel=l2_only(build, points=2))
    tuner.search(DATA, epochs=1)
    rows = trial_rows(tuner)
    expected = ["failed" if row["dense_l2"] < 1e-3 else "completed" for row in rows]
    assert expected.count("failed") == expected.count("completed") == 2
    assert [row["status"] for row in rows] == expected
    assert all((said in row["error"]) == (row["status"] == "failed") for row in rows)
    assert "second line" not in "".join(row["error"] for row in rows)
