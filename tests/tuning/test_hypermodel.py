"""The hypermodel in keras-tuner's own tuners."""

import dataclasses

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner.errors import FatalValueError
from tuning_samples import CLASSES, SHAPE, arrays, l2_only, small_net

from dlip_reg.tuning import RegularizationHyperModel, make_objective

TUNERS = {
    "random": lambda **options: keras_tuner.RandomSearch(max_trials=2, seed=1, **options),
    "bayesian": lambda **options: keras_tuner.BayesianOptimization(
        max_trials=3, num_initial_points=2, seed=1, **options
    ),
    "hyperband": lambda **options: keras_tuner.Hyperband(max_epochs=2, factor=2, seed=1, **options),
    "grid": lambda **options: keras_tuner.GridSearch(max_trials=2, seed=1, **options),
}


def values(**given):
    hp = keras_tuner.HyperParameters()
    hp.values = given
    return hp


def strengths(model):
    """The L2 strengths of the kernels, by layer."""
    return {
        layer.name: float(layer.kernel_regularizer.l2)
        for layer in model.layers
        if getattr(layer, "kernel_regularizer", None) is not None
    }


class Steps(keras.callbacks.Callback):
    """Notes how many steps the optimizer has behind it when an epoch begins."""

    seen = ()  # keras-tuner copies callbacks: what they hold would be lost

    def on_epoch_begin(self, epoch, logs=None):
        Steps.seen += ((epoch, int(self.model.optimizer.iterations)),)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", TUNERS)
def test_every_stock_tuner_runs_to_its_end_and_its_best_rebuilds(tmp_path, kind):
    train, validation = arrays()
    hypermodel = l2_only(small_net, none=True, learning_rate=(1e-3, 1e-2))
    tuner = TUNERS[kind](
        hypermodel=hypermodel, objective=make_objective(), directory=tmp_path, project_name=kind
    )
    epochs = {} if kind == "hyperband" else {"epochs": 1}
    Steps.seen = ()
    tuner.search(*train, validation_data=validation, verbose=0, callbacks=[Steps()], **epochs)
    # Hyperband goes on with the optimizer's state: an epoch has 2 steps of 32 images, from 60.
    assert set(Steps.seen) == ({(0, 0), (1, 2)} if kind == "hyperband" else {(0, 0)})
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    first, second = tuner.get_best_models(2)
    assert first is not second
    best = tuner.oracle.get_best_trials(1)[0]
    # The score is what the loaded model has on the validation images, by a plain count.
    guesses = first.predict(validation[0], verbose=0).argmax(axis=-1)
    assert best.score == pytest.approx(np.mean(guesses == validation[1]), abs=1e-6)
    own = hypermodel.regularization(best.hyperparameters)
    found = strengths(hypermodel.build(best.hyperparameters))
    assert list(found.values()) == pytest.approx([own.conv_l2, own.dense_l2])


def test_build_gives_a_model_of_its_own_with_the_strengths_and_rate_of_the_trial():
    hypermodel = RegularizationHyperModel(
        "lenet5", SHAPE, CLASSES, none=False, learning_rate=(1e-4, 1e-1), optimizer="momentum"
    )
    hp = values(
        conv_l1=0.1, dense_l1=0.2, conv_l2=0.3, dense_l2=0.4, conv_dropout=0.15,
        dense_dropout=0.25, learning_rate=0.05,
    )  # fmt: skip
    first, second = hypermodel.build(hp), hypermodel.build(hp)
    assert first is not second
    conv, dense = first.get_layer("conv2"), first.get_layer("logits")
    assert (conv.kernel_regularizer.l1, conv.kernel_regularizer.l2) == pytest.approx((0.1, 0.3))
    assert (dense.kernel_regularizer.l1, dense.kernel_regularizer.l2) == pytest.approx((0.2, 0.4))
    assert first.get_layer("conv1_drop").rate == 0.15
    assert first.get_layer("dense1_drop").rate == 0.25
    assert float(first.optimizer.learning_rate) == pytest.approx(0.05)
    assert first.optimizer.built  # or a continued trial's moments would be skipped


def test_without_validation_data_the_search_ends_with_one_sentence(tmp_path):
    train, _ = arrays()
    tuner = TUNERS["random"](
        hypermodel=l2_only(small_net), objective=make_objective(), directory=tmp_path
    )
    with pytest.raises(FatalValueError, match=r"^The search needs validation_data=\(x, y\)"):
        tuner.search(*train, epochs=1, verbose=0)


def without_decay_of_biases():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("lenet6", SHAPE, CLASSES), {}, "lenet5"),
        (("lenet5",), {}, "input_shape and classes"),
        ((5,), {}, "a builder's name or a function"),
        ((small_net,), {"optimizer": "speedy"}, "speedy"),
        ((small_net,), {"optimizer": 5}, "a name or a Keras optimizer"),
        ((small_net,), {"optimizer": without_decay_of_biases()}, "exclude weights from its decay"),
    ],
)
def test_a_wrong_model_or_optimizer_is_one_sentence(arguments, options, said):
    with pytest.raises(ValueError, match=said):
        RegularizationHyperModel(*arguments, **options)


def test_a_strength_that_a_trial_does_not_know_has_its_default():
    hypermodel = RegularizationHyperModel(small_net, none=False)
    defaults = hypermodel.regularization(values())
    assert defaults.dense_l2 > 0
    known = hypermodel.regularization(values(conv_l2=0.5))
    assert known == dataclasses.replace(defaults, conv_l2=0.5)
    model = hypermodel.build(values(conv_l2=0.5))
    assert list(strengths(model).values()) == pytest.approx([0.5, defaults.dense_l2])
