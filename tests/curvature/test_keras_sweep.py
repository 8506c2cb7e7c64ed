"""Keras' own layers, activations and losses, and whole models: lambda_max is right or refused.

The reference is the dense Hessian of a float64 copy of the model, by central differences of its
gradients from a plain tape: nothing of the package takes part in it. Run with `-m slow`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlip_reg.curvature import LossFunction, top_eigenvalue

pytestmark = pytest.mark.slow

layers, losses = keras.layers, keras.losses
N = 6
RNG = np.random.default_rng(0)
FLAT = RNG.normal(size=(N, 6))
SEQUENCE = RNG.normal(size=(N, 6, 3))
IMAGE = RNG.normal(size=(N, 6, 6, 2))
VOLUME = RNG.normal(size=(N, 4, 4, 4, 1))
TOKENS = RNG.integers(1, 7, size=(N, 5))


class ResponseNorm(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.written_out = self.dtype == "float64"  # which TensorFlow's kernel does not take

    def call(self, x):
        if self.written_out:
            squares = tf.pad(x**2, [[0, 0], [0, 0], [0, 0], [5, 5]])
            sums = sum(squares[..., i : i + x.shape[-1]] for i in range(11))
            return x / (1 + sums) ** 0.5
        return tf.nn.local_response_normalization(x)


class UpSampling(layers.UpSampling2D):
    """Doubles square images; TensorFlow's kernel rounds to float32 whatever it is given."""

    def __init__(self, **options):
        super().__init__(2, interpolation="bilinear", **options)
        self.written_out = self.dtype == "float64"

    def call(self, x):
        if not self.written_out:
            return super().call(x)
        size = x.shape[1]
        lines = tf.image.resize(tf.reshape(tf.eye(size), (size, size, 1, 1)), (2 * size, 1))
        matrix = tf.cast(tf.reshape(lines, (size, 2 * size)), tf.float64)
        return tf.einsum("nhwc,hy,wx->nyxc", x, matrix, matrix)


class SelfAttention(layers.Layer):
    """An attention layer called on its own input."""

    def __init__(self, attention, **options):
        super().__init__(**options)
        self.attention = attention

    def build(self, shape):
        if isinstance(self.attention, layers.MultiHeadAttention | layers.GroupQueryAttention):
            self.attention.build(shape, shape)
        else:
            self.attention.build([shape, shape])

    def call(self, x):
        if isinstance(self.attention, layers.MultiHeadAttention | layers.GroupQueryAttention):
            return self.attention(x, x)
        return self.attention([x, x])


def dense_before(*stack):
    """Layers without weights after one that has some."""
    return lambda dtype: [layers.Dense(4, dtype=dtype), *(make(dtype) for make in stack)]


def alone(make):
    return lambda dtype: [make(dtype)]


def conv_before(*stack):
    return lambda dtype: (
        [layers.Conv2D(2, 3, padding="same", dtype=dtype)] + [make(dtype) for make in stack]
    )


def of(layer, *args, **options):
    return lambda dtype: layer(*args, **options, dtype=dtype)


