"""Random weights, drawn alike in a child and in the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def random_weights(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """Values for weights by their paths, of a size that keeps the activations of the order of 1."""
    rng = np.random.default_rng(seed)
    values = {}
    for path in sorted(shapes):
        shape = tuple(shapes[path])
        if path.rpartition("/")[2] in ("gamma", "moving_variance"):
            values[path] = rng.uniform(0.5, 1.5, shape)
        else:
            fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 8
            values[path] = rng.normal(size=shape) * np.sqrt(2 / fan_in)
    return values
