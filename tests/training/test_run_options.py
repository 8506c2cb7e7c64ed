"""What a specification says reaches the model and its fit, also where a model is used again."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from training_samples import DATA, load

from callbacks.evaluation import clean_metrics
from callbacks.layers import kernel_layers
from dlip_reg.regularization import Regularization
from dlip_reg.training import RunSpec, Schedule, fitting, trained
from dlip_reg.training.fitting import compiled, fit

SPEC = RunSpec(
    "mlp", DATA, builder={"hidden": [20, 10]}, optimizer="sgd", learning_rate=0.1, epochs=4
)
STEPS = replace(SPEC, batch_size=20)  # three an epoch


def kernels(model):
    return [np.array(layer.kernel) for _, layer in kernel_layers(model).values()]


def drawn(name, **config):
    return {"kernel_initializer": {"class_name": name, "config": config}}


def started(dataset, options, **changes):
    return compiled(replace(SPEC, builder={"hidden": [20, 10]} | options, **changes), dataset)


def test_initializers_reach_the_weights_of_a_model_that_is_used_again(dataset):
    he = kernels(started(dataset, {}))
    for options, factor in (
        # He's normal has a variance of 2 / fan in; the draws are the same, the scale is another.
        (drawn("VarianceScaling", scale=8.0, mode="fan_in"), 2),
        (drawn("VarianceScaling", scale=0.02, mode="fan_in"), 0.1),
        ({"kernel_initializer": "he_normal"}, 1),
    ):
        for kernel, usual in zip(kernels(started(dataset, options)), he, strict=True):
            np.testing.assert_allclose(kernel, factor * usual, rtol=1e-5)
    narrow, wide = (
        kernels(started(dataset, drawn("RandomNormal", stddev=deviation)))
        for deviation in (0.05, 0.5)
    )
    assert narrow[0].std() == pytest.approx(0.05, rel=0.03)  # of 15,680 draws
    for one, other in zip(narrow, wide, strict=True):
        np.testing.assert_allclose(10 * one, other, rtol=1e-5)
    assert not np.any(kernels(started(dataset, {"kernel_initializer": "zeros"}))[0])


def test_each_seed_and_layer_has_weights_of_its_own(dataset):
    square = drawn("RandomNormal", stddev=1.0) | {"hidden": [10, 10, 10]}
    _, second, third, _ = kernels(started(dataset, square))
    _, others, *_ = kernels(started(dataset, square, seed=SPEC.seed + 1))
    _, again, *_ = kernels(started(dataset, square))
    assert abs(np.corrcoef(second.ravel(), third.ravel())[0, 1]) < 0.5  # 100 pairs: sd .1
    assert abs(np.corrcoef(second.ravel(), others.ravel())[0, 1]) < 0.5
    np.testing.assert_array_equal(again, second)


def test_each_seed_and_layer_has_dropout_of_its_own(dataset):
    states = [
        tuple(variable.numpy())
        for seed in (0, 1)
        for variable in started(
            dataset, {}, seed=seed, regularization=Regularization(dense_dropout=0.5)
        ).variables
        if variable.name == "seed_generator_state"
    ]
    assert len(set(states)) == len(states) == 4


def test_batches_are_drawn_anew_for_each_epoch_by_the_seed_alone(dataset):
    numbered = replace(dataset, y_train=np.arange(60))

    def order(**changes):
        """Which of the 60 images an epoch's two batches of 25 hold."""
        spec = replace(SPEC, batch_size=25, **changes)
        batches = fitting._batches(spec, numbered, fitting.steps_per_epoch(spec, numbered))
        return np.concatenate([labels for _, labels in batches]).reshape(spec.epochs, 50)

    first = order()
    assert [len(set(epoch)) for epoch in first] == [50] * 4
    assert all(np.any(first[0] != later) for later in first[1:])
    np.testing.assert_array_equal(order(learning_rate=1.0, optimizer="adam"), first)
    np.testing.assert_array_equal(order(epochs=2), first[:2])
    assert np.any(order(seed=1)[0] != first[0])


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("momentum", 0.9)])
def test_momentum_is_sgd_with_nine_tenths(dataset, optimizer, momentum):
    made = started(dataset, {}, optimizer=optimizer).optimizer
    assert (type(made), made.momentum) == (keras.optimizers.SGD, momentum)
    assert float(made.learning_rate) == pytest.approx(SPEC.learning_rate)


