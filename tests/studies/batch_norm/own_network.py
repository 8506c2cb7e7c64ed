"""A user's model function with the options that the lab sets, and no others."""

import keras
from keras import layers


def small(
    input_shape, classes, batch_norm=False, dense_dropout=0.0, conv_kernel_regularizer=None,
    dense_kernel_regularizer=None, kernel_initializer="he_normal",
):  # fmt: skip
    inputs = keras.Input(input_shape)
    conv = {"kernel_regularizer": conv_kernel_regularizer, "kernel_initializer": kernel_initializer}
    x = layers.Conv2D(4, 3, strides=3, **conv)(inputs)
    x = layers.BatchNormalization()(x) if batch_norm else x
    x = layers.Flatten()(layers.ReLU()(x))
    x = layers.Dropout(dense_dropout)(x) if dense_dropout else x
    dense = conv | {"kernel_regularizer": dense_kernel_regularizer}
    return keras.Model(inputs, layers.Dense(classes, **dense)(x))
