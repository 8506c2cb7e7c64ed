"""Fit the model of one specification."""

from __future__ import annotations

import contextlib
import functools
import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils.naming import reset_uids  # nothing public does this alone

from callbacks import LossCurve
from dlip_reg.datasets import Dataset
from dlip_reg.training import losses, model_functions
from dlip_reg.training.augmentation import Augmentation
from dlip_reg.training.initial_weights import draw_weights, random_weights
from dlip_reg.training.keras_configs import restored, user_modules
from dlip_reg.training.levels import LEVEL_STEPS
from dlip_reg.training.reuse import can_be_reused, reusable
from dlip_reg.training.schedules import variable_rate
from dlip_reg.training.specification import IMPROVEMENT, DataSpec, RunSpec, Schedule


def trained(spec: RunSpec, dataset: Dataset) -> keras.Model:
    """Train the model of a specification, without a record.

    Args:
        spec: The run.
        dataset: The data that `spec.data` describes, as `load_dataset` gives it.

    Returns:
        The trained model; see `compiled` for how long it is the caller's.
    """
    model = compiled(spec, dataset)
    fit(model, spec, dataset)
    return model


def compiled(spec: RunSpec, dataset: Dataset) -> keras.Model:
    """Return the compiled model of `spec` at the start of its run.

    A model that `can_be_reused` is shared by all runs of its structure in this process, and belongs
    to the caller until the next of them begins.

    Raises:
        ValueError: The model cannot be built for this data, or a Keras class does not exist.
    """
    if spec.data.grey and dataset.input_shape[-1] != 3:
        raise ValueError(
            "The specification asks for grey images in three channels: give as_grey(dataset)."
        )
    steps = steps_per_epoch(spec, dataset)
    shape = dataset.input_shape, dataset.classes
    drawn = _random_weights(
        RunSpec(spec.model, DataSpec(""), spec.regularization, spec.builder), *shape
    )
    texts = [text for text in (spec.loss, spec.optimizer) if text.startswith("{")]
    has_own_classes = any(map(user_modules, texts))
    if drawn is not None or has_own_classes or _brings_objects(spec):
        # What is not of this package may draw from the global seeds. Setting them makes TensorFlow
        # prepare all functions anew, which takes as long as two short epochs.
        keras.utils.set_random_seed(spec.seed)
    reset_uids()  # records name layers: one that Keras names is "dense", whatever was built before
    model = model_functions.build(spec, *shape)
    draw_weights(model, spec.seed, drawn)
    Augmentation(spec, dataset.x_train[:16])  # raises for layers that do not exist
    scheduled = spec.schedule != Schedule()
    # A whole epoch per call: between two steps there is nothing for Python to do, unless the loss
    # is looked at.
    per_call = _steps_between_levels(steps) if spec.loss_levels else steps

    def compile_model(target: keras.Model) -> None:
        optimizer = make_optimizer(spec.optimizer)
        if scheduled:
            optimizer.learning_rate = variable_rate()
        target.compile(
            optimizer=optimizer,
            loss=losses.clean_loss(spec, target, dataset.x_train[:8]),
            steps_per_execution=per_call,
            # On a CPU, XLA makes these networks slower.
            jit_compile=False,
        )
        losses.train_on(target, spec, dataset.classes)

    # What is not Keras' own may have a state that no load resets.
    if can_be_reused(model) and not has_own_classes:
        names = [layer.name for layer in model.layers]  # records hold them
        key = [spec.optimizer, spec.loss, spec.label_smoothing, scheduled, per_call, names]
        model = reusable(model, compile_model, key=json.dumps(key))
    else:
        compile_model(model)
    if scheduled:
        variable_rate().set(spec, steps)
    else:
        model.optimizer.learning_rate = spec.learning_rate
    return model


def require_effect(spec: RunSpec, dataset: Dataset, kinds: Collection[str]) -> None:
    """Check that a model function uses the options of the regularization that it accepts.

    Args:
        spec: The run.
        dataset: The data that `spec.data` describes.
        kinds: The kinds of kernels in the model; options for other kinds may have no effect.

    Raises:
        ValueError: The model is the same without one of them, so arms would be compared with
            themselves.
    """
    absent = {"conv", "dense"} - set(kinds)
    options = sorted(spec.regularization.options_in_use())
    used = [name for name in options if name.split("_")[0] not in absent]
    # What changes a network, as `ghost_batch_norm` does, may set an option of it.
    is_own = model_functions.is_function(spec.model) and not model_functions.changed_network(spec)
    if not (used and is_own):
        return

    def behaviour(run: RunSpec) -> tuple[Any, ...]:
        keras.utils.set_random_seed(0)
        model = model_functions.build(run, dataset.input_shape, dataset.classes)
        for weights in model.trainable_variables:  # behind those that begin at 0 nothing is seen
            weights.assign_add(0.1 * np.random.standard_normal(weights.shape))
        outputs = losses.outputs_of(model, dataset.x_train[:16], training=True)
        penalties = list(map(float, model.losses))
        held = [v for v in model.trainable_variables if v.constraint is not None]
        return outputs, penalties, [float(keras.ops.sum(v.constraint(100 * v))) for v in held]

    whole, unused = behaviour(spec), []
    for name in used:
        with contextlib.suppress(ValueError):  # it needs the option
            other = behaviour(replace(spec, regularization=spec.regularization.without(name)))
            if all(map(np.array_equal, whole, other)):
                unused.append(name)
    if unused:
        raise ValueError(
            f"The model function {spec.model} must use {', '.join(unused)}, which it accepts: the "
            "model is the same without."
        )


