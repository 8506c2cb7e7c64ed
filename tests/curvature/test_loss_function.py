import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_references import cross_entropies, cut, softmax
from random_models import IMAGES, LABELS, LOGITS, RNG, X, relative, sequential
from tensorflow.python.eager import context

from dlip_reg.clean_loss import loss_key
from dlip_reg.curvature import LossFunction

layers = keras.layers


def snapshot(model):
    values = [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]
    return values, [layer.dtype_policy for layer in model._flatten_layers()], tf.nn.moments


def unchanged(before, model):
    now = snapshot(model)
    return now[1:] == before[1:] and all(map(np.array_equal, now[0], before[0]))


# --- The loss ---


def test_weights_in_a_column_are_weights_in_a_row():
    model, weights = sequential(layers.Dense(1)), RNG.random(12)
    kernel, bias = (keras.ops.convert_to_numpy(variable) for variable in model.weights)
    expected = np.mean(weights * ((X @ kernel + bias)[:, 0] - X[:, 0]) ** 2)
    for column in (weights, weights[:, None], weights[:, None, None]):
        for targets in (X[:, 0], X[:, :1]):
            function = LossFunction(model, X, targets, loss="mse", sample_weight=column)
            assert function.value() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="sample_weight has 2 axes, but the losses have only 1"):
        LossFunction(model, X, X[:, 0], loss="mse", sample_weight=np.ones((12, 2))).value()


def test_a_loss_may_divide_by_the_sum_of_weights():
    model, weights = sequential(layers.Dense(3)), RNG.random(12)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    function = LossFunction(model, X, LABELS, loss=loss, sample_weight=weights, batch_size=5)
    kernel, bias = cut(function.parameters(), (6, 3), (3,))
    losses = cross_entropies(X @ kernel + bias, LABELS)
    slopes = (weights / weights.sum())[:, None] * (softmax(X @ kernel + bias) - np.eye(3)[LABELS])
    value, gradient = function.gradient()
    expected = np.average(losses, weights=weights)
    assert function.value() == value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, [*(X.T @ slopes).ravel(), *slopes.sum(0)], rtol=1e-9)
    # Another reduction of the same loss is another loss.
    function = LossFunction(model, X, LABELS, loss=LOGITS, sample_weight=weights, batch_size=5)
    assert function.value() == pytest.approx(np.mean(weights * losses), rel=1e-12)


def test_losses_that_differ_only_in_what_their_configuration_leaves_out_are_told_apart():
    model, targets = sequential(layers.Dense(6)), 5 * X
    kernel, bias = (keras.ops.convert_to_numpy(variable) for variable in model.weights)
    errors = np.abs(X @ kernel + bias - targets)
    for delta in (0.1, 2.0):
        exact = np.where(errors <= delta, errors**2 / 2, delta * errors - delta**2 / 2).mean()
        function = LossFunction(model, X, targets, loss=keras.losses.Huber(delta))
        assert function.value() == pytest.approx(exact, rel=1e-6)
    keys = [loss_key(keras.losses.Huber(delta)) for delta in (0.1, 2.0, 2.0)]
    assert keys[0] != keys[1] == keys[2]
    assert loss_key(LOGITS) == loss_key(type(LOGITS)(from_logits=True))


# --- Chunks, batches and precision --------------------------------------------------------------


def test_chunks_change_nothing_but_batch_statistics():
    model = sequential(layers.Dense(4), layers.BatchNormalization(), layers.Dense(3))
    v = RNG.normal(size=LossFunction(model, X, LABELS, loss=LOGITS).size)

    def all_of(n, **options):
        function = LossFunction(model, X[:n], LABELS[:n], loss=LOGITS, **options)
        products = function.hessian_product(v), function.gauss_newton_product(v)
        return np.hstack([function.value(), function.gradient()[1], *products])

    whole = all_of(12, batch_size=100)
    for batch_size in (1, 5, 12):
        assert relative(all_of(12, batch_size=batch_size), whole) < 1e-12
    # Batches of 8 and 4: the loss is the mean over the examples, each under its own batch.
    batches = all_of(12, batch_norm="batch", batch_size=8)
    first = all_of(8, batch_norm="batch", batch_size=8)
    rest = LossFunction(model, X[8:], LABELS[8:], loss=LOGITS, batch_norm="batch")
    assert batches[0] == pytest.approx((8 * first[0] + 4 * rest.value()) / 12, rel=1e-12)
    assert relative(batches, whole) > 0.01


@pytest.mark.thorough
def test_half_precision_policies_are_lifted():
    def conv_net(dtype):
        return sequential(
            layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
            layers.Dense(3), shape=(6, 6, 2), dtype=dtype,
        )  # fmt: skip

    results = []
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        model = conv_net(policy)
        function = LossFunction(model, IMAGES, LABELS, loss=LOGITS, batch_norm="batch")
        before = snapshot(model)
        results.append(function.hessian_product(np.ones(function.size)))
        assert unchanged(before, model)
    assert relative(results[1], results[0]) < 1e-6
    assert relative(results[2], results[0]) < 1e-6


# --- The model is left alone --------------------------------------------------------------------