LAYERS = {
    "Dense": (FLAT, alone(of(layers.Dense, 4, "tanh"))),
    "EinsumDense": (SEQUENCE, alone(of(layers.EinsumDense, "abc,cd->abd", output_shape=(6, 4)))),
    "Embedding": (TOKENS, alone(of(layers.Embedding, 7, 3))),
    "Conv1D": (SEQUENCE, alone(of(layers.Conv1D, 3, 3, activation="tanh"))),
    "Conv1D causal": (SEQUENCE, alone(of(layers.Conv1D, 3, 3, padding="causal"))),
    "Conv2D": (IMAGE, alone(of(layers.Conv2D, 3, 3, activation="tanh"))),
    "Conv2D dilated": (IMAGE, alone(of(layers.Conv2D, 3, 2, dilation_rate=2))),
    "Conv2D grouped": (IMAGE, alone(of(layers.Conv2D, 4, 3, groups=2))),
    "Conv3D": (VOLUME, alone(of(layers.Conv3D, 2, 2, activation="tanh"))),
    "Conv1DTranspose": (SEQUENCE, alone(of(layers.Conv1DTranspose, 2, 3))),
    "Conv2DTranspose": (IMAGE, alone(of(layers.Conv2DTranspose, 2, 3, strides=2))),
    "Conv3DTranspose": (VOLUME, alone(of(layers.Conv3DTranspose, 2, 2))),
    "DepthwiseConv1D": (SEQUENCE, alone(of(layers.DepthwiseConv1D, 3))),
    "DepthwiseConv2D": (IMAGE, alone(of(layers.DepthwiseConv2D, 3, depth_multiplier=2))),
    "SeparableConv1D": (SEQUENCE, alone(of(layers.SeparableConv1D, 3, 3))),
    "SeparableConv2D": (IMAGE, alone(of(layers.SeparableConv2D, 3, 3))),
    "MaxPooling1D": (SEQUENCE, dense_before(of(layers.MaxPooling1D, 2))),
    "MaxPooling2D": (IMAGE, conv_before(of(layers.MaxPooling2D, 2))),
    "MaxPooling2D overlapping": (IMAGE, conv_before(of(layers.MaxPooling2D, 3, strides=1))),
    "AveragePooling2D": (IMAGE, conv_before(of(layers.AveragePooling2D, 2, padding="same"))),
    "GlobalMaxPooling2D": (IMAGE, conv_before(of(layers.GlobalMaxPooling2D))),
    "GlobalAveragePooling2D": (IMAGE, conv_before(of(layers.GlobalAveragePooling2D))),
    "UpSampling nearest": (IMAGE, conv_before(of(layers.UpSampling2D, 2))),
    "UpSampling bilinear": (IMAGE, conv_before(of(layers.UpSampling2D, interpolation="bilinear"))),
    "UpSampling bicubic": (IMAGE, conv_before(of(layers.UpSampling2D, interpolation="bicubic"))),
    "Resizing": (IMAGE, conv_before(of(layers.Resizing, 4, 4))),
    "ZeroPadding and Cropping": (
        IMAGE,
        conv_before(of(layers.ZeroPadding2D, 2), of(layers.Cropping2D, 1)),
    ),
    "LSTM": (SEQUENCE, alone(of(layers.LSTM, 3))),
    "LSTM unrolled": (SEQUENCE, alone(of(layers.LSTM, 3, unroll=True))),
    "GRU": (SEQUENCE, alone(of(layers.GRU, 3, return_sequences=True))),
    "GRU reset before": (SEQUENCE, alone(of(layers.GRU, 3, reset_after=False))),
    "SimpleRNN": (SEQUENCE, alone(of(layers.SimpleRNN, 4))),
    "Bidirectional": (
        SEQUENCE,
        lambda dtype: [layers.Bidirectional(layers.LSTM(2, dtype=dtype), dtype=dtype)],
    ),
    "ConvLSTM1D": (
        RNG.normal(size=(N, 3, 4, 2)),
        alone(of(layers.ConvLSTM1D, 2, 2)),
    ),
    "TimeDistributed": (
        SEQUENCE,
        lambda dtype: [layers.TimeDistributed(layers.Dense(4, "tanh", dtype=dtype), dtype=dtype)],
    ),
    "MultiHeadAttention": (
        SEQUENCE,
        lambda dtype: [SelfAttention(layers.MultiHeadAttention(2, 2, dtype=dtype), dtype=dtype)],
    ),
    "MultiHeadAttention without flash": (
        SEQUENCE,
        lambda dtype: [
            SelfAttention(
                layers.MultiHeadAttention(2, 2, flash_attention=False, dtype=dtype), dtype=dtype
            )
        ],
    ),
    "GroupQueryAttention": (
        SEQUENCE,
        lambda dtype: [
            SelfAttention(layers.GroupQueryAttention(2, 2, 1, dtype=dtype), dtype=dtype)
        ],
    ),
    "Attention": (
        SEQUENCE,
        dense_before(lambda dtype: SelfAttention(layers.Attention(dtype=dtype), dtype=dtype)),
    ),
    "AdditiveAttention": (
        SEQUENCE,
        dense_before(
            lambda dtype: SelfAttention(layers.AdditiveAttention(dtype=dtype), dtype=dtype)
        ),
    ),
    "BatchNormalization": (FLAT, dense_before(of(layers.BatchNormalization))),
    "LayerNormalization": (FLAT, dense_before(of(layers.LayerNormalization))),
    "RMSNormalization": (FLAT, dense_before(of(layers.RMSNormalization))),
    "GroupNormalization": (IMAGE, conv_before(of(layers.GroupNormalization, groups=2))),
    "UnitNormalization": (FLAT, dense_before(of(layers.UnitNormalization))),
    "SpectralNormalization": (
        FLAT,
        lambda dtype: [layers.SpectralNormalization(layers.Dense(4, dtype=dtype), dtype=dtype)],
    ),
    "local response normalization": (
        IMAGE,
        conv_before(lambda dtype: ResponseNorm(dtype=dtype)),
    ),
    "PReLU": (FLAT, dense_before(of(layers.PReLU))),
    "LeakyReLU": (FLAT, dense_before(of(layers.LeakyReLU))),
    "ReLU with its limits": (
        FLAT,
        dense_before(of(layers.ReLU, max_value=1.0, negative_slope=0.1, threshold=0.2)),
    ),
    "ELU": (FLAT, dense_before(of(layers.ELU))),
    "Softmax": (FLAT, dense_before(of(layers.Softmax))),
    "Dropout and noise": (
        FLAT,
        dense_before(of(layers.Dropout, 0.5), of(layers.GaussianNoise, 1.0)),
    ),
    "SpatialDropout2D": (IMAGE, conv_before(of(layers.SpatialDropout2D, 0.5))),
    "ActivityRegularization": (FLAT, dense_before(of(layers.ActivityRegularization, l2=0.1))),
    "Reshape, Permute, RepeatVector": (
        FLAT,
        dense_before(of(layers.RepeatVector, 3), of(layers.Permute, (2, 1)), of(layers.Flatten)),
    ),
    "Rescaling": (FLAT, dense_before(of(layers.Rescaling, 2.0, offset=1.0))),
    "Masking": (
        SEQUENCE * (np.arange(6) < 4)[:, None],
        lambda dtype: [layers.Masking(dtype=dtype), layers.LSTM(3, dtype=dtype)],
    ),
}

