"""A user's model function with the options that the lab sets, and no others."""

import keras
from keras import layers


def small(
    input_shape,
    classes,
    batch_norm=False,
    dense_dropout=0.0,
    conv_kernel_regularizer=None,
    dense_kernel_regularizer=None,
    kernel_initializer="he_normal",
):
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(
        4,
        3,
        strides=3,
        kernel_regularizer=conv_kernel_regularizer,
        kernel_initializer=kernel_initializer,
    )(inputs)
    x = layers.BatchNormalization()(x) if batch_norm else x
    x = layers.Flatten()(layers.ReLU()(x))
    x = layers.Dropout(dense_dropout)(x) if dense_dropout else x
    outputs = layers.Dense(
        classes, kernel_regularizer=dense_kernel_regularizer, kernel_initializer=kernel_initializer
    )(x)
    return keras.Model(inputs, outputs)
