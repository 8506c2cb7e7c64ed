"""Gradient norms by layer: whether the gradient vanishes or explodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from callbacks.layers import kernel_places
from callbacks.scheduled import SplitRecorder


class GradientFlow(SplitRecorder):
    """Measures the clean loss's gradient by layer, on a batch held fixed.

        flow = GradientFlow((x_train[:256], y_train[:256]))
        history = model.fit(x_train, y_train, epochs=2, callbacks=[flow])
        [(row["layer"], row["norm"]) for row in flow.rows[0]["layers"]]  # at initialisation
        history.history["gradient_first_over_last"]

    Of each layer with a trainable conv or dense `kernel`, first to last (see
    `callbacks.layers.kernel_layers`): `norm`, the L2 norm of the kernel's gradient, and `rms`,
    the root mean square of it, which compares layers of different sizes. The loss is the compiled
    one without penalties and without dropout; batch normalization normalises by the statistics of
    the batch, all of `data` at once, as it does in training, and updates nothing.

    Before the first step and on measured epochs (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "gradient_norm", "gradient_first_over_last", "gradient_growth", "layers":
    [{"layer", "kind", "norm", "rms"}]}, and `logs` its numbers: `gradient_norm`, of all trainable
    weights together; `gradient_first_over_last`, the first layer's norm over the last's, which is
    far below 1 where the gradient vanishes on its way back and far above 1 where it explodes; and
    `gradient_growth`, the same per layer: the geometric mean of the factors from each layer to the
    one before it. A gradient that overflows gives inf or NaN. In linear and ReLU nets without
    normalization weights that are all too large leave these two alone, for every kernel's gradient
    holds the product of all other layers: there an explosion shows in `gradient_norm`.

    Data and options are those of `callbacks.scheduled.SplitRecorder`. ValueError for wrong
    settings, and at fit for a model that is unbuilt, has no trainable kernel, or has no loss.
    """

    def prepare(self) -> None:
        if not kernel_places(self.model):
            raise ValueError("GradientFlow needs a model with a trainable conv or dense kernel.")
        super().prepare()

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        _, gradient = self._function.gradient()
        layers: list[dict[str, Any]] = []
        for name, kind, place in kernel_places(self.model):
            part = gradient[place]
            norm = float(np.linalg.norm(part))
            rms = norm / np.sqrt(part.size)
            layers.append({"layer": name, "kind": kind, "norm": norm, "rms": float(rms)})
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.divide(layers[0]["norm"], layers[-1]["norm"])
        values = {
            "gradient_norm": float(np.linalg.norm(gradient)),
            "gradient_first_over_last": float(ratio),
            "gradient_growth": float(ratio ** (1 / max(1, len(layers) - 1))),
        }
        return values, {"layers": layers}
