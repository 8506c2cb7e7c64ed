"""The note's fifteen statements on batch normalization: `STUDY`, one module for each subject.

Each measurement pairs by seed: the same initial weights where shapes allow, the same data split and
the same order of examples. A module has claims that share runs, with their arms, measurements and
figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.studies.batch_norm import (
    deep,
    learning_rates,
    regularizers,
    same_rate,
    shifts,
)
from dlip_reg.studies.batch_norm.arms import BATCH_SIZE, DECAY, BatchNormPreset, shared_arms
from dlip_reg.studies.papers import ioffe_fig1
from dlip_reg.studies.papers.ioffe_fig1 import LABELS
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Claim, Setting, Study, expand

if TYPE_CHECKING:
    from dlip_reg.report import Section

PRESETS = {
    "quick": BatchNormPreset(
        seeds=3, tuning_seeds=1, epochs=6, n_train=1000, n_validation=1000,
        rates=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0), dropout_rates=(0.1, 0.3),
        deep_epochs=6, sigmoid_epochs=15,
    ),
    "standard": BatchNormPreset(
        seeds=20, tuning_seeds=2, epochs=10, n_train=2000, n_validation=2000,
        rates=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), dropout_rates=(0.1, 0.3),
        deep_epochs=10, sigmoid_epochs=30,
    ),
    "full": BatchNormPreset(
        seeds=20, tuning_seeds=5, epochs=20, n_train=8000, n_validation=2000,
        rates=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
        dropout_rates=(0.05, 0.1, 0.2, 0.3, 0.5), deep_epochs=20, sigmoid_epochs=60,
        n_deep=8000, n_sigmoid=8000,
    ),
}  # fmt: skip

CLAIMS: Sequence[Claim] = (
    *same_rate.LANDSCAPE,
    learning_rates.LARGE_RATE,
    learning_rates.FAST_DECAY,
    *regularizers.DROPOUT,
    regularizers.L2,
    deep.VANISHING,
    deep.EXPLODING,
    shifts.INTERNAL_SHIFT,
    same_rate.INDEPENDENCE,
    deep.BOUNDED,
    shifts.INPUT_SHIFT,
    same_rate.NOISE,
)


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> list[Section]:
    """The sections of those claims whose runs there are, each with the seeds that were run."""
    from dlip_reg.report import FigureItem, Section

    rates, others = learning_rates, regularizers
    shown = []
    for title, draw, claim in (
        ("The landscape along the gradient", same_rate.draw_landscape, same_rate.LANDSCAPE[0]),
        ("Learning rates", rates.draw_rates, rates.LARGE_RATE),
        ("Decay of the learning rate", rates.draw_decay, rates.FAST_DECAY),
        ("Dropout", partial(others.draw_dropout, claims), others.DROPOUT[0]),
        ("L2", others.draw_l2, others.L2),
        ("The noise of batch normalization", same_rate.draw_noise, same_rate.NOISE),
        ("Gradients that vanish in deep networks", deep.draw_vanishing, deep.VANISHING),
        ("Gradients that explode in deep networks", deep.draw_exploding, deep.EXPLODING),
        ("Internal covariate shift", shifts.draw_internal_shift, shifts.INTERNAL_SHIFT),
        ("Independence of the layers", same_rate.draw_independence, same_rate.INDEPENDENCE),
        ("The largest activations", deep.draw_bounded, deep.BOUNDED),
        ("Inputs that shift after training", shifts.draw_input_shift, shifts.INPUT_SHIFT),
    ):
        names = expand(claim.needs, list(runs))
        if names and set(names) <= set(runs):
            rows = zip(*(runs[name] for name in names), strict=True)
            last = max((i for i, row in enumerate(rows, 1) if any(row)), default=1)
            content = list(draw(runs.first(last)))
            texts = tuple(text for text in content if isinstance(text, str))
            items = tuple(FigureItem(*item) for item in content if not isinstance(item, str))
            shown.append(Section(title, texts, items))
    return shown


def facts(setting: Setting) -> Mapping[str, str]:
    """How the numbers were measured."""
    preset = setting.preset
    return {
        "Training": f"{preset.n_train:,} images, {preset.epochs} epochs of plain SGD in batches of "
        f"{BATCH_SIZE}, the learning rate decaying to {100 * DECAY:g} % of itself",
        "Tried by both networks": f"{len(preset.rates)} learning rates, "
        f"{len(preset.dropout_rates)} dropout rates, {len(preset.strengths)} strengths of L2",
        "Deep networks": f"{preset.n_deep:,} images, {preset.deep_epochs} epochs",
        "Sigmoid network": f"{preset.n_sigmoid:,} images, {preset.sigmoid_epochs} epochs",
        "Validation": f"{preset.n_validation:,} images, drawn by seed",
    }


STUDY = Study(
    name="lab_batch_norm",
    title="Batch normalization, measured",
    lead="Each sentence of the lecture note on batch normalization, tested by runs on real images: "
    "an effect, an interval over seeds, and the verdict of a rule that was fixed before the data "
    "was seen.",
    description="Measure what the lecture note says about batch normalization, and write a report.",
    arms=shared_arms,
    claims=CLAIMS,
    presets=PRESETS,
    sections=sections,
    styled_first=(*LABELS.values(), deep.WELL_SCALED, shifts.RE_ESTIMATED),
    facts=facts,
    papers={ioffe_fig1.STUDY.name: ioffe_fig1.STUDY},
    default_model="lenet5",
    default_dataset="fashion_mnist_subset",
)
