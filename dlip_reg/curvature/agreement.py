"""Whether what is measured is what Keras computes: a check on a few examples, before training.

A recorder evaluates a model at other weights, in a graph of its own, with corrected derivatives.
Whatever a model or a loss does that does not survive this (weights that are read past Keras, state
of Python, randomness in inference mode) shows against the plain loss of Keras and its gradient.
"""

from __future__ import annotations

import contextlib
import functools
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from dlip_reg.chunks import (
    draws_numbers,
    in_full_precision,
    random_states,
    reason_of,
    replaced,
    undisturbed,
)
from dlip_reg.clean_loss import ModelLoss, sum_of_layer_losses
from dlip_reg.curvature.batch_norm import batch_norm_layers, forward
from dlip_reg.curvature.evaluation import inference_in
from dlip_reg.curvature.hidden_state import restored_state
from dlip_reg.errors import DlipRegError

Pair = tuple[float, np.ndarray | None]  # a loss, and its gradient (P,) if it is to be compared
Found = tuple[float, np.ndarray | None, list[bool] | None]  # and on which weights it depends
Evaluation = tuple[float, np.ndarray]

FEW = 16  # examples to compare on
_DRAWS = 16  # evaluations of a model whose Keras layers draw random numbers, mostly for nothing
_VALUE, _GRADIENT = 1e-3, 2e-3  # relative tolerances, for float32 and other orders of its sums
_ROUNDING = 1e-6  # absolute, for gradients and losses of about zero


class DisagreementError(DlipRegError, ValueError):
    """What would be measured is not the loss that Keras computes for the model."""


@in_full_precision()
def require_agreement(
    model: keras.Model,
    loss: ModelLoss,
    chunk: tuple[Any, ...],
    own: Callable[[], Iterable[Found]],
    *,
    batch_norm: str = "inference",
    dtype: str | None = None,
) -> None:
    """Compare evaluations of a model's loss at its present weights with Keras' own.

    Args:
        model: A built model.
        loss: The loss that is measured.
        chunk: (x, y, sample_weight), tensors of a few examples.
        own: Returns what is to be compared.
        batch_norm: "inference" or "batch".
        dtype: The precision to compute in; None for the model's own.

    Raises:
        DisagreementError: Where they differ, where two evaluations by Keras itself differ, and for
            a model or loss that cannot be evaluated.
    """
    with _one_sentence(), _no_lasting_changes(model, *keras.tree.flatten(loss.loss)):
        depends: list[bool] = []
        evaluated = functools.partial(_keras_loss, model, loss, chunk, batch_norm, dtype, depends)
        keras_own = _repeatable(model, evaluated)
        if batch_norm == "batch" and batch_norm_layers(model):
            _require_one_inference_mode(model, chunk[0], dtype)
        for value, gradient, followed in own():
            is_wrong = _differ((value, gradient), keras_own)
            # A weight that is read past Keras may have no slope here, and have one elsewhere.
            is_wrong = is_wrong or (followed is not None and followed != depends)
            del gradient  # that of a large model takes memory while the next one is computed
            if is_wrong:
                raise DisagreementError(
                    f"The loss that would be measured, {value:.6g}, or its gradient is not what "
                    f"Keras computes at the same weights, {keras_own[0]:.6g}: the model or its "
                    "loss uses weights or state in a way that cannot be followed, or was changed "
                    "after it was traced (then compile the model again)."
                )


@in_full_precision()
def require_repeatable(model: keras.Model, x: Any) -> None:
    """DisagreementError where a call of a model in inference mode draws numbers or changes state.

    So it is for one that ends in an error. `x` are tensors of a few examples.
    """

    def evaluated(draw: int) -> tuple[Evaluation, set[int]]:
        with undisturbed(model), _noted_draws(draw) as drawn:
            return _outputs(model, x), drawn

    with _one_sentence(), _no_lasting_changes(model):
        _repeatable(model, evaluated)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """DisagreementError with what failed and the reason where something ends in another error."""
    try:
        yield
    except DisagreementError:
        raise
    except Exception as error:
        raise DisagreementError(
            f"{_failed(error)} cannot be measured, since calling it in inference mode on a few "
            f"examples failed: {reason_of(error)}"
        ) from error


def _failed(error: Exception) -> str:
    """The innermost layer or loss that an error came through."""
    failed = "The model"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        for kind in (keras.losses.Loss, keras.Layer):
            if isinstance(owner, kind) and not isinstance(owner, keras.Model):
                failed = f"The {kind.__name__.lower()} {owner.name!r}"
    return failed


def _repeatable(
    model: keras.Model, evaluated: Callable[[int], tuple[Evaluation, set[int]]]
) -> Evaluation:
    """What is evaluated; DisagreementError where that draws random numbers."""
    first, drawn = evaluated(0)
    # Some of Keras' own layers draw numbers in inference mode and do not use them.
    keras_draws = {
        id(part)
        for layer in model._flatten_layers()
        if type(layer).__module__.startswith("keras.")
        for part in vars(layer).values()
    }
    differ = False
    for draw in range(1, 1 + (_DRAWS if drawn else 1)):
        again, drawn_again = evaluated(draw)
        differ = differ or _differ(again, first)
        if 0 not in drawn_again:  # it was another thread that drew from a global state
            drawn.discard(0)
    if differ or drawn - keras_draws:
        raise DisagreementError(
            "The model draws random numbers in inference mode, so what it computes is not a "
            "function of the weights that could be measured: draw them only if `training`."
        )
    draws_numbers(model)[0] = False
    return first


