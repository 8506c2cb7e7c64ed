"""How sharp the loss is at the weights, while they are trained."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_positive, require_whole
from dlip_reg.curvature import (
    LossFunction,
    adaptive_sharpness,
    keskar_sharpness,
    sam_sharpness,
    top_eigenvalue,
)

_RISES = {"sam_sharpness": sam_sharpness, "adaptive_sharpness": adaptive_sharpness}
_MEASURES = ("lambda_max", "keskar_sharpness", *_RISES)


class Sharpness(SplitRecorder):
    """Measures the top Hessian eigenvalue and other sharpness of the clean loss.

        sharpness = Sharpness((x_train, y_train))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[sharpness])
        history.history["lambda_max"], history.history["lambda_max_lr_half"]

    `measures` are any of

    - "lambda_max": the largest eigenvalue of the Hessian, to a relative error of `tol`, by Lanczos
      from the last measurement's eigenvector, which saves products, and a random vector, new each
      time, which keeps the certificate good. With it go `lambda_max_bound`, its certificate (see
      `top_eigenvalue`); `lambda_max_products`, how many Hessian products it took; and
      `lambda_max_lr_half`, times half the optimizer's present learning rate: full-batch gradient
      descent hovers at 1 (Cohen et al. 2021);
    - "keskar_sharpness": Keskar's phi in full space, epsilon = 1e-3; the searches'
      own values and ends are in `rows`;
    - "sam_sharpness": the rise of the loss after a step of .05 along the gradient;
    - "adaptive_sharpness": ASAM's, with T = |w| and rho = .5.

    Definitions and sources are in `dlip_reg.curvature`. The loss is the compiled one, a mean over
    the examples without penalties or dropout. Of `data` a `subset` of that many examples is drawn
    once with `seed`; None, or a subset as large as the data, takes all. Forms of data and further
    options are those of `callbacks.scheduled.SplitRecorder`.

    How far off a subset is: for one CNN of 57,000 weights trained with Adam on 10,000 images of
    Fashion-MNIST, at 0, 1, 3, 10 and 20 epochs, "lambda_max" on 256 averaged .92 to .96 of that
    on all images over 6 draws, with a standard deviation of 5 to 15 %; on 512 .98 to 1.00 (4 to
    8 %); on 2,048 .98 to 1.01 (1 to 5 %, 4 draws). The default costs least and is meant for how
    sharpness changes in a fit, whose measurements share their subset; to compare fits, take more.
    `tol` and the certificate are about the subset.

    `batch_norm` says how "lambda_max" normalises, by moving statistics ("inference") or by those of
    every 256 examples of the subset in the data's order ("batch"); the other measures move the
    weights, where moving statistics are wrong, so they always take the latter.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", the numbers above, "sharpness_seconds", "keskar_searches": [{"name", "value",
    "failed", "status", "evaluations"}]}, and `logs` its numbers. Tracing is part of the seconds of
    a model's first measurement. Epochs in `every_n_epochs` thin out what is too slow.

    ValueError for wrong settings, and at fit for a model that is unbuilt, has no trainable weights,
    or has no loss, and for a loss without a finite second derivative. Once
    training runs, what can't be measured (weights that are NaN) is NaN, with one warning.
    """

    _transient: tuple[str, ...] = ("_function", "_following", "_vector")

    def __init__(
        self,
        data: Any,
        *,
        measures: Sequence[str] = ("lambda_max",),
        subset: int | None = 256,
        batch_norm: str = "inference",
        seed: int = 0,
        tol: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        measures = (measures,) if isinstance(measures, str) else tuple(measures)
        if not measures or set(measures) - set(_MEASURES):
            raise ValueError(
                f"measures must be one or more of {', '.join(_MEASURES)}, not {measures!r}."
            )
        if subset is not None:
            subset = require_whole("subset", subset, least=2)
        if batch_norm not in ("inference", "batch"):
            raise ValueError(f'batch_norm must be "inference" or "batch", not {batch_norm!r}.')
        self.measures = measures
        self.subset = subset
        self.batch_norm = batch_norm
        self.seed = seed
        self.tol = require_positive("tol", tol)
        self._following: LossFunction | None = None  # whose batch norm follows moved weights
        self._vector: np.ndarray | None = None

    def prepare(self) -> None:
        function = self.loss_function()
        if self.subset is not None and self.subset < function.examples:
            function = function.subset(self.subset, self.seed)
        if "lambda_max" in self.measures:
            function.verify("hessian_product")
        self._function, self._following = function, copy.copy(function)
        self._following.batch_norm = "batch"
        if set(self.measures) != {"lambda_max"}:
            self._following.verify()

    def loss_function(self, **options: Any) -> LossFunction:
        """The function of all the data."""
        return super().loss_function(batch_norm=self.batch_norm, batch_size=256, **options)

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        start = time.perf_counter()
        values: dict[str, float] = {}
        details: dict[str, Any] = {}
        if "lambda_max" in self.measures:
            values |= self._lambda_max()
        if "keskar_sharpness" in self.measures:
            phi = keskar_sharpness(self._following, seed=self.seed)
            values["keskar_sharpness"] = phi.value
            details["keskar_searches"] = [vars(search).copy() for search in phi.searches]
        for name, measure in _RISES.items():
            if name in self.measures:
                values[name] = measure(self._following).value
        values["sharpness_seconds"] = time.perf_counter() - start
        return values, details

    def _lambda_max(self) -> dict[str, float]:
        top = top_eigenvalue(
            self._function.hessian_product,
            self._function.size,
            tol=self.tol,
            start=self._vector,
            seed=self.seed,
        )
        self._vector = top.vector
        if not top.converged:
            self.warn_once(
                "bound",
                f"lambda_max may be up to {top.bound:.2g} above {top.value:.4g}, which is all that "
                f"{top.products} Hessian products can say.",
            )
        return {
            "lambda_max": top.value,
            "lambda_max_bound": top.bound,
            "lambda_max_products": top.products,
            "lambda_max_lr_half": top.value * self.learning_rate() / 2,
        }
