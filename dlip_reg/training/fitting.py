"""Fit the model of one specification."""

from __future__ import annotations

import functools
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from callbacks import LossCurve
from dlip_reg.datasets import Dataset, in_colour
from dlip_reg.models import get_builder
from dlip_reg.regularization import Regularization
from dlip_reg.training.reuse import reusable
from dlip_reg.training.schedules import WarmUp
from dlip_reg.training.specification import IMPROVEMENT, RunSpec, Schedule


def trained(spec: RunSpec, dataset: Dataset) -> keras.Model:
    """The model of `spec` at the end of its run, without a record of it; see `compiled`.

    Its weights are those that the run's record tells of.
    """
    model = compiled(spec, dataset)
    fit(model, spec, dataset)
    return model


def seen_by(spec: RunSpec, dataset: Dataset) -> Dataset:
    """The data as the run sees it: in colour if that is asked for."""
    return in_colour(dataset) if spec.data.colour else dataset


def compiled(
    spec: RunSpec,
    dataset: Dataset,
    build: Callable[[Regularization], keras.Model] | None = None,
) -> keras.Model:
    """The model of `spec` at the start of its run.

    `build` makes it, uncompiled and functional, where it is none of `dlip_reg.models`. It is shared
    by all runs of its structure in this process, and belongs to the caller until the next of them
    begins. ValueError for a model, an option or an optimizer that there is not.
    """
    dataset = seen_by(spec, dataset)
    steps = _steps(spec, dataset)
    if build is not None:
        model = build(spec.regularization)
    else:
        model = get_builder(spec.model)(
            input_shape=dataset.input_shape, classes=dataset.classes, **spec.builder_options()
        )
    _draw_weights_and_masks(model, spec.seed)
    scheduled = spec.schedule != Schedule()

    def compile(twin: keras.Model) -> None:
        optimizer = make_optimizer(spec.optimizer)
        if scheduled:
            optimizer.learning_rate, _ = _rate_in_variables()
        twin.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            # A whole epoch per call: between two steps there is nothing for Python to do.
            steps_per_execution=steps,
            # On a CPU, XLA makes these nets slower.
            jit_compile=False,
        )

    model = reusable(model, compile, key=f"{spec.optimizer} {scheduled} {steps}")
    if scheduled:
        _set_schedule(spec, steps)
    else:
        model.optimizer.learning_rate = spec.learning_rate
    return model


def fit(
    model: keras.Model,
    spec: RunSpec,
    dataset: Dataset,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    initial_epoch: int = 0,
) -> keras.callbacks.History:
    """Train what `compiled` made of the same specification; `callbacks` watch.

    A model that has `initial_epoch` epochs behind it goes on with the batches that come next.
    """
    dataset = seen_by(spec, dataset)
    callbacks = list(callbacks)
    if spec.patience is not None:
        curves = [callback for callback in callbacks if isinstance(callback, LossCurve)]
        others = [callback for callback in callbacks if callback not in curves]
        curves = curves or [LossCurve((dataset.x_train, dataset.y_train))]
        # It reads the curve's log, and what the others see last are the weights it goes back to.
        callbacks = [*curves, _StopAtTheLowest(spec.patience), *others]
    steps = _steps(spec, dataset)
    with warnings.catch_warnings():
        # The record says what could not be measured, and how well the rest is known.
        warnings.filterwarnings("ignore", r".*, after step \d+: ", RuntimeWarning)
        return model.fit(
            _batches(spec, dataset, steps, initial_epoch),
            epochs=spec.epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps,
            shuffle=False,  # the batches come in their order
            verbose=0,
            callbacks=[*callbacks, _StopWhenDiverged()],
        )


