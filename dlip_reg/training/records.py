"""The record of a run: typed values, and the only module that reads or writes their JSON.

Losses are in nats, without penalty, in inference mode over a whole split; accuracies are shares.
None stands for what was not measured and for a number that is not finite. Nothing in a record
depends on the machine's speed, except the record of a `ThroughputSpec`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, dataclass_transform

from dlip_reg.codec import from_plain, to_plain
from dlip_reg.training.specification import Spec

SCHEMA = 1
Numbers = tuple[float | None, ...]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Part:
    """A part of a record; its subclasses are frozen dataclasses."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)


class Row(Part):
    """What a callback measured at one step."""

    epoch: int
    step: int


class Measures(Part):
    """Single numbers at the end of a run.

    `penalty` is the sum of the weight regularizers; `pruned_accuracy` the accuracy (on test images
    where they are measured, else on validation images) without the weights near zero;
    `recalibrated_*` are taken with batch-norm statistics re-estimated on the training images.
    `first_*` and `second_*` are the ends of an interpolation.
    """

    val_loss: float | None = None
    val_accuracy: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    penalty: float | None = None
    pruned_accuracy: float | None = None
    recalibrated_val_loss: float | None = None
    recalibrated_val_accuracy: float | None = None
    recalibrated_train_loss: float | None = None
    recalibrated_train_accuracy: float | None = None
    recalibrated_test_loss: float | None = None
    recalibrated_test_accuracy: float | None = None
    lambda_max: float | None = None
    sam_sharpness: float | None = None
    adaptive_sharpness: float | None = None
    keskar_1e_3: float | None = None
    keskar_5e_4: float | None = None
    keskar_subspace_1e_3: float | None = None
    keskar_subspace_5e_4: float | None = None
    first_training_loss: float | None = None
    first_training_accuracy: float | None = None
    first_test_loss: float | None = None
    first_test_accuracy: float | None = None
    second_training_loss: float | None = None
    second_training_accuracy: float | None = None
    second_test_loss: float | None = None
    second_test_accuracy: float | None = None
    examples_per_second: float | None = None


class Curves(Part):
    """Columns over epochs; epoch 0 is the untrained network.

    `keras_loss` is what `fit` reports, over an epoch's weights: the loss trained on, with penalty.
    """

    epoch: tuple[int, ...]
    clean_loss: Numbers
    clean_accuracy: Numbers
    clean_val_loss: Numbers
    clean_val_accuracy: Numbers
    penalty: Numbers
    keras_loss: Numbers
    clean_test_loss: Numbers = ()
    clean_test_accuracy: Numbers = ()


class KernelStatistics(Part):
    """Statistics of several kernels together; see `callbacks.Sparsity`."""

    size: int
    rms: float | None
    max: float | None
    near_zero: float | None
    hoyer: float | None = None
    distance: float | None = None
    histogram: tuple[int, ...] | None = None


class KernelRow(KernelStatistics):
    """Statistics of one layer's kernel; `kind` is "conv" or "dense"."""

    layer: str = ""
    kind: str = ""


class Kinds(Part):
    """The kernels of each kind together; None where the model has none."""

    conv: KernelStatistics | None = None
    dense: KernelStatistics | None = None


class ActivationRow(Part):
    """Statistics of one hidden activation; `stage` is the conv or dense layer before it."""

    layer: str
    stage: str | None
    kind: str | None
    size: int
    mean: float | None
    near_zero: float | None
    hoyer: float | None = None
    dead: float | None = None


class WeightRow(Part):
    """Kernels and activations after an epoch."""

    epoch: int
    layers: tuple[KernelRow, ...]
    kinds: Kinds
    activations: tuple[ActivationRow, ...] = ()


class Weights(Part):
    """The rows of `callbacks.Sparsity`, one an epoch, with its settings."""

    threshold: float
    edges: tuple[float, ...]
    rows: tuple[WeightRow, ...]


class CurvatureRow(Row):
    """A row of `callbacks.Sharpness`; `lambda_max_products` is a count."""

    lambda_max: float | None = None
    lambda_max_bound: float | None = None
    lambda_max_products: float | None = None
    lambda_max_lr_half: float | None = None
    sam_sharpness: float | None = None
    adaptive_sharpness: float | None = None


class LandscapeRow(Row):
    """A row of `callbacks.Landscape`."""

    loss_range: float | None
    gradient_distance_range: float | None
    effective_beta: float | None
    loss_low: float | None
    loss_high: float | None
    gradient_distance_low: float | None
    gradient_distance_high: float | None
    step_lengths: Numbers
    losses: Numbers
    gradient_distances: Numbers


class FlowLayer(Part):
    """The gradient of one kernel."""

    layer: str
    kind: str
    norm: float | None
    rms: float | None


class FlowRow(Row):
    """A row of `callbacks.GradientFlow`."""

    gradient_norm: float | None
    gradient_first_over_last: float | None
    gradient_growth: float | None
    layers: tuple[FlowLayer, ...]


class UnitPercentiles(Part):
    """Percentiles of one unit's activation input, and their drift since the row before."""

    unit: int
    percentiles: Numbers
    drift: float | None


class PercentilesRow(Row):
    """A row of `callbacks.ActivationPercentiles`."""

    activation_p15: float | None
    activation_p50: float | None
    activation_p85: float | None
    activation_drift: float | None
    activation_peak: float | None
    units: tuple[UnitPercentiles, ...]


