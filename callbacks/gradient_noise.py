"""How noisy the gradient of a batch is, while the net learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from callbacks.evaluation import check_split
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.checks import require_whole
from dlip_reg.curvature import LossFunction, gradient_noise_scale


class GradientNoise(ScheduledRecorder):
    """Measures the gradient noise scale: the batch size beyond which larger ones help little.

        noise = GradientNoise((x_train, y_train), batch_size=16)
        history = model.fit(x_train, y_train, epochs=2, callbacks=[noise])
        history.history["gradient_noise_scale"]

    B_simple = tr(Sigma) / |G|^2 (McCandlish et al. 2018, appendix A.1), from the gradients of
    `batches` disjoint batches of `batch_size` examples, drawn once with `seed`, and of all of them
    together; see `dlip_reg.curvature.gradient_noise_scale`. The loss is the compiled one without
    penalties and dropout; batch normalization normalises by each batch's own statistics, as in
    training, and updates nothing.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "gradient_noise_scale" (in examples; NaN where the estimate of |G|^2 is not
    above 0), "gradient_noise_trace" (tr(Sigma)), "gradient_squared_norm" (|G|^2)}, and `logs` its
    numbers. One measurement is noisy: to average over several, average trace and squared norm
    apart and then divide.

    ValueError for wrong settings, for data of fewer than two batches, and at fit for a model that
    is unbuilt, has no trainable weights, or has not one loss for one output.
    """

    _data = ("data",)
    _transient = ("_batches",)

    def __init__(
        self,
        data: tuple[Any, Any],
        *,
        batch_size: int = 32,
        batches: int = 64,
        seed: int = 0,
        every_n_epochs: int | None = 1,
        every_n_batches: int | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            every_n_epochs=every_n_epochs, every_n_batches=every_n_batches, steps=steps
        )
        check_split("data", data)
        batch_size = require_whole("batch_size", batch_size)
        batches = require_whole("batches", batches)
        available = len(data[1]) // batch_size
        if min(batches, available) < 2:
            raise ValueError(
                f"The noise scale needs two batches or more, not {min(batches, available)} "
                f"of {batch_size} examples."
            )
        self.data = data
        self.batch_size = batch_size
        self.batches = min(batches, available)
        self.seed = seed
        self._batches: list[LossFunction] | None = None

    def prepare(self) -> None:
        order = np.random.default_rng(self.seed).permutation(len(self.data[1]))
        chosen = order[: self.batches * self.batch_size].reshape(self.batches, self.batch_size)
        self._batches = [
            LossFunction(
                self.model,
                *keras.tree.map_structure(lambda a, part=part: np.asarray(a)[part], self.data),
                batch_norm="batch",
                batch_size=self.batch_size,
            )
            for part in chosen
        ]

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        noise = gradient_noise_scale(self._batches)
        values = {
            "gradient_noise_scale": noise.scale,
            "gradient_noise_trace": noise.trace,
            "gradient_squared_norm": noise.squared_norm,
        }
        return values, {}