def test_a_schedule_goes_down_exponentially_to_its_end_or_to_its_power(dataset):
    for schedule, expected in (
        (Schedule(decay=0.01), 0.001),
        (Schedule(decay=0.5, speed=6), 0.1 * 0.5**6),
        (Schedule(decay=0.5, warmup_epochs=2, warmup_from=0.1), 0.05),
    ):
        model = trained(replace(STEPS, schedule=schedule), dataset)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_another_schedule_is_the_same_graph(dataset):
    rates = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: rates.append(float(models[-1].optimizer.learning_rate))
    )
    models = []
    for schedule in (Schedule(decay=0.0625), Schedule(warmup_epochs=2, warmup_from=0.5)):
        spec = replace(STEPS, schedule=schedule)
        models.append(compiled(spec, dataset))
        fit(models[-1], spec, dataset, [watch])
    assert models[0] is models[1]
    np.testing.assert_allclose(rates[:4], [0.1, 0.05, 0.025, 0.0125], rtol=1e-5)
    np.testing.assert_allclose(rates[4:], [0.05, 0.075, 0.1, 0.1], rtol=1e-5)


def test_the_schedule_s_rate_is_the_one_that_weights_move_by(dataset):
    """From nothing upwards, the first step moves nothing, and the default moves a constant one."""
    one_step = replace(SPEC, epochs=1, batch_size=60)
    start = compiled(one_step, dataset).get_weights()
    full, none, half = (
        trained(replace(one_step, schedule=schedule), dataset).get_weights()
        for schedule in (
            Schedule(),
            Schedule(warmup_epochs=1, warmup_from=0),
            Schedule(warmup_epochs=1, warmup_from=0.5),
        )
    )
    for before, constant, still, halved in zip(start, full, none, half, strict=True):
        np.testing.assert_array_equal(still, before)
        # Weights of order one in float32, and a step some hundred times smaller.
        np.testing.assert_allclose(2 * (halved - before), constant - before, atol=1e-6)
    assert np.abs(full[0] - start[0]).max() > 1e-3


@pytest.mark.parametrize("measures", [(), ("curves",)])
def test_patience_ends_a_run_that_improves_no_more(dataset, measures):
    # Rates at which no float32 weight moves, or the loss falls by less than counts: the first epoch
    # is the best.
    for rate in (1e-30, 1e-7):
        stuck = replace(SPEC, learning_rate=rate, patience=3, epochs=9, measures=measures)
        assert len(trained(stuck, dataset).history.history["loss"]) == 4
    moving = replace(stuck, learning_rate=0.01)
    assert len(trained(moving, dataset).history.history["loss"]) == 9


class Watch(keras.callbacks.Callback):
    """Keeps the clean loss that the log tells and the weights, after each epoch."""

    def on_train_begin(self, logs=None):
        self.losses, self.weights = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["clean_loss"])
        self.weights.append(self.model.get_weights())


@pytest.mark.parametrize("epochs", [30, 4])
def test_patience_goes_back_to_the_lowest_loss(dataset, epochs):
    # A rate at which the loss soon goes up and down.
    spec = replace(SPEC, learning_rate=1.0, patience=2, epochs=epochs)
    watch, model = Watch(), compiled(spec, dataset)
    fit(model, spec, dataset, [watch])
    assert (len(watch.losses) == spec.epochs) == (epochs == 4)
    assert min(watch.losses) < watch.losses[-1]
    found = clean_metrics(model, dataset.x_train, dataset.y_train)["loss"]
    assert found == pytest.approx(min(watch.losses), rel=1e-6)
    # What looks at the net after the last epoch sees it as it is left.
    for seen, left in zip(watch.weights[-1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(seen, left)


def test_a_run_on_grey_images_sees_three_equal_channels():
    spec = replace(SPEC, data=replace(DATA, grey=True), epochs=1)
    dataset = load(spec)
    model = trained(spec, dataset)
    assert model.input_shape == (None, 28, 28, 3)
    # Each channel's weights are drawn apart, and every one of them learns the same.
    moved = kernels(model)[0] - kernels(compiled(spec, dataset))[0]
    red, _, blue = np.moveaxis(moved.reshape(784, 3, -1), 1, 0)
    assert np.abs(red).max() > 1e-3
    np.testing.assert_allclose(red, blue, atol=1e-7)  # float32 weights of a few hundredths


def test_one_channel_is_refused_for_a_run_in_three():
    with pytest.raises(ValueError, match="give as_grey"):
        compiled(replace(SPEC, data=replace(DATA, grey=True)), load(SPEC))