ACTIVATIONS = sorted(
    name
    for name in dir(keras.activations)
    if not name.startswith("_")
    # glu halves the last axis, which Dense does not expect, and threshold needs arguments.
    and name not in ("deserialize", "get", "serialize", "glu", "threshold")
)

CLASSES = RNG.integers(4, size=N)
ONE_HOT = np.eye(4)[CLASSES]
POSITIVE = RNG.uniform(0.1, 1, size=(N, 4))
SIGNS = np.sign(RNG.normal(size=(N, 4)))
# By the name: the loss, the targets, the last activation.
LOSSES = {
    "MeanSquaredError": (losses.MeanSquaredError(), POSITIVE, None),
    "MeanAbsoluteError": (losses.MeanAbsoluteError(), POSITIVE, "tanh"),
    "MeanAbsolutePercentageError": (losses.MeanAbsolutePercentageError(), POSITIVE, "tanh"),
    "MeanSquaredLogarithmicError": (losses.MeanSquaredLogarithmicError(), POSITIVE, "softplus"),
    "CosineSimilarity": (losses.CosineSimilarity(), POSITIVE, None),
    "Huber": (losses.Huber(), POSITIVE, None),
    "LogCosh": (losses.LogCosh(), POSITIVE, None),
    "KLDivergence": (losses.KLDivergence(), POSITIVE, "softmax"),
    "Poisson": (losses.Poisson(), POSITIVE, "softplus"),
    "Hinge": (losses.Hinge(), SIGNS, "tanh"),
    "SquaredHinge": (losses.SquaredHinge(), SIGNS, "tanh"),
    "CategoricalHinge": (losses.CategoricalHinge(), ONE_HOT, "tanh"),
    "Dice": (losses.Dice(), ONE_HOT, "sigmoid"),
    "Tversky": (losses.Tversky(), ONE_HOT, "sigmoid"),
    "CategoricalGeneralizedCrossEntropy": (
        losses.CategoricalGeneralizedCrossEntropy(),
        CLASSES,
        "softmax",
    ),
    "Circle": (losses.Circle(), CLASSES, lambda x: x / tf.norm(x, axis=-1, keepdims=True)),
}
for logits in (False, True):
    suffix = " of logits" if logits else ""
    softmax, sigmoid = (None, None) if logits else ("softmax", "sigmoid")
    options = {"from_logits": logits}
    LOSSES |= {
        f"CategoricalCrossentropy{suffix}": (
            losses.CategoricalCrossentropy(**options), ONE_HOT, softmax),
        f"smoothed CategoricalCrossentropy{suffix}": (
            losses.CategoricalCrossentropy(label_smoothing=0.1, **options), ONE_HOT, softmax),
        f"SparseCategoricalCrossentropy{suffix}": (
            losses.SparseCategoricalCrossentropy(**options), CLASSES, softmax),
        f"CategoricalFocalCrossentropy{suffix}": (
            losses.CategoricalFocalCrossentropy(**options), ONE_HOT, softmax),
        f"BinaryCrossentropy{suffix}": (losses.BinaryCrossentropy(**options), ONE_HOT, sigmoid),
        f"smoothed BinaryCrossentropy{suffix}": (
            losses.BinaryCrossentropy(label_smoothing=0.1, **options), ONE_HOT, sigmoid),
        f"BinaryFocalCrossentropy{suffix}": (
            losses.BinaryFocalCrossentropy(**options), ONE_HOT, sigmoid),
        f"balanced BinaryFocalCrossentropy{suffix}": (
            losses.BinaryFocalCrossentropy(apply_class_balancing=True, **options),
            ONE_HOT, sigmoid),
    }  # fmt: skip


