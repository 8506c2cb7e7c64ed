"""A `keras_tuner.HyperModel` over any builder, with separate convolution and dense strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalValueError

from dlip_reg.regularization import Regularization
from dlip_reg.training import model_functions
from dlip_reg.training.fitting import make_optimizer
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.objective import CleanValidation
from dlip_reg.tuning.space import SearchSpace


class RegularizationHyperModel(keras_tuner.HyperModel):
    """Searches the regularization of a model, in keras-tuner's own tuners and in `ParallelTuner`.

    Models are compiled with the sparse categorical cross-entropy. In keras-tuner's own tuners give
    `search` a `validation_data=(x, y)`, and the tuner an objective of `make_objective`: `fit` puts
    `CleanValidation` before all other callbacks.

    Args:
        model: The name of a builder of `dlip_reg.models` or "package.module:function" (see
            `RunSpec`), which then need `input_shape` and `classes`; or a function of a
            `Regularization` that returns an uncompiled functional or Sequential `keras.Model`
            ending in logits. For `ParallelTuner`, other processes must be able to import it.
        input_shape: The shape of one example.
        classes: How many classes there are.
        optimizer: "momentum" (SGD with momentum 0.9) or a name that `keras.optimizers.get` knows.
        builder: Further options of the builder.
        name: The hypermodel's name.
        **space: The options of `SearchSpace`.

    Raises:
        ValueError: An unknown builder or optimizer, and as `SearchSpace`.
    """

    def __init__(
        self,
        model: str | Callable[[Regularization], keras.Model],
        input_shape: tuple[int, ...] | None = None,
        classes: int | None = None,
        *,
        optimizer: str = "adam",
        builder: Mapping[str, Any] | None = None,
        name: str | None = None,
        **space: Any,
    ) -> None:
        super().__init__(name=name)
        if isinstance(model, str):
            model_functions.model_text(model)
            if input_shape is None or classes is None:
                raise ValueError(f"{model} needs to know its input_shape and classes.")
        elif not callable(model):
            raise ValueError(f"model must be a builder's name or a function, not {model!r}.")
        make_optimizer(optimizer)
        self.model, self.input_shape, self.classes = model, input_shape, classes
        self.optimizer, self.builder = optimizer, dict(builder or {})
        self.space = SearchSpace(**space)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Tell `hp` the whole space; nothing is built for that."""
        self.space.declare(hp)

    def regularization(self, hp: keras_tuner.HyperParameters) -> Regularization:
        """The strengths that `hp` stands for."""
        return self.space.regularization(hp.values)

    def learning_rate(self, hp: keras_tuner.HyperParameters) -> float:
        """The learning rate that `hp` stands for."""
        return self.space.rate(hp.values)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """A model of its own with the strengths of `hp`, compiled."""
        self.space.declare(hp)
        strengths = self.regularization(hp)
        if isinstance(self.model, str):
            run = RunSpec(self.model, DataSpec(""), strengths, self.builder)
            model = model_functions.build(run, self.input_shape, self.classes)
        else:
            model = functional(self.model, strengths)
        optimizer = make_optimizer(self.optimizer)
        optimizer.learning_rate = self.learning_rate(hp)
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            # On a CPU, XLA makes these nets slower.
            jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
        )
        # With its variables there, a saved state is loaded: Hyperband goes on with it.
        optimizer.build(model.trainable_variables)
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """`model.fit` with `CleanValidation` before the other callbacks."""
        validation = kwargs.get("validation_data")
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise FatalValueError(
                "The search needs validation_data=(x, y): clean losses are measured on it."
            )
        callbacks = [CleanValidation(tuple(validation)), *kwargs.pop("callbacks", [])]
        return model.fit(*args, **kwargs, callbacks=callbacks)


def functional(
    build: Callable[[Regularization], keras.Model], strengths: Regularization
) -> keras.Model:
    """The caller's own model as a functional one; ValueError for anything else."""
    model = build(strengths)
    if not isinstance(model, keras.Model) or model.compiled:
        found = "a compiled one" if isinstance(model, keras.Model) else type(model).__name__
        raise ValueError(f"{_EXPECTED}, not {found}.")
    if not getattr(model, "inputs", None):
        raise ValueError(f"{_EXPECTED}, not one that is subclassed or has no Input.")
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    return model


_EXPECTED = "A model's builder must return an uncompiled functional or Sequential keras.Model"