class _StopAtTheLowest(keras.callbacks.EarlyStopping):
    """Ends with the weights of the epoch whose clean training loss was the lowest.

    Small batches leave a minimum now and then: the last epoch's weights may be those of a spike.
    Keras puts the best ones back after all callbacks have seen the last epoch, this one before.
    """

    def __init__(self, patience: int) -> None:
        super().__init__(
            "clean_loss",
            min_delta=IMPROVEMENT,
            patience=patience,
            mode="min",
            restore_best_weights=True,
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self.model.stop_training or epoch + 1 == self.params["epochs"]:
            super().on_train_end(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """They are back."""


class _StopWhenDiverged(keras.callbacks.Callback):
    """Keras' TerminateOnNaN without the line that it prints for every such run."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True


def _steps(spec: RunSpec, dataset: Dataset) -> int:
    return max(1, len(dataset.x_train) // spec.batch_size)


def make_optimizer(name: str) -> keras.optimizers.Optimizer:
    """The optimizer that a specification names; ValueError for a name that Keras does not know."""
    if name == "momentum":
        return keras.optimizers.SGD(momentum=0.9)
    return keras.optimizers.get(name)


@functools.cache
def _rate_in_variables() -> tuple[WarmUp, dict[str, keras.Variable]]:
    """A schedule made of variables, so that another one is no other graph.

    All models of this process share it: one trains at a time.
    """
    names = ("rate", "decay_steps", "decay", "warmup_steps", "warmup_from")
    numbers = {name: keras.Variable(1.0, trainable=False, dtype="float32") for name in names}
    decayed = keras.optimizers.schedules.ExponentialDecay(
        numbers["rate"], numbers["decay_steps"], numbers["decay"]
    )
    return WarmUp(decayed, numbers["warmup_steps"], numbers["warmup_from"]), numbers


def _set_schedule(spec: RunSpec, steps: int) -> None:
    schedule = spec.schedule
    values = {
        "rate": spec.learning_rate,
        "decay_steps": steps * spec.epochs / schedule.speed,
        "decay": schedule.decay,
        "warmup_steps": steps * schedule.warmup_epochs,
        "warmup_from": schedule.warmup_from,
    }
    _, numbers = _rate_in_variables()
    for name, value in values.items():
        numbers[name].assign(value)


def _draw_weights_and_masks(model: keras.Model, seed: int) -> None:
    """Start every layer from a seed of its own, made of the run's seed and the layer's name.

    So the same seed starts every method at the same weights. The builders do the like, but from
    Python's global random state, and in a Dask worker other threads draw from that at any moment.
    """
    for layer, name in zip(model.layers, _lasting_names(model), strict=True):
        own_seed = zlib.crc32(f"{seed}/{name}".encode())
        if hasattr(layer, "kernel"):
            config = layer.kernel_initializer.get_config()
            if "seed" in config:  # zeros, an identity and their like have none
                config["seed"] = own_seed
            initializer = type(layer.kernel_initializer).from_config(config)
            layer.kernel.assign(initializer(layer.kernel.shape))
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([own_seed, 0])


def _lasting_names(model: keras.Model) -> list[str]:
    """The layers' names; where Keras made one up, its class and its place among such layers.

    Keras numbers those through the process, so that a model built twice has other ones each time.
    """
    names, made_up = [], Counter()
    for layer in model.layers:
        kind = type(layer).__name__
        base = re.sub(r"_\d+$", "", layer.name)
        if base.replace("_", "") == kind.lower():
            names.append(f"{kind} {made_up[kind]}")
            made_up[kind] += 1
        else:
            names.append(layer.name)
    return names


def _batches(
    spec: RunSpec, dataset: Dataset, steps: int, initial_epoch: int = 0
) -> tf.data.Dataset:
    """The run's batches from `initial_epoch` on: one permutation an epoch, from the seed alone.

    The order is the same for every method, and does not depend on what ran before. Where the batch
    size does not divide the split, each epoch leaves out a different few images.
    """
    size = min(spec.batch_size, len(dataset.x_train))
    generator = np.random.default_rng(spec.seed)
    order = np.concatenate(
        [
            generator.permutation(len(dataset.x_train))[: steps * size].reshape(steps, size)
            for _ in range(spec.epochs)
        ][initial_epoch:]
    )
    images, labels = tf.constant(dataset.x_train), tf.constant(dataset.y_train)
    batches = tf.data.Dataset.from_tensor_slices(order).map(
        lambda index: (tf.gather(images, index), tf.gather(labels, index))
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return batches.prefetch(2).with_options(options)
