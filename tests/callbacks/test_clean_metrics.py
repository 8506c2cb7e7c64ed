"""The clean loss, the accuracy and the penalty against their definitions."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from callback_models import (
    IMAGES,
    LABELS,
    Counting,
    conv_net,
    cross_entropy,
    fit,
    log_softmax,
    same,
    state,
)
from further_cases import thorough_after

from callbacks import LossCurve
from callbacks.evaluation import clean_metrics
from dlip_reg.clean_loss import penalty
from dlip_reg.curvature import LossFunction

# float32 holds 7 digits; means of 100 losses keep 6 of them.
FLOAT32 = 1e-6


@pytest.fixture(scope="module")
def trained():
    model = conv_net()
    fit(model, epochs=3)
    return model


@pytest.mark.parametrize("batch_size", [1, 33, 99, 100, 512])
def test_clean_loss_is_the_mean_cross_entropy_whatever_the_chunks(trained, batch_size):
    metrics = clean_metrics(trained, IMAGES, LABELS, batch_size)
    hits = trained.predict(IMAGES, verbose=0).argmax(axis=1) == LABELS
    assert metrics["loss"] == pytest.approx(cross_entropy(trained, IMAGES, LABELS), rel=FLOAT32)
    assert metrics["accuracy"] == hits.mean()


def test_evaluate_is_clean_loss_plus_penalty(trained):
    loss, accuracy = trained.evaluate(IMAGES, LABELS, verbose=0)
    metrics = clean_metrics(trained, IMAGES, LABELS)
    assert loss == pytest.approx(metrics["loss"] + float(penalty(trained)), rel=FLOAT32)
    assert accuracy == pytest.approx(metrics["accuracy"], rel=FLOAT32)
    measured = LossFunction(trained, IMAGES, LABELS).value()  # whose curvature is measured
    assert metrics["loss"] == pytest.approx(measured, rel=FLOAT32)
    conv, dense = (trained.get_layer(name).kernel.numpy() for name in ("conv1", "dense1"))
    # Keras: L2 has no half; the string "l1" is a strength of 0.01.
    expected = 0.01 * np.sum(conv.astype(float) ** 2) + 0.01 * np.sum(np.abs(dense.astype(float)))
    assert float(penalty(trained)) == pytest.approx(expected, rel=FLOAT32)
    trained.get_layer("conv1").trainable = False
    frozen = float(penalty(trained))
    trained.get_layer("conv1").trainable = True
    l1 = 0.01 * np.sum(np.abs(dense.astype(float)))  # as Keras, which trains no frozen layer
    assert frozen == pytest.approx(l1, rel=FLOAT32)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_logits_get_a_float32_loss(policy):
    model = conv_net(policy)
    assert model.compute_dtype == "float32"
    assert model.outputs[0].dtype == policy.removeprefix("mixed_")
    # The same rounded logits go in; a loss in half precision would be off by 1e-3.
    expected = cross_entropy(model, IMAGES, LABELS)
    assert clean_metrics(model, IMAGES, LABELS)["loss"] == pytest.approx(expected, rel=FLOAT32)


def dense_net(units, activation=None, loss="mse", **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(units, activation)])
    model.compile("sgd", loss, **options)
    return model


ROWS = IMAGES[:, 0, :, 0]
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("sparse_categorical_crossentropy", LABELS),
        ("sparse_categorical_crossentropy", LABELS[:, None]),
        ("SparseCategoricalCrossentropy", LABELS.astype("uint8")),
        (keras.losses.sparse_categorical_crossentropy, LABELS),
        ("categorical_crossentropy", ONE_HOT),
        (keras.losses.CategoricalCrossentropy(reduction="sum"), ONE_HOT),
        (keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=0.0), ONE_HOT),
    ],
)
def test_every_way_to_name_a_cross_entropy_measures_the_same(loss, targets):
    model = dense_net(3, "softmax", loss)
    probabilities = model.predict(ROWS, verbose=0).astype(float)
    metrics = clean_metrics(model, ROWS, targets, batch_size=64)
    expected = -np.log(probabilities[np.arange(100), LABELS]).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=FLOAT32)
    assert metrics["accuracy"] == (probabilities.argmax(axis=1) == LABELS).mean()


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        keras.losses.BinaryCrossentropy,
        lambda **options: keras.losses.BinaryFocalCrossentropy(gamma=0.0, **options),
    ],
    ids=["plain", "focal"],
)
def test_binary_cross_entropy(kind, from_logits):
    loss = kind(from_logits=from_logits)
    model = dense_net(1, None if from_logits else "sigmoid", loss)
    outputs = model.predict(ROWS, verbose=0)[:, 0].astype(float)
    p = 1 / (1 + np.exp(-outputs)) if from_logits else outputs
    truth = LABELS > 0
    metrics = clean_metrics(model, ROWS, truth.astype(int), batch_size=64)
    assert metrics["loss"] == pytest.approx(-np.log(np.where(truth, p, 1 - p)).mean(), rel=FLOAT32)
    assert metrics["accuracy"] == ((p > 0.5) == truth).mean()


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "MeanSquaredError",
        lambda y, p: (y - p) ** 2,
        lambda y, p: tf.reduce_mean((y - p) ** 2),
    ],
    ids=["name", "class", "function", "function of the batch's mean"],
)
@pytest.mark.parametrize("shape", [(100,), (100, 1)])
def test_regression_has_no_accuracy(loss, shape):
    model = dense_net(1, loss=loss)
    targets = np.linspace(-1, 1, 100)
    metrics = clean_metrics(model, ROWS, targets.reshape(shape), batch_size=64)
    expected = np.mean((model.predict(ROWS, verbose=0)[:, 0].astype(float) - targets) ** 2)
    assert metrics == {"loss": pytest.approx(expected, rel=FLOAT32)}


@pytest.mark.parametrize(("outputs", "targets"), [((5, 1), (5,)), ((), (1,))], ids=str)
def test_functions_get_targets_and_outputs_of_as_many_axes(outputs, targets):
    units, weights = int(np.prod(outputs)), np.random.default_rng(4).random(100)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(units)])
    model.add(keras.layers.Reshape(outputs))
    model.compile("sgd", lambda y, p: tf.reduce_sum((y - p) ** 2, -1))
    data = ROWS, np.random.default_rng(5).normal(size=(100, *targets)), weights
    curve = LossCurve(data)
    expected = model.evaluate(*data[:2], 100, sample_weight=weights, verbose=0)
    model.fit(*data[:2], sample_weight=weights, verbose=0, callbacks=[curve])
    assert curve.history["clean_loss"][0] == pytest.approx(expected, rel=FLOAT32)


CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("loss", "compiled"),
    [
        (CROSS_ENTROPY, keras.losses.CategoricalCrossentropy(from_logits=True)),
        (keras.losses.serialize(CROSS_ENTROPY), "categorical_hinge"),
        ([CROSS_ENTROPY], None),
    ],
    ids=["loss", "config", "list"],
)
def test_a_given_loss_is_measured_with_its_own_targets(loss, compiled):
    model = dense_net(3, loss=compiled)
    metrics = clean_metrics(model, ROWS, LABELS, loss=loss)
    hits = model.predict(ROWS, verbose=0).argmax(axis=1) == LABELS
    assert metrics["loss"] == pytest.approx(cross_entropy(model, ROWS, LABELS), rel=FLOAT32)
    assert metrics["accuracy"] == hits.mean()


def test_labels_of_an_ignored_class_count_for_nothing(trained):
    labels = np.where(np.arange(len(LABELS)) % 3 == 0, -1, LABELS)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    metrics = clean_metrics(trained, IMAGES, labels, 33, loss=loss)
    seen = labels >= 0
    expected = cross_entropy(trained, IMAGES[seen], labels[seen])
    assert metrics["loss"] == pytest.approx(expected, rel=FLOAT32)
    hits = trained.predict(IMAGES[seen], verbose=0).argmax(axis=1) == labels[seen]
    assert metrics["accuracy"] == pytest.approx(hits.mean())


@pytest.mark.parametrize("reduction", thorough_after(1, ["sum_over_batch_size", "sum", "none"]))
def test_masked_time_steps_count_for_nothing(reduction):
    tokens = np.random.default_rng(2).integers(0, 5, size=(20, 6))
    targets = np.random.default_rng(3).integers(0, 3, size=(20, 6))
    weights = np.random.default_rng(4).random((20, 6))
    embedding = keras.layers.Embedding(5, 4, mask_zero=True)
    stack = [keras.Input((6,), dtype="int32"), embedding, keras.layers.Dense(3)]
    model = keras.Sequential(stack)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    model.compile("sgd", loss)
    logits, seen = model.predict(tokens, verbose=0), tokens != 0
    losses = -np.take_along_axis(log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    expected = (weights * losses)[seen].mean()
    options = {"batch_size": 7, "sample_weight": weights}
    metrics = clean_metrics(model, tokens, targets, **options)
    hits = (logits.argmax(axis=-1) == targets)[seen]
    assert metrics["loss"] == pytest.approx(expected, rel=FLOAT32)
    function = LossFunction(model, tokens, targets, **options)
    function.verify()
    assert function.value() == pytest.approx(expected, rel=FLOAT32)
    assert metrics["accuracy"] == pytest.approx(np.average(hits, weights=weights[seen]))
    model.compile("sgd", CROSS_ENTROPY)
    keras_own = {"batch_size": 20, "sample_weight": weights, "verbose": 0}
    assert model.evaluate(tokens, targets, **keras_own) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [dict, list])
def test_several_inputs(kind):
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    inputs = {"a": a, "b": b} if kind is dict else [a, b]
    model = keras.Model(inputs, keras.layers.Dense(1)(a + 2.0 * b))
    model.compile("sgd", "mse")
    x = {"a": ROWS, "b": -ROWS} if kind is dict else [ROWS, -ROWS]
    expected = np.mean(model.predict(x, verbose=0).astype(float) ** 2)
    curve = LossCurve((x, np.zeros(100)), batch_size=30)
    model.fit(x, np.zeros(100), verbose=0, callbacks=[curve])
    assert curve.history["clean_loss"][0] == pytest.approx(expected, rel=FLOAT32)


def test_a_model_is_traced_once_for_each_loss_whoever_asks():
    model = keras.Sequential([keras.Input((6,)), Counting(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(ROWS, LABELS, verbose=0)
    before = Counting.runs.call_count
    for size in (100, 50, 7):
        curve = LossCurve((ROWS[:size], LABELS[:size]), (ROWS[7:], LABELS[7:]), batch_size=30)
        model.fit(ROWS, LABELS, verbose=0, callbacks=[curve])
        model.set_weights([2 * w for w in model.get_weights()])
        for loss in ("mean_absolute_error", keras.losses.Huber(delta=2.0)):
            clean_metrics(model, ROWS, LABELS, loss=loss)
    # One trace a loss, and once for the model two evaluations by Keras itself to compare it with.
    assert Counting.runs.call_count - before == 3 + 2


class AlwaysRandom(keras.layers.Layer):
    """Draws in inference, too, as a sampling layer does."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(tf.shape(x), seed=self.seed_generator)


@pytest.mark.parametrize("eagerly", [False, True])
def test_nothing_is_touched_even_if_the_model_draws_and_updates_in_inference(eagerly):
    inputs = keras.Input((6,))
    hidden = keras.layers.BatchNormalization()(AlwaysRandom()(inputs), training=True)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=eagerly)
    model.fit(ROWS, LABELS, verbose=0)
    before = state(model), [m.result() for m in model.metrics]
    keras.utils.set_random_seed(5)
    undisturbed = draws()
    keras.utils.set_random_seed(5)
    clean_metrics(model, ROWS, LABELS)
    penalty(model)
    assert draws() == undisturbed
    assert same(before[0], state(model))
    assert before[1] == [m.result() for m in model.metrics]


def draws():
    """One number from every global source of chance."""
    normal = tf.random.normal([]), keras.random.normal([])
    return random.random(), np.random.random(), *map(float, normal)
