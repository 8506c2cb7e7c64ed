"""Keras' own layers, activations and losses, and whole models: lambda_max is right or refused.

The reference is the dense Hessian of a float64 copy of the model, by central differences of its
gradients from a plain tape: the package takes no part in it. Run with `-m slow`.
"""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_models import randomised

from dlip_reg.curvature import LossFunction, top_eigenvalue

pytestmark = pytest.mark.slow

layers, losses = keras.layers, keras.losses
N = 6
RNG = np.random.default_rng(0)
FLAT = RNG.normal(size=(N, 6))
SEQUENCE = RNG.normal(size=(N, 6, 3))
IMAGE = RNG.normal(size=(N, 6, 6, 2))


@contextmanager
def precision(dtype):
    """While open, layers and inputs are made in `dtype`."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


class ResponseNorm(layers.Layer):
    def __init__(self):
        super().__init__()
        self.written_out = self.dtype == "float64"  # which TensorFlow's kernel does not take

    def call(self, x):
        if self.written_out:
            squares = tf.pad(x**2, [[0, 0], [0, 0], [0, 0], [5, 5]])
            sums = sum(squares[..., i : i + x.shape[-1]] for i in range(11))
            return x / (1 + sums) ** 0.5
        return tf.nn.local_response_normalization(x)


class UpSampling(layers.UpSampling2D):
    """Doubles square images; TensorFlow's kernel rounds to float32 whatever it is given."""

    def __init__(self):
        super().__init__(2, interpolation="bilinear")
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

    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        self.has_weights = isinstance(
            attention, layers.MultiHeadAttention | layers.GroupQueryAttention
        )

    def build(self, shape):
        if self.has_weights:
            self.attention.build(shape, shape)
        else:
            self.attention.build([shape, shape])

    def call(self, x):
        return self.attention(x, x) if self.has_weights else self.attention([x, x])


def dense():
    return layers.Dense(4)


def conv():
    return layers.Conv2D(2, 3, padding="same")


