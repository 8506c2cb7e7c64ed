"""Models as users build them, each standing for its kind; all end in three logits."""

import functools

import keras
import numpy as np
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


def scaled_weights():
    model = plain()
    model.set_weights([0.1 * weight for weight in model.get_weights()])
    return model


def loaded_weights(path):
    model = plain()
    model.load_weights(path)
    return model


def pretrained_backbone():
    base = functional(layers.Dense(6, activation="tanh", name="base"))
    base.get_layer("base").set_weights([np.eye(4, 6) * 2, np.ones(6)])
    return keras.Model(base.input, ending(base.get_layer("base").output))


def frozen_backbone():
    base = keras.Sequential([keras.Input(SHAPE), layers.Dense(6, activation="tanh")])
    base.set_weights([np.eye(4, 6) * 2, np.ones(6)])
    base.trainable = False
    return functional(base)


def adapted_normalization():
    normalization = layers.Normalization()
    normalization.adapt(data()[0] * 100)
    return functional(normalization, layers.Dense(5, activation="relu"))


def discretization():
    layer = layers.Discretization(num_bins=4, output_mode="int")
    layer.adapt(data()[0])
    return functional(layer, layers.Rescaling(0.5))


def python_state():
    class Shifted(layers.Layer):
        def call(self, x):
            return x + self.shift

    layer = Shifted()
    layer.shift = 7.0
    return functional(layer)


def operation_on_tensor():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, ending(layers.Dense(5)(inputs + 1.0)))


def keras_operation():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, ending(ops.sin(inputs)))


def simple_rnn():
    return functional(layers.SimpleRNN(2, kernel_regularizer="l2"))


def lstm():
    return functional(layers.LSTM(3))


def bidirectional_gru():
    return functional(layers.Bidirectional(layers.GRU(2, return_sequences=True)))


def attention():
    inputs = keras.Input(SHAPE)
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    return keras.Model(inputs, ending(layers.LayerNormalization()(x + inputs)))


def depthwise():
    return functional(layers.DepthwiseConv1D(3, depth_multiplier=2), layers.ReLU())


def separable():
    return functional(layers.SeparableConv1D(5, 3, kernel_regularizer="l2")) if hasattr(
        layers.SeparableConv1D(5, 3), "kernel_regularizer"
    ) else functional(layers.SeparableConv1D(5, 3, pointwise_regularizer="l2"))  # fmt: skip


def spectral_norm():
    return functional(layers.SpectralNormalization(layers.Dense(5)))


def embedding():
    inputs = keras.Input(SHAPE)
    tokens = ops.cast(ops.clip(inputs, 0, 9), "int32")
    return keras.Model(inputs, ending(layers.Embedding(10, 2)(tokens)))


def own_layer():
    class Scaled(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

        def call(self, x):
            return x * self.scale

    return functional(Scaled(), layers.Dense(5, activation="relu"))


def own_activation():
    return functional(layers.Dense(5, activation=lambda x: ops.sin(x) + x))


def own_initializer():
    def half(shape, dtype=None):
        return ops.full(shape, 0.5, dtype=dtype)

    return functional(layers.Dense(5, kernel_initializer=half))


def own_regularizer():
    return functional(layers.Dense(5, kernel_regularizer=lambda w: 0.01 * ops.sum(ops.abs(w))))


def lambda_layer():
    return functional(layers.Lambda(lambda x: x * 2), layers.Dense(5, activation="relu"))


def activity_regularizer():
    return functional(layers.Dense(5, activity_regularizer="l2"))


def batch_norm_and_dropout():
    return functional(layers.Dense(5), layers.BatchNormalization(momentum=0.9), layers.Dropout(0.3))


def shared_layer():
    inputs = keras.Input(SHAPE)
    dense = layers.Dense(4, activation="tanh")
    return keras.Model(inputs, ending(dense(dense(inputs))))


def nested():
    inner = keras.Sequential([keras.Input(SHAPE), layers.Dense(4, activation="relu")])
    return functional(inner)


def mixed_precision_layer():
    return functional(layers.Dense(5, dtype="mixed_bfloat16"), layers.Activation("relu"))


def augmentation_inside():
    inputs = keras.Input(SHAPE)
    x = layers.Reshape((8, 4, 1))(inputs)
    x = layers.RandomFlip()(x)
    x = layers.RandomRotation(0.1)(x)
    return keras.Model(inputs, ending(layers.GaussianNoise(0.1)(x)))


def unbuilt_sequential():
    return keras.Sequential([layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(CLASSES)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.flat = layers.Dense(5, activation="relu"), layers.Flatten()
        self.head = layers.Dense(CLASSES)

    def call(self, x, training=False):
        return self.head(self.flat(self.hidden(x)))


def subclassed():
    return Subclassed()


class Halved(keras.Model):
    """Trains on half of the loss, by a train_step of its own."""

    def train_step(self, batch):
        import tensorflow as tf

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


KINDS = [
    set_weights, frozen_backbone, adapted_normalization, python_state, keras_operation, simple_rnn,
    depthwise, spectral_norm, embedding, own_layer, own_regularizer, lambda_layer,
    batch_norm_and_dropout, shared_layer, mixed_precision_layer, augmentation_inside,
    unbuilt_sequential, subclassed, own_train_step,
]  # fmt: skip
# Each of these is treated as one of the above is.
SIMILAR = [
    plain, scaled_weights, pretrained_backbone, discretization, operation_on_tensor, lstm,
    bidirectional_gru, attention, separable, own_activation, own_initializer, activity_regularizer,
    nested,
]  # fmt: skip


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


def on_base(base, hp):
    """Ends in a layer of its own over a base, or one that all models of the process share."""
    base = base if isinstance(base, keras.Model) else base()
    x = layers.Flatten()(base.layers[-3].output)
    draw = keras.initializers.GlorotUniform(seed=1)
    head = layers.Dense(CLASSES, kernel_initializer=draw)(x)
    return compiled(lambda: keras.Model(base.input, head), 0.1, hp)


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
        import tensorflow as tf

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
