"""reg-overfit: regularization reduces overfitting."""

from dataclasses import replace

from dlip_reg.evidence import NATS, mean_of, minus
from dlip_reg.studies import Arm, Claim, Measurement, Part, Runs, Setting, at_matched_loss
from dlip_reg.studies.drawing import gap_at_loss
from dlip_reg.studies.readings import at_the_end, gap, matched_difference, matching_notes, test_loss
from dlip_reg.studies.regularization.arms import LABELS, METHODS, for_verdict
from dlip_reg.studies.study import Figures, negative, positive, varied
from dlip_reg.training import Record

MORE_IMAGES = 3


def more_images(setting: Setting) -> list[Arm]:
    """The positive control's arm: "none" on three times as many images, with as many updates."""
    data = for_verdict(setting)["data"]
    return [
        varied(
            "more_images",
            "none",
            f"none, {MORE_IMAGES} times the images",
            data=replace(data, n_train=MORE_IMAGES * data.n_train),
            epochs=max(2, setting.preset.epochs // MORE_IMAGES),
            measures=("curves", "test"),
        )
    ]


def measure(runs: Runs) -> Measurement:
    """Test loss minus training loss at matched clean training loss (mean over five levels that all
    arms reach): mean over dropout, L1 and L2, minus no regularization. Each arm at its own tuned
    learning rate and strength; a diverged run counts as no difference.
    """
    arms = ("none", *METHODS)
    gaps = at_matched_loss(runs, arms, gap)
    ends = {arm: runs.values(arm, at_the_end(gap)) for arm in arms}
    rises = {arm: runs.values(arm, _rise) for arm in arms}
    over_none = {arm: minus(gaps[arm], gaps["none"]) for arm in METHODS}
    return Measurement(
        mean_of(*over_none.values()),
        (
            Part("gap of none at matched loss", NATS, gaps["none"]),
            *(
                Part(f"{LABELS[arm]} minus none at matched loss", NATS, values)
                for arm, values in over_none.items()
            ),
            Part("mean over methods minus none at the end of training", NATS,
                 mean_of(*(minus(ends[arm], ends["none"]) for arm in METHODS))),
            Part("rise of the test loss from its minimum, methods minus none", NATS,
                 mean_of(*(minus(rises[arm], rises["none"]) for arm in METHODS))),
        ),
        matching_notes(runs, arms),
    )  # fmt: skip


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


CLAIM = Claim(
    id="reg-overfit",
    sentence="Regularization reduces overfitting.",
    unit=NATS,
    direction=-1,
    smallest_effect=0.05,
    smallest_effect_source="five per cent in the probability given to the right class, the least "
    "that a reader of loss curves would act on",
    measure=measure,
    needs=("none", *METHODS),
    controls=(
        negative(
            "No regularization at a third of the learning rate, minus no regularization: it fits "
            "more slowly and regularizes nothing.",
            lambda runs: matched_difference(runs, "none_slow", "none", gap),
            ("none", "none_slow"),
        ),
        positive(
            f"No regularization on {MORE_IMAGES} times as many images, minus no regularization: "
            "more data is known to reduce overfitting.",
            lambda runs: matched_difference(runs, "more_images", "none", gap),
            ("none", "more_images"),
        ),
    ),
    arms=more_images,
    draw=draw,
)
