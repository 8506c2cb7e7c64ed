"""One compiled model for many executions."""

import warnings

import keras
import numpy as np

from dlip_reg.tuning.shared_model import shared_model


def test_models_built_one_after_the_other_share_one_that_is_traced_once_without_a_warning():
    x, y = np.ones((4, 3), "float32"), np.arange(4) % 2
    found = []
    for optimizer in ("adam", "adam", keras.optimizers.Adam(), keras.optimizers.Adam(0.1)):
        # Keras gives each optimizer another name.
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shared, why = shared_model(model, (x, y), steps=1)
            shared.fit(x, y, batch_size=4, verbose=0)
        assert why == "" and shared is not model
        found.append(shared)
    assert all(shared is found[0] for shared in found)