def stacked(make_layers, x, head=2):
    def make(dtype):
        kind = "int32" if x.dtype.kind == "i" else dtype
        stack = [*make_layers(dtype), layers.Flatten(dtype=dtype)]
        if head:
            stack.append(layers.Dense(head, dtype=dtype))
        return keras.Sequential([keras.Input(x.shape[1:], dtype=kind), *stack])

    return make


def inputs_of(x, dtype):
    kind = "int32" if x.dtype.kind == "i" else dtype
    return keras.Input(x.shape[1:], dtype=kind)


def residual(dtype):
    inputs = inputs_of(IMAGE, dtype)
    y = layers.Conv2D(2, 3, padding="same", dtype=dtype)(inputs)
    y = layers.Activation("relu", dtype=dtype)(layers.BatchNormalization(dtype=dtype)(y))
    y = layers.Add(dtype=dtype)([inputs, layers.Conv2D(2, 3, padding="same", dtype=dtype)(y)])
    y = layers.GlobalAveragePooling2D(dtype=dtype)(y)
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(y))


def unet(dtype):
    inputs = inputs_of(IMAGE, dtype)
    high = layers.Conv2D(2, 3, padding="same", activation="tanh", dtype=dtype)(inputs)
    low = layers.MaxPooling2D(2, dtype=dtype)(high)
    low = layers.Conv2D(2, 3, padding="same", activation="tanh", dtype=dtype)(low)
    low = UpSampling(dtype=dtype)(low)
    both = layers.Concatenate(dtype=dtype)([low, high])
    out = layers.Conv2D(1, 1, dtype=dtype)(both)
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(layers.Flatten(dtype=dtype)(out)))


