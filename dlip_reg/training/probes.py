"""The recorders that watch a run for what its specification measures.

What each leaves in the record, rows being those of its recorder in `callbacks`:

- "curves": `curves`, the columns of `LossCurve` on whole splits;
- "weights": `weights`, rows of `Sparsity` with activations on 256 validation images;
- "curvature": `curvature`, rows of `Sharpness` on 256 training images, at both ends and in the
  middle, lambda_max to a relative error of 1e-2; the last row's numbers are also measures;
- "landscape": `landscape`, rows of `Landscape` on 256 training images at every epoch, with steps
  from half of to 4 times the spec's learning rate;
- "flow": `flow`, rows of `GradientFlow` on the same images at both ends and in the middle;
- "percentiles": `percentiles`, rows of `ActivationPercentiles` at every epoch, on 256 validation
  images, for up to 8 units of the last hidden activation;
- "minimizer": `minimizer`, rows of `MinimizerSharpness`;
- loss levels: `levels`, see `dlip_reg.training.levels`.

From "curvature" on batch normalization takes the statistics of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from callbacks import (
    ActivationPercentiles,
    GradientFlow,
    Landscape,
    LossCurve,
    Sharpness,
    Sparsity,
)
from callbacks.layers import activation_inputs, activation_statistics
from dlip_reg import curvature
from dlip_reg.chunks import as_tensors
from dlip_reg.datasets import Dataset
from dlip_reg.training import levels
from dlip_reg.training.specification import RunSpec

# A curve of the test loss takes as long as the training it watches; these are enough to draw it.
# The measures at the end are on all test images.
CURVE_TEST_IMAGES = 1000
_IMAGES = 256  # of a probe's fixed batch
_STEPS = np.geomspace(0.5, 4, 8)
_UNITS = 8
# Drawing other training images changes lambda_max by several times as much.
_LAMBDA_TOL = 1e-2
CURVATURE = ("lambda_max", "sam_sharpness", "adaptive_sharpness")
_MINIMIZER_BATCH = 1_000  # images over which batch-norm statistics are taken


def recorders(spec: RunSpec, dataset: Dataset, model: keras.Model) -> dict[str, Any]:
    """The callbacks that watch the fit for what the spec measures, by the names of the parts."""
    train = dataset.x_train, dataset.y_train
    test = dataset.x_test[:CURVE_TEST_IMAGES], dataset.y_test[:CURVE_TEST_IMAGES]
    batch = dataset.x_train[:_IMAGES], dataset.y_train[:_IMAGES]
    few_validation = dataset.x_validation[:_IMAGES]
    ends_and_middle = -(-spec.epochs // 2)
    make: dict[str, Callable[[], Any]] = {
        "curves": lambda: LossCurve(
            train,
            (dataset.x_validation, dataset.y_validation),
            test=test if "test" in spec.measures else None,
            loss=model.loss,  # the plain cross-entropy, of logits or of probabilities
        ),
        "weights": lambda: Sparsity(probe=few_validation),
        "curvature": lambda: Sharpness(
            train,
            subset=_IMAGES,
            batch_norm="batch",
            tol=_LAMBDA_TOL,
            measures=CURVATURE,
            every_n_epochs=ends_and_middle,
        ),
        "landscape": lambda: Landscape(batch, step_lengths=(_STEPS * spec.learning_rate).tolist()),
        "flow": lambda: GradientFlow(batch, every_n_epochs=ends_and_middle),
        "percentiles": lambda: ActivationPercentiles(
            few_validation, units=range(_units(model, dataset))
        ),
        "minimizer": lambda: MinimizerSharpness(train, spec.stop_loss or 0.0),
    }
    found = {name: made() for name, made in make.items() if name in spec.measures}
    return found | ({"levels": levels.recorder(spec, dataset)} if spec.loss_levels else {})


def parts(recorders: dict[str, Any], keras_loss: list[float]) -> dict[str, Any]:
    """What the recorders leave in the record; `keras_loss` is what `fit` reported."""
    # Without the seconds, since a record holds what repeats.
    found: dict[str, Any] = {
        name: [
            {n: v for n, v in row.items() if not n.endswith("_seconds")} for row in recorder.rows
        ]
        for name, recorder in recorders.items()
    }
    if "curves" in found:
        # For the comparison; it has no value before training.
        found["curves"] = {**recorders["curves"].history, "keras_loss": [None, *keras_loss]}
    if "weights" in found:
        names = ("epoch", "layers", "kinds", "activations")
        found["weights"] = {
            "threshold": recorders["weights"].threshold,
            "edges": recorders["weights"].edges,
            "rows": [{name: row[name] for name in names} for row in found["weights"]],
        }
    return found


class MinimizerSharpness(keras.callbacks.Callback):
    """Measure sharpness at the epochs before and after the first with at most a loss.

    A value at exactly that loss is interpolated between the two `rows`; a run that does not reach
    the loss has none. Reads `clean_loss` from the logs, where `callbacks.LossCurve` puts it.

    Args:
        split: All training images and labels; the loss and every sharpness is that of all of them.
        loss: The clean training loss, in nats.
    """

    def __init__(self, split: tuple[np.ndarray, np.ndarray], loss: float) -> None:
        super().__init__()
        self._split, self._loss = split, loss
        self._before: tuple[int, float, list[np.ndarray]] | None = None
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Keep the weights, and measure at the first epoch that reaches the loss."""
        now = epoch + 1, float(logs["clean_loss"]), self.model.get_weights()
        if not self.rows and now[1] <= self._loss:
            function = curvature.LossFunction(
                self.model, *self._split, batch_norm="batch", batch_size=_MINIMIZER_BATCH
            )
            for state in filter(None, (self._before, now)):
                row_epoch, loss, weights = state
                self.model.set_weights(weights)
                self.rows.append({"epoch": row_epoch, "clean_loss": loss} | _sharpness(function))
        self._before = now


def _sharpness(function: curvature.LossFunction) -> dict[str, float]:
    eigenvalue = curvature.top_eigenvalue(function.hessian_product, function.size, tol=_LAMBDA_TOL)
    return {
        "lambda_max": eigenvalue.value,
        "sam_sharpness": curvature.sam_sharpness(function),
        "adaptive_sharpness": curvature.adaptive_sharpness(function),
        "keskar_1e_3": curvature.keskar_sharpness(function, 1e-3).value,
        "keskar_5e_4": curvature.keskar_sharpness(function, 5e-4).value,
    }


def _units(model: keras.Model, dataset: Dataset) -> int:
    """Return how many units of the last hidden activation are watched."""
    example = dataset.x_validation[:1]
    hidden = activation_statistics(model, example)
    if not hidden:
        return 1
    inputs, _ = activation_inputs(model, hidden[-1]["layer"], *as_tensors(example))
    return min(_UNITS, inputs.shape[-1])
