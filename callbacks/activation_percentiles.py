"""How the input of one unit's activation is spread, and how it drifts while the net learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from callbacks.data import read_probe
from callbacks.layers import activation_inputs, activation_statistics, verify_activations
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.checks import is_whole, require_number, several
from dlip_reg.chunks import as_tensors


class ActivationPercentiles(ScheduledRecorder):
    """Measures percentiles of the input of chosen units' activation, over a probe held fixed.

        inputs = ActivationPercentiles(x_test[:256], layer="dense1", every_n_batches=2)
        history = model.fit(x_train, y_train, epochs=2, callbacks=[inputs])
        [(row["step"], row["units"][0]["percentiles"]) for row in inputs.rows]
        history.history["activation_drift"]

    This is figure 1 (b, c) of Ioffe & Szegedy 2015: the 15th, 50th and 85th percentiles of the
    input of one typical sigmoid of the last hidden layer, through training. `layer` names a hidden
    activation: the layer that applies it, or the conv or dense layer before it; None is the last
    one (see `callbacks.layers.activation_statistics` for which count). `units` are indices along
    its last axis; before training the units of a layer are alike but for chance, so 0, the first,
    is as typical as any. A channel of a convolution takes its values over all positions.

    `probe` is an array of examples, a dict or list of them, or a dataset or generator, of which
    `data_batches` are read, as in `callbacks.scheduled.SplitRecorder`. Dropout is off; batch
    normalization normalises by the statistics of the probe, all of it at once, as it does in
    training, and updates nothing.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "activation_p15", ... one for each of `percentiles`, "activation_drift",
    "activation_peak", "units": [{"unit", "percentiles": [...], "drift"}]}, and `logs` its
    numbers. Percentiles and drift are means over the units; `activation_peak` is the largest
    absolute input of a hidden activation on any example over the root mean square of that
    activation's inputs, of the activation of the model where it is largest. `drift` is how far the
    percentiles moved since the row before: the mean of their absolute changes, over the mean of
    both rows' distance from the lowest percentile to the highest; NaN on the first row.

    ValueError for wrong settings, and at fit for a model that is unbuilt or has no such activation
    or unit.
    """

    _data = ("probe",)
    _transient = ("_tensors",)

    def __init__(
        self,
        probe: Any,
        *,
        layer: str | None = None,
        units: int | Sequence[int] = 0,
        percentiles: Sequence[float] = (15, 50, 85),
        data_batches: int | None = None,
        **schedule: Any,
    ) -> None:
        super().__init__(**schedule)
        units = several(units)
        if not units or not all(is_whole(unit) and unit >= 0 for unit in units):
            raise ValueError(f"units must be one index of 0 or more, or several, not {units!r}.")
        accepted = "two or more numbers from 0 to 100"
        percentiles = [
            require_number("percentiles", p, accepted, lambda p: 0 <= p <= 100)
            for p in several(percentiles)
        ]
        if len(percentiles) < 2:
            raise ValueError(f"percentiles must be {accepted}, not {percentiles!r}.")
        self.probe = read_probe("probe", probe, data_batches)
        self.layer = layer
        self.units = [int(unit) for unit in units]
        self.percentiles = sorted(percentiles)
        self._tensors: Any = None
        self._watched = ""

    def prepare(self) -> None:
        self._tensors = as_tensors(self.probe)
        verify_activations(self.model, self.probe)
        self._watched = self._activation_layer()
        size = activation_inputs(self.model, self._watched, *self._tensors)[0].shape[-1]
        if max(self.units) >= size:
            raise ValueError(f"{self._watched} has units 0 to {size - 1}, not {max(self.units)}.")

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        inputs, peak = activation_inputs(self.model, self._watched, *self._tensors)
        inputs = inputs[..., self.units].reshape(-1, len(self.units))
        table = np.percentile(inputs.astype(np.float64), self.percentiles, axis=0).T
        before = [unit["percentiles"] for unit in self._last_units()]
        drifts = [
            _drift(np.asarray(old), new) if old is not None else np.nan
            for old, new in zip(before or [None] * len(table), table, strict=True)
        ]
        means = table.mean(axis=0)
        values = {
            f"activation_p{level:g}": float(mean)
            for level, mean in zip(self.percentiles, means, strict=True)
        }
        units = [
            {"unit": unit, "percentiles": line.tolist(), "drift": float(drift)}
            for unit, line, drift in zip(self.units, table, drifts, strict=True)
        ]
        values |= {"activation_drift": float(np.mean(drifts)), "activation_peak": peak}
        return values, {"units": units}

    def _last_units(self) -> list[dict[str, Any]]:
        return next((row["units"] for row in reversed(self.rows) if row["units"]), [])

    def _activation_layer(self) -> str:
        found = activation_statistics(self.model, _first(self.probe))
        if not found:
            raise ValueError("ActivationPercentiles needs a model with a hidden activation.")
        if self.layer is None:
            return found[-1]["layer"]
        for row in found:
            if self.layer in (row["layer"], row["stage"]):
                return row["layer"]
        names = dict.fromkeys(row["layer"] for row in found)
        raise ValueError(f"No hidden activation {self.layer!r}; there are {', '.join(names)}.")


def _drift(old: np.ndarray, new: np.ndarray) -> float:
    moved = np.mean(np.abs(new - old))
    spread = (old[-1] - old[0] + new[-1] - new[0]) / 2
    with np.errstate(divide="ignore"):
        return float(np.divide(moved, spread)) if moved != 0 else 0.0


def _first(probe: Any) -> Any:
    return keras.tree.map_structure(lambda array: array[:1], probe)