def _brings_objects(spec: RunSpec) -> bool:
    """Whether a builder is given Keras objects, or images go through layers, of any kind."""
    return spec.augmentation != "[]" or '"class_name"' in spec.builder


@functools.lru_cache(maxsize=64)
def _random_weights(
    spec: RunSpec, input_shape: tuple[int, ...], classes: int
) -> tuple[bool, ...] | None:
    """Which weights of a model function are random; None for a builder, whose weights all are."""
    if not model_functions.is_function(spec.model):
        return None
    return random_weights(lambda: model_functions.build(spec, input_shape, classes))


def fit(
    model: keras.Model,
    spec: RunSpec,
    dataset: Dataset,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train what `compiled` made of the same specification; `callbacks` watch."""
    callbacks = list(callbacks)

    # Keras' TerminateOnNaN would print a line for every such run.
    def stop_when_diverged(batch: int, logs: Mapping[str, float]) -> None:
        model.stop_training |= not np.isfinite(logs.get("loss", 0.0))

    stops: list[keras.callbacks.Callback] = []
    if spec.patience is not None:
        stops.append(
            _StopAtTheLowest(
                "clean_loss",
                min_delta=IMPROVEMENT,
                patience=spec.patience,
                mode="min",
                restore_best_weights=True,
            )
        )
    if (loss := spec.stop_loss) is not None:

        def stop_at_loss(epoch: int, logs: Mapping[str, float]) -> None:
            model.stop_training |= logs["clean_loss"] <= loss

        stops.append(keras.callbacks.LambdaCallback(on_epoch_end=stop_at_loss))
    if stops:
        curves = [callback for callback in callbacks if isinstance(callback, LossCurve)]
        others = [callback for callback in callbacks if callback not in curves]
        curves = curves or [LossCurve((dataset.x_train, dataset.y_train))]
        # They read the curve's log, and what the others see last are the weights a stop restores.
        callbacks = [*curves, *stops, *others]
    callbacks.append(keras.callbacks.LambdaCallback(on_train_batch_end=stop_when_diverged))
    if model.optimizer.use_ema:  # the averages are what is measured, as at the end of training
        callbacks.insert(0, keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    steps = steps_per_epoch(spec, dataset)
    with warnings.catch_warnings():
        # The record says what could not be measured, and how well the rest is known.
        warnings.filterwarnings("ignore", r".*, after step \d+: ", RuntimeWarning)
        return model.fit(
            _batches(spec, dataset, steps),
            epochs=spec.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the batches come in their order
            verbose=0,
            callbacks=callbacks,
        )


class _StopAtTheLowest(keras.callbacks.EarlyStopping):
    """Ends with the weights of the epoch whose clean training loss was the lowest.

    Small batches leave a minimum now and then: the last epoch's weights may be those of a spike.
    Keras puts the best ones back after all callbacks have seen the last epoch, this one before.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self.model.stop_training or epoch + 1 == self.params["epochs"]:
            super().on_train_end(logs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """They are back."""


def steps_per_epoch(spec: RunSpec, dataset: Dataset) -> int:
    """Return how many whole batches the training images make, at least one."""
    return max(1, len(dataset.x_train) // spec.batch_size)


def _steps_between_levels(steps: int) -> int:
    """The most steps per call of which an epoch is a multiple: a call must not cross its end."""
    return max(number for number in range(1, LEVEL_STEPS + 1) if steps % number == 0)


def make_optimizer(text: str) -> keras.optimizers.Optimizer:
    """Return the optimizer of a name or of a configuration as JSON text.

    Raises:
        ValueError: Keras knows no such optimizer.
    """
    if text == "momentum":
        return keras.optimizers.SGD(momentum=0.9)
    return restored(text) if text.startswith("{") else keras.optimizers.get(text)


def _batches(spec: RunSpec, dataset: Dataset, steps: int) -> tf.data.Dataset:
    """The run's batches: one permutation an epoch, from the seed alone.

    The order is the same for every method, and does not depend on what ran before. Where the batch
    size does not divide the split, each epoch leaves out a different few images.
    """
    size = min(spec.batch_size, len(dataset.x_train))
    generator = np.random.default_rng(spec.seed)
    order = np.concatenate(
        [
            generator.permutation(len(dataset.x_train))[: steps * size].reshape(steps, size)
            for _ in range(spec.epochs)
        ]
    )
    images, labels = tf.constant(dataset.x_train), tf.constant(dataset.y_train)
    # AutoGraph would write a file for each, which stays where worker processes are ended.
    as_it_is = tf.autograph.experimental.do_not_convert
    batches = tf.data.Dataset.from_tensor_slices(order).map(
        as_it_is(lambda index: (tf.gather(images, index), tf.gather(labels, index)))
    )
    if augment := Augmentation(spec, dataset.x_train[:16]):
        numbers = tf.range(spec.epochs * steps)
        batches = tf.data.Dataset.zip(batches, tf.data.Dataset.from_tensor_slices(numbers)).map(
            as_it_is(lambda batch, step: (augment(batch[0], step), batch[1]))
        )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    # There is nothing to tune, and its thread can hold up the end of a run for half a second.
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)
