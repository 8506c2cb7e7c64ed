"""Accuracy as a function of a model's weights, for the slices."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from dlip_reg.curvature.batch_norm import at_weights, batch_norm_layers, batch_statistics, chunks


class Accuracy:
    """The share of the examples that a classifier gets right, at any weights.

    `x` is an array, or a dict or list of them; `y` are class indices or one-hot rows. The class is
    the largest output; with one output it is 1 above .5, or above 0 where the compiled loss takes
    logits. Batch normalization as in `LossFunction`: `batch_norm="batch"` takes the statistics of
    each `batch_size` examples in the data's order, "inference" the moving ones. The model is not
    changed. ValueError for no examples, and for arrays of different lengths.
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        *,
        batch_norm: Literal["inference", "batch"] = "inference",
        batch_size: int = 256,
    ) -> None:
        if batch_norm not in ("inference", "batch"):
            raise ValueError(f'batch_norm must be "inference" or "batch", not {batch_norm!r}.')
        self.model, self.batch_norm = model, batch_norm
        self._data, self._batch_size = (x, np.asarray(y)), batch_size

    def value(self, parameters: np.ndarray | None = None) -> float:
        """The accuracy at `parameters` (None: the present weights); NaN for outputs that are."""
        from keras import ops

        layers = batch_norm_layers(self.model) if self.batch_norm == "batch" else []
        right = []
        for x, y in chunks(self._data, self._batch_size):
            with at_weights(self.model, parameters), batch_statistics(layers):
                outputs = ops.convert_to_numpy(self.model(x, training=False))
            if np.isnan(outputs).any():
                return math.nan
            right.append(self._right(outputs, y))
        return float(np.mean(np.concatenate(right)))

    def _right(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        if outputs.shape[-1] == 1:
            logits = getattr(getattr(self.model, "loss", None), "from_logits", False)
            predicted, y = outputs[..., 0] > (0 if logits else 0.5), y > 0.5
        else:
            predicted = outputs.argmax(-1)
            y = y.argmax(-1) if y.shape == outputs.shape else y
        return (predicted == y.reshape(predicted.shape)).ravel()
