"""How large and how sparse the weights are, and how sparse the activations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from callbacks.layers import activation_statistics, kernel_layers
from callbacks.recorder import Recorder
from dlip_reg.curvature.function import require_positive, require_whole

_RANGE = 4.0  # of the histograms, in units of the reference RMS, to either side of zero


class Sparsity(Recorder):
    """Measures kernels (size, near-zero share, histogram) and, on a probe, activations.

    Watched are the layers with a conv or dense `kernel` (see `callbacks.layers.kernel_layers`).
    Of each kernel: `rms`, the root mean square; `max`, the largest |w|; `near_zero`, the share of
    weights with |w| < threshold * reference; and `histogram`, counts of w / reference between the
    `bins` + 1 `edges` from -4 to 4, with what lies below them before and what lies above (or is
    NaN) after, so that the counts add up to the number of weights. Of a kind ("conv", "dense"):
    the same of all its kernels pooled, each against its own reference. Gradient descent on an L1
    penalty gives weights near zero, not zeros: hence a threshold.

    The reference is the kernel's RMS when the fit begins, that is at initialisation; for a kernel
    that is all zero then, its first RMS above zero. A resumed fit takes it at its own beginning:
    put the recorder before `BackupAndRestore` and it sees the freshly built weights, not the
    restored ones; the same recorder going on (`initial_epoch`) keeps its reference and rows.

    With `probe`, some hundred examples of input held fixed, also the activations: see
    `callbacks.layers.activation_statistics`.

    It measures before the first step (epoch 0), every `every_n_epochs` epochs and at the end;
    None means at begin and end alone. (A fit stopped early by a later callback has its end
    measured in `on_train_end`, out of `logs`.) `rows` has one dict a measurement, which `json` can
    write: {"epoch", "layers": [{"layer", "kind", "size", "rms", "max", "near_zero",
    "histogram"}], "kinds": {kind: {the same but "layer" and "kind"}}, "activations": [{"layer",
    "stage", "kind", "size", "mean", "near_zero"}]}. To `logs` go, on measured epochs, `conv_rms`,
    `conv_max`, `conv_near_zero`, the same for `dense`, and with a probe `activation_mean` and
    `activation_near_zero`, over the values of all activations together.

    ValueError for wrong settings, and at fit for a model that is unbuilt or has no such kernel.
    """

    _data = ("probe",)

    def __init__(
        self,
        probe: Any = None,
        *,
        threshold: float = 0.05,
        bins: int = 80,
        every_n_epochs: int | None = 1,
    ) -> None:
        super().__init__()
        bins = require_whole("bins", bins)
        if every_n_epochs is not None:
            every_n_epochs = require_whole("every_n_epochs", every_n_epochs)
        self.probe = probe
        self.threshold = require_positive("threshold", threshold)
        self.every_n_epochs = every_n_epochs
        self.edges: list[float] = np.linspace(-_RANGE, _RANGE, bins + 1).tolist()
        self.rows: list[dict[str, Any]] = []
        self._reference: dict[str, float] = {}
        self._at_begin: dict[str, float] = {}
        self._completed = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        super().on_train_begin(logs)
        self._at_begin = {name: _rms(kernel) for name, _, kernel in self._kernels()}

    def on_fit_start(self, completed: int) -> None:
        if completed == 0 or not self.rows:
            self._reference, self.rows = self._at_begin, []
        self.rows = [row for row in self.rows if row["epoch"] <= completed]
        self._completed = completed
        if not self._is_measured():
            self._measure()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._completed = epoch + 1
        stopping = getattr(self.model, "stop_training", False)
        last = stopping or self._completed == (self.params or {}).get("epochs")
        if last or (self.every_n_epochs and self._completed % self.every_n_epochs == 0):
            self._measure()
            if logs is not None:
                logs.update(_scalars(self.rows[-1]))

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._begun and not self._is_measured():
            self._measure()

    def _is_measured(self) -> bool:
        return bool(self.rows) and self.rows[-1]["epoch"] == self._completed

    def _kernels(self) -> list[tuple[str, str, np.ndarray]]:
        layers = kernel_layers(self.model)
        if not layers:
            raise ValueError("Sparsity needs a model with a conv or dense layer.")
        return [
            (name, kind, np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float64))
            for name, (kind, layer) in layers.items()
        ]

    def _measure(self) -> None:
        layers = [
            {"layer": name, "kind": kind} | self._statistics(name, kernel)
            for name, kind, kernel in self._kernels()
        ]
        kinds = {}
        for kind in dict.fromkeys(row["kind"] for row in layers):
            kinds[kind] = _pooled([row for row in layers if row["kind"] == kind])
        activations = []
        if self.probe is not None:
            activations = activation_statistics(self.model, self.probe)
        self.rows.append(
            {
                "epoch": self._completed,
                "layers": layers,
                "kinds": kinds,
                "activations": activations,
            }
        )

    def _statistics(self, name: str, kernel: np.ndarray) -> dict[str, Any]:
        rms = _rms(kernel)
        reference = self._reference[name] = self._reference.get(name) or rms
        scaled = kernel.ravel() / (reference or 1.0)
        # Where each weight belongs among the edges, 0 below the first: NaN sorts last.
        bins = np.searchsorted(self.edges, scaled, side="right")
        return {
            "size": kernel.size,
            "rms": rms,
            "max": float(np.max(np.abs(kernel))),
            "near_zero": float(np.mean(np.abs(scaled) < self.threshold)),
            "histogram": np.bincount(bins, minlength=len(self.edges) + 1).tolist(),
        }


def _rms(kernel: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(kernel))))


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    sizes = [row["size"] for row in rows]
    return {
        "size": sum(sizes),
        "rms": float(np.sqrt(np.average([row["rms"] ** 2 for row in rows], weights=sizes))),
        "max": float(np.max([row["max"] for row in rows])),
        "near_zero": float(np.average([row["near_zero"] for row in rows], weights=sizes)),
        "histogram": np.sum([row["histogram"] for row in rows], axis=0).tolist(),
    }


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    values = {
        f"{kind}_{name}": pooled[name]
        for kind, pooled in row["kinds"].items()
        for name in ("rms", "max", "near_zero")
    }
    if activations := row["activations"]:
        sizes = [activation["size"] for activation in activations]
        for name in ("mean", "near_zero"):
            shares = [activation[name] for activation in activations]
            values[f"activation_{name}"] = float(np.average(shares, weights=sizes))
    return values
