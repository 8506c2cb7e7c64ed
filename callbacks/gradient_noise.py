"""How noisy the gradient of a batch is, while the net learns."""

from __future__ import annotations

from typing import Any

from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_whole
from dlip_reg.curvature import LossFunction, gradient_noise_scale


class GradientNoise(SplitRecorder):
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

    Data and options are those of `callbacks.scheduled.SplitRecorder`. ValueError for wrong
    settings, for data of fewer than two batches, and at fit for a model that is unbuilt, has no
    trainable weights, or has no loss.
    """

    _transient = ("_batches",)

    def __init__(
        self,
        data: Any,
        *,
        batch_size: int = 32,
        batches: int = 64,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        batch_size = require_whole("batch_size", batch_size)
        batches = require_whole("batches", batches)
        available = self.examples // batch_size
        if min(batches, available) < 2:
            raise ValueError(
                f"The noise scale needs two batches or more, not {min(batches, available)} "
                f"of {batch_size} examples."
            )
        self.batch_size = batch_size
        self.batches = min(batches, available)
        self.seed = require_whole("seed", seed, least=0)
        self._batches: list[LossFunction] | None = None

    def prepare(self) -> None:
        function = self.loss_function(batch_size=self.batch_size)
        function.verify()
        self._batches = self.draw_batches(function, self.batch_size, self.batches, self.seed)

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        noise = gradient_noise_scale(self._batches)
        values = {
            "gradient_noise_scale": noise.scale,
            "gradient_noise_trace": noise.trace,
            "gradient_squared_norm": noise.squared_norm,
        }
        return values, {}