def transformer(dtype):
    inputs = inputs_of(SEQUENCE, dtype)
    y = layers.LayerNormalization(dtype=dtype)(inputs)
    y = layers.MultiHeadAttention(1, 2, dtype=dtype)(y, y)
    y = layers.Add(dtype=dtype)([inputs, y])
    z = layers.Dense(4, "gelu", dtype=dtype)(layers.LayerNormalization(dtype=dtype)(y))
    y = layers.Add(dtype=dtype)([y, layers.Dense(3, dtype=dtype)(z)])
    y = layers.GlobalAveragePooling1D(dtype=dtype)(y)
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(y))


def shared(dtype):
    inputs = inputs_of(FLAT, dtype)
    tower = layers.Dense(6, "tanh", dtype=dtype)
    y = layers.Multiply(dtype=dtype)([tower(inputs), tower(tower(inputs))])
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(y))


def nested(dtype):
    inner = keras.Sequential([inputs_of(FLAT, dtype), layers.Dense(4, "tanh", dtype=dtype)])
    outer = keras.Sequential([inputs_of(FLAT, dtype), inner, layers.Dense(3, dtype=dtype)])
    return keras.Sequential([inputs_of(FLAT, dtype), outer, layers.Dense(2, dtype=dtype)])


def frozen(dtype):
    base = layers.Dense(4, "tanh", dtype=dtype)
    norm = layers.BatchNormalization(dtype=dtype)
    base.trainable = norm.trainable = False
    stack = [inputs_of(FLAT, dtype), base, norm, layers.Dense(3, "tanh", dtype=dtype)]
    return keras.Sequential([*stack, layers.Dense(2, dtype=dtype)])


class Subclassed(keras.Model):
    def __init__(self, dtype):
        super().__init__(dtype=dtype)
        self.first = layers.Dense(4, "silu", dtype=dtype)
        self.gate = layers.Dense(4, "sigmoid", dtype=dtype)
        self.last = layers.Dense(2, dtype=dtype)

    def call(self, x):
        return self.last(self.first(x) * self.gate(x))


def subclassed(dtype):
    model = Subclassed(dtype)
    model(FLAT.astype(dtype))
    return model


class GraphCall(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4, "tanh", dtype=options["dtype"])

    def build(self, shape):
        self.dense.build(shape)

    @tf.function
    def call(self, x):
        return self.dense(x)


def graph_call(dtype):
    stack = GraphCall(dtype=dtype), layers.Dense(2, dtype=dtype)
    return keras.Sequential([inputs_of(FLAT, dtype), *stack])


def autoencoder(dtype):
    stack = [
        layers.LSTM(2, dtype=dtype),
        layers.RepeatVector(3, dtype=dtype),
        layers.GRU(2, return_sequences=True, dtype=dtype),
        layers.Flatten(dtype=dtype),
        layers.Dense(2, dtype=dtype),
    ]
    return keras.Sequential([inputs_of(SEQUENCE, dtype), *stack])


def tied(dtype):
    class Tied(keras.Model):
        def __init__(self):
            super().__init__(dtype=dtype)
            self.dense = layers.Dense(3, "tanh", dtype=dtype)
            self.dense.build((None, 6))

        def call(self, x):
            kernel = keras.ops.transpose(self.dense.kernel)
            return keras.ops.matmul(self.dense(x), kernel)[:, :2]

    model = Tied()
    model(FLAT.astype(dtype))
    return model


def inception(dtype):
    inputs = inputs_of(IMAGE, dtype)
    parts = [
        layers.Conv2D(1, 1, activation="relu", dtype=dtype)(inputs),
        layers.Conv2D(1, 3, padding="same", activation="relu", dtype=dtype)(inputs),
        layers.AveragePooling2D(3, 1, padding="same", dtype=dtype)(inputs),
    ]
    y = layers.GlobalMaxPooling2D(dtype=dtype)(layers.Concatenate(dtype=dtype)(parts))
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(y))


