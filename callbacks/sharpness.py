"""How sharp the loss is at the weights, while they are trained."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_bool, require_positive, require_whole, several
from dlip_reg.curvature import (
    LossFunction,
    adaptive_sharpness,
    batch_sharpness,
    critical_sharpness,
    estimate_trace,
    keskar_sharpness,
    preconditioner,
    sam_sharpness,
    spectral_density,
    stability_threshold,
    top_eigenvalues,
    update_direction,
)
from dlip_reg.curvature.lanczos import MEMORY, vectors_in
from dlip_reg.curvature.optimizers import is_plain_sgd

# Of each matrix, with the sign that makes the eigenvalue that is sought the largest.
_EIGENVALUES = {"lambda_max": 1, "lambda_min": -1, "preconditioned": 1}
_SPECTRAL = (*_EIGENVALUES, "trace", "spectral_density")
_RISES = {"sam_sharpness": sam_sharpness, "adaptive_sharpness": adaptive_sharpness}
_FROM_OPTIMIZER = ("preconditioned", "critical_sharpness")
_MEASURES = (*_SPECTRAL, "batch_sharpness", "critical_sharpness", "keskar_sharpness", *_RISES)
_MOST_PRODUCTS = 100  # of a search for eigenvalues
_TRACE_PRODUCTS = 48
_DENSITY_STEPS = 40
_MOST_TRACED = 8  # blocks, each of which takes seconds to trace
_APPROXIMATE_FROM = 2048  # examples from which an eighth of them costs about an eighth


class Sharpness(SplitRecorder):
    """Measures eigenvalues of the Hessian and other sharpness of the clean loss.

        sharpness = Sharpness((x_train, y_train))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[sharpness])
        history.history["lambda_max"], history.history["lambda_max_lr_half"]

    Measures of the Hessian, by products with it:

    - "lambda_max": its largest eigenvalue, to a relative error of `tol`, by Lanczos from the last
      measurement's eigenvector (the first one from that of an eighth of the examples, if these are
      2,048 or more), which saves products, and a random vector, new each time, which keeps the
      certificate good. With it go `lambda_max_bound`, its certificate (see
      `top_eigenvalues`); `lambda_max_products`, how many Hessian products it took; and
      `lambda_max_lr_half`, times half the optimizer's present learning rate: full-batch gradient
      descent hovers at 1 (Cohen et al. 2021);
    - "lambda_min": the smallest eigenvalue, at most `lambda_min_bound` too large, with
      `lambda_min_products`;
    - "preconditioned": the largest eigenvalue of P^-1/2 H P^-1/2, P being the diagonal by which the
      optimizer divides gradients (`dlip_reg.curvature.preconditioner`: SGD, Adam, AdamW, RMSprop),
      with `preconditioned_bound`, `preconditioned_products`, and `preconditioned_over_threshold`:
      full-batch training hovers at 1 (Cohen et al. 2022). The threshold is `stability_threshold`,
      38 / learning rate for Adam's defaults. NaN before the first step of an adaptive optimizer;
    - "trace", with `trace_standard_error` (see `estimate_trace`);
    - "spectral_density": in `rows` alone, a dict of the lists "grid", "density", "nodes" and
      "weights" (see `spectral_density`).

    Of these `by` measures each layer or block of weights as well, by the diagonal block of its
    weights in the matrix: the numbers of a layer "dense" are named `lambda_max/dense`,
    `lambda_max_bound/dense` and so on.

    Measures of the steps that training takes:

    - "batch_sharpness": the mean over `batches` batches of `batch_size` examples, drawn once from
      all the data with `seed`, of the curvature of a batch's loss along its own gradient, with
      `batch_sharpness_error`, the standard error, and `batch_sharpness_over_threshold`: under SGD
      at this batch size, without momentum, clipping and weight decay, it settles at 1, that is at
      2 / learning rate (arXiv 2412.20553). The latter is NaN for other optimizers, whose threshold
      is not known;
    - "critical_sharpness": 2 / the largest step along the optimizer's next update, of the gradient
      of the subset, that does not raise the loss, with `critical_sharpness_evaluations` of the
      loss, and `critical_sharpness_over_threshold`, times half the learning rate: above 1 the next
      step raises the loss (arXiv 2601.16979). It needs no second derivative, and any optimizer.

    Measures of the loss around the weights:

    - "keskar_sharpness": Keskar's phi in full space, epsilon = 1e-3; the searches'
      own values and ends are in `rows`;
    - "sam_sharpness": the rise of the loss after a step of .05 along the gradient;
    - "adaptive_sharpness": ASAM's, with T = |w| and rho = .5.

    Definitions and sources are in `dlip_reg.curvature`. The loss is the compiled one, a mean over
    the examples without dropout, and without penalties unless asked for (`penalties`,
    `layer_losses`). A loss whose reduction is "sum" is measured as a mean, too: with SGD ratios
    to the thresholds are then too small by a factor of the batch size.

    How far off a subset is: for one CNN of 57,000 weights trained with Adam on 10,000 images of
    Fashion-MNIST, at 0, 1, 3, 10 and 20 epochs, "lambda_max" on 256 averaged .92 to .96 of that
    on all images over 6 draws, with a standard deviation of 5 to 15 %; on 512 .98 to 1.00 (4 to
    8 %); on 2,048 .98 to 1.01 (1 to 5 %, 4 draws). The default costs least and is meant for how
    sharpness changes in a fit, whose measurements share their subset; to compare fits, take more.
    `tol` and the certificate are about the subset.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", the numbers above, "sharpness_seconds", "spectral_density", "keskar_searches":
    [{"name", "value", "failed", "status", "evaluations"}]}, and `logs` its numbers. Tracing is part
    of the seconds of a model's first measurement. Epochs in `every_n_epochs` thin out what is too
    slow.

    Args:
        data: The data, in any form that `callbacks.scheduled.SplitRecorder` takes.
        measures: One or more of the names above.
        subset: How many examples are drawn once with `seed`; None, or as many as the data have,
            takes all.
        top_k: How many of the largest eigenvalues (smallest for "lambda_min"); from the second on
            they are `lambda_max_2`, `lambda_max_2_bound` and so on.
        by: "layer", or {group: pattern or patterns} of names of weights or layers (see
            `LossFunction.blocks`); None for the whole alone. Of up to 8 blocks each has a graph of
            its own, whose products are quicker than those of the whole and take seconds to trace.
        certificate: False saves the products that the bounds take; they are NaN then, and another
            eigenvalue than the largest may be found.
        certify_every: Only every n-th measurement, beginning with the first, has bounds; those of
            the others are NaN. A bound does not outlive a step of training: it rests on a random
            vector's products with the Hessian, which are those of other weights then.
        batch_size: The number of examples in a batch of "batch_sharpness".
        batches: The most batches of "batch_sharpness".
        batch_norm: How measures of the Hessian normalise: by moving statistics ("inference"), or by
            those of every 256 examples of the subset in the data's order ("batch"). The other
            measures always take batch statistics, "batch_sharpness" those of each batch, because
            moving statistics are wrong where weights move.
        seed: Of the subset, the batches and the random vectors.
        tol: The relative error of eigenvalues.
        memory: About the most bytes of vectors to keep at a time. Where 100 vectors as long as the
            weights do not fit, even in single precision, searches for eigenvalues restart, and
            traces and densities are made of fewer products; a warning says so before the first
            measurement.
        penalties: Whether the weights' regularizers are part of the loss, as they are in training.
        options: `loss`, `layer_losses`, `class_weight`, `data_batches` and the schedule of
            `SplitRecorder`.

    Raises:
        ValueError: For wrong settings, and at fit for a model that is unbuilt, has no trainable
            weights, or has no loss; for a loss without a finite second derivative, or whose
            gradients are not its derivatives (`stop_gradient`); and, with "preconditioned" and
            "critical_sharpness", for an optimizer that `preconditioner` and `update_direction`
            refuse (not known, built for other weights, or with weights in half precision). Once
            training runs, what cannot be measured (weights that are NaN) is NaN, with one warning.
    """

    _transient: tuple[str, ...] = ("_function", "_approximate", "_following", "_batches")

    def __init__(
        self,
        data: Any,
        *,
        measures: Sequence[str] = ("lambda_max",),
        subset: int | None = 256,
        top_k: int = 1,
        by: str | Mapping[str, str | Sequence[str]] | None = None,
        certificate: bool = True,
        certify_every: int = 1,
        batch_size: int = 32,
        batches: int = 16,
        batch_norm: str = "inference",
        seed: int = 0,
        tol: float = 1e-3,
        memory: float = MEMORY,
        penalties: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        measures = tuple(several(measures))
        if not measures or not all(measure in _MEASURES for measure in measures):
            raise ValueError(
                f"measures must be one or more of {', '.join(_MEASURES)}, not {measures!r}."
            )
        if by is not None and not (by == "layer" or (isinstance(by, Mapping) and by)):
            raise ValueError(f'by must be "layer", a dict of patterns or None, not {by!r}.')
        if subset is not None:
            subset = require_whole("subset", subset, least=2)
        if batch_norm not in ("inference", "batch"):
            raise ValueError(f'batch_norm must be "inference" or "batch", not {batch_norm!r}.')
        self.measures = measures
        self.subset = subset
        self.top_k = require_whole("top_k", top_k)
        self.by = by
        self.certificate = require_bool("certificate", certificate)
        self.certify_every = require_whole("certify_every", certify_every)
        self.batch_size = require_whole("batch_size", batch_size)
        self.batches = require_whole("batches", batches)
        self.batch_norm = batch_norm
        self.seed = require_whole("seed", seed, least=0)
        self.tol = require_positive("tol", tol)
        self.memory = require_positive("memory", memory)
        self.penalties = require_bool("penalties", penalties)
        self._approximate: Any = None  # the function of an eighth of the examples
        self._following: Any = None  # whose batch norm follows moved weights
        self._batches: list[LossFunction] | None = None
        self._blocks: dict[str, list[int] | None] = {}  # by what follows the measures' names
        self._starts: dict[str, np.ndarray] = {}

    def prepare(self) -> None:
        whole = self.loss_function()
        function = whole
        if self.subset is not None and self.subset < function.examples:
            function = function.subset(self.subset, self.seed)
        self._function, self._following = function, copy.copy(function)
        if function.examples >= _APPROXIMATE_FROM:
            self._approximate = function.subset(function.examples // 8, self.seed)
        self._following.batch_norm = "batch"
        self._blocks, self._starts = {"": None}, {}
        if self.by is not None:
            blocks = function.blocks(self.by)
            self._blocks |= {f"/{name}": block for name, block in blocks.items()}
        if set(self.measures) & set(_FROM_OPTIMIZER) and math.isnan(self.learning_rate()):
            raise ValueError(
                f"{' and '.join(_FROM_OPTIMIZER)} need an optimizer with one learning rate."
            )
        if "preconditioned" in self.measures:
            preconditioner(self.optimizer, self.model.trainable_variables)
        if set(self.measures) & set(_SPECTRAL):
            function.verify("hessian_product")
        if set(self.measures) - {*_SPECTRAL, "batch_sharpness"}:
            self._following.verify()
        if "batch_sharpness" in self.measures:
            whole = copy.copy(whole)
            whole.batch_norm, whole.batch_size = "batch", self.batch_size
            whole.verify("hessian_product")
            self._batches = self.draw_batches(whole, self.batch_size, self.batches, self.seed)
        size, vectors = function.size, 2 * self._vectors  # in single precision
        if vectors < _MOST_PRODUCTS and set(self.measures) & set(_SPECTRAL):
            self.warn_once(
                "memory",
                f"the Hessian of {size} weights is measured with up to {vectors} vectors at a "
                f"time, {4 * size * vectors / 1e9:.3g} GB; with more memory than {self.memory:g} "
                "bytes searches for eigenvalues would not restart, and traces and densities would "
                "take more products.",
            )

    def loss_function(self, **options: Any) -> LossFunction:
        """The function of all the data."""
        own = {"batch_norm": self.batch_norm, "batch_size": 256, "penalties": self.penalties}
        return super().loss_function(**own | options)

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        start = time.perf_counter()
        values: dict[str, float] = {}
        details: dict[str, Any] = {}
        optimizer, rate = self.optimizer, self.learning_rate()
        for group, block in self._blocks.items():
            for name in (name for name in _EIGENVALUES if name in self.measures):
                values |= self._eigenvalues(name, group, block)
            if "trace" in self.measures:
                products = min(_TRACE_PRODUCTS, max(6, self._vectors))
                trace = estimate_trace(*self._hessian(block), products=products, seed=self.seed)
                values[f"trace{group}"] = trace.value
                values[f"trace_standard_error{group}"] = trace.standard_error
            if "spectral_density" in self.measures:
                steps = min(_DENSITY_STEPS, self._vectors)
                density = spectral_density(*self._hessian(block), steps=steps, seed=self.seed)
                columns = ("grid", "density", "nodes", "weights")
                details[f"spectral_density{group}"] = {
                    name: getattr(density, name).tolist() for name in columns
                }
        if "lambda_max" in self.measures:
            values["lambda_max_lr_half"] = values["lambda_max"] * rate / 2
        if "preconditioned" in self.measures:
            over = values["preconditioned"] / stability_threshold(optimizer)
            values["preconditioned_over_threshold"] = over
        if "batch_sharpness" in self.measures:
            sharp = batch_sharpness(self._batches)
            threshold = stability_threshold(optimizer) if is_plain_sgd(optimizer) else math.nan
            values["batch_sharpness"] = sharp.value
            values["batch_sharpness_error"] = sharp.standard_error
            values["batch_sharpness_over_threshold"] = sharp.value / threshold
        if "critical_sharpness" in self.measures:
            direction = partial(update_direction, optimizer, self.model.trainable_variables)
            # At a learning rate of 0 there is no direction, and any step will do.
            critical = critical_sharpness(self._following, direction, step=2 * rate or 1.0)
            values["critical_sharpness"] = critical.value
            values["critical_sharpness_evaluations"] = critical.evaluations
            values["critical_sharpness_over_threshold"] = critical.value * rate / 2
        if "keskar_sharpness" in self.measures:
            phi = keskar_sharpness(self._following, seed=self.seed)
            values["keskar_sharpness"] = phi.value
            details["keskar_searches"] = [vars(search).copy() for search in phi.searches]
        for name, measure in _RISES.items():
            if name in self.measures:
                values[name] = measure(self._following)
        values["sharpness_seconds"] = time.perf_counter() - start
        return values, details

    def _hessian(
        self,
        block: list[int] | None,
        scale: np.ndarray | None = None,
        sign: int = 1,
        approximate: bool = False,
    ) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
        """The product with the Hessian, scaled, or a block of it, and its size."""
        function = self._approximate if approximate else self._function
        trace = len(self._blocks) - 1 <= _MOST_TRACED
        operator = function.to_scipy("hessian", block, scale, trace)
        product = operator.matvec
        return product if sign == 1 else lambda vector: sign * product(vector), operator.shape[0]

    def _eigenvalues(self, name: str, group: str, block: list[int] | None) -> dict[str, float]:
        """Eigenvalues of one matrix, their bounds, and the products, by their names in `rows`."""
        scale, is_known, sign = None, True, _EIGENVALUES[name]
        if name == "preconditioned":
            scale = preconditioner(self.optimizer, self.model.trainable_variables)
            is_known = bool(np.isfinite(scale).all())  # not before the first step
        matrix = block, scale if is_known else None, sign
        product, size = self._hessian(*matrix)
        k = min(self.top_k, size)
        names = [name, *(f"{name}_{i}" for i in range(2, k + 1))]
        keys = [f"{each}{suffix}{group}" for each in names for suffix in ("", "_bound")]
        keys.append(f"{name}_products{group}")
        if not is_known:
            return dict.fromkeys(keys, math.nan)
        found = top_eigenvalues(
            product,
            size,
            k,
            tol=self.tol,
            start=self._starts.get(name + group),
            approximate=self._hessian(*matrix, approximate=True)[0] if self._approximate else None,
            seed=self.seed,
            max_products=_MOST_PRODUCTS,
            certificate=self.certificate and len(self.rows) % self.certify_every == 0,
            memory=self.memory,
        )
        self._starts[name + group] = found.vectors.sum(axis=0)
        if not found.converged:
            known = int(np.isfinite(found.values).sum())
            bounds, sizes = found.bounds[:known], np.abs(found.values[:known])
            worst = int(np.argmax(bounds - self.tol * sizes))
            bound = "" if np.isnan(found.bounds[worst]) else f"up to {found.bounds[worst]:.2g} "
            beyond = "above" if sign > 0 else "below"
            what = f"{names[worst]}{group} may be {bound}{beyond} {sign * found.values[worst]:.4g}"
            if known < k:
                what = f"{names[known]}{group} was not found"
            products = f"which is all that {found.products} Hessian products can say."
            self.warn_once("bound", f"{what}, {products}")
        values = np.where(np.isfinite(found.values), sign * found.values, math.nan)
        pairs = np.stack([values, found.bounds], axis=1).ravel().tolist()
        return dict(zip(keys, [*pairs, found.products], strict=True))

    @property
    def _vectors(self) -> int:
        """How many vectors as long as the weights fit into the memory, and the least that works."""
        return vectors_in(self.memory, self._function.size, self.top_k)
