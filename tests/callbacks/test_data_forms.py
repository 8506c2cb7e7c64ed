"""Recorders take data in every form that `fit` takes it, several outputs, and all weights."""

import tracemalloc

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from callback_models import TRAIN, conv_net, driven, fit, log_softmax, top_of
from further_cases import thorough_after

from callbacks import (
    ActivationPercentiles,
    GradientFlow,
    GradientNoise,
    Landscape,
    LossCurve,
    LossLevels,
    Sharpness,
    Sparsity,
)
from dlip_reg.curvature import LossFunction

layers = keras.layers
X, Y = TRAIN
RNG = np.random.default_rng(2)
WEIGHTS = RNG.random(len(Y)).astype("float32")
OF_A_SPLIT = {
    "LossCurve": LossCurve,
    "GradientFlow": GradientFlow,
    "Landscape": Landscape,
    "GradientNoise": lambda data, **options: GradientNoise(data, batch_size=10, **options),
    "Sharpness": lambda data, **options: Sharpness(data, subset=30, **options),
    "LossLevels": lambda data, **options: LossLevels(data, (0.01,), **options),
}
OF_A_PROBE = {"Sparsity": Sparsity, "ActivationPercentiles": ActivationPercentiles}
EVERY = pytest.mark.parametrize("name", [*OF_A_SPLIT, *OF_A_PROBE])


def make(name, data, **options):
    return (OF_A_SPLIT | OF_A_PROBE)[name](data, **options)


