"""The options shared by all builders, and their validation."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import keras

from dlip_reg.checks import is_whole, require_bool, require_number, require_positive, require_rate


@dataclass(frozen=True, kw_only=True)
class BuilderOptions:
    """The keyword options that all builders share.

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

    batch_norm: bool = False
    batch_norm_momentum: float = 0.9
    conv_dropout: float = 0.0
    spatial_dropout: bool = False
    dense_dropout: float = 0.0
    conv_kernel_regularizer: Any = None
    dense_kernel_regularizer: Any = None
    max_norm: float | None = None
    kernel_initializer: Any = "he_normal"
    activation: Any = "relu"
    classifier_activation: Any = None

    def __post_init__(self) -> None:
        for name in ("batch_norm", "spatial_dropout"):
            require_bool(name, getattr(self, name))
        for name in ("batch_norm_momentum", "conv_dropout", "dense_dropout"):
            # Stored as a plain float: Keras takes no NumPy scalars.
            object.__setattr__(self, name, require_rate(name, getattr(self, name)))
        for name in ("conv_kernel_regularizer", "dense_kernel_regularizer"):
            self._replace(
                name,
                _regularizer,
                "None, an L2 strength of 0 or more, or what keras.regularizers.get takes",
            )
        if self.max_norm is not None:
            norm = require_positive("max_norm", self.max_norm, "None or a number above 0")
            object.__setattr__(self, "max_norm", norm)
        self._replace("kernel_initializer", _initializer, "what keras.initializers.get takes")
        self._replace("activation", _activation, "what keras.activations.get takes")
        if self.classifier_activation is not None:
            self._replace(
                "classifier_activation", _activation, "None or what keras.activations.get takes"
            )

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> BuilderOptions:
        """Options from a builder's keyword arguments; ValueError for a name that is no option."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(keywords) - set(known))
        if unknown:
            raise ValueError(f"Unknown option {', '.join(unknown)}; known are {', '.join(known)}.")
        return cls(**keywords)

    def _replace(self, name: str, convert: Callable[..., Any], accepted: str) -> None:
        # What Keras makes of a value is stored, so that a bad one fails here and not mid-model.
        value = getattr(self, name)
        try:
            converted = convert(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be {accepted}, not {value!r}.") from error
        object.__setattr__(self, name, converted)


def _regularizer(value: Any) -> Callable[..., Any] | None:
    if isinstance(value, numbers.Real):
        strength = require_number("", value, "", lambda number: 0 <= number < math.inf)
        return keras.regularizers.L2(strength) if strength else None
    return keras.regularizers.get(value)


def _initializer(value: Any) -> Callable[..., Any]:
    if value is None:
        raise ValueError
    return keras.initializers.get(value)


def _activation(value: Any) -> Callable[..., Any]:
    # A layer would be one object in many places of the model, its weights shared.
    if isinstance(value, keras.Layer | type):
        raise ValueError
    return keras.activations.get(value)


def checked_shape(name: str, shape: Any, smallest: int | None) -> tuple[int, ...]:
    """`shape` as a tuple of ints; images, not below `smallest` pixels, unless that is None."""
    wanted = "(height, width, channels)" if smallest else "a tuple such as (features,)"
    if (
        not isinstance(shape, tuple | list)
        or not shape
        or (smallest and len(shape) != 3)
        or not all(is_whole(size) and size > 0 for size in shape)
    ):
        raise ValueError(f"input_shape must be {wanted} in positive whole numbers, not {shape!r}.")
    shape = tuple(int(size) for size in shape)
    if smallest and min(shape[:2]) < smallest:
        raise ValueError(
            f"{name} takes images of {smallest}x{smallest} pixels or more, "
            f"not {shape[0]}x{shape[1]}."
        )
    return shape


def own_regularizer(regularizer: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A regularizer of a layer's own, equal to the given one.

    A shallow copy: the strength of one layer can be changed alone, while a variable that a custom
    regularizer holds on purpose stays the same variable.
    """
    return copy.copy(regularizer)


def own_initializer(initializer: Callable[..., Any], seed: int) -> Callable[..., Any]:
    """An initializer of a layer's own with that `seed`, unless the given one brings its own."""
    if not isinstance(initializer, keras.Initializer):
        return initializer
    config = initializer.get_config()
    if config.get("seed", seed) is not None:
        return initializer
    return type(initializer).from_config(config | {"seed": seed})