def mobile(dtype):
    inputs = inputs_of(IMAGE, dtype)
    y = layers.Conv2D(4, 1, use_bias=False, dtype=dtype)(inputs)
    y = layers.ReLU(6.0, dtype=dtype)(layers.BatchNormalization(dtype=dtype)(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, dtype=dtype)(y)
    y = layers.ReLU(6.0, dtype=dtype)(layers.BatchNormalization(dtype=dtype)(y))
    y = layers.Add(dtype=dtype)([inputs, layers.Conv2D(2, 1, dtype=dtype)(y)])
    y = layers.GlobalAveragePooling2D(dtype=dtype)(y)
    return keras.Model(inputs, layers.Dense(2, dtype=dtype)(y))


MODELS = {
    make.__name__: (make, x)
    for make, x in [
        (residual, IMAGE), (unet, IMAGE), (inception, IMAGE), (mobile, IMAGE),
        (transformer, SEQUENCE), (autoencoder, SEQUENCE), (shared, FLAT), (nested, FLAT),
        (frozen, FLAT), (subclassed, FLAT), (graph_call, FLAT), (tied, FLAT),
    ]
}  # fmt: skip


def randomised(model):
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "seed" not in variable.path:
            spread = rng.normal(0, 0.4, size=variable.shape)
            positive = variable.name in ("gamma", "moving_variance")
            variable.assign(np.exp(spread) if positive else spread)
    return model


def dense_top(model, x, y, loss):
    """The largest eigenvalue of the Hessian of a float64 model, and of how large a matrix."""
    variables = [variable.value for variable in model.trainable_variables]
    sizes = [int(np.prod(v.shape)) for v in variables]
    start = [v.numpy() for v in variables]

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=False))
        parts = tape.gradient(value, variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(tf.convert_to_tensor(p), [-1]) for p in parts], 0)

    def at(index, place, step):
        moved = start[index].copy()
        moved.ravel()[place] += step
        variables[index].assign(moved)
        found = gradient().numpy()
        variables[index].assign(start[index])
        return found

    step = 1e-5
    rows = [
        (at(i, place, step) - at(i, place, -step)) / (2 * step)
        for i, size in enumerate(sizes)
        for place in range(size)
    ]
    hessian = np.array(rows)
    eigenvalues = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    return eigenvalues[-1], np.abs(eigenvalues).max()


def assert_right(make, x, y, loss):
    exact_model = randomised(make("float64"))
    exact_loss = type(loss).from_config(loss.get_config() | {"dtype": "float64"})
    kind = "float64" if x.dtype.kind == "f" else x.dtype
    exact, scale = dense_top(exact_model, x.astype(kind), y, exact_loss)
    model = make("float32")
    for variable, value in zip(model.weights, exact_model.weights, strict=True):
        variable.assign(value.numpy())
    model.compile("sgd", loss)
    x = x.astype("float32") if x.dtype.kind == "f" else x
    function = LossFunction(model, x, y)
    function.verify("hessian_product")
    top = top_eigenvalue(function.hessian_product, function.size, tol=1e-4)
    # Second derivatives of a sum of much larger ones are those within float32's rounding.
    assert top.value == pytest.approx(exact, rel=1e-3, abs=1e-5 * scale + 1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    x, make = LAYERS[name]
    assert_right(stacked(make, x), x, RNG.normal(size=(N, 2)), losses.MeanSquaredError())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    def make(dtype):
        return [layers.Dense(4, name, dtype=dtype)]

    assert_right(stacked(make, FLAT), FLAT, RNG.normal(size=(N, 2)), losses.MeanSquaredError())


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, targets, activation = LOSSES[name]

    def make(dtype):
        hidden = layers.Dense(4, "tanh", dtype=dtype)
        return [hidden, layers.Dense(4, activation, dtype=dtype)]

    assert_right(stacked(make, FLAT, head=0), FLAT, targets, loss)


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    make, x = MODELS[name]
    assert_right(make, x, RNG.normal(size=(N, 2)), losses.MeanSquaredError())
