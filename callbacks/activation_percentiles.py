"""How the input of one unit's activation is spread, and how it drifts while the net learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from callbacks.evaluation import as_tensors, inference, traced
from callbacks.layers import activation_statistics, kernel_layers
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.curvature.batch_norm import batch_norm_layers, batch_statistics


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

    Dropout is off; batch normalization normalises by the statistics of the probe, all of it at
    once, as it does in training, and updates nothing.

    Before the first step and on measured epochs and steps (see `callbacks.scheduled`) `rows` gets
    {"epoch", "step", "activation_p15", ... one for each of `percentiles`, "activation_drift",
    "units": [{"unit", "percentiles": [...], "drift"}]}, and `logs` its numbers, which are means
    over the units. `drift` is how far the percentiles moved since the row before: the mean of
    their absolute changes, over the mean of both rows' distance from the lowest percentile to the
    highest; NaN on the first row.

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
        every_n_epochs: int | None = 1,
        every_n_batches: int | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            every_n_epochs=every_n_epochs, every_n_batches=every_n_batches, steps=steps
        )
        units = [units] if isinstance(units, int | np.integer) else list(units)
        if not units or not all(isinstance(u, int | np.integer) and u >= 0 for u in units):
            raise ValueError(f"units must be one index of 0 or more, or several, not {units!r}.")
        percentiles = [float(p) for p in percentiles]
        if len(percentiles) < 2 or not all(0 <= p <= 100 for p in percentiles):
            raise ValueError(
                f"percentiles must be two or more numbers from 0 to 100, not {percentiles!r}."
            )
        self.probe = probe
        self.layer = layer
        self.units = [int(unit) for unit in units]
        self.percentiles = sorted(percentiles)
        self._tensors: Any = None
        self._watched = ""

    def prepare(self) -> None:
        self._tensors = as_tensors(self.probe)
        self._watched = self._activation_layer()
        size = self._inputs().shape[-1]
        if max(self.units) >= size:
            raise ValueError(f"{self._watched} has units 0 to {size - 1}, not {max(self.units)}.")

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        inputs = self._inputs()[..., self.units].reshape(-1, len(self.units))
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
        return values | {"activation_drift": float(np.mean(drifts))}, {"units": units}

    def _last_units(self) -> list[dict[str, Any]]:
        return next((row["units"] for row in reversed(self.rows) if row["units"]), [])

    def _inputs(self) -> np.ndarray:
        forward = traced(self.model, f"inputs of {self._watched}", _inputs_of, self._watched)
        return forward(*self._tensors).numpy()

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


def _inputs_of(model: keras.Model, name: str, x: Any) -> tf.Tensor:
    """The input of the named layer's activation (the last, if it is called several times)."""
    kernels = {known: layer for known, (_, layer) in kernel_layers(model).items()}
    layer = kernels.get(name) or next(
        other for other in model._flatten_layers() if other.name == name
    )
    with _noted_inputs(layer) as noted, batch_statistics(batch_norm_layers(model)):
        inference(model, x)
    return noted[-1]


@contextmanager
def _noted_inputs(layer: keras.layers.Layer) -> Iterator[list]:
    """While open, what goes into the layer's activation is noted."""
    noted: list[tf.Tensor] = []

    def noting(function: Callable) -> Callable:
        def note(inputs, *args, **kwargs):
            noted.append(inputs)
            return function(inputs, *args, **kwargs)

        return note

    # ReLU and its like are the activation themselves. Past Keras' __setattr__, which would track.
    name = "activation" if hasattr(layer, "activation") else "call"
    own = vars(layer)
    before = {name: own[name]} if name in own else {}
    own[name] = noting(getattr(layer, name))
    try:
        yield noted
    finally:
        del own[name]
        own.update(before)
