"""Measurements of one property of the network, during a run or at its end.

What each leaves in the record, rows being those of its recorder in `callbacks`:

- "curvature": `curvature`, rows of `Sharpness` on 256 training images, at both ends and in the
  middle, lambda_max to a relative error of 1e-2; the last row's numbers are also measures;
- "stability": `stability`, the same of lambda_max alone at every tenth of the epochs;
- "landscape": `landscape`, rows of `Landscape` on 256 training images at every epoch, with steps
  from half of to 4 times the spec's learning rate;
- "flow": `flow`, rows of `GradientFlow` on the same images at both ends and in the middle;
- "percentiles": `percentiles`, rows of `ActivationPercentiles` at every epoch, on 256 validation
  images, for up to 8 units of the last hidden activation;
- "minimizer": `minimizer`, sharpness at the epochs before and after the clean training loss first
  reached the spec's `stop_loss`; see `dlip_reg.training.minimizer`;
- "recalibrated": measures `recalibrated_val_loss`, ... of the trained net with its batch-norm
  statistics re-estimated on the training images;
- "keskar", "colours", "batch_noise": see `dlip_reg.training.endings`.

Batch normalization takes the statistics of the batch in all of them.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import keras
import numpy as np

from callbacks import ActivationPercentiles, GradientFlow, Landscape, Sharpness
from callbacks.layers import activation_inputs, activation_statistics
from dlip_reg.chunks import as_tensors
from dlip_reg.curvature import LossFunction
from dlip_reg.datasets import Dataset
from dlip_reg.models import get_builder
from dlip_reg.training.minimizer import MinimizerSharpness
from dlip_reg.training.model_functions import is_function
from dlip_reg.training.specification import RunSpec

_IMAGES = 256  # of a probe's fixed batch
_STEPS = np.geomspace(0.5, 4, 8)
_UNITS = 8
# The images drawn make several times as much of a difference.
_LAMBDA_TOL = 1e-2
_CURVATURE = ("lambda_max", "sam_sharpness", "adaptive_sharpness")


def recorders(spec: RunSpec, dataset: Dataset, model: keras.Model) -> dict[str, Any]:
    """The callbacks that watch the fit for the probes the spec asks for, by the probes' names."""
    batch = dataset.x_train[:_IMAGES], dataset.y_train[:_IMAGES]
    split = dataset.x_train, dataset.y_train
    rate, epochs = spec.learning_rate, spec.epochs

    def sharpness(**settings: Any) -> Sharpness:
        fixed = {"subset": _IMAGES, "batch_norm": "batch", "tol": _LAMBDA_TOL, **settings}
        if is_function(spec.model):
            return Sharpness(split, **fixed)
        net = _unregularized(
            spec.model,
            dataset.input_shape,
            dataset.classes,
            spec.regularization.batch_norm,
            spec.builder,
        )
        return _SharpnessOfWeights(split, net=net, **fixed)

    make = {
        "curvature": lambda: sharpness(measures=_CURVATURE, every_n_epochs=-(-epochs // 2)),
        "stability": lambda: sharpness(measures="lambda_max", every_n_epochs=-(-epochs // 10)),
        "landscape": lambda: Landscape(batch, step_lengths=(_STEPS * rate).tolist()),
        "flow": lambda: GradientFlow(batch, every_n_epochs=-(-epochs // 2)),
        "percentiles": lambda: ActivationPercentiles(
            dataset.x_validation[:_IMAGES], units=range(_units(model, dataset))
        ),
        "minimizer": lambda: MinimizerSharpness(split, spec.stop_loss),
    }
    return {name: made() for name, made in make.items() if name in spec.measures}


@functools.lru_cache(maxsize=8)
def _unregularized(
    model: str, input_shape: tuple[int, ...], classes: int, batch_norm: bool, builder: str
) -> keras.Model:
    return get_builder(model)(
        input_shape=input_shape, classes=classes, batch_norm=batch_norm, **json.loads(builder)
    )


class _SharpnessOfWeights(Sharpness):
    """Sharpness of another `net` of the same loss at the trained one's weights.

    The clean loss is the same with all regularizers and dropout, so nets that differ in those share
    what was traced for one of them.
    """

    def __init__(self, split: tuple, *, net: keras.Model, **settings: Any) -> None:
        super().__init__(split, **settings)
        self._net = net

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        self._net.set_weights(self.model.get_weights())
        return super().measure()

    def loss_function(self) -> LossFunction:
        return LossFunction(self._net, *self.data, loss=self.model.loss, batch_norm=self.batch_norm)


def rows(recorder: Any) -> list[dict[str, Any]]:
    """The recorder's rows without the seconds, for a record holds what repeats."""
    return [
        {name: value for name, value in row.items() if not name.endswith("_seconds")}
        for row in recorder.rows
    ]


def final_measures(rows_of: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """What goes from the probes' last rows to a record's measures."""
    return {
        name: rows_of[probe][-1][name]
        for probe in ("stability", "curvature")
        if probe in rows_of
        for name in _CURVATURE
        if name in rows_of[probe][-1]
    }


def _units(model: keras.Model, dataset: Dataset) -> int:
    """Return how many units of the last hidden activation are watched."""
    example = dataset.x_validation[:1]
    hidden = activation_statistics(model, example)
    if not hidden:
        return 1
    inputs, _ = activation_inputs(model, hidden[-1]["layer"], *as_tensors(example))
    return min(_UNITS, inputs.shape[-1])
