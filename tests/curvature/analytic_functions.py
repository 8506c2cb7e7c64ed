"""Functions in plain NumPy whose loss, gradient and Hessian are known in closed form."""

from types import SimpleNamespace

import numpy as np


class Analytic:
    """Weights w with the `f` and `df` of a subclass, over a number of examples."""

    def __init__(self, weights, examples=1):
        self.weights = np.asarray(weights, np.float64)
        self.examples = examples

    def parameters(self):
        return self.weights.copy()

    def value(self, parameters=None):
        return float(self.f(self.weights if parameters is None else parameters))

    def gradient(self, parameters=None):
        return self.value(parameters), self.df(self.weights if parameters is None else parameters)


class Given(Analytic):
    """Any loss with any gradient."""

    def __init__(self, weights, f, df, examples=1):
        super().__init__(weights, examples)
        self.f, self.df = f, df


class Quadratic(Analytic):
    """1/2 w'Hw."""

    def __init__(self, hessian, weights):
        super().__init__(weights)
        self.hessian = np.asarray(hessian, np.float64)

    def f(self, w):
        return 0.5 * w @ self.hessian @ w

    def df(self, w):
        return self.hessian @ w

    def hessian_product(self, vector):
        return self.hessian @ vector


def linear(slope, weights, examples=1):
    """1 + slope . w."""
    slope = np.asarray(slope, np.float64)
    return Given(weights, lambda w: 1 + slope @ w, lambda w: slope, examples)


class ReluNet(Analytic):
    """Mean cross-entropy of softmax(relu(x W1 + b1) W2 + b2); weights in that order."""

    def __init__(self, inputs=4, hidden=5, classes=3, examples=12, seed=0):
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(examples, inputs))
        self.y = np.eye(classes)[rng.integers(classes, size=examples)]
        self.shapes = [(inputs, hidden), (hidden,), (hidden, classes), (classes,)]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        super().__init__(rng.normal(size=sum(self.sizes)), examples)

    def split(self, w):
        parts = np.split(w, np.cumsum(self.sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def rescaled(self, factor):
        """The first layer times `factor`, the second's kernel divided by it: the same function."""
        w1, b1, w2, b2 = self.split(self.weights)
        other = ReluNet.__new__(ReluNet)
        other.__dict__ |= vars(self)
        parts = (factor * w1, factor * b1, w2 / factor, b2)
        other.weights = np.concatenate([part.ravel() for part in parts])
        return other

    def probabilities(self, w):
        w1, b1, w2, b2 = self.split(w)
        logits = np.maximum(self.x @ w1 + b1, 0) @ w2 + b2
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def f(self, w):
        return -np.log((self.probabilities(w) * self.y).sum(1)).mean()

    def df(self, w):
        w1, b1, w2, _ = self.split(w)
        hidden = np.maximum(self.x @ w1 + b1, 0)
        error = (self.probabilities(w) - self.y) / len(self.x)
        back = (error @ w2.T) * (hidden > 0)
        parts = (self.x.T @ back, back.sum(0), hidden.T @ error, error.sum(0))
        return np.concatenate([part.ravel() for part in parts])


def with_layout(function, *parameters):
    """The function with a layout of (kind, shape) parameters, one behind the other."""
    offset, layout = 0, []
    for kind, shape in parameters:
        size = int(np.prod(shape))
        axes = () if len(shape) == 1 else (-1,)
        layout.append(
            SimpleNamespace(kind=kind, shape=shape, output_axes=axes, offset=offset, size=size)
        )
        offset += size
    function.layout = tuple(layout)
    return function
