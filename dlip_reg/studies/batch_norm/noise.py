"""bn-noise: batch normalization adds noise to activations, which regularizes slightly.

The noise comes from the other examples in the batch, and here it is manipulated: the same network
at the same batch size and learning rate, normalized over ghost batches of 4 examples up to the full
batch (Hoffer et al. 2017). As the variance of a mean, the noise is proportional to 1 / size, which
is the dose; it is known without error, and the noise measured is shown beside it. More noise also
slows the fit: so gaps are compared at matched training loss.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from dlip_reg import report
from dlip_reg.evidence import (
    FAILED,
    NATS,
    POINTS,
    Question,
    Values,
    failures_as_zero,
    minus,
    percent,
    slope,
)
from dlip_reg.studies import Arms, Runs, Setting, test_accuracy, times
from dlip_reg.studies.batch_norm import matched
from dlip_reg.studies.batch_norm.arms import BATCH_SIZE
from dlip_reg.studies.batch_norm.matched import BN, FEWEST_VALIDATION, reached
from dlip_reg.studies.drawing import Drawn, figure
from dlip_reg.studies.study import Measured, Part, claimed, controlled, drawn_by, negative, varied
from dlip_reg.training import Record
from dlip_reg.training.records import LevelRow

GHOST = "dlip_reg.models.ghost:ghost_batch_norm"
GHOSTS = [4, 8, 16]
SIZES = (*GHOSTS, BATCH_SIZE)
DOSES = {f"noise/{size}": 1 / size for size in SIZES}
FULL, SLOW = f"noise/{BATCH_SIZE}", "noise/slow"
RANGE = 1 / SIZES[0] - 1 / BATCH_SIZE
SLOWER = 1 / 3


def noise_arms(setting: Setting) -> Arms:
    """Ghost batches of each size at the learning rate of batch norm, and the slower control."""
    preset = setting.preset
    full = {
        "data": setting.data(preset.matched_images, FEWEST_VALIDATION, preset.noise_test_images),
        "epochs": preset.noise_epochs,
        "loss_levels": preset.noise_levels,
        "measures": ("level_gap", "test", "batch_noise"),
    }
    ghost = full | {"measures": ("level_gap", "test"), "model": GHOST, "batch_norm": False}
    for size in GHOSTS:
        builder = {"net": setting.model, "ghost_size": size}
        yield varied(f"noise/{size}", BN, f"ghost batches of {size}", builder=builder, **ghost)
    yield varied(FULL, BN, f"full batch of {BATCH_SIZE}", **full)
    slower = full | {"learning_rate": times(SLOWER)}
    yield varied(SLOW, BN, "full batch, a third of the learning rate", **slower)


def gap(row: LevelRow) -> float:
    """Test minus training loss."""
    if row.gap is None or row.gap.test_loss is None or row.gap.train_loss is None:
        return math.nan
    return row.gap.test_loss - row.gap.train_loss


def gaps(runs: Runs, arms: Sequence[str]) -> dict[str, Values]:
    """By arm and seed, the mean gap over the levels that all the arms reached with that seed.

    A seed without such a level, or with a run that diverged, has failed: see `failures_as_zero`.
    """

    def common(*records: Record) -> list[float]:
        rows = [reached(record) for record in records]
        levels = [level for level in rows[0] if all(level in other for other in rows)]
        return [fmean(gap(r[level]) for level in levels) if levels else FAILED for r in rows]

    by_seed = runs.each(arms, common, missing=(math.nan,) * len(arms))
    return dict(zip(arms, map(failures_as_zero, zip(*by_seed, strict=True)), strict=True))


def change(by_arm: Mapping[str, Values], factor: float = RANGE) -> Values:
    """The slope of some values against the dose, times the range of doses."""
    slopes = slope({dose: by_arm[arm] for arm, dose in DOSES.items()})
    return tuple(factor * value for value in slopes)


@negative(FULL, SLOW)
def fits_more_slowly(runs: Runs) -> Values:
    """The full batch at a third of the learning rate, minus the full batch: it fits more slowly,
    with the same noise of the batch statistics.
    """
    by_arm = gaps(runs, (FULL, SLOW))
    return minus(by_arm[SLOW], by_arm[FULL])


def _gap_at_end(record: Record) -> float:
    row = matched.at_the_end(record)
    return math.nan if row is None else gap(row)


def _noise(size: int, record: Record) -> float | None:
    return next((r.relative_variance for r in record.batch_noise if r.batch_size == size), None)


@figure("noise")
def draw(runs: Runs) -> Drawn:
    """Variance of the noise against batch size; generalization gap against training loss, for
    {networks}.

    Left: how much the inputs of the last hidden activation of a fixed example vary with the other
    examples in its batch, drawn at random, relative to how much they vary between examples, at the
    end of training. Right: test minus training loss, both with the statistics of all training
    images; a lower line at the same training loss is a smaller gap. The full batch at a third of
    the learning rate is the control that only fits more slowly.
    """
    variance: dict[int, list[float | None]] = {}
    for row in (row for record in runs.finished(FULL) for row in record.batch_noise):
        variance.setdefault(row.batch_size, []).append(row.relative_variance)
    if lines := matched.level_curves(runs, (*DOSES, SLOW), {"gap": gap}):
        yield report.figures.batch_noise(variance, lines), {"networks": lines}


@drawn_by(draw)
@controlled(fits_more_slowly)
@claimed("bn-noise", NATS, Question(-1, 0.02), *DOSES, arms=noise_arms)
def claim(runs: Runs) -> Measured:
    """Batch norm adds noise to the activations, which regularizes slightly.

    Slope of the generalization gap (test minus training loss) at matched clean training loss
    against 1 ÷ ghost batch size, over ghost batches of {GHOSTS} and the full batch of {BATCH_SIZE},
    times the range of these doses: the change of the gap from the full batch to ghost batches of 4.
    Batch size and learning rate are the same; mean over the levels that all reach; a seed with a
    run that diverged, or without a common level, counts as no difference.

    Smallest effect: the note says slightly: less than half of what reg-overfit asks of a
    regularizer (0.05 nats); and the half-width of the interval that 20 seeds give, 0.02 by the
    scatter between pilot seeds
    """
    by_arm = gaps(runs, tuple(DOSES))
    at_end = {arm: runs.values(arm, _gap_at_end) for arm in DOSES}
    accuracy = {arm: runs.values(arm, test_accuracy) for arm in DOSES}
    yield change(by_arm)
    for arm in DOSES:
        yield Part(f"gap at matched loss, {runs.labels[arm]}", NATS, by_arm[arm])
    yield Part("change of the gap at the end of training", NATS, change(at_end))
    label = "change of the test accuracy at the end of training"
    yield Part(label, POINTS, change(accuracy, 100 * RANGE))
    for size in SIZES:
        variance = runs.values(FULL, functools.partial(_noise, size))
        label = f"noise variance ÷ variance between examples, batches of {size}"
        yield Part(label, "%", percent(variance))
    yield from matched.notes(runs, *DOSES)
