"""Random weights, drawn alike in a child and in the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# The network that losses and curves are measured on: Dense - BN - ReLU - dropout - logits.
FEATURES, UNITS, CLASSES = 5, 6, 3
TOY_SHAPES = {
    "hidden/kernel": (FEATURES, UNITS),
    "bn/gamma": (UNITS,),
    "bn/beta": (UNITS,),
    "bn/moving_mean": (UNITS,),
    "bn/moving_variance": (UNITS,),
    "logits/kernel": (UNITS, CLASSES),
    "logits/bias": (CLASSES,),
}


def random_weights(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """Draw values for weights, whose activations are then of the order of 1.

    Args:
        shapes: The shapes by the weights' paths. Their order counts, and of a path its last part.
        seed: Any whole number.

    Returns:
        The values by path.
    """
    rng = np.random.default_rng(seed)
    values = {}
    for path, shape in shapes.items():
        if path.rpartition("/")[2] in ("gamma", "moving_variance"):
            values[path] = rng.uniform(0.5, 1.5, shape)
        else:
            fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 8
            values[path] = rng.normal(size=shape) * np.sqrt(2 / fan_in)
    return values
