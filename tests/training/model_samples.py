"""Models by function, with layers of every kind that draws weights."""

import random
import sys

import keras
import tensorflow as tf
from keras import layers


class Descent(keras.optimizers.SGD):
    """A class that is not registered with Keras."""


class Fading(keras.optimizers.SGD):
    """An optimizer with a state that is in none of its variables."""

    def __init__(self, learning_rate=0.01, **options):
        super().__init__(learning_rate, **options)
        self.left = tf.Variable(1.0)

    def update_step(self, gradient, variable, learning_rate):
        self.left.assign(0.5 * self.left)
        super().update_step(gradient * self.left, variable, learning_rate)


class Weighted(keras.losses.Loss):
    """A loss without a `get_config` of its own."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    """An own layer whose `kernel` has no Keras initializer as an attribute."""

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(shape[-1], 5), initializer="glorot_uniform"
        )

    def call(self, inputs):
        return inputs @ self.kernel


class Noise(layers.Layer):
    """An own layer that draws from Keras' global generator."""

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


FLATTEN = layers.Flatten()  # "flatten", which Keras calls the first such layer of a model, too


def beside_a_layer_of_the_module(input_shape, classes):
    inputs = keras.Input(input_shape)
    hidden = layers.Dense(4)(layers.Flatten()(FLATTEN(inputs)))
    return keras.Model(inputs, layers.Dense(classes)(hidden))


class Counting(layers.Layer):
    """An own layer whose state is outside its variables and its configuration."""

    factor = 1.0

    def call(self, inputs):
        return inputs * self.factor


def depthwise(input_shape, classes):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(4, 5, strides=3, activation="relu"),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(classes),
        ]
    )


def separable(input_shape, classes, dense_dropout=0.0, **regularization):
    inputs = keras.Input(input_shape)
    x = layers.SeparableConv2D(4, 5, strides=3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dense_dropout)(x) if dense_dropout else x
    kernel = regularization.get("dense_kernel_regularizer")
    return keras.Model(inputs, layers.Dense(classes, kernel_regularizer=kernel)(x))


def own_layers(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(layers.AveragePooling2D(4)(inputs))
    x = layers.Activation("relu")(Scale()(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


class TwiceScaled(layers.Layer):
    """An own layer with two kernels of one name and one shape."""

    def build(self, shape):
        self.first, self.second = (
            self.add_weight(name="w", shape=(shape[-1], shape[-1])) for _ in range(2)
        )

    def call(self, inputs):
        return (inputs @ self.first) @ self.second


def twice_scaled(input_shape, classes, dense_dropout=0.0):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(layers.AveragePooling2D(4)(inputs))
    x = layers.Dropout(dense_dropout)(x) if dense_dropout else x
    return keras.Model(inputs, layers.Dense(classes)(TwiceScaled()(x)))


def recurrent(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = layers.Reshape((7, -1))(layers.AveragePooling2D(4, padding="same")(inputs))
    x = layers.Bidirectional(layers.SimpleRNN(3))(x)
    x = layers.SpectralNormalization(layers.Dense(6, activation="relu"))(x)
    return keras.Model(inputs, layers.Dense(classes)(x))


class Subclassed(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.flatten, self.logits = layers.Flatten(), layers.Dense(classes)

    def call(self, inputs):
        return self.logits(self.flatten(inputs))


def subclassed(input_shape, classes):
    return Subclassed(classes)


def fixed_kernel(input_shape, classes):
    """Its first kernel is set by the builder and so the same for all seeds."""
    seven = keras.initializers.GlorotUniform(seed=7)
    inputs = keras.Input(input_shape)
    x = layers.Dense(6, kernel_initializer=seven, name="fixed")(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def named(input_shape, classes, name):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes, name=name)(layers.Flatten()(inputs)))


def unseeded(input_shape, classes):
    """Draws weights that no global seed controls."""
    import numpy as np

    model = fixed_kernel(input_shape, classes)
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.random.default_rng().normal(size=kernel.shape))
    return model


HIDDEN = layers.Dense(4)


def with_a_layer_of_the_module(input_shape, classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes)(HIDDEN(layers.Flatten()(inputs))))


def of_random_depth(input_shape, classes):
    hidden = [layers.Dense(4) for _ in range(random.randint(1, 9))]
    return keras.Sequential(
        [keras.Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)]
    )


def with_lambda(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = layers.Lambda(lambda images: images / 2)(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(classes)(x))


def with_counting(input_shape, classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes)(Counting()(layers.Flatten()(inputs))))


def ends_in_softmax(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def ends_in_softmax_layer(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, layers.Softmax()(model.output))


def ends_in_sigmoid(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, layers.Activation("sigmoid")(model.output))


def ends_in_reshaped_softmax(input_shape, classes):
    model = ends_in_softmax(input_shape, classes)
    return keras.Model(model.input, layers.Reshape((classes,))(model.output))


def ends_in_a_softmax_that_is_no_layer(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, keras.ops.softmax(model.output))


def ends_in_log_softmax(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, layers.Activation("log_softmax")(model.output))


def ends_in_a_model(input_shape, classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, separable(input_shape, classes)(inputs))


def gives_zeros(input_shape, classes, dense_dropout=0.0):
    model = keras.Sequential([keras.Input(input_shape), layers.Flatten()])
    model.add(layers.Dropout(dense_dropout))
    model.add(layers.Dense(classes, kernel_initializer="zeros"))
    return model


def narrow_and_bounded(input_shape, classes, dense_dropout=0.0, max_norm=None):
    model = keras.Sequential([keras.Input(input_shape), layers.Flatten()])
    model.add(layers.Dropout(dense_dropout))
    for _ in range(20):
        model.add(layers.Dense(8, activation="relu", kernel_initializer="he_normal"))
    bound = keras.constraints.MaxNorm(max_norm or 3)
    model.add(layers.Dense(classes, kernel_constraint=bound))
    return model


def needs_batch_norm(input_shape, classes, momentum, batch_norm=False):
    if not batch_norm:
        raise ValueError("momentum needs batch_norm")
    norm = layers.BatchNormalization(momentum=momentum)
    return keras.Sequential([separable(input_shape, classes), norm])


def gives_a_dict(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, {"logits": model.output})


def norm_in_a_model(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = keras.Model(inputs, layers.BatchNormalization()(inputs))(inputs)
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(x)))


class WithNorm(keras.Model):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.inner = norm_in_a_model(input_shape, classes)

    def call(self, inputs):
        return self.inner(inputs)


def norm_in_a_subclassed_model(input_shape, classes):
    return WithNorm(input_shape, classes)


class Scaled(keras.initializers.RandomNormal):
    """An initializer whose configuration leaves out its argument."""

    def __init__(self, factor):
        super().__init__(stddev=1.0)
        self.factor = factor

    def __call__(self, shape, dtype=None):
        return self.factor * super().__call__(shape, dtype)


def own_initializer(input_shape, classes):
    model = keras.Sequential([keras.Input(input_shape), layers.Flatten()])
    model.add(layers.Dense(classes, kernel_initializer=Scaled(0.01)))
    return model


def takes_a_list(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.inputs, model.outputs)


def too_few_outputs(input_shape, classes):
    return separable(input_shape, classes - 1)


def two_outputs(input_shape, classes):
    model = separable(input_shape, classes)
    return keras.Model(model.input, [model.output, model.output])


def raises(input_shape, classes):
    raise RuntimeError("no such layer\nand a second line")


def exits(input_shape, classes):
    sys.exit(3)


def returns_text(input_shape, classes):
    return "a model"
