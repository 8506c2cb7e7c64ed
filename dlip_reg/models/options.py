"""The options shared by all builders, and their validation; Keras is imported on first use."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dlip_reg.checks import (
    Checked,
    checked,
    optional,
    require_bool,
    require_number,
    require_positive,
    require_rate,
)


def _found(
    module: str, accepted: str, is_refused: Callable[[Any], bool]
) -> Callable[[str, Any], Any]:
    """The check of an option that is what the `get` of a module of Keras finds for the value."""

    def check(name: str, value: Any) -> Any:
        import keras

        try:
            if is_refused(value):
                raise ValueError
            return getattr(keras, module).get(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be {accepted}, not {value!r}.") from error

    return check


def _regularizer(name: str, value: Any) -> Callable[..., Any] | None:
    from keras import regularizers

    accepted = "None, an L2 strength of 0 or more, or what keras.regularizers.get takes"
    if isinstance(value, numbers.Real):
        strength = require_number(name, value, accepted, lambda number: 0 <= number < math.inf)
        return regularizers.L2(strength) if strength else None
    return _found("regularizers", accepted, lambda _: False)(name, value)


def _is_layer(value: Any) -> bool:
    """Whether it would be one object in many places of the model, its weights shared."""
    import keras

    return isinstance(value, keras.Layer | type)


_activation = _found("activations", "what keras.activations.get takes", _is_layer)
_initializer = _found(
    "initializers", "what keras.initializers.get takes", lambda value: value is None
)
_norm = optional(partial(require_positive, accepted="None or a number above 0"))


@dataclass(frozen=True, kw_only=True)
class BuilderOptions(Checked):
    """The keyword options that all builders share, besides the `name` of the model.

    What Keras makes of a value is stored, so that a bad one fails here and not mid-model.

    - `batch_norm`: a BatchNormalization between each layer (the classifier aside) and its
      activation; the layer before it has no bias. `batch_norm_momentum`, in [0, 1), is how much
      the moving statistics keep of themselves at each step.
    - `conv_dropout`, `dense_dropout`: the share dropped, in [0, 1), after the activation of each
      convolution or hidden dense layer; with `spatial_dropout` convolutions drop whole feature
      maps (Tompson et al. 2015, section 3.2).
    - `conv_kernel_regularizer`, `dense_kernel_regularizer`: anything `keras.regularizers.get`
      takes, or a number l >= 0 for the L2 penalty l * sum w^2. They reach the kernels of all
      convolutions and of all dense layers, the classifier included, and nothing else.
    - `max_norm`: the bound on the norm of each unit's incoming weights, that is of each column of
      a dense kernel and of each filter (Srivastava et al. 2014, section 5.1).
    - `kernel_initializer`, `activation`: anything `keras.initializers.get` and
      `keras.activations.get` take. `classifier_activation`: the same, or None for logits.

    Raises ValueError for a value that is none of these.
    """

    batch_norm: bool = checked(require_bool, False)
    batch_norm_momentum: float = checked(require_rate, 0.9)
    conv_dropout: float = checked(require_rate, 0.0)
    spatial_dropout: bool = checked(require_bool, False)
    dense_dropout: float = checked(require_rate, 0.0)
    conv_kernel_regularizer: Any = checked(_regularizer, None)
    dense_kernel_regularizer: Any = checked(_regularizer, None)
    max_norm: float | None = checked(_norm, None)
    kernel_initializer: Any = checked(_initializer, "he_normal")
    activation: Any = checked(_activation, "relu")
    classifier_activation: Any = checked(optional(_activation), None)
