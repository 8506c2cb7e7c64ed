"""The reference solution of the assignment in labs/assignment."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from keras import layers


def build_model(
    input_shape,
    classes,
    *,
    batch_norm=False,
    conv_dropout=0.0,
    dense_dropout=0.0,
    conv_kernel_regularizer=None,
    dense_kernel_regularizer=None,
):
    """Task 1."""

    def finish(x, rate):
        if batch_norm:
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
        return layers.Dropout(rate)(x)

    inputs = x = layers.Input(input_shape)
    for name, filters in (("conv1", 8), ("conv2", 16)):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=not batch_norm,
            kernel_regularizer=conv_kernel_regularizer,
            name=name,
        )(x)
        x = finish(x, conv_dropout)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(
        32, use_bias=not batch_norm, kernel_regularizer=dense_kernel_regularizer, name="dense1"
    )(x)
    x = finish(x, dense_dropout)
    x = layers.Dense(classes, kernel_regularizer=dense_kernel_regularizer, name="logits")(x)
    return keras.Model(inputs, x)


def clean_loss(model, x, y, batch_size=64):
    """Task 2."""
    total = 0.0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        logits = model(x[part], training=False)
        losses = keras.losses.sparse_categorical_crossentropy(y[part], logits, from_logits=True)
        total += float(tf.reduce_sum(losses))
    return total / len(x), float(sum(model.losses))


class LossCurves(keras.callbacks.Callback):
    """Task 3."""

    def __init__(self, train, validation):
        super().__init__()
        self.train, self.validation = train, validation
        self.history = {}

    def on_train_begin(self, logs=None):
        self.history = {"clean_loss": [], "clean_val_loss": [], "penalty": []}
        self.record()

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.record())

    def record(self):
        loss, penalty = clean_loss(self.model, *self.train)
        val_loss, _ = clean_loss(self.model, *self.validation)
        row = {"clean_loss": loss, "clean_val_loss": val_loss, "penalty": penalty}
        for name, value in row.items():
            self.history[name].append(value)
        return row


def hessian_product(loss, variables, vectors):
    """The Hessian's product with `vectors`, one tensor a variable: the gradient of g . v."""
    zero = tf.UnconnectedGradients.ZERO
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = loss()
        gradients = inner.gradient(value, variables, unconnected_gradients=zero)
    return outer.gradient(
        gradients, variables, output_gradients=vectors, unconnected_gradients=zero
    )


def dot(a, b):
    """The inner product over all variables together."""
    return sum(tf.reduce_sum(x * y) for x, y in zip(a, b, strict=True))


def sharpness(loss, variables, *, iterations=50, seed=0):
    """Task 4."""
    rng = np.random.default_rng(seed)
    vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
    for _ in range(iterations):
        length = tf.sqrt(dot(vectors, vectors))
        vectors = [v / length for v in vectors]
        products = hessian_product(loss, variables, vectors)
        value = dot(vectors, products)
        vectors = products
    return float(value)


class SeparateStrengths(keras_tuner.HyperModel):
    """Task 5."""

    objective = keras_tuner.Objective("clean_val_loss", direction="min")

    def __init__(self, builder):
        super().__init__()
        self.builder = builder

    def build(self, hp):
        conv_l2 = hp.Float("conv_l2", 1e-6, 1e-2, sampling="log")
        dense_l2 = hp.Float("dense_l2", 1e-6, 1e-2, sampling="log")
        model = self.builder(
            conv_dropout=hp.Float("conv_dropout", 0.0, 0.5, step=0.1),
            dense_dropout=hp.Float("dense_dropout", 0.0, 0.5, step=0.1),
            conv_kernel_regularizer=keras.regularizers.L2(conv_l2),
            dense_kernel_regularizer=keras.regularizers.L2(dense_l2),
        )
        learning_rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
        model.compile(
            keras.optimizers.Adam(learning_rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model


class ScaledWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Task 6."""

    def __init__(self, base_rate, batch_size, base_batch_size=32, warmup_steps=0):
        super().__init__()
        self.base_rate = base_rate
        self.batch_size = batch_size
        self.base_batch_size = base_batch_size
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        target = self.base_rate * self.batch_size / self.base_batch_size
        share = tf.minimum(tf.cast(step, tf.float32) / max(self.warmup_steps, 1), 1.0)
        if self.warmup_steps == 0:
            share = 1.0
        return self.base_rate + share * (target - self.base_rate)

    def get_config(self):
        return {
            "base_rate": self.base_rate,
            "batch_size": self.batch_size,
            "base_batch_size": self.base_batch_size,
            "warmup_steps": self.warmup_steps,
        }


def rms(values):
    """The root mean square."""
    return np.sqrt(np.mean(np.square(values)))


def near_zero(values):
    """The share of values below a twentieth of their own root mean square."""
    return np.mean(np.abs(values) < 0.05 * rms(values))


def which_made_it_sparse(plain, regularized):
    """Task 7."""
    if near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1:
        return "l1"
    if np.mean(regularized["activations"] == 0) > np.mean(plain["activations"] == 0) + 0.1:
        return "dropout"
    if rms(regularized["kernel"]) < 0.8 * rms(plain["kernel"]):
        return "l2"
    return None
