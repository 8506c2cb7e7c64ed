"""Models as users build them, each standing for its kind; all end in three logits."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

SHAPE, CLASSES = (8, 4), 3


def data():
    """Sequences whose scale is far from 1, and labels."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, *SHAPE)).astype("float32") * 3 + 1
    return x, draw.integers(0, CLASSES, 60)


def ending(x):
    return layers.Dense(CLASSES)(layers.Flatten()(x))


def functional(*chain):
    inputs = x = keras.Input(SHAPE)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, ending(x))


def plain():
    return functional(layers.Dense(5, activation="relu"))


def set_weights():
    model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)])
    model.set_weights([np.eye(32, 3) * 5, np.zeros(3)])
    return model


def on_tensor(function):
    """A model that ends in what the function makes of its input."""
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, ending(function(inputs)))


def pretrained_backbone(trainable=True):
    base = keras.Sequential([keras.Input(SHAPE), layers.Dense(6, activation="tanh")])
    base.set_weights([np.eye(4, 6) * 2, np.ones(6)])
    base.trainable = trainable
    return functional(base)


def adapted_layer(layer, scale):
    layer.adapt(data()[0] * scale)
    return layer


def adapted(layer, scale, *chain):
    return functional(adapted_layer(layer, scale), *chain)


class Shifted(layers.Layer):
    def call(self, x):
        return x + self.shift


def python_state():
    layer = Shifted()
    layer.shift = 7.0  # which no configuration tells
    return functional(layer)


class Scaled(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


def shared_layer():
    dense = layers.Dense(4, activation="tanh")
    return functional(dense, dense)


def attention(x):
    return layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x) + x)


def augmented(x):
    x = layers.RandomFlip()(layers.Reshape((8, 4, 1))(x))
    return layers.GaussianNoise(0.1)(layers.RandomRotation(0.1)(x))


def embedded(x):
    return layers.Embedding(10, 2)(ops.cast(ops.clip(x, 0, 9), "int32"))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.flat = layers.Dense(5, activation="relu"), layers.Flatten()
        self.head = layers.Dense(CLASSES)

    def call(self, x, training=False):
        return self.head(self.flat(self.hidden(x)))


class Halved(keras.Model):
    """Trains on half of the loss, by a train_step of its own."""

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=outputs) / 2
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.compute_metrics(x, y, outputs)


def own_train_step():
    inputs = keras.Input(SHAPE)
    return Halved(inputs, ending(layers.Dense(5, activation="relu")(inputs)))


def chain(*make):
    """A builder of a functional model of the layers that these functions make."""
    return lambda: functional(*(one() for one in make))


def drawn_numbers():
    numbers = np.random.normal(size=(4, 9)).astype("float32")
    return on_tensor(lambda x: ops.cos(x @ numbers))


class Masked(layers.Layer):
    """Has a weight that is infinite."""

    def build(self, shape):
        draw = keras.initializers.Constant(-np.inf)
        self.mask = self.add_weight(shape=shape[1:], initializer=draw, trainable=False)

    def call(self, x):
        return ops.maximum(x, self.mask)


RELU = functools.partial(layers.Dense, 5, activation="relu")
KINDS = {
    "set_weights": set_weights,
    "drawn_numbers": drawn_numbers,
    "frozen_backbone": lambda: pretrained_backbone(trainable=False),
    "adapted_normalization": lambda: adapted(layers.Normalization(), 100, RELU()),
    "python_state": python_state,
    "keras_operation": lambda: on_tensor(ops.sin),
    "simple_rnn": chain(lambda: layers.SimpleRNN(2, kernel_regularizer="l2")),
    "depthwise": chain(lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), layers.ReLU),
    "spectral_norm": chain(lambda: layers.SpectralNormalization(layers.Dense(5))),
    "embedding": lambda: on_tensor(embedded),
    "own_layer": chain(Scaled, RELU),
    "own_regularizer": chain(
        lambda: layers.Dense(5, kernel_regularizer=lambda w: 0.01 * ops.sum(ops.abs(w)))
    ),
    "lambda_layer": chain(lambda: layers.Lambda(lambda x: x * 2), RELU),
    "batch_norm_and_dropout": chain(
        lambda: layers.Dense(5),
        lambda: layers.BatchNormalization(momentum=0.9),
        lambda: layers.Dropout(0.3),
    ),
    "shared_layer": shared_layer,
    "mixed_precision_layer": chain(
        lambda: layers.Dense(5, dtype="mixed_bfloat16"), lambda: layers.Activation("relu")
    ),
    "augmentation_inside": lambda: on_tensor(augmented),
    "unbuilt_sequential": lambda: keras.Sequential(
        [layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(CLASSES)]
    ),
    "unbuilt_and_adapted": lambda: keras.Sequential(
        [adapted_layer(layers.Normalization(), 100), layers.Flatten(), layers.Dense(CLASSES)]
    ),
    "subclassed": Subclassed,
    "own_train_step": own_train_step,
    "infinite_mask": chain(Masked, RELU),
    "bfloat16_weights": chain(lambda: RELU(dtype="bfloat16")),
}
# Each of these is treated as one of the above is.
SIMILAR = {
    "plain": plain,
    "pretrained_backbone": pretrained_backbone,
    "discretization": lambda: adapted(
        layers.Discretization(num_bins=4, output_mode="int"), 1, layers.Rescaling(0.5)
    ),
    "operation_on_tensor": lambda: on_tensor(lambda x: layers.Dense(5)(x + 1.0)),
    "lstm": chain(lambda: layers.LSTM(3)),
    "bidirectional_gru": chain(lambda: layers.Bidirectional(layers.GRU(2, return_sequences=True))),
    "attention": lambda: on_tensor(attention),
    "separable": chain(lambda: layers.SeparableConv1D(5, 3, pointwise_regularizer="l2")),
    "own_activation": chain(lambda: layers.Dense(5, activation=lambda x: ops.sin(x) + x)),
    "own_initializer": chain(
        lambda: layers.Dense(
            5, kernel_initializer=lambda shape, dtype=None: ops.full(shape, 0.5, dtype=dtype)
        )
    ),
    "activity_regularizer": chain(lambda: layers.Dense(5, activity_regularizer="l2")),
}


