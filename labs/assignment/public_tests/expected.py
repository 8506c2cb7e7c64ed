"""The assignment's networks and losses in plain NumPy: what a submission is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Values = Mapping[str, np.ndarray]

CONV, DENSE = ("conv1", "conv2"), ("dense1", "logits")
WIDTHS = {"conv1": 8, "conv2": 16, "dense1": 32}
_EPSILON = 1e-3  # Keras' for batch normalization; the tests leave room for others


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
        assert f"{name}/kernel" in weights, (
            f"The model has no layer {name} with a kernel; its weights are {', '.join(weights)}."
        )
        for part, right in (("kernel", expected), ("bias", expected[-1:])):
            found = weights.get(f"{name}/{part}")
            assert found is None or found.shape == right, (
                f"{name}'s {part} has the shape {found.shape}, expected {right} for images of "
                f"{tuple(shape)} and {classes} classes."
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


def first_means(weights: Values, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means (8,) of conv1's maps over a batch, before the ReLU and after it."""
    maps = _convolved(x, weights["conv1/kernel"]) + weights.get("conv1/bias", 0)
    return maps.mean((0, 1, 2)), np.maximum(maps, 0).mean((0, 1, 2))


def toy_losses(weights: Values, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each example's cross-entropy (n,) of the small network of tasks 2 and 3, in inference."""
    norm = {path.removeprefix("bn/"): w for path, w in weights.items() if path.startswith("bn/")}
    hidden = np.maximum(_scaled(x @ weights["hidden/kernel"], **norm), 0)
    return cross_entropy(hidden @ weights["logits/kernel"] + weights["logits/bias"], y)


def penalty(kernel: np.ndarray, l1: float = 0.0, l2: float = 0.0) -> float:
    """What Keras' regularizers add to the loss for one kernel."""
    return float(l1 * np.abs(kernel).sum() + l2 * np.square(kernel).sum())


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
    if training:
        axes = tuple(range(x.ndim - 1))
        own |= {"moving_mean": x.mean(axes), "moving_variance": x.var(axes)}
    return _scaled(x, **own)


def _scaled(
    x: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    gamma: np.ndarray | float = 1.0,
    beta: np.ndarray | float = 0.0,
    **_: np.ndarray,
) -> np.ndarray:
    """Batch normalization by those statistics."""
    return (x - moving_mean) / np.sqrt(moving_variance + _EPSILON) * gamma + beta
