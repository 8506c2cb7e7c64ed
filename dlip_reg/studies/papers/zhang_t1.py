"""The perceptrons of Zhang et al. 2017, table 1, on true and on random labels of CIFAR-10.

A network that fits random labels has memorized its images; that the same network, trained in the
same way, does better than chance on true labels is therefore no consequence of its size alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlip_reg.evidence.claims import ClaimResult
from dlip_reg.evidence.intervals import t_interval
from dlip_reg.evidence.paired import Values, percent
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Preset, Setting, Study
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec, Schedule

if TYPE_CHECKING:
    from dlip_reg.report import Section

LABELS = ("true", "random")
# What the paper prints without weight decay and augmentation: hidden layers of 512 -> labels ->
# (training accuracy, test accuracy) in %.
PAPER = {
    3: {"true": (100.0, 52.39), "random": (100.0, 10.48)},
    1: {"true": (100.0, 50.51), "random": (99.34, 10.61)},
}
# Appendix A: SGD with momentum 0.9, the learning rate times 0.95 after every epoch.
RATE, DECAY_PER_EPOCH, BATCH_SIZE = 0.01, 0.95, 128


@dataclass(frozen=True, kw_only=True)
class ZhangPreset(Preset):
    """The paper check's one size.

    Args:
        epochs: Of each run.
        n_train, n_validation: All images but one of each class are for training.
    """

    epochs: int
    n_train: int = 49_990
    n_validation: int = 10


def arms(setting: Setting) -> list[Arm]:
    """Each network on each kind of labels: "DEPTH/LABELS"."""
    preset = setting.preset
    return [
        Arm(
            f"{depth}/{labels}",
            RunSpec(
                model=setting.model,
                data=setting.data(
                    preset.n_train, preset.n_validation, random_labels=labels == "random"
                ),
                builder={"hidden": [512] * depth} if setting.model == "mlp" else {},
                optimizer="momentum",
                learning_rate=RATE,
                schedule=Schedule(DECAY_PER_EPOCH**preset.epochs),
                batch_size=BATCH_SIZE,
                epochs=preset.epochs,
                measures=("curves", "test"),
            ),
            label=f"{depth} × 512, {labels} labels",
        )
        for depth in PAPER
        for labels in LABELS
    ]


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> list[Section]:
    """The one section: training and test accuracy, ours and the paper's."""
    from dlip_reg.report import FigureItem, Section, figures

    rows = {
        f"{kind} accuracy, {depth} × 512": {
            f"{labels} labels": (
                [value for value in _accuracy(runs, depth, labels, kind) if value == value],
                (PAPER[depth][labels][column], None),
            )
            for labels in LABELS
        }
        for depth in PAPER
        for column, kind in enumerate(("training", "test"))
    }
    texts = [_text(runs, depth, labels) for depth in PAPER for labels in LABELS]
    return [
        Section(
            "Our numbers beside the paper's",
            (
                *texts,
                f"Guessing is right for {100 * runs.guessing:.0f} %. How ours differ from the "
                "paper's: it crops the images to 28 x 28 and whitens each, ours are whole and "
                "standardised over the training images; its number of epochs is not printed.",
            ),
            (
                FigureItem(
                    "paper",
                    figures.beside_paper(rows, "accuracy (%)"),
                    "Training and test accuracy on true and on random labels, ours beside the "
                    "paper's: " + " ".join(texts),
                    "Table 1 of Zhang et al. 2017. Dots: our seeds; filled: their geometric mean "
                    "with its 95 % interval; diamond: the paper's number. A network that fits "
                    "random labels has memorized them: test accuracy is that of guessing.",
                ),
            ),
        )
    ]


def _accuracy(runs: Runs, depth: int, labels: str, kind: str) -> Values:
    """Training or test accuracy at the end, in %, by seed."""

    def read(record: Record) -> float | None:
        if kind == "test":
            return record.measures.test_accuracy
        return record.curves.clean_accuracy[-1]

    return percent(runs.values(f"{depth}/{labels}", read))


def _text(runs: Runs, depth: int, labels: str) -> str:
    from dlip_reg.report.numbers import format_estimate

    found = " and ".join(
        f"{kind} accuracy {format_estimate(*t_interval(_accuracy(runs, depth, labels, kind)))} %, "
        f"the paper's {theirs:g} %"
        for kind, theirs in zip(("training", "test"), PAPER[depth][labels], strict=True)
    )
    return f"{runs.labels[f'{depth}/{labels}']} (mean and 95 % interval over seeds): {found}."


def facts(setting: Setting) -> Mapping[str, str]:
    """How the numbers were measured."""
    preset = setting.preset
    return {
        "Networks": "perceptrons with 1 and 3 hidden layers of 512, ReLU, without regularization",
        "Training": f"{preset.n_train:,} images, SGD with momentum 0.9, batches of {BATCH_SIZE}, "
        f"learning rate {RATE:g} times {DECAY_PER_EPOCH:g} an epoch, {preset.epochs} epochs",
    }


STUDY = Study(
    name="zhang-t1",
    title="Zhang et al. 2017, perceptrons on random labels, repeated",
    lead="Networks that generalize can memorize just as well: the paper's perceptrons on true and "
    "on random labels, its numbers beside ours.",
    arms=arms,
    presets={"paper": ZhangPreset(seeds=3, epochs=100)},
    sections=sections,
    facts=facts,
    default_model="mlp",
    default_dataset="cifar10",
)
