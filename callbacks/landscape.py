"""How the loss and its gradient change along the gradient, while the net learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from callbacks.scheduled import SplitRecorder
from dlip_reg.checks import require_positive, several
from dlip_reg.curvature import GradientLandscape, gradient_landscape

_MULTIPLES = tuple(np.geomspace(0.5, 4, 8).tolist())


class Landscape(SplitRecorder):
    """Measures Santurkar's three smoothness measures, on a batch held fixed.

        landscape = Landscape((x_train[:256], y_train[:256]), every_n_batches=2)
        history = model.fit(x_train, y_train, epochs=2, callbacks=[landscape])
        [(row["step"], row["loss_low"], row["loss_high"]) for row in landscape.rows]
        history.history["effective_beta"]

    At each measured step the weights are moved against their gradient g by each of `step_lengths`
    (learning rates, the move being their product with g) and put back: Santurkar et al. 2018,
    section 3.2 and figure 4; see `dlip_reg.curvature.gradient_landscape`. The default is 8 from
    half of to 4 times the optimizer's present learning rate, evenly on a log scale; nets that are
    compared should be given the same. The loss is the compiled one without penalties and dropout;
    batch normalization normalises by the statistics of the batch, all of `data` at once.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "loss_low", "loss_high" (4a: the lowest and highest loss of the moved
    points), "gradient_distance_low", "gradient_distance_high" (4b: the L2 distance between the
    gradients there and here), "effective_beta" (4c: the largest of these per distance moved),
    "step_lengths", "losses", "gradient_distances"}. `logs` gets `loss_range` and
    `gradient_distance_range`, highest less lowest, and `effective_beta`. NaN where the gradient or
    the learning rate is zero or a number that it is made of is not finite.

    Data and options are those of `callbacks.scheduled.SplitRecorder`. ValueError for wrong
    settings, at fit for a model that is unbuilt, has no trainable weights or no loss, and for no
    step lengths without an optimizer that has one learning rate.
    """

    def __init__(
        self, data: Any, *, step_lengths: Sequence[float] | None = None, **options: Any
    ) -> None:
        super().__init__(data, **options)
        if step_lengths is not None:
            accepted = "None or lengths above 0"
            step_lengths = tuple(
                require_positive("step_lengths", one, accepted) for one in several(step_lengths)
            )
            if not step_lengths:
                raise ValueError(f"step_lengths must be {accepted}, not {step_lengths!r}.")
        self.step_lengths = step_lengths

    def prepare(self) -> None:
        if self.step_lengths is None and math.isnan(self.learning_rate()):
            raise ValueError("Landscape needs step_lengths or an optimizer with one learning rate.")
        super().prepare()

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        lengths = self.step_lengths
        if lengths is None:
            lengths = tuple(self.learning_rate() * multiple for multiple in _MULTIPLES)
        unknown = (math.nan,) * len(lengths)
        met = GradientLandscape(math.nan, math.nan, unknown, unknown, unknown, unknown)
        if min(lengths) > 0:  # a schedule may begin or end with a learning rate of 0
            met = gradient_landscape(self._function, lengths)
        loss_low, loss_high = met.loss_extremes
        distance_low, distance_high = met.gradient_distance_extremes
        values = {
            "loss_range": loss_high - loss_low,
            "gradient_distance_range": distance_high - distance_low,
            "effective_beta": met.effective_beta,
        }
        details = {
            "loss_low": loss_low,
            "loss_high": loss_high,
            "gradient_distance_low": distance_low,
            "gradient_distance_high": distance_high,
            "step_lengths": list(lengths),
            "losses": list(met.losses),
            "gradient_distances": list(met.gradient_distances),
        }
        return values, details
