"""What a Keras optimizer makes of curvature: its preconditioner, threshold and next update."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from dlip_reg.chunks import replaced
from dlip_reg.curvature.layout import split

_ADAM = (keras.optimizers.Adam, keras.optimizers.AdamW)


def preconditioner(optimizer: keras.optimizers.Optimizer, variables: list[Any]) -> np.ndarray:
    """Return the diagonal P (n,) by which the optimizer divides gradients, from its own estimates.

    A step is w -= learning rate * m / P, with m the gradient or its running mean. P is 1 for SGD;
    (1 - beta_1^t) (sqrt(v) + epsilon) / sqrt(1 - beta_2^t) for Adam and AdamW after t steps, with
    v the second moments (`amsgrad`: their maxima), which is where Keras adds epsilon; and
    sqrt(v + epsilon) for RMSprop (`centered`: v less the squared mean). Cohen et al. 2022,
    "Adaptive gradient methods at the edge of stability", section 2.

    Args:
        optimizer: SGD, Adam, AdamW or RMSprop; a LossScaleOptimizer of one of these counts as it.
        variables: The weights that it trains, all of them in their order.

    Returns:
        Float64; NaN before the first step, when an adaptive optimizer has no estimate yet.

    Raises:
        ValueError: For another optimizer, for one that was built for other weights, and, but for
            SGD, for weights in half precision.
    """
    optimizer = _inner(optimizer)
    size = sum(math.prod(variable.shape) for variable in variables)
    if type(optimizer) is keras.optimizers.SGD:
        return np.ones(size)
    if type(optimizer) not in (*_ADAM, keras.optimizers.RMSprop):
        raise ValueError(
            "The preconditioner is known for SGD, Adam, AdamW and RMSprop, not for "
            f"{type(optimizer).__name__}."
        )
    _require_known_steps(optimizer, variables)
    steps = int(np.asarray(optimizer.iterations))
    if steps == 0:
        return np.full(size, math.nan)
    amsgrad = getattr(optimizer, "amsgrad", False)
    moments = _slots(optimizer, "velocity_hat" if amsgrad else "velocity")
    if type(optimizer) in _ADAM:
        first, second = 1 - optimizer.beta_1**steps, 1 - optimizer.beta_2**steps
        return first * (np.sqrt(moments) + optimizer.epsilon) / math.sqrt(second)
    if optimizer.centered:
        moments = moments - _slots(optimizer, "average_gradient") ** 2
    return np.sqrt(moments + optimizer.epsilon)


def stability_threshold(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the eigenvalue of P^-1/2 H P^-1/2 above which the optimizer diverges on a quadratic.

    With the learning rate r and momentum b: 2 / r without momentum, (2 + 2 b) / r with heavy-ball
    and (2 + 2 b) / ((1 + 2 b) r) with Nesterov's (Cohen et al. 2021, "Gradient descent on neural
    networks typically occurs at the edge of stability", equation 1), and
    (2 + 2 beta_1) / ((1 - beta_1) r) for Adam, 38 / r at beta_1 = 0.9 (Cohen et al. 2022, section
    2). They are for the gradient of all the data; weight decay and clipping are left out.

    Args:
        optimizer: One that `preconditioner` takes.

    Returns:
        Infinity at a learning rate of 0, such as a schedule begins or ends with; NaN for an
        optimizer that `preconditioner` does not know.
    """
    optimizer = _inner(optimizer)
    rate = learning_rate(optimizer)
    if type(optimizer) in _ADAM:
        beta = float(optimizer.beta_1)
        divisor = 1 - beta
    elif type(optimizer) in (keras.optimizers.SGD, keras.optimizers.RMSprop):
        beta = float(optimizer.momentum)
        divisor = 1 + 2 * beta if getattr(optimizer, "nesterov", False) else 1
    else:
        return math.nan
    return (2 + 2 * beta) / (divisor * rate) if rate else math.inf


def learning_rate(optimizer: keras.optimizers.Optimizer | None) -> float:
    """Return the optimizer's present learning rate; NaN for None, and where it has none."""
    return float(np.asarray(getattr(optimizer, "learning_rate", math.nan)))