INPUTS = {
    "flat": FLAT,
    "sequence": SEQUENCE,
    "masked": SEQUENCE * (np.arange(6) < 4)[:, None],
    "image": IMAGE,
    "volume": RNG.normal(size=(N, 4, 4, 4, 1)),
    "frames": RNG.normal(size=(N, 3, 4, 2)),
    "tokens": RNG.integers(1, 7, size=(N, 5)),
}
# By the inputs, layers in Python. Those without weights stand behind a layer that has some.
LAYERS = {
    "flat": [
        'Dense(4, "tanh")',
        "dense(), BatchNormalization()",
        "dense(), LayerNormalization()",
        "dense(), RMSNormalization()",
        "dense(), UnitNormalization()",
        "SpectralNormalization(dense())",
        "dense(), PReLU()",
        "dense(), LeakyReLU()",
        "dense(), ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2)",
        "dense(), ELU()",
        "dense(), Softmax()",
        "dense(), Dropout(0.5), GaussianNoise(1.0)",
        "dense(), ActivityRegularization(l2=0.1)",
        "dense(), RepeatVector(3), Permute((2, 1)), Flatten()",
        "dense(), Rescaling(2.0, offset=1.0)",
    ],
    "sequence": [
        'EinsumDense("abc,cd->abd", output_shape=(6, 4))',
        'Conv1D(3, 3, activation="tanh")',
        'Conv1D(3, 3, padding="causal")',
        "Conv1DTranspose(2, 3)",
        "DepthwiseConv1D(3)",
        "SeparableConv1D(3, 3)",
        "dense(), MaxPooling1D(2)",
        "LSTM(3)",
        "LSTM(3, unroll=True)",
        "GRU(3, return_sequences=True)",
        "GRU(3, reset_after=False)",
        "SimpleRNN(4)",
        "Bidirectional(LSTM(2))",
        'TimeDistributed(Dense(4, "tanh"))',
        "SelfAttention(MultiHeadAttention(2, 2))",
        "SelfAttention(MultiHeadAttention(2, 2, flash_attention=False))",
        "SelfAttention(GroupQueryAttention(2, 2, 1))",
        "dense(), SelfAttention(Attention())",
        "dense(), SelfAttention(AdditiveAttention())",
    ],
    "image": [
        'Conv2D(3, 3, activation="tanh")',
        "Conv2D(3, 2, dilation_rate=2)",
        "Conv2D(4, 3, groups=2)",
        "Conv2DTranspose(2, 3, strides=2)",
        "DepthwiseConv2D(3, depth_multiplier=2)",
        "SeparableConv2D(3, 3)",
        "conv(), MaxPooling2D(2)",
        "conv(), MaxPooling2D(3, strides=1)",
        'conv(), AveragePooling2D(2, padding="same")',
        "conv(), GlobalMaxPooling2D()",
        "conv(), GlobalAveragePooling2D()",
        "conv(), UpSampling2D(2)",
        'conv(), UpSampling2D(interpolation="bilinear")',
        'conv(), UpSampling2D(interpolation="bicubic")',
        "conv(), Resizing(4, 4)",
        "conv(), ZeroPadding2D(2), Cropping2D(1)",
        "conv(), GroupNormalization(groups=2)",
        "conv(), ResponseNorm()",
        "conv(), SpatialDropout2D(0.5)",
    ],
    "masked": ["Masking(), LSTM(3)"],
    "volume": ['Conv3D(2, 2, activation="tanh")', "Conv3DTranspose(2, 2)"],
    "frames": ["ConvLSTM1D(2, 2)"],
    "tokens": ["Embedding(7, 3)"],
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


def unit(x):
    return x / tf.norm(x, axis=-1, keepdims=True)


# The loss in Python, the targets and the last activation.
LOSSES = [
    ("MeanSquaredError()", POSITIVE, None),
    ("MeanAbsoluteError()", POSITIVE, "tanh"),
    ("MeanAbsolutePercentageError()", POSITIVE, "tanh"),
    ("MeanSquaredLogarithmicError()", POSITIVE, "softplus"),
    ("CosineSimilarity()", POSITIVE, None),
    ("Huber()", POSITIVE, None),
    ("LogCosh()", POSITIVE, None),
    ("KLDivergence()", POSITIVE, "softmax"),
    ("Poisson()", POSITIVE, "softplus"),
    ("Hinge()", SIGNS, "tanh"),
    ("SquaredHinge()", SIGNS, "tanh"),
    ("CategoricalHinge()", ONE_HOT, "tanh"),
    ("Dice()", ONE_HOT, "sigmoid"),
    ("Tversky()", ONE_HOT, "sigmoid"),
    ("CategoricalGeneralizedCrossEntropy()", CLASSES, "softmax"),
    ("Circle()", CLASSES, unit),
]
for logits in (False, True):
    softmax, sigmoid = (None, None) if logits else ("softmax", "sigmoid")
    LOSSES += [
        (f"CategoricalCrossentropy({logits})", ONE_HOT, softmax),
        (f"CategoricalCrossentropy({logits}, label_smoothing=0.1)", ONE_HOT, softmax),
        (f"SparseCategoricalCrossentropy({logits})", CLASSES, softmax),
        (f"CategoricalFocalCrossentropy(from_logits={logits})", ONE_HOT, softmax),
        (f"BinaryCrossentropy({logits})", ONE_HOT, sigmoid),
        (f"BinaryCrossentropy({logits}, label_smoothing=0.1)", ONE_HOT, sigmoid),
        (f"BinaryFocalCrossentropy(from_logits={logits})", ONE_HOT, sigmoid),
        (f"BinaryFocalCrossentropy(True, from_logits={logits})", ONE_HOT, sigmoid),
    ]


def inputs_of(x):
    return keras.Input(x.shape[1:], dtype="int32" if x.dtype.kind == "i" else None)


def stacked(make_layers, x, head=2):
    def make():
        stack = [*make_layers(), layers.Flatten(), *([layers.Dense(head)] if head else [])]
        return keras.Sequential([inputs_of(x), *stack])

    return make


def residual():
    inputs = inputs_of(IMAGE)
    y = layers.Activation("relu")(layers.BatchNormalization()(conv()(inputs)))
    y = layers.GlobalAveragePooling2D()(layers.Add()([inputs, conv()(y)]))
    return keras.Model(inputs, layers.Dense(2)(y))


def unet():
    inputs = inputs_of(IMAGE)
    high = layers.Conv2D(2, 3, padding="same", activation="tanh")(inputs)
    low = layers.MaxPooling2D(2)(high)
    low = UpSampling()(layers.Conv2D(2, 3, padding="same", activation="tanh")(low))
    out = layers.Conv2D(1, 1)(layers.Concatenate()([low, high]))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(out)))


def transformer():
    inputs = inputs_of(SEQUENCE)
    y = layers.LayerNormalization()(inputs)
    y = layers.Add()([inputs, layers.MultiHeadAttention(1, 2)(y, y)])
    z = layers.Dense(4, "gelu")(layers.LayerNormalization()(y))
    y = layers.GlobalAveragePooling1D()(layers.Add()([y, layers.Dense(3)(z)]))
    return keras.Model(inputs, layers.Dense(2)(y))


