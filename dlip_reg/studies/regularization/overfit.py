"""reg-overfit: regularization reduces overfitting."""

from dataclasses import replace

from dlip_reg.evidence import NATS, Question, Values, mean_of, minus
from dlip_reg.studies import Measured, Part, Runs, at_matched_loss, matching_notes, negative
from dlip_reg.studies.drawing import Figures, gap_at_loss
from dlip_reg.studies.readings import at_the_end, gap, matched_difference, test_loss
from dlip_reg.studies.regularization.arms import LABELS, METHODS, for_verdict
from dlip_reg.studies.study import Arms, Setting, claimed, controlled, drawn_by, positive, varied
from dlip_reg.training import Record

MORE_IMAGES = 3


def more_images(setting: Setting) -> Arms:
    """The positive control's arm: "none" on three times as many images, with as many updates."""
    data = for_verdict(setting)["data"]
    yield varied(
        "more_images",
        "none",
        f"none, {MORE_IMAGES} times the images",
        data=replace(data, n_train=MORE_IMAGES * data.n_train),
        epochs=max(2, setting.preset.epochs // MORE_IMAGES),
        measures=("curves", "test"),
    )


def _rise(record: Record) -> float | None:
    losses = [loss for loss in test_loss(record) if loss is not None]
    return losses[-1] - min(losses) if losses else None


def draw(runs: Runs) -> Figures:
    """The gap against the training loss, with the control that fits more slowly."""
    return gap_at_loss(
        runs,
        ("none", *METHODS, "none_slow"),
        " None at a third of the learning rate is the control that fits more slowly and "
        "regularizes nothing.",
    )


@negative("none", "none_slow")
def fits_more_slowly(runs: Runs) -> Values:
    """No regularization at a third of the learning rate, minus no regularization: it fits more
    slowly and regularizes nothing.
    """
    return matched_difference(runs, "none_slow", "none", gap)


@positive("none", "more_images")
def sees_more_images(runs: Runs) -> Values:
    """No regularization on {MORE_IMAGES} times as many images, minus no regularization: more data
    is known to reduce overfitting.
    """
    return matched_difference(runs, "more_images", "none", gap)


@drawn_by(draw)
@controlled(fits_more_slowly, sees_more_images)
@claimed("reg-overfit", NATS, Question(-1, 0.05), "none", *METHODS, arms=more_images)
def claim(runs: Runs) -> Measured:
    """Regularization reduces overfitting.

    Test loss minus training loss at matched clean training loss (mean over five levels that all
    arms reach): mean over dropout, L1 and L2, minus no regularization. Each arm at its own tuned
    learning rate and strength; a diverged run counts as no difference.

    Smallest effect: five per cent in the probability given to the right class, the least that a
    reader of loss curves would act on
    """
    arms = ("none", *METHODS)
    gaps = at_matched_loss(runs, arms, gap)
    ends = {arm: runs.values(arm, at_the_end(gap)) for arm in arms}
    rises = {arm: runs.values(arm, _rise) for arm in arms}
    over_none = {arm: minus(gaps[arm], gaps["none"]) for arm in METHODS}
    yield mean_of(*over_none.values())
    yield Part("gap of none at matched loss", NATS, gaps["none"])
    for arm, values in over_none.items():
        yield Part(f"{LABELS[arm]} minus none at matched loss", NATS, values)
    for label, by_arm in (
        ("mean over methods minus none at the end of training", ends),
        ("rise of the test loss from its minimum, methods minus none", rises),
    ):
        differences = (minus(by_arm[arm], by_arm["none"]) for arm in METHODS)
        yield Part(label, NATS, mean_of(*differences))
    yield from matching_notes(runs, arms)