class LevelLandscape(Part):
    """Along the gradient, at `multiples` of the run's own step length `rate`.

    `rate` is the learning rate, with momentum m divided by 1 - m. `gradient_distances` are |g' - g|
    and `cosines` those of the angle between g and g', for g the gradient and g' that at the moved
    point.
    """

    rate: float
    weight_norm: float
    gradient_norm: float | None
    multiples: tuple[float, ...]
    losses: Numbers
    gradient_distances: Numbers
    cosines: Numbers


class LayerAngle(Part):
    """The cosine between one kernel's gradient before and after the earlier layers' update.

    `decrease` is the share of the loss that the update gained; both are None where no step gains
    what was asked for.
    """

    layer: str
    cosine: float | None
    decrease: float | None


class LayerShift(Part):
    """How far the outputs of one activation moved since the level before; None at the first.

    `distance` is the Wasserstein-1 distance and `spread` the standard deviation, means over units;
    `gained` is by how much the loss fell since then.
    """

    layer: str
    distance: float | None
    spread: float | None
    gained: float | None


class Gap(Part):
    """Losses over all training and test images, with the training images' batch-norm statistics."""

    train_loss: float | None
    test_loss: float | None


class LevelRow(Part):
    """A row of `callbacks.LossLevels`: `step` is None for a level that was not reached.

    The row without a level is the end of training. See `dlip_reg.training.levels`.
    """

    level: float | None
    step: int | None
    loss: float | None
    landscape: LevelLandscape | None = None
    independence: tuple[LayerAngle, ...] = ()
    activations: tuple[LayerShift, ...] = ()
    gap: Gap | None = None


class KeskarSearch(Part):
    """One search for Keskar's sharpness; `subspace` is None in full space."""

    epsilon: float
    subspace: int | None
    name: str
    value: float | None
    failed: bool
    status: str
    evaluations: int


class Images(Part):
    """8-bit pixels as base64 text, and their shape."""

    shape: tuple[int, ...]
    pixels: str


class ColourRow(Part):
    """Test accuracy on a variant of the images, also after recalibration, and some of them.

    `recalibrated_accuracy` is with statistics of the same variant, `source_recalibrated_accuracy`
    with those of the images as they were trained on.
    """

    variant: str
    accuracy: float | None
    recalibrated_accuracy: float | None
    samples: Images
    source_recalibrated_accuracy: float | None = None


class BatchNoiseRow(Part):
    """The variance of an example's activations over batches, relative to that between examples."""

    batch_size: int
    relative_variance: float | None


class LossAccuracy(Part):
    """Columns of loss and accuracy over positions."""

    loss: Numbers
    accuracy: Numbers


class Line(Part):
    """On the straight line through two networks, at 0 and at 1."""

    alpha: tuple[float, ...]
    training: LossAccuracy
    test: LossAccuracy


class FilterNormalised(Part):
    """From either network towards the other, the direction rescaled filter by filter."""

    position: tuple[float, ...]
    first: LossAccuracy
    second: LossAccuracy


class Surfaces(Part):
    """Training losses over a plane about either network, one tuple a row."""

    position: tuple[float, ...]
    first: tuple[Numbers, ...]
    second: tuple[Numbers, ...]


class MinimizerRow(Part):
    """Sharpness of all training images at the end of one epoch, at a clean training loss."""

    epoch: int
    clean_loss: float
    lambda_max: float | None
    sam_sharpness: float | None
    adaptive_sharpness: float | None
    keskar_1e_3: float | None
    keskar_5e_4: float | None


class Record(Part):
    """What a run or another job left.

    `status` is "diverged" when a loss or a weight became NaN or infinite. The parts that the
    specification did not ask for, or that a diverged run cannot have, are None or empty.
    """

    id: str
    spec: Spec
    status: Literal["finished", "diverged"]
    measures: Measures = field(default_factory=Measures)
    curves: Curves | None = None
    weights: Weights | None = None
    curvature: tuple[CurvatureRow, ...] = ()
    landscape: tuple[LandscapeRow, ...] = ()
    flow: tuple[FlowRow, ...] = ()
    percentiles: tuple[PercentilesRow, ...] = ()
    levels: tuple[LevelRow, ...] = ()
    keskar: tuple[KeskarSearch, ...] = ()
    colours: tuple[ColourRow, ...] = ()
    batch_noise: tuple[BatchNoiseRow, ...] = ()
    line: Line | None = None
    filter_normalised: FilterNormalised | None = None
    surfaces: Surfaces | None = None
    minimizer: tuple[MinimizerRow, ...] = ()


def make_record(spec: Spec, fingerprint: str, finished: bool, **parts: Any) -> Record:
    """Return the record of a run or another job.

    Args:
        spec: What was run.
        fingerprint: That of the data set.
        finished: Whether all numbers stayed finite.
        **parts: Fields of `Record`, typed or as plain dicts and lists.
    """
    status = "finished" if finished else "diverged"
    head = {"id": spec.identity(fingerprint), "spec": spec, "status": status}
    return from_plain(Record, head | parts)


def dumps(record: Record) -> str:
    """Return a record as JSON text."""
    return json.dumps({"schema": SCHEMA, **to_plain(record)}, allow_nan=False)


def loads(text: str | bytes) -> Record | None:
    """Return the record in a JSON text; None for damaged text or another schema."""
    try:
        values = json.loads(text)
        return from_plain(Record, values) if values.pop("schema") == SCHEMA else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