def compiled(kind, rate, hp):
    """The model of that kind, compiled; for `keras_tuner` after a partial of the first two."""
    hp.Choice("unused", [1, 2])
    model = kind()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


@functools.cache
def shared_base():
    return functional(layers.Dense(5), layers.UnitNormalization())


class Sequence(keras.utils.PyDataset):
    """Batches in another order after each epoch."""

    def __init__(self):
        super().__init__()
        self.x, self.y = data()
        self.order, self.draw = np.arange(40), np.random.default_rng(1)

    def __len__(self):
        return len(self.order) // 8

    def __getitem__(self, index):
        chosen = self.order[8 * index : 8 * index + 8]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        self.draw.shuffle(self.order)


@functools.cache
def module_s_sequence():
    return Sequence()


@functools.cache
def module_s_dataset():
    x, y = data()
    return tf.data.Dataset.from_tensor_slices((x[:40], y[:40])).shuffle(40, seed=1).batch(8)


def on_base(base, hp):
    """Ends in a layer of its own over a base, or one that all models of the process share."""
    base = base if isinstance(base, keras.Model) else base()
    x = layers.Flatten()(base.layers[-3].output)
    draw = keras.initializers.GlorotUniform(seed=1)
    head = layers.Dense(CLASSES, kernel_initializer=draw)(x)
    return compiled(lambda: keras.Model(base.input, head), 0.1, hp)


class Growing(keras.losses.Loss):
    """Grows with each call."""

    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0.0, trainable=False)

    def call(self, labels, logits):
        self.calls.assign_add(1)
        return self.calls * ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


GROWING, DRAW, NOISE = Growing(), np.random.default_rng(0), layers.GaussianNoise(0.5)


def with_states_of_its_module(hp):
    hp.Choice("unused", [1, 2, 3])
    model = functional(NOISE)
    model.set_weights([DRAW.normal(size=weight.shape) for weight in model.get_weights()])
    model.compile(keras.optimizers.SGD(0.1), GROWING)
    return model


# Others, with data of their own.


def two_outputs(rate, hp):
    inputs = keras.Input(SHAPE)
    x = layers.Flatten()(layers.Dense(5, activation="relu")(inputs))
    outputs = {"kind": layers.Dense(CLASSES, name="kind")(x), "size": layers.Dense(1)(x)}
    model = keras.Model(inputs, outputs)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), {"kind": cross_entropy, "size": "mse"})
    return model


def two_inputs(rate, hp):
    inputs = {"a": keras.Input(SHAPE, name="a"), "b": keras.Input((2,), name="b")}
    x = layers.Concatenate()([layers.Flatten()(inputs["a"]), inputs["b"]])
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


class Gan(keras.Model):
    """Two networks, two optimizers, and no call."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(32)])
        self.critic = keras.Sequential([keras.Input((32,)), layers.Dense(1)])

    def compile(self, rate):
        super().compile(optimizer=keras.optimizers.SGD(rate))
        self.critic_optimizer = keras.optimizers.SGD(rate)

    def train_step(self, batch):
        x = tf.reshape(batch[0], (-1, 32))
        noise = keras.random.normal((tf.shape(x)[0], 2), seed=1)
        with tf.GradientTape(persistent=True) as tape:
            fake = self.critic(self.generator(noise))
            loss = tf.reduce_mean(tf.square(fake)) + tf.reduce_mean(tf.square(self.critic(x) - 1))
        for network, optimizer in (
            (self.critic, self.critic_optimizer), (self.generator, self.optimizer)
        ):  # fmt: skip
            weights = network.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"critic_loss": loss}


def gan(rate, hp):
    model = Gan()
    model.compile(rate)
    return model
