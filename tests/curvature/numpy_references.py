"""Losses and their derivatives in plain float64 NumPy, without automatic differentiation."""

from itertools import pairwise

import numpy as np


def complex_step_jacobian(function, w):
    """d function / d w, exact to rounding for analytic functions: no difference is taken."""
    step = 1e-30
    columns = [function(w + 1j * step * unit).imag / step for unit in np.eye(len(w))]
    return np.stack(columns, axis=-1)


def hessian(loss, w):
    """Central differences of complex-step gradients: right to about 1e-9."""
    return difference_hessian(lambda point: complex_step_jacobian(loss, point), w)


def difference_hessian(gradient, w, step=1e-5):
    rows = [
        (gradient(w + step * unit) - gradient(w - step * unit)) / (2 * step)
        for unit in np.eye(len(w))
    ]
    return np.stack(rows)


def cut(w, *shapes):
    """The flat vector as arrays of these shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    assert ends[-1] == len(w)
    return [part.reshape(s) for part, s in zip(np.split(w, ends[:-1]), shapes, strict=True)]


def softmax(logits):
    # A complex step moves the imaginary part alone, so the shift must not depend on it.
    weights = np.exp(logits - logits.real.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def cross_entropies(logits, labels):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def normalise(x, axis, epsilon=1e-3):
    mean = x.mean(axis, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis, keepdims=True) + epsilon)


def mlp_gradient(w, sizes, x, labels):
    """The mean cross-entropy's gradient for tanh layers of these sizes, by hand."""
    shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
    arrays = cut(w, *shapes)
    kernels, biases = arrays[::2], arrays[1::2]
    inputs = [x]
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        inputs.append(np.tanh(inputs[-1] @ kernel + bias))
    logits = inputs[-1] @ kernels[-1] + biases[-1]
    delta = (softmax(logits) - np.eye(sizes[-1])[labels]) / len(x)
    gradient = []
    for kernel, before in zip(kernels[::-1], inputs[::-1], strict=True):
        gradient += [delta.sum(0), (before.T @ delta).ravel()]
        delta = (delta @ kernel.T) * (1 - before**2)
    return np.concatenate(gradient[::-1])
