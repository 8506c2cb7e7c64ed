"""How large and how sparse the weights are, and how sparse the activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from callbacks.data import read_probe
from callbacks.layers import activation_statistics, hoyer, kernel_layers, verify_activations
from callbacks.scheduled import ScheduledRecorder
from dlip_reg.checks import require_positive, require_whole

_RANGE = 4.0  # of the histograms, in units of the kernel's RMS, to either side of zero


class Sparsity(ScheduledRecorder):
    """Measures the size and sparseness of kernels and, on a probe, of activations.

        sparsity = Sparsity(x_test[:256])
        history = model.fit(x_train, y_train, epochs=2, callbacks=[sparsity])
        [(row["layer"], row["hoyer"]) for row in sparsity.rows[-1]["layers"]]
        history.history["conv_near_zero"], history.history["dense_distance"]

    Watched are the layers with a conv or dense `kernel` (see `callbacks.layers.kernel_layers`). Of
    each kernel w:

    - `rms`, the root mean square, and `max`, the largest |w|;
    - `near_zero`, the share of weights with |w| < threshold * the present `rms` (1 for a kernel
      that is all zero): shrinking a whole kernel does not change it. Gradient descent on an L1
      penalty gives weights near zero, not zeros: hence a threshold;
    - `hoyer`, its sparseness by Hoyer 2004 (see `callbacks.hoyer`);
    - `distance`, |w - w0| / |w0| in Frobenius norms, w0 being the kernel when the fit begins, that
      is at initialisation; infinite for a kernel that has left a w0 of zeros;
    - `histogram`, in the first and the last row alone (None in between): counts of w / `rms`
      between the `bins` + 1 `edges` from -4 to 4, with what lies below them before and what lies
      above (or is NaN) after, so the counts add up to `size`.

    Of a kind ("conv", "dense") the same is given of all its kernels: `rms`, `max` and `distance`
    of all weights together, `near_zero` and `hoyer` as means over the kernels weighted by size.

    A resumed fit takes w0 at its own beginning: put the recorder before `BackupAndRestore` and it
    sees the freshly built weights, not the restored ones. The same recorder going on
    (`initial_epoch`) keeps its w0 and rows.

    Before the first step, on measured epochs and steps (see `callbacks.scheduled`) and at the end
    `rows` gets a dict that `json` can write: {"epoch", "step", the numbers that go to `logs`,
    "layers": [{"layer", "kind", "size", and the above}], "kinds": {kind: {"size", and the above}},
    "activations": the rows of `callbacks.layers.activation_statistics` on `probe`}. To `logs` go
    `conv_rms`, `conv_max`, `conv_near_zero`, `conv_hoyer`, `conv_distance`, the same for `dense`,
    and with a probe `activation_mean` and `activation_near_zero` over the values of all
    activations together.

    Args:
        probe: Some hundred examples of input held fixed, for the activations: an array, a dict or
            list of them, or a dataset or generator as in `callbacks.scheduled.SplitRecorder`; None
            for none.
        threshold: The share of a kernel's RMS below which a weight is near zero.
        bins: The number of bins of the histograms.
        data_batches: How many batches of the probe to read, if it is a dataset or generator.
        schedule: `every_n_epochs`, `every_n_batches` and `steps` of `ScheduledRecorder`.

    Raises:
        ValueError: For wrong settings, and at fit for a model that is unbuilt or has no kernel,
            and with a probe for one that draws random numbers or changes state in inference mode.
    """

    _data = ("probe", "_initial")  # neither is ever changed
    _transient = ("_at_begin",)

    def __init__(
        self,
        probe: Any = None,
        *,
        threshold: float = 0.05,
        bins: int = 80,
        data_batches: int | None = None,
        **schedule: Any,
    ) -> None:
        super().__init__(**schedule)
        bins = require_whole("bins", bins)
        self.probe = None if probe is None else read_probe("probe", probe, data_batches)
        self.threshold = require_positive("threshold", threshold)
        self.edges: list[float] = np.linspace(-_RANGE, _RANGE, bins + 1).tolist()
        self._initial: dict[str, np.ndarray] = {}
        self._at_begin: dict[str, np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._at_begin = self._copies()

    def on_fit_start(self, completed: int) -> None:
        if completed == 0 or not self.rows:
            self._initial = self._at_begin or {}
        super().on_fit_start(completed)

    def prepare(self) -> None:
        present = self._copies()
        initial = list((self._initial or present).values())
        if [kernel.shape for kernel in initial] != [kernel.shape for kernel in present.values()]:
            raise ValueError(
                "Sparsity cannot resume the fit of a model with kernels of other shapes: use a new "
                "recorder."
            )
        # By the names of now, which are others in a model that was built again.
        self._initial = dict(zip(present, initial, strict=True))
        if self.probe is not None:
            verify_activations(self.model, self.probe)

    def measure(self) -> tuple[dict[str, float], dict[str, Any]]:
        if len(self.rows) > 1:
            _drop_histograms(self.rows[-1])
        layers = [
            {"layer": name, "kind": kind} | self._statistics(name, kernel)
            for name, kind, kernel in self._kernels()
        ]
        kinds = {}
        for kind in dict.fromkeys(row["kind"] for row in layers):
            kinds[kind] = _pooled([row for row in layers if row["kind"] == kind])
        for row in (*layers, *kinds.values()):
            moved, initial = row.pop("squares")
            row["distance"] = _root_of_ratio(moved, initial)
        activations = []
        if self.probe is not None:
            activations = activation_statistics(self.model, self.probe)
        details = {"layers": layers, "kinds": kinds, "activations": activations}
        return _scalars(kinds, activations), details

    def _copies(self) -> dict[str, np.ndarray]:
        return {name: kernel.copy() for name, _, kernel in self._kernels()}

    def _kernels(self) -> Iterator[tuple[str, str, np.ndarray]]:
        layers = kernel_layers(self.model)
        if not layers:
            raise ValueError("Sparsity needs a model with a conv or dense layer.")
        for name, (kind, layer) in layers.items():
            if not keras.backend.is_float_dtype(layer.kernel.dtype):
                raise ValueError(f"Sparsity needs kernels of floats, but {name} is quantised.")
            yield name, kind, np.asarray(layer.kernel, np.float32)

    def _statistics(self, name: str, kernel: np.ndarray) -> dict[str, Any]:
        initial = self._initial[name].astype(np.float64)
        kernel = kernel.astype(np.float64)
        sizes = np.abs(kernel)
        rms = float(np.sqrt(np.mean(np.square(kernel))))
        with np.errstate(invalid="ignore"):
            scaled = kernel.ravel() / (rms or 1.0)
        # Where each weight belongs among the edges, 0 below the first: NaN sorts last.
        bins = np.searchsorted(self.edges, scaled, side="right")
        return {
            "size": kernel.size,
            "rms": rms,
            "max": float(np.max(sizes)),
            "near_zero": float(np.mean(sizes < self.threshold * rms)) if rms else 1.0,
            "hoyer": hoyer(kernel),
            "squares": (np.sum(np.square(kernel - initial)), np.sum(np.square(initial))),
            "histogram": np.bincount(bins, minlength=len(self.edges) + 1).tolist(),
        }


def _drop_histograms(row: dict[str, Any]) -> None:
    for part in (*(row["layers"] or ()), *(row["kinds"] or {}).values()):
        part["histogram"] = None


def _root_of_ratio(moved: float, initial: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(np.divide(moved, initial))) if moved != 0 else 0.0


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    sizes = [row["size"] for row in rows]

    def average(values: list[float]) -> float:
        return float(np.average(values, weights=sizes))

    return {
        "size": sum(sizes),
        "rms": average([row["rms"] ** 2 for row in rows]) ** 0.5,
        "max": float(np.max([row["max"] for row in rows])),
        "near_zero": average([row["near_zero"] for row in rows]),
        "hoyer": average([row["hoyer"] for row in rows]),
        "squares": np.sum([row["squares"] for row in rows], axis=0),
        "histogram": np.sum([row["histogram"] for row in rows], axis=0).tolist(),
    }


def _scalars(kinds: dict[str, Any], activations: list[dict[str, Any]]) -> dict[str, float]:
    values = {
        f"{kind}_{name}": pooled[name]
        for kind, pooled in kinds.items()
        for name in ("rms", "max", "near_zero", "hoyer", "distance")
    }
    if activations:
        sizes = [activation["size"] for activation in activations]
        for name in ("mean", "near_zero"):
            shares = [activation[name] for activation in activations]
            values[f"activation_{name}"] = float(np.average(shares, weights=sizes))
    return values