@contextlib.contextmanager
def _noted_draws(draw: int = 0) -> Iterator[set[int]]:
    """The ids of what random numbers are drawn from; with another `draw` the seeds are others.

    Of `keras.random.SeedGenerator` objects; 0 for draws from global random states.
    """
    next_seed = keras.random.SeedGenerator.next
    drawn: set[int] = set()

    def shifted(generator: Any, ordered: bool = True) -> Any:
        drawn.add(id(generator))
        return next_seed(generator, ordered) + draw

    before = random_states()
    with mock.patch.object(keras.random.SeedGenerator, "next", shifted):
        yield drawn
    if random_states() != before:
        drawn.add(0)


@contextlib.contextmanager
def _no_lasting_changes(model: keras.Model, *losses: Any) -> Iterator[None]:
    """All as before, and DisagreementError, where state changed that Keras does not know.

    It puts back its own variables alone; a measurement that changes others would change training.
    """
    changed: set[str] = set()
    try:
        with restored_state([*model._flatten_layers(), *losses]) as changed:
            yield
    except DisagreementError:  # of which the change is the reason
        if not changed:
            raise
    if changed:
        raise DisagreementError(
            f"The model changes {', '.join(sorted(changed))} in inference mode, so a measurement "
            "would change training: keep such state in Keras variables (`self.add_weight`), or "
            "change it only if `training`."
        )


def _require_one_inference_mode(model: keras.Model, x: Any, dtype: str | None) -> None:
    """DisagreementError for a model whose layers tell the two falsehoods of `forward` apart."""
    with inference_in(model, "inference", dtype):
        differ = _differ(_outputs(model, x, "batch"), _outputs(model, x))
    if differ:
        raise DisagreementError(
            "The model computes something else with training=0 than with training=False, so that "
            "its batch statistics cannot be measured: a layer should ask whether `not training`, "
            "and not whether `training is False`."
        )


def _outputs(model: keras.Model, x: Any, batch_norm: str = "inference") -> Evaluation:
    parts = keras.tree.flatten(forward(model, x, batch_norm))
    return 0.0, np.concatenate([np.ravel(part).astype(np.float64) for part in parts])


def _keras_loss(
    model: keras.Model,
    loss: ModelLoss,
    chunk: tuple[Any, ...],
    batch_norm: str,
    dtype: str | None,
    depends: list[bool],
    draw: int,
) -> tuple[Evaluation, set[int]]:
    """Keras' own loss and its gradient in inference mode, and what `_noted_draws` notes.

    `depends` becomes whether the loss depends on each of the weights.
    """
    x, y, weights = chunk
    if all(np.all(part == 1) for part in keras.tree.flatten(weights)):
        weights = None  # Keras takes them for fewer shapes of losses
    evaluator = model
    if not loss.is_compiled:
        evaluator = keras.Model(name="evaluator")
        if loss.names is not None:
            evaluator.output_names = loss.names
        given = loss.loss if loss.single is None or keras.tree.is_nested(y) else loss.single
        evaluator.compile(optimizer=None, loss=given)
    # Under a MirroredStrategy, those of the first replica, which are the ones that are read here.
    variables = [getattr(v._value, "_primary", v._value) for v in model.trainable_variables]
    with (
        inference_in(model, batch_norm, dtype),
        _noted_draws(draw) as drawn,
        contextlib.ExitStack() as stack,
        tf.GradientTape() as tape,
    ):
        if evaluator is model:  # whose own would be built for the form of the recorder's targets
            own = model._compile_loss
            fresh = type(own)(own._user_loss, own._user_loss_weights, output_names=own.output_names)
            stack.enter_context(replaced(model, "_compile_loss", fresh))
        for variable in model.trainable_variables:  # so that `compute_loss` adds no penalties
            stack.enter_context(replaced(variable, "_regularizer", None))
        for part in keras.tree.flatten(loss.loss):
            if getattr(part, "reduction", "") in ("sum", "none", None):  # measured as a mean
                stack.enter_context(replaced(part, "reduction", "sum_over_batch_size"))
            if isinstance(part, keras.losses.Loss):  # lifted, as half precision of layers is
                stack.enter_context(replaced(part, "_dtype", dtype or "float32"))
        outputs = forward(model, x, batch_norm)
        if len(model.trainable_variables) > len(variables):
            raise DisagreementError(
                "Some layers of the model are not built: call it once on a batch before the fit."
            )
        added = sum_of_layer_losses(model) if loss.layer_losses and evaluator is not model else 0
        if not loss.layer_losses:
            model._clear_losses()  # which `compute_loss` adds
        value = tf.reduce_mean(evaluator.compute_loss(x, y, outputs, weights, training=False))
        value += added
    slopes = tape.gradient(value, variables)
    depends[:] = [slope is not None for slope in slopes]
    return (float(value), flat_gradient(slopes, variables)), drawn


def flat_gradient(slopes: list[Any], variables: list[Any]) -> np.ndarray:
    """Gradients in each of the variables, None for 0, as one vector in float64."""
    parts = [
        np.zeros(math.prod(variable.shape))
        if slope is None
        else np.ravel(tf.convert_to_tensor(slope))
        for slope, variable in zip(slopes, variables, strict=True)
    ]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)


def _differ(own: Pair, other: Evaluation) -> bool:
    """Whether two pairs of a loss and a gradient differ; what is not finite is let through."""
    (value, gradient), (expected, slope) = own, other
    if not (np.isfinite(expected) and np.isfinite(slope).all()):
        return False
    if not abs(value - expected) <= _VALUE * abs(expected) + _ROUNDING:
        return True
    if gradient is None:
        return False
    return not np.linalg.norm(gradient - slope) <= _GRADIENT * np.linalg.norm(slope) + _ROUNDING
