"""A `keras_tuner.HyperModel` over any builder, with separate convolution and dense strengths."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalValueError

from dlip_reg.chunks import random_states_put_back
from dlip_reg.regularization import Regularization
from dlip_reg.training import model_functions
from dlip_reg.training.fitting import make_optimizer
from dlip_reg.training.initial_weights import draw_weights
from dlip_reg.training.keras_configs import require_no_exclusions
from dlip_reg.training.keras_settings import keras_settings, set_keras
from dlip_reg.training.layer_names import with_free_names
from dlip_reg.training.specification import DataSpec, RunSpec
from dlip_reg.tuning.module_globals import globals_put_back
from dlip_reg.tuning.objective import CleanValidation
from dlip_reg.tuning.pickling import anew
from dlip_reg.tuning.space import SearchSpace


class RegularizationHyperModel(keras_tuner.HyperModel):
    """Searches the regularization of a model, in keras-tuner's own tuners and in `ParallelTuner`.

    A model that is not compiled is compiled with the sparse categorical cross-entropy from logits.
    In keras-tuner's own tuners give `search` a `validation_data=(x, y)`, and the tuner an objective
    of `make_objective`: `fit` puts `CleanValidation` before all other callbacks.

    Args:
        model: The name of a builder of `dlip_reg.models` or "package.module:function" (see
            `RunSpec`), which then need `input_shape` and `classes`; or a function of a
            `Regularization` that returns a `keras.Model`. The weights it has then are those that
            are trained.
        input_shape: The shape of one example.
        classes: How many classes there are.
        optimizer: "momentum" (SGD with momentum 0.9), a name that `keras.optimizers.get` knows, or
            a Keras optimizer. Its learning rate is that of the space.
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
        optimizer: str | keras.optimizers.Optimizer = "adam",
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
        self._new_optimizer(optimizer)
        self.model, self.input_shape, self.classes = model, input_shape, classes
        self.optimizer = optimizer
        self.space = SearchSpace(**space)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Tell `hp` the whole space; nothing is built for that."""
        self.space.declare(hp)

    def searched(self, hp: keras_tuner.HyperParameters) -> dict[str, float]:
        """Name -> the value that `hp` stands for.

        A strength that is absent is 0, and one that `hp` does not know has its default.
        """
        hp = hp.copy()
        self.space.declare(hp)
        return {name: hp.values.get(name, 0.0) for name in self.space.names}

    def regularization(self, hp: keras_tuner.HyperParameters) -> Regularization:
        """The strengths that `hp` stands for."""
        return self.space.regularization(self.searched(hp))

    def learning_rate(self, hp: keras_tuner.HyperParameters) -> float:
        """The learning rate that `hp` stands for."""
        return self.space.rate(self.searched(hp))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """A model of its own with the strengths of `hp`, compiled."""
        self.space.declare(hp)
        strengths = self.space.regularization(hp.values)
        if isinstance(self.model, str):
            assert self.input_shape is not None and self.classes is not None  # as was checked
            seed = random.getrandbits(31)
            run = RunSpec(self.model, DataSpec(""), strengths)
            model = model_functions.build(run, self.input_shape, self.classes)
            if not model_functions.is_function(self.model):
                # By the names of layers, so that trials with other layers between start alike.
                draw_weights(model, seed)
        else:
            model = self.model(strengths)
            _require_model("A model's builder", model)
        if not model.compiled:
            optimizer = self._new_optimizer(self.optimizer)
            optimizer.learning_rate = self.space.rate(hp.values)
            model.compile(
                optimizer=optimizer,
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                # On a CPU, XLA makes these nets slower.
                jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
            )
        if model.built and not model.optimizer.built:
            # With its variables there, a saved state is loaded: Hyperband goes on with it.
            model.optimizer.build(model.trainable_variables)
        return model

    @staticmethod
    def _new_optimizer(optimizer: str | keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        if isinstance(optimizer, str):
            return make_optimizer(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise ValueError(f"optimizer must be a name or a Keras optimizer, not {optimizer!r}.")
        require_no_exclusions("optimizer", optimizer)
        return type(optimizer).from_config(optimizer.get_config())

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """`model.fit` with a `CleanValidation` before the other callbacks, if there is none."""
        callbacks = list(kwargs.pop("callbacks", None) or [])
        if not any(isinstance(callback, CleanValidation) for callback in callbacks):
            validation = kwargs.get("validation_data")
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise FatalValueError(
                    "The search needs validation_data=(x, y): clean losses are measured on it."
                )
            callbacks = [CleanValidation(tuple(validation)), *callbacks]
        return model.fit(*args, **kwargs, callbacks=callbacks)


def has_plain_fit(hypermodel: keras_tuner.HyperModel) -> bool:
    """Whether the hypermodel trains by `model.fit` with the arguments of the search."""
    return type(hypermodel).fit in (keras_tuner.HyperModel.fit, RegularizationHyperModel.fit)


def build(
    hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters, seed: int | None = None
) -> Any:
    """Return what the hypermodel builds, with that seed, where Keras counts names from 0."""

    def attempt() -> Any:
        if seed is not None:
            keras.utils.set_random_seed(seed)
        return hypermodel.build(hp)

    return with_free_names(attempt)


def on_a_copy(
    function: Callable[..., Any],
    hypermodel: keras_tuner.HyperModel,
    *arguments: Any,
    others: Sequence[Any] = (),
) -> Any:
    """Return `function(copy of the hypermodel, *arguments)`, which leaves this process as it is.

    What Python, NumPy and TensorFlow draw from is put back in the end, and so are the globals of
    modules that the code in the hypermodel and in `others` reads. In a thread of its own Keras
    draws from another generator and counts names from 0, as it does for an execution.
    """
    with (
        random_states_put_back(),
        globals_put_back(hypermodel, *others),
        ThreadPoolExecutor(1, initializer=set_keras, initargs=(keras_settings(),)) as thread,
    ):
        # A copy, because building and training change what it holds.
        return thread.submit(function, anew(hypermodel), *arguments).result()


def require_trainable(model: Any, hypermodel: keras_tuner.HyperModel) -> None:
    """Raise a ValueError for anything but a model, and for one that `fit` needs compiled."""
    _require_model("The hypermodel", model)
    if not model.compiled and has_plain_fit(hypermodel):
        raise ValueError("The hypermodel must return a compiled model: call model.compile in it.")


def _require_model(builder: str, model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise FatalValueError(f"{builder} must return a keras.Model, not {type(model).__name__}.")
