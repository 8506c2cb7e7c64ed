"""The assignment's network and losses in plain NumPy: what a submission is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Values = Mapping[str, np.ndarray]

CONV, DENSE = ("conv1", "conv2"), ("dense1", "logits")
WIDTHS = {"conv1": 8, "conv2": 16, "dense1": 32}
_EPSILON = 1e-3  # Keras' for batch normalization


def kernel_shapes(shape: Sequence[int], classes: int) -> dict[str, tuple[int, ...]]:
    """The kernel's shape of each layer, for images of `shape` (height, width, channels)."""
    height, width, channels = shape
    flat = (height // 4) * (width // 4) * WIDTHS["conv2"]
    return {
        "conv1": (3, 3, channels, WIDTHS["conv1"]),
        "conv2": (3, 3, WIDTHS["conv1"], WIDTHS["conv2"]),
        "dense1": (flat, WIDTHS["dense1"]),
        "logits": (WIDTHS["dense1"], classes),
    }


def require_kernels(weights: Values, shape: Sequence[int], classes: int) -> None:
    """AssertionError unless the four kernels are there, of the shapes that the task gives them."""
    for name, expected in kernel_shapes(shape, classes).items():
        kernel = weights.get(f"{name}/kernel")
        assert kernel is not None, (
            f"The model has no layer {name} with a kernel; its weights are {', '.join(weights)}."
        )
        assert kernel.shape == expected, (
            f"{name}'s kernel has the shape {kernel.shape}, expected {expected} for images of "
            f"{tuple(shape)} and {classes} classes."
        )
        bias = weights.get(f"{name}/bias")
        assert bias is None or bias.shape == expected[-1:], (
            f"{name}'s bias has the shape {bias.shape}, expected {expected[-1:]}."
        )


def logits(
    weights: Values, x: np.ndarray, *, training: bool = False, norm_last: bool = False
) -> np.ndarray:
    """The network's outputs without dropout, for weights by their paths.

    Batch normalization is applied where there are such weights of a layer's width, before the
    ReLU, or with `norm_last` after it; by the batch's statistics with `training`.
    """

    def finish(x: np.ndarray, name: str) -> np.ndarray:
        if norm_last:
            return _normalised(weights, np.maximum(x, 0), name, training)
        return np.maximum(_normalised(weights, x, name, training), 0)

    for name in CONV:
        x = finish(_convolved(x, weights[f"{name}/kernel"]) + weights.get(f"{name}/bias", 0), name)
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    x = x.reshape(len(x), -1)
    x = finish(x @ weights["dense1/kernel"] + weights.get("dense1/bias", 0), "dense1")
    return x @ weights["logits/kernel"] + weights.get("logits/bias", 0)


def cross_entropy(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each example's cross-entropy (n,) for logits (n, classes) and labels (n,), in nats."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]


def _convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True)


def _normalised(weights: Values, x: np.ndarray, name: str, training: bool) -> np.ndarray:
    # The names of these layers are free, their widths are not.
    own = {
        path.rpartition("/")[2]: value
        for path, value in weights.items()
        if "kernel" not in path and "bias" not in path and value.shape == (WIDTHS[name],)
    }
    if not {"moving_mean", "moving_variance"} <= own.keys():
        return x
    axes = tuple(range(x.ndim - 1))
    mean, variance = own["moving_mean"], own["moving_variance"]
    if training:
        mean, variance = x.mean(axes), x.var(axes)
    scaled = (x - mean) / np.sqrt(variance + _EPSILON)
    return scaled * own.get("gamma", 1.0) + own.get("beta", 0.0)
