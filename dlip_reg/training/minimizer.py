"""Sharpness at a stated training loss, so that runs are compared at the same loss."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from dlip_reg.curvature import (
    LossFunction,
    adaptive_sharpness,
    keskar_sharpness,
    sam_sharpness,
    top_eigenvalue,
)

# Drawing other training images changes lambda_max by several times as much.
_LAMBDA_TOL = 1e-2
_BATCH = 1_000  # images over which batch-norm statistics are taken


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

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keep the weights, and measure at the first epoch that reaches the loss."""
        now = epoch + 1, float(logs["clean_loss"]), self.model.get_weights()
        if not self.rows and now[1] <= self._loss:
            function = LossFunction(self.model, *self._split, batch_norm="batch", batch_size=_BATCH)
            for state in (self._before, now):
                if state is not None:
                    *head, weights = state
                    self.model.set_weights(weights)
                    names = ("epoch", "clean_loss")
                    self.rows.append(dict(zip(names, head, strict=True)) | _sharpness(function))
        self._before = now


def _sharpness(function: LossFunction) -> dict[str, float]:
    eigenvalue = top_eigenvalue(function.hessian_product, function.size, tol=_LAMBDA_TOL)
    return {
        "lambda_max": eigenvalue.value,
        "sam_sharpness": sam_sharpness(function).value,
        "adaptive_sharpness": adaptive_sharpness(function).value,
        "keskar_1e_3": keskar_sharpness(function, 1e-3).value,
        "keskar_5e_4": keskar_sharpness(function, 5e-4).value,
    }
