"""Train two nets and measure the loss between them and around them.

TensorFlow is imported when the nets are trained, so that a script which only plans runs stays
light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dlip_reg.training.codec import from_plain
from dlip_reg.training.records import LossAccuracy, Record, make_record
from dlip_reg.training.specification import DerivedSpec, RunSpec

if TYPE_CHECKING:
    from dlip_reg.datasets import Dataset

# Keskar et al. 2017, figure 3, go from -1 to 2, the ends at 0 and 1.
ALPHAS = tuple(np.linspace(-1, 2, 25).tolist())
# In units of the filters' own norms: at -1 every filter that the step runs against is gone.
POSITIONS = tuple(np.linspace(-1, 1, 21).tolist())
SURFACE = tuple(np.linspace(-1, 1, 17).tolist())
_SURFACE_IMAGES = 512


@dataclass(frozen=True)
class InterpolationSpec(DerivedSpec):
    """Two runs whose trained nets are compared: `first` at a = 0, `second` at a = 1.

    With `surfaces` the loss over a plane about either net is measured, too. ValueError for runs
    whose nets have not the same weights or see other data.
    """

    kind: ClassVar[str] = "interpolation"

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


def interpolate(spec: InterpolationSpec, dataset: Dataset) -> Record:
    """Train both networks, measure, and return the record.

    Its `measures` are loss and accuracy of either end on training and test images. Its parts are

    - `line`: on the straight line through both (Keskar et al. 2017, section 2.2.1);
    - `filter_normalised`: on training images, from either network towards the other, the
      direction's filters rescaled to the norms of the network's own (Li et al. 2018, section 4), so
      that large weights alone do not make a valley look flat;
    - `surfaces`: on up to 512 training images over two random filter-normalised directions, the
      same draws for both; None if not asked for.

    Batch normalization has its statistics re-estimated on the training images at every point. If a
    weight of either network is not finite, nothing is measured.
    """
    from dlip_reg.curvature import interpolation
    from dlip_reg.training.fitting import apply_data_options, trained

    fingerprint = dataset.fingerprint
    dataset = apply_data_options(spec.first, dataset)
    weights = []
    for run in (spec.first, spec.second):
        model = trained(run, dataset)
        weights.append(model.get_weights())  # the next run may train the same model
    if not all(np.isfinite(array).all() for end in weights for array in end):
        return make_record(spec, fingerprint, finished=False)

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
        line[name] = _columns(found)
    at_ends = [ALPHAS.index(0.0), ALPHAS.index(1.0)]
    measures = {
        f"{end}_{split}_{quantity}": getattr(line[split], quantity)[place]
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
    return make_record(
        spec,
        fingerprint,
        finished=True,
        measures=measures,
        line=line,
        filter_normalised=around,
        surfaces=surfaces if spec.surfaces else None,
    )


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


def _towards(split: _Split, direction: np.ndarray) -> LossAccuracy:
    from dlip_reg.curvature import along_line, filter_normalised

    return _columns(
        along_line(
            split.loss, filter_normalised(split.loss, direction), POSITIONS, accuracy=split.accuracy
        )
    )


def _surface(split: _Split) -> list[list[float]]:
    from dlip_reg.curvature import plane, random_direction

    directions = (random_direction(split.loss, seed=seed) for seed in (0, 1))
    return plane(split.loss, *directions, SURFACE, SURFACE).losses.tolist()


def _columns(found: Any) -> LossAccuracy:
    columns = {"loss": found.losses.tolist(), "accuracy": found.accuracies.tolist()}
    return from_plain(LossAccuracy, columns)