def is_plain_sgd(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether a step is a batch's gradient times the learning rate: SGD and nothing more."""
    optimizer = _inner(optimizer)
    more = ("momentum", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
    return type(optimizer) is keras.optimizers.SGD and not any(
        getattr(optimizer, name) for name in (*more, "gradient_accumulation_steps")
    )


def update_direction(
    optimizer: keras.optimizers.Optimizer, variables: list[Any], gradient: np.ndarray
) -> np.ndarray:
    """Return what the optimizer would subtract next for a gradient, per unit of learning rate.

    A copy of the optimizer in its present state takes the step, momentum, clipping and weight decay
    included, on a copy of the weights; both are left as they were. It works for every Keras
    optimizer. Gradients that the optimizer has accumulated so far (`gradient_accumulation_steps`)
    are left out, as if all were `gradient`; so are the weights' constraints and their overwriting
    by an average (`ema_overwrite_frequency`).

    Args:
        optimizer: The optimizer.
        variables: The weights that it trains, all of them in their order.
        gradient: The gradient (n,) in all of them.

    Returns:
        The direction (n,), float64; NaN at a learning rate of 0.

    Raises:
        ValueError: For an optimizer that its `get_config` does not describe, for one that was built
            for other weights, and for weights in half precision.
    """
    optimizer = _inner(optimizer)
    _require_known_steps(optimizer, variables)
    try:
        return _step_per_rate(optimizer, variables, gradient, "float64")
    except Exception:
        # An optimizer with a float32 constant cannot run in float64. Real errors come again.
        return _step_per_rate(optimizer, variables, gradient, "float32")


def _step_per_rate(
    optimizer: keras.optimizers.Optimizer, variables: list[Any], gradient: np.ndarray, dtype: str
) -> np.ndarray:
    """`update_direction`, computed in `dtype`."""
    weights = [
        keras.Variable(variable.numpy(), dtype=dtype, name=variable.name) for variable in variables
    ]
    for weight, variable in zip(weights, variables, strict=True):
        weight._path = variable.path  # by which some optimizers tell weights apart
    copy = _copy(optimizer, variables, weights)
    slopes = split(keras.ops.convert_to_tensor(gradient, dtype), weights)
    if steps := copy.gradient_accumulation_steps:
        # The weights move at the last of so many steps, by the mean of their gradients.
        copy._iterations.assign(copy.iterations * steps + steps - 1)
        for accumulated, slope in zip(copy._accumulated_gradients, slopes, strict=True):
            accumulated.assign((steps - 1) * slope)
    rate = learning_rate(copy)  # of this step, which a schedule may change afterwards
    if rate == 0:
        return np.full(np.shape(gradient), math.nan)
    before = _flat(weights)
    copy.apply(slopes, weights)
    return (before - _flat(weights)) / rate


def _copy(optimizer: Any, variables: list[Any], weights: list[keras.Variable]) -> Any:
    """A copy of the optimizer of `variables` in its present state, for `weights` in their place."""
    schedule = optimizer._learning_rate
    if isinstance(schedule, keras.Variable):  # whose value is copied below with the other variables
        config = optimizer.get_config()
    else:  # it may have no configuration, or be of a class that Keras cannot find
        with replaced(optimizer, "_learning_rate", keras.ops.zeros(())):
            config = optimizer.get_config()
        if "learning_rate" in config:
            config["learning_rate"] = schedule
    try:
        copy = type(optimizer).from_config(config)
    except TypeError as error:
        raise ValueError(
            f"{type(optimizer).__name__} cannot be copied, because its get_config does not hold "
            f"all arguments of its __init__: {error}."
        ) from error
    with replaced(optimizer, "_exclude_from_weight_decay_cache", {}):
        decays = [optimizer._use_weight_decay(variable.value) for variable in variables]
    copy.exclude_from_weight_decay([w for w, d in zip(weights, decays, strict=True) if not d])
    copy.build(weights)
    if optimizer.built:
        for own, value in zip(copy.variables, optimizer.variables, strict=True):
            own.assign(value.numpy())
    copy.loss_scale_factor = copy.ema_overwrite_frequency = None
    return copy


def _inner(optimizer: Any) -> Any:
    """The optimizer itself, without the loss scaling of mixed precision."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _slots(optimizer: Any, name: str) -> np.ndarray:
    """The optimizer's variables of that name, one for each weight, as one vector."""
    return _flat([slot for slot in optimizer.variables if slot.name.endswith(f"_{name}")])


def _require_known_steps(optimizer: Any, variables: list[Any]) -> None:
    """ValueError for state that belongs to other weights, and for weights in half precision.

    In bfloat16 Adam's beta_2 is 1, for example, and its steps are 0.
    """
    for dtype in {variable.dtype for variable in variables} & {"float16", "bfloat16"}:
        raise ValueError(
            f"The steps of an optimizer on weights in {dtype} are rounded, and so not known: use a "
            "policy that keeps weights in float32, such as mixed_bfloat16."
        )
    if optimizer.built and [*map(id, optimizer._trainable_variables)] != [*map(id, variables)]:
        raise ValueError(
            "The optimizer was built for other weights than those that are trained: after freezing "
            "or unfreezing layers compile the model with a new one."
        )


def _flat(variables: list[Any]) -> np.ndarray:
    parts = [variable.numpy().ravel() for variable in variables]
    return np.concatenate(parts).astype(np.float64)
