"""What looks closely at one property of the net, during a run or at its end.

What each leaves in the record, rows being those of its recorder in `callbacks`:

- "curvature": `curvature`, rows of `Sharpness` on 256 training images, before training, after each
  third of the epochs, and at the end, whose numbers are also measures;
- "landscape": `landscape`, rows of `Landscape` on 256 training images at every epoch, with steps
  from half of to 4 times the spec's learning rate;
- "flow": `flow`, rows of `GradientFlow` on the same images at both ends and in the middle;
- "percentiles": `percentiles`, rows of `ActivationPercentiles` at every epoch, on 256 validation
  images, for up to 8 units of the last hidden activation;
- "shift": `shift`, rows of `GradientShift` at every epoch, on those 256 training images, after one
  step of the spec's learning rate;
- "recalibrated": measures `recalibrated_val_loss`, ... of the trained net with its batch-norm
  statistics re-estimated on the training images;
- "keskar", "colours", "companions": see `dlip_reg.training.endings`.

Batch normalization takes the statistics of the batch in all of them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from callbacks import ActivationPercentiles, GradientFlow, GradientShift, Landscape, Sharpness
from callbacks.layers import kernel_layers
from dlip_reg.datasets import Dataset
from dlip_reg.training.specification import RunSpec

_IMAGES = 256  # of a probe's fixed batch
_STEPS = np.geomspace(0.5, 4, 8)
_UNITS = 8
_CURVATURE = ("lambda_max", "sam_sharpness", "adaptive_sharpness")


def recorders(spec: RunSpec, dataset: Dataset, model: keras.Model) -> dict[str, Any]:
    """The callbacks that watch the fit for the probes the spec asks for, by the probes' names."""
    batch = dataset.x_train[:_IMAGES], dataset.y_train[:_IMAGES]
    split = dataset.x_train, dataset.y_train
    rate, epochs = spec.learning_rate, spec.epochs
    make = {
        "curvature": lambda: Sharpness(
            split,
            measures=_CURVATURE,
            subset=_IMAGES,
            batch_norm="batch",
            every_n_epochs=-(-epochs // 3),
        ),
        "landscape": lambda: Landscape(batch, step_lengths=(_STEPS * rate).tolist()),
        "flow": lambda: GradientFlow(batch, every_n_epochs=-(-epochs // 2)),
        "percentiles": lambda: ActivationPercentiles(
            dataset.x_validation[:_IMAGES], units=range(_units(model))
        ),
        "shift": lambda: GradientShift(batch, step_length=rate),
    }
    return {name: made() for name, made in make.items() if name in spec.measures}


def rows(recorder: Any) -> list[dict[str, Any]]:
    """The recorder's rows without the seconds, for a record holds what repeats."""
    return [
        {name: value for name, value in row.items() if not name.endswith("_seconds")}
        for row in recorder.rows
    ]


def final_measures(rows_of: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """What goes from the probes' last rows to a record's measures."""
    last = rows_of["curvature"][-1] if "curvature" in rows_of else {}
    return {name: last[name] for name in _CURVATURE if name in last}


def _units(model: keras.Model) -> int:
    """How many of the last hidden layer's units are watched."""
    *hidden, _ = (layer for _, layer in kernel_layers(model).values())
    return min(_UNITS, hidden[-1].kernel.shape[-1]) if hidden else 1