def shared():
    inputs = inputs_of(FLAT)
    tower = layers.Dense(6, "tanh")
    y = layers.Multiply()([tower(inputs), tower(tower(inputs))])
    return keras.Model(inputs, layers.Dense(2)(y))


def nested():
    inner = keras.Sequential([inputs_of(FLAT), layers.Dense(4, "tanh")])
    outer = keras.Sequential([inputs_of(FLAT), inner, layers.Dense(3)])
    return keras.Sequential([inputs_of(FLAT), outer, layers.Dense(2)])


def frozen():
    base, norm = layers.Dense(4, "tanh"), layers.BatchNormalization()
    base.trainable = norm.trainable = False
    stack = [base, norm, layers.Dense(3, "tanh"), layers.Dense(2)]
    return keras.Sequential([inputs_of(FLAT), *stack])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.gate = layers.Dense(4, "silu"), layers.Dense(4, "sigmoid")
        self.last = layers.Dense(2)

    def call(self, x):
        return self.last(self.first(x) * self.gate(x))


class Tied(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, "tanh")
        self.dense.build((None, 6))

    def call(self, x):
        return keras.ops.matmul(self.dense(x), keras.ops.transpose(self.dense.kernel))[:, :2]


def called(make):
    def make_and_call():
        model = make()
        model(FLAT.astype(model.dtype))
        return model

    return make_and_call


def autoencoder():
    stack = [
        *(layers.LSTM(2), layers.RepeatVector(3), layers.GRU(2, return_sequences=True)),
        *(layers.Flatten(), layers.Dense(2)),
    ]
    return keras.Sequential([inputs_of(SEQUENCE), *stack])


def inception():
    inputs = inputs_of(IMAGE)
    parts = [
        layers.Conv2D(1, 1, activation="relu")(inputs),
        layers.Conv2D(1, 3, padding="same", activation="relu")(inputs),
        layers.AveragePooling2D(3, 1, padding="same")(inputs),
    ]
    y = layers.GlobalMaxPooling2D()(layers.Concatenate()(parts))
    return keras.Model(inputs, layers.Dense(2)(y))


def mobile():
    inputs = inputs_of(IMAGE)
    y = layers.Conv2D(4, 1, use_bias=False)(inputs)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.Add()([inputs, layers.Conv2D(2, 1)(y)])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))


MODELS = {
    **{make.__name__: (make, IMAGE) for make in (residual, unet, inception, mobile)},
    **{make.__name__: (make, SEQUENCE) for make in (transformer, autoencoder)},
    **{make.__name__: (make, FLAT) for make in (shared, nested, frozen)},
    "subclassed": (called(Subclassed), FLAT),
    "tied": (called(Tied), FLAT),
}


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
    with precision("float64"):
        exact_model = randomised(make(), spread=0.4)
    exact_loss = type(loss).from_config(loss.get_config() | {"dtype": "float64"})
    kind = "float64" if x.dtype.kind == "f" else x.dtype
    exact, scale = dense_top(exact_model, x.astype(kind), y, exact_loss)
    model = make()
    for variable, value in zip(model.weights, exact_model.weights, strict=True):
        variable.assign(value.numpy())
    model.compile("sgd", loss)
    x = x.astype("float32") if x.dtype.kind == "f" else x
    function = LossFunction(model, x, y)
    function.verify("hessian_product")
    top = top_eigenvalue(function.hessian_product, function.size, tol=1e-4)
    # Second derivatives of a sum of much larger ones are those within float32's rounding.
    assert top.value == pytest.approx(exact, rel=1e-3, abs=1e-5 * scale + 1e-7)


@pytest.mark.parametrize(
    ("inputs", "text"), [(inputs, text) for inputs, texts in LAYERS.items() for text in texts]
)
def test_layers(inputs, text):
    names, x = vars(layers) | globals(), INPUTS[inputs]
    make = stacked(lambda: eval(f"[{text}]", names), x)
    assert_right(make, x, RNG.normal(size=(N, 2)), losses.MeanSquaredError())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    make = stacked(lambda: [layers.Dense(4, name)], FLAT)
    assert_right(make, FLAT, RNG.normal(size=(N, 2)), losses.MeanSquaredError())


@pytest.mark.parametrize(
    ("text", "targets", "activation"), LOSSES, ids=[text for text, *_ in LOSSES]
)
def test_losses(text, targets, activation):
    def make():
        return [layers.Dense(4, "tanh"), layers.Dense(4, activation)]

    assert_right(stacked(make, FLAT, head=0), FLAT, targets, eval(text, vars(losses).copy()))


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    make, x = MODELS[name]
    assert_right(make, x, RNG.normal(size=(N, 2)), losses.MeanSquaredError())