class Batches(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return -(-len(X) // 16)

    def __getitem__(self, index):
        return tuple(array[16 * index : 16 * index + 16] for array in self.arrays)


def forms(*arrays):
    def generator():
        batches = Batches(arrays)
        yield from (batches[index] for index in range(len(batches)))
        raise AssertionError("read on")

    return {
        "dataset": (tf.data.Dataset.from_tensor_slices(arrays).batch(16), {}),
        "PyDataset": (Batches(arrays), {}),
        "generator": (generator(), {"data_batches": 5}),
    }


def first_row(recorder):
    driven(conv_net(), recorder)
    return {k: v for k, v in recorder.rows[0].items() if not k.endswith("seconds")}


@EVERY
def test_all_forms_of_data_are_measured_alike(name):
    arrays = X if name in OF_A_PROBE else (X, Y, WEIGHTS)
    expected = first_row(make(name, arrays))
    for given, options in forms(X, Y, WEIGHTS).values():
        np.testing.assert_equal(first_row(make(name, given, **options)), expected)


@EVERY
def test_what_cannot_be_taken_is_said_in_one_sentence(name):
    dense = X.reshape(len(X), -1)
    tokens = tf.data.Dataset.from_generator(
        lambda: ((np.ones(length), 0) for length in (3, 4, 6, 2)),
        output_signature=(tf.TensorSpec((None,)), tf.TensorSpec((), tf.int32)),
    )
    slices = tf.data.Dataset.from_tensor_slices
    redrawn = tf.data.Dataset.sample_from_datasets(
        [slices((X, Y)), slices((X, Y))], seed=0, rerandomize_each_iteration=True
    )
    in_arrays = (
        *(scipy.sparse.csr_matrix(dense), tf.ragged.constant([[1.0], [2.0, 3.0]])),
        X.astype(object),
    )
    cases = [
        *((a if name in OF_A_PROBE else (a, Y[: a.shape[0]]), "must be arrays") for a in in_arrays),
        (slices((X, Y)).shuffle(9).batch(16), r"as it is before shuffle\(\)"),
        (redrawn.batch(16), "rerandomize_each_iteration=False"),
        (slices((X, Y)).batch(16).repeat(), "never ends: give data_batches="),
        (iter([(X, Y)]), "data_batches"),
        (tokens.padded_batch(2), "different shapes, .* pad all of them"),
        (slices((tf.sparse.from_dense(dense), Y)).batch(8), r"use batch\(\), and to_tensor\(\)"),
        (slices((X[0, 0, 0], Y[:1])), r"use batch\(\), and to_tensor\(\)"),
    ]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            make(name, wrong)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.thorough
def test_reading_a_dataset_leaves_the_order_of_training_alone():
    def end(recorders):
        keras.utils.set_random_seed(4)
        data = tf.data.Dataset.from_tensor_slices((X, Y)).map(
            lambda x, y: (x + tf.random.normal(x.shape), y)
        )
        model = conv_net()
        callbacks = recorders(data.batch(16))
        model.fit(data.shuffle(70).batch(16), epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights()

    conv_net()  # the first model in a process changes what TensorFlow draws next
    with_recorders = end(lambda data: [Sharpness(data), LossCurve(data)])
    assert all(map(np.array_equal, with_recorders, end(lambda data: [])))


class Drawing(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.generators = np.random.default_rng(0), np.random.RandomState(0)
        self.batches_read = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.batches_read += 1
        drawn = [generator.normal() for generator in self.generators]
        return (X[:4] * (np.prod(drawn) + self.batches_read)).astype("float32"), Y[:4]


def from_generator():
    data = Drawing()
    signature = tuple(tf.TensorSpec((4, *of.shape[1:]), of.dtype) for of in (data[0][0], Y))
    return tf.data.Dataset.from_generator(
        lambda: map(data.__getitem__, range(2)), output_signature=signature
    )


def mapped():
    data, generator = Drawing(), tf.random.Generator.from_seed(0)

    def drawn(x, y):
        ours = tf.numpy_function(lambda: data[0][0], [], tf.float32)
        return ours + generator.normal(()), y

    return tf.data.Dataset.from_tensors((X[:4], Y[:4])).map(drawn)


def of_a_forgotten_variable():
    held = [tf.Variable(2.0)]
    dataset = tf.data.Dataset.from_tensors((X[:4], Y[:4])).map(lambda x, y: (x * held[0], y))
    held.clear()
    return dataset


@pytest.mark.parametrize("form", [Drawing, from_generator, mapped, of_a_forgotten_variable])
def test_data_that_draw_with_generators_of_their_own_are_read_by_training_as_ever(form):
    def first(data):
        return np.asarray(data[0][0] if form is Drawing else next(iter(data))[0])

    expected, data = first(form()), form()
    LossCurve(data)
    np.testing.assert_array_equal(first(data), expected)


def test_an_iterator_of_a_class_keeps_count_of_what_was_read():
    class Batches:
        def __init__(self):
            self.source, self.batches_read = iter(np.split(np.arange(16.0), 4)), 0

        def __iter__(self):
            return self

        def __next__(self):
            self.batches_read += 1
            return next(self.source), Y[:4]

    batches = Batches()
    LossCurve(batches, data_batches=3)
    assert batches.batches_read == 3


def test_pictures_in_a_list_are_not_copied_when_a_generator_of_them_is_read():
    pictures = [np.ones((64, 64), "float32") for _ in range(2000)]  # 33 MB
    dataset = tf.data.Dataset.from_generator(
        lambda: ((picture, 0) for picture in pictures[:4]),
        output_signature=(tf.TensorSpec((64, 64)), tf.TensorSpec((), tf.int32)),
    )
    tracemalloc.start()
    try:
        LossCurve(dataset.batch(4))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e7


def test_reading_a_generator_draws_no_random_numbers_of_training():
    def batches():
        while True:
            yield X[:4] + np.random.normal(size=X[:4].shape), Y[:4]

    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    LossCurve(batches(), data_batches=3)
    assert np.random.random() == expected


LATER = np.where(np.arange(len(Y)) == 60, -1, Y)  # behind the examples that are checked first


@pytest.mark.parametrize(
    ("loss", "labels", "fitted", "message"),
    [
        ("categorical_crossentropy", Y, np.eye(3)[Y], "cannot be measured"),
        ("sparse_categorical_crossentropy", Y + 5, Y, "class [567], but the model has 3 classes"),
        ("sparse_categorical_crossentropy", LATER, Y, "class -1, but the model has 3 classes"),
    ],
    ids=["another loss", "more classes", "more classes, later"],
)
def test_labels_of_another_kind_are_refused_in_one_sentence(loss, labels, fitted, message):
    for recorder in (Sharpness, GradientFlow, LossCurve):
        model = conv_net(loss=loss)
        with pytest.raises(ValueError, match=message) as error:
            model.fit(X, fitted, verbose=0, callbacks=[recorder((X, labels))])
        assert len(str(error.value).splitlines()) == 1 and "{{" not in str(error.value)


def test_sample_and_class_weights_are_those_of_evaluate():
    model, factors = conv_net(), {0: 3.0, 2: 0.5}
    curve = LossCurve((X, Y, WEIGHTS), class_weight=factors)
    flow = GradientFlow((X, Y, WEIGHTS), class_weight=factors)
    together = WEIGHTS * np.array([3.0, 1.0, 0.5])[Y]
    # Keras' own also has the penalty.
    expected = model.evaluate(X, Y, sample_weight=together, verbose=0)[0]
    fit(model, [curve, flow], epochs=1)
    row = curve.rows[0]
    assert row["clean_loss"] + row["penalty"] == pytest.approx(expected, rel=1e-5)
    one_hot, loss = np.eye(3)[Y], keras.losses.CategoricalCrossentropy(from_logits=True)
    options = {"loss": loss, "sample_weight": WEIGHTS, "class_weight": factors}
    value = LossFunction(conv_net(), X, one_hot, **options).value()
    assert value == pytest.approx(row["clean_loss"], rel=1e-5)
    plain = first_row(GradientFlow((X, Y)))
    assert flow.rows[0]["gradient_norm"] != pytest.approx(plain["gradient_norm"], rel=1e-2)
    function = LossFunction(conv_net(), X, Y, sample_weight=together, batch_norm="batch")
    norm = np.linalg.norm(function.gradient()[1])
    assert flow.rows[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


# --- Several outputs ----------------------------------------------------------------------------

FLAT = X.reshape(len(X), -1)
TARGETS = RNG.normal(size=(len(X), 4)).astype("float32")


LOSS_WEIGHTS = {"labels": 0.3, "copy": 2.0}


def two_headed(as_dict):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, "tanh", name="hidden")(inputs)
    heads = {"labels": layers.Dense(3, name="labels"), "copy": layers.Dense(4, name="copy")}
    outputs = {name: head(hidden) for name, head in heads.items()}
    model = keras.Model(inputs, outputs if as_dict else list(outputs.values()))
    losses = {"labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "copy": "mse"}
    parts = [part if as_dict else list(part.values()) for part in (losses, LOSS_WEIGHTS)]
    model.compile("sgd", parts[0], loss_weights=parts[1])
    return model


@pytest.mark.parametrize("as_dict", thorough_after(1, [True, False]))
def test_several_outputs_are_summed_with_their_loss_weights(as_dict):
    model, x = two_headed(as_dict), FLAT[:, :5]
    y = {"labels": Y, "copy": TARGETS} if as_dict else [Y, TARGETS]
    curve, sharpness = LossCurve((x, y), batch_size=9), Sharpness((x, y), subset=None, tol=1e-4)
    names = "hidden", "labels", "copy"
    weights = [array.astype(float) for n in names for array in model.get_layer(n).get_weights()]

    def loss(kernel, bias, head, head_bias, copy, copy_bias):
        hidden = np.tanh(x @ kernel + bias)
        entropies = -log_softmax(hidden @ head + head_bias)[np.arange(len(Y)), Y]
        errors = (hidden @ copy + copy_bias - TARGETS) ** 2
        return LOSS_WEIGHTS["labels"] * entropies.mean() + LOSS_WEIGHTS["copy"] * errors.mean()

    model.fit(x, y, verbose=0, callbacks=[curve, sharpness])
    assert curve.rows[0]["clean_loss"] == pytest.approx(loss(*weights), rel=1e-5)
    assert sharpness.rows[0]["lambda_max"] == pytest.approx(top_of(loss, weights), rel=1e-3)


def test_outputs_with_several_losses_for_each_example_are_means():
    inputs = keras.Input((5,))
    steps = layers.Reshape((4, 1))(layers.Dense(4)(inputs))
    model = keras.Model(inputs, [layers.Dense(3)(inputs), steps])
    model.compile("sgd", [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"])
    x, y = FLAT[:, :5], [Y, TARGETS[..., None]]
    expected = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert LossFunction(model, x, y, batch_size=9).value() == pytest.approx(expected, rel=1e-5)


def test_outputs_within_outputs_are_refused():
    inputs = keras.Input((5,))
    pair = [layers.Dense(4)(inputs), layers.Dense(4)(inputs)]
    model = keras.Model(inputs, {"pair": pair, "copy": layers.Dense(4)(inputs)})
    model.compile("sgd", "mse")
    data = FLAT[:, :5], {"pair": [TARGETS, TARGETS], "copy": TARGETS}
    with pytest.raises(ValueError, match="not one with dicts or lists in it"):
        model.fit(*data, verbose=0, callbacks=[LossCurve(data)])


def test_one_output_of_a_subclassed_model_may_have_the_only_loss():
    class Heads(keras.Model):
        def __init__(self):
            super().__init__()
            self.labels, self.copy = layers.Dense(3), layers.Dense(4)

        def call(self, x):
            return {"labels": self.labels(x), "copy": self.copy(x)}

    for given in (None, {"copy": "mse"}):
        keras.utils.set_random_seed(1)
        model = Heads()
        model(FLAT)
        losses = {"labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        model.compile("sgd", losses if given else {"copy": "mse"})
        y = {"labels": Y, "copy": TARGETS} if given else {"copy": TARGETS}
        curve, sharpness = LossCurve((FLAT, y), loss=given), Sharpness((FLAT, y), loss=given)
        weights = [array.astype(float) for array in model.copy.get_weights()]
        # Keras would take the form of the recorders' targets for that of the fit's.
        targets = {"labels": Y, "copy": TARGETS}
        model.fit(FLAT, targets, verbose=0, callbacks=[curve, sharpness])
        loss = np.mean((FLAT @ weights[0] + weights[1] - TARGETS) ** 2)
        assert curve.rows[0]["clean_loss"] == pytest.approx(loss, rel=1e-5)
        rows = np.column_stack([FLAT, np.ones(len(FLAT))]).astype(float)
        top = np.linalg.eigvalsh(rows.T @ rows)[-1] * 2 / (len(FLAT) * 4)
        assert sharpness.rows[0]["lambda_max"] == pytest.approx(top, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum"])
def test_losses_of_several_outputs_that_are_no_means_over_examples_are_refused(reduction):
    # They would depend on the chunks: each output's sum of weights is one of its own.
    model = two_headed(False)
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    x, y = FLAT[:, :5], [TARGETS[:, :3], TARGETS]
    for recorder in (LossCurve, GradientFlow):
        with pytest.raises(ValueError, match='use "sum_over_batch_size"'):
            fit(model, [recorder((x, y, WEIGHTS), loss=[loss, "mse"])])


@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum"])
def test_several_outputs_of_as_many_losses_are_means_whatever_the_reduction(reduction):
    model = two_headed(False)
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    x, y = FLAT[:, :5], [TARGETS[:, :3], TARGETS]
    unweighted = LossFunction(model, x, y, loss=[loss, loss], batch_size=9)
    unweighted.verify()
    mean = LossFunction(model, x, y, loss="mse").value()
    assert unweighted.value() == pytest.approx(mean, rel=1e-6)
