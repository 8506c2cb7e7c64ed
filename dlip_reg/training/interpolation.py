"""Train two nets and measure the loss between them and around them.

TensorFlow is imported when the nets are trained, so that a script which only plans runs stays
light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlip_reg.training.identity import identity_of
from dlip_reg.training.specification import DataSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.datasets import Dataset

# Keskar et al. 2017, figure 3, go from -1 to 2, the ends at 0 and 1.
ALPHAS = tuple(np.linspace(-1, 2, 25).tolist())
# In units of the filters' own norms: at -1 every filter that the step runs against is gone.
POSITIONS = tuple(np.linspace(-1, 1, 21).tolist())
SURFACE = tuple(np.linspace(-1, 1, 17).tolist())
_SURFACE_IMAGES = 512


@dataclass(frozen=True)
class InterpolationSpec:
    """Two runs whose trained nets are compared: `first` at a = 0, `second` at a = 1.

    With `surfaces` the loss over a plane about either net is measured, too. ValueError for runs
    whose nets have not the same weights or see other data.
    """

    first: RunSpec
    second: RunSpec
    surfaces: bool = False

    def __post_init__(self) -> None:
        for name in ("model", "builder", "data", "seed"):
            ours, theirs = getattr(self.first, name), getattr(self.second, name)
            if ours != theirs:
                raise ValueError(f"The two runs must have one {name}, not {ours!r} and {theirs!r}.")
        if self.first.regularization.batch_norm != self.second.regularization.batch_norm:
            raise ValueError("The two runs must both have batch normalization, or both have none.")

    @property
    def data(self) -> DataSpec:
        """The data of both runs."""
        return self.first.data

    @property
    def seed(self) -> int:
        """The seed of both runs."""
        return self.first.seed

    def to_json(self) -> dict[str, Any]:
        """A plain nested dict that `json` can write."""
        return {
            "job": "interpolation",
            "seed": self.seed,
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "surfaces": self.surfaces,
        }

    def identity(self, fingerprint: str) -> str:
        """16 hex digits that name this comparison on the data with that `fingerprint`."""
        return identity_of(self.to_json(), fingerprint)


def interpolate(spec: InterpolationSpec, dataset: Dataset) -> dict[str, Any]:
    """Train both nets, measure, and return the record:

    - `id`, `spec`; `status`: "diverged" if a weight of either net is no number, and nothing else
      is measured then;
    - `measures`: loss and accuracy of either end on training and test images;
    - `line`: {"alpha", "training": {"loss", "accuracy"}, "test": ...} on the straight line through
      both (Keskar et al. 2017, section 2.2.1);
    - `filter_normalised`: {"position", "first": {"loss", "accuracy"}, "second": ...}, training
      images, from either net towards the other, the direction's filters rescaled to the norms of
      the net's own (Li et al. 2018, section 4): large weights make no flat valley here;
    - `surfaces`: {"position", "first": losses (n, n), "second": ...} on up to 512 training images
      over two random filter-normalised directions, the same draws for both; None if not asked for.

    Batch normalization has its statistics re-estimated on the training images at every point.
    """
    from dlip_reg.curvature import interpolation
    from dlip_reg.training.fitting import seen_by, trained

    identity = spec.identity(dataset.fingerprint)
    dataset = seen_by(spec.first, dataset)
    weights = []
    for run in (spec.first, spec.second):
        model = trained(run, dataset)
        weights.append(model.get_weights())  # the next run may train the same model
    record = {"id": identity, "spec": spec.to_json(), "status": "diverged", "measures": {}}
    if not all(np.isfinite(array).all() for end in weights for array in end):
        return record | {"line": None, "filter_normalised": None, "surfaces": None}

    splits = {
        "training": _Split(model, dataset.x_train, dataset.y_train, dataset),
        "test": _Split(model, dataset.x_test, dataset.y_test, dataset),
    }
    ends = []
    for end in weights:
        model.set_weights(end)
        ends.append(splits["training"].loss.parameters())
    line: dict[str, Any] = {"alpha": list(ALPHAS)}
    for name, split in splits.items():
        found = interpolation(split.loss, *ends, ALPHAS, accuracy=split.accuracy)
        line[name] = _told(found.losses, found.accuracies)
    at_ends = [ALPHAS.index(0.0), ALPHAS.index(1.0)]
    measures = {
        f"{end}_{split}_{quantity}": line[split][quantity][place]
        for end, place in zip(("first", "second"), at_ends, strict=True)
        for split in splits
        for quantity in ("loss", "accuracy")
    }
    around: dict[str, Any] = {"position": list(POSITIONS)}
    surfaces: dict[str, Any] = {"position": list(SURFACE)}
    few = slice(0, _SURFACE_IMAGES)
    plane_split = _Split(model, dataset.x_train[few], dataset.y_train[few], dataset)
    for name, end, own, other in zip(("first", "second"), weights, ends, ends[::-1], strict=True):
        model.set_weights(end)
        around[name] = _towards(splits["training"], other - own)
        if spec.surfaces:
            surfaces[name] = _surface(plane_split)
    return record | {
        "status": "finished",
        "measures": measures,
        "line": line,
        "filter_normalised": around,
        "surfaces": surfaces if spec.surfaces else None,
    }


class _Split:
    """Loss and accuracy over one split, as functions of the model's weights."""

    def __init__(self, model: Any, x: np.ndarray, y: np.ndarray, dataset: Dataset) -> None:
        from dlip_reg.curvature import Accuracy, LossFunction, Reestimated
        from dlip_reg.curvature.batch_norm import batch_norm_layers

        self.loss, self.accuracy = LossFunction(model, x, y), Accuracy(model, x, y)
        if batch_norm_layers(model):
            self.loss, self.accuracy = (
                Reestimated(function, dataset.x_train) for function in (self.loss, self.accuracy)
            )


def _towards(split: _Split, direction: np.ndarray) -> dict[str, list[float | None]]:
    from dlip_reg.curvature import along_line, filter_normalised

    found = along_line(
        split.loss, filter_normalised(split.loss, direction), POSITIONS, accuracy=split.accuracy
    )
    return _told(found.losses, found.accuracies)


def _surface(split: _Split) -> list[list[float | None]]:
    from dlip_reg.curvature import plane, random_direction

    directions = (random_direction(split.loss, seed=seed) for seed in (0, 1))
    losses = plane(split.loss, *directions, SURFACE, SURFACE).losses
    return [_plain(row) for row in losses]


def _told(losses: np.ndarray, accuracies: np.ndarray) -> dict[str, list[float | None]]:
    return {"loss": _plain(losses), "accuracy": _plain(accuracies)}


def _plain(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