def test_evaluating_elsewhere_changes_nothing():
    model = sequential(
        layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(3)
    )
    model.compile("adam", LOGITS, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    function = LossFunction(model, X, LABELS, batch_norm="batch", batch_size=5)
    before, optimizer = snapshot(model), [v.numpy() for v in model.optimizer.variables]
    random = np.random.default_rng(3).normal(size=function.size)
    elsewhere = function.value(random), function.gradient(random)[1]
    product = function.hessian_product(random, random)
    function.gauss_newton_product(random, random)
    with pytest.raises(ValueError, match="vector must have shape"):
        function.hessian_product(random[:-1])
    assert unchanged(before, model)
    assert all(map(np.array_equal, optimizer, [v.numpy() for v in model.optimizer.variables]))
    for variable, part in zip(model.trainable_variables, function.layout, strict=True):
        part = random[part.offset : part.offset + part.size].reshape(part.shape)
        variable.assign(part)
    assert np.array_equal(function.parameters(), random)
    assert function.value() == elsewhere[0]
    assert np.array_equal(function.gradient()[1], elsewhere[1])
    assert np.array_equal(function.hessian_product(random), product)


def test_no_random_seed_needs_to_be_set(monkeypatch):
    monkeypatch.delattr(context.context(), "_rng", raising=False)
    function = LossFunction(sequential(layers.Dense(3)), X, LABELS, loss=LOGITS)
    function.verify()
    assert np.isfinite(function.value())


def test_freezing_a_layer_is_seen():
    model = sequential(layers.Dense(6), layers.Dense(6))
    first, second = model.layers
    whole = LossFunction(model, X, LABELS, loss=LOGITS).gradient()[1]
    # Both have as many weights.
    for frozen, trained, part in ((first, second, slice(42, 84)), (second, first, slice(42))):
        frozen.trainable, trained.trainable = False, True
        function = LossFunction(model, X, LABELS, loss=LOGITS)
        np.testing.assert_allclose(function.gradient()[1], whole[part], rtol=1e-9)
        assert [p.layer for p in function.layout] == [trained.name] * 2


# --- Bad input ----------------------------------------------------------------------------------


def test_a_function_can_be_copied_and_pickled():
    function = LossFunction(sequential(layers.Dense(3), dtype="float32"), X, LABELS, loss=LOGITS)
    for twin in (copy.deepcopy(function), pickle.loads(pickle.dumps(function))):
        assert twin.value() == pytest.approx(function.value(), rel=1e-6)


def test_a_loss_that_is_not_finite_has_a_value_but_no_product():
    model = sequential(layers.Dense(3))
    function = LossFunction(model, np.where(X > 1, np.nan, X), LABELS, loss=LOGITS)
    assert np.isnan(function.value()) and np.isnan(function.gradient()[0])
    with pytest.raises(ValueError, match="finite"):
        function.hessian_product(np.ones(function.size))
    with pytest.raises(ValueError, match="parameters must be finite"):
        function.value(np.full(function.size, np.nan))


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


def frozen():
    model = sequential(layers.Dense(3))
    model.trainable = False
    return model


def two_outputs():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])


class Scale(layers.Layer):
    def __init__(self, dtype):
        super().__init__()
        self.scale = self.add_weight(shape=(), dtype=dtype, initializer="ones")

    def call(self, x):
        return x * keras.ops.cast(keras.ops.absolute(self.scale), x.dtype)


def complex_weights():
    return keras.Sequential([keras.Input((6,)), Scale("complex64"), layers.Dense(3)])


def integer_weights():
    return keras.Sequential([keras.Input((6,)), Scale("int32"), layers.Dense(3)])


def stateful():
    inputs = keras.Input((6, 1), batch_size=5)
    return keras.Model(
        inputs, layers.Dense(3)(layers.LSTM(2, stateful=True, name="memory")(inputs))
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": unbuilt}, "a built keras.Model"),
        ({"model": lambda: layers.Dense}, "a built keras.Model"),
        ({"model": stateful, "x": X[..., None]}, "memory keeps its state from batch to batch"),
        ({"model": frozen}, "no trainable weights"),
        ({"model": complex_weights}, "scale.* is complex64"),
        ({"model": integer_weights}, "scale.* is int32"),
        ({"model": two_outputs}, "2 outputs, so the targets must be a list or dict"),
        ({"loss": None}, "one loss"),
        ({"loss": "crossentropy"}, "depends on the targets"),
        ({"loss": {"a": "mse", "b": "mse"}}, "one loss"),
        ({"loss": keras.metrics.MeanSquaredError()}, "keeps state"),
        ({"loss": "no such loss"}, "loss identifier"),
        ({"x": X[:0], "y": LABELS[:0]}, "one or more examples"),
        ({"y": LABELS[:-1]}, "lengths 11, 12"),
        ({"y": None}, "targets"),
        ({"y": list(LABELS)}, "must be arrays"),
        ({"x": tf.data.Dataset.from_tensors(X)}, "must be arrays"),
        ({"sample_weight": np.ones(3)}, "sample_weight"),
        ({"sample_weight": np.full(12, np.nan)}, "sample_weight"),
        ({"batch_norm": "training"}, "batch_norm"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_one_clear_error(change, message):
    options = {"model": lambda: sequential(layers.Dense(3)), "x": X, "y": LABELS, "loss": LOGITS}
    options |= change
    with pytest.raises(ValueError, match=message):
        LossFunction(options.pop("model")(), **options).value()


def test_subsets_are_seeded_draws_without_replacement():
    model = sequential(layers.Dense(1, use_bias=False))
    function = LossFunction(model, X, X[:, 0], loss="mae", sample_weight=np.arange(1.0, 13.0))
    w = np.zeros(6)
    losses = np.abs(X[:, 0]) * np.arange(1, 13)
    part = function.subset(5, seed=3)
    sums = {part.value(w), function.subset(5, seed=4).value(w)}
    assert part.examples == 5 and len(sums) == 2
    assert part.value(w) == function.subset(5, seed=3).value(w)
    assert min(losses) <= part.value(w) <= max(losses)
    for n in (0, 13, 2.5, True):
        with pytest.raises(ValueError, match="subset must be a whole number from 1 to 12"):
            function.subset(n, seed=0)
    assert function.subset(12, seed=1).value(w) == pytest.approx(losses.mean(), rel=1e-12)
