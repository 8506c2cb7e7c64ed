"""Assignment: loss functions and regularization. README.md beside this file tells each task.

Replace each `raise NotImplementedError` by your solution. Names and arguments stay as they are; add
functions and imports as you need them (keras, keras_tuner, numpy, tensorflow; not dlip_reg, whose
parts are what you write here). Check yourself as often as you like:

    python -m dlip_reg.grading check submission.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

### BEGIN SOLUTION
from keras import layers

### END SOLUTION


# Task 1 (15 points)
def build_model(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    batch_norm: bool = False,
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    conv_kernel_regularizer: keras.regularizers.Regularizer | None = None,
    dense_kernel_regularizer: keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """An uncompiled network for images of `input_shape` (height, width, channels): its logits."""

    ### BEGIN SOLUTION
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
    ### END SOLUTION


# Task 2 (4 points)
def clean_loss(
    model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int = 64
) -> tuple[float, float]:
    """(mean cross-entropy without the penalty, the penalty) of a compiled model of logits.

    `y` are labels (n,); at most `batch_size` examples go through the model at a time.
    """
    ### BEGIN SOLUTION
    total = 0.0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        logits = model(x[part], training=False)
        losses = keras.losses.sparse_categorical_crossentropy(y[part], logits, from_logits=True)
        total += float(tf.reduce_sum(losses))
    return total / len(x), float(sum(model.losses))
    ### END SOLUTION


# Task 3 (5 points)
class LossCurves(keras.callbacks.Callback):
    """Records "clean_loss", "clean_val_loss" and "penalty" in the dict of lists `history`."""

    def __init__(
        self, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
    ) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.train, self.validation = train, validation
        self.history = {}
        ### END SOLUTION

    ### BEGIN SOLUTION
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

    ### END SOLUTION


### BEGIN SOLUTION
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


### END SOLUTION
# Task 4 (5 points)
def sharpness(
    loss: Callable[[], tf.Tensor],
    variables: Sequence[tf.Variable | keras.Variable],
    *,
    iterations: int = 50,
    seed: int = 0,
) -> float:
    """The eigenvalue of largest size, with its sign, of the Hessian of `loss()` in `variables`."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    vectors = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
    for _ in range(iterations):
        length = tf.sqrt(dot(vectors, vectors))
        vectors = [v / length for v in vectors]
        products = hessian_product(loss, variables, vectors)
        value = dot(vectors, products)
        vectors = products
    return float(value)
    ### END SOLUTION


# Task 5 (4 points)
class SeparateStrengths(keras_tuner.HyperModel):
    """Searches the strengths of convolutions and dense layers apart.

    `builder` takes the options of `build_model` by their names and returns a model.
    """

    def __init__(self, builder: Callable[..., keras.Model]) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.builder = builder
        ### END SOLUTION

    ### BEGIN SOLUTION
    objective = keras_tuner.Objective("clean_val_loss", direction="min")

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

    ### END SOLUTION


# Task 6 (3 points)
class ScaledWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """`base_rate`, good for batches of `base_batch_size`, scaled to batches of `batch_size`."""

    def __init__(
        self,
        base_rate: float,
        batch_size: int,
        base_batch_size: int = 32,
        warmup_steps: int = 0,
    ) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.base_rate = base_rate
        self.batch_size = batch_size
        self.base_batch_size = base_batch_size
        self.warmup_steps = warmup_steps
        ### END SOLUTION

    ### BEGIN SOLUTION
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

    ### END SOLUTION


### BEGIN SOLUTION
def rms(values):
    """The root mean square."""
    return np.sqrt(np.mean(np.square(values)))


def near_zero(values):
    """The share of values below a twentieth of their own root mean square."""
    return np.mean(np.abs(values) < 0.05 * rms(values))


### END SOLUTION
# Task 7 (4 points)
def which_made_it_sparse(
    plain: dict[str, np.ndarray], regularized: dict[str, np.ndarray]
) -> str | None:
    """ "l1", "l2", "dropout" or None: what made the second record differ from the first."""
    ### BEGIN SOLUTION
    if near_zero(regularized["kernel"]) > near_zero(plain["kernel"]) + 0.1:
        return "l1"
    if np.mean(regularized["activations"] == 0) > np.mean(plain["activations"] == 0) + 0.1:
        return "dropout"
    if rms(regularized["kernel"]) < 0.8 * rms(plain["kernel"]):
        return "l2"
    return None
    ### END SOLUTION
