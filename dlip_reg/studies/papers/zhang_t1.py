"""The perceptrons of Zhang et al. 2017, table 1, on true and on random labels of CIFAR-10.

A network that fits random labels has memorized its images; that the same network, trained in the
same way, does better than chance on true labels is therefore no consequence of its size alone.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dlip_reg import report
from dlip_reg.evidence import ClaimResult, Values, percent
from dlip_reg.studies import Arms, Runs, Setting, Study, at_the_end, figure, test_accuracy, varied
from dlip_reg.studies.drawing import Drawn, methods, section
from dlip_reg.studies.papers import PaperPreset, estimate
from dlip_reg.studies.runs import curves_of
from dlip_reg.training import RunSpec, Schedule

LABELS = ("true", "random")
# What the paper prints without weight decay and augmentation: hidden layers of 512 -> labels ->
# (training accuracy, test accuracy) in %.
PAPER = {
    3: {"true": (100.0, 52.39), "random": (100.0, 10.48)},
    1: {"true": (100.0, 50.51), "random": (99.34, 10.61)},
}
# Appendix A: SGD with momentum 0.9, the learning rate times 0.95 after every epoch.
RATE, DECAY_PER_EPOCH, BATCH_SIZE = 0.01, 0.95, 128


def arms(setting: Setting) -> Arms:
    """Each network on each kind of labels: "DEPTH/LABELS"."""
    preset = setting.preset
    run = RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation),
        optimizer="momentum",
        learning_rate=RATE,
        schedule=Schedule(DECAY_PER_EPOCH**preset.epochs),
        batch_size=BATCH_SIZE,
        epochs=preset.epochs,
        measures=("curves", "test"),
    )
    for depth, labels in itertools.product(PAPER, LABELS):
        yield varied(
            f"{depth}/{labels}",
            run,
            f"{depth} × 512, {labels} labels",
            data=replace(run.data, random_labels=labels == "random"),
            builder={"hidden": [512] * depth} if setting.model == "mlp" else {},
        )


@section("Our numbers beside the paper's")
def sections(runs: Runs, claims: Sequence[ClaimResult]) -> Drawn:
    """{texts}

    Guessing is right for {guessing:.0f} %. How ours differ from the paper's: it crops the images to
    28 x 28 and whitens each, ours are whole and standardised over the training images; its number
    of epochs is not printed.
    """
    yield draw(runs), {"texts": "\n\n".join(_texts(runs)), "guessing": 100 * runs.guessing}


@figure("paper")
def draw(runs: Runs) -> Drawn:
    """Training and test accuracy on true and on random labels, ours beside the paper's.

    Table 1 of Zhang et al. 2017. Dots: our seeds; filled: their geometric mean with its 95 %
    interval; diamond: the paper's number. A network that fits random labels has memorized them:
    test accuracy is that of guessing.
    """
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
    plot = report.figures.beside_paper(rows, "accuracy (%)")
    yield plot


def _accuracy(runs: Runs, depth: int, labels: str, kind: str) -> Values:
    """Training or test accuracy at the end, in %, by seed."""
    training_accuracy = at_the_end(lambda record: curves_of(record).clean_accuracy)
    read = test_accuracy if kind == "test" else training_accuracy
    return percent(runs.values(f"{depth}/{labels}", read))


def _texts(runs: Runs) -> Iterator[str]:
    """A sentence for each network on each kind of labels."""
    for depth, labels in itertools.product(PAPER, LABELS):
        found = " and ".join(
            f"{kind} accuracy {estimate(_accuracy(runs, depth, labels, kind))} %, the paper's "
            f"{theirs:g} %"
            for kind, theirs in zip(("training", "test"), PAPER[depth][labels], strict=True)
        )
        label = runs.labels[f"{depth}/{labels}"]
        yield f"{label} (mean and 95 % interval over seeds): {found}."


@methods
def facts(preset: PaperPreset) -> None:
    """How the numbers were measured.

    Networks: perceptrons with 1 and 3 hidden layers of 512, ReLU, without regularization

    Training: {n_train:,} images, SGD with momentum 0.9, batches of {BATCH_SIZE}, learning rate
    {RATE:g} times {DECAY_PER_EPOCH:g} an epoch, {epochs} epochs
    """


STUDY = Study(
    name="zhang-t1",
    title="Zhang et al. 2017, perceptrons on random labels, repeated",
    lead="Networks that generalize can memorize just as well: the paper's perceptrons on true and "
    "on random labels, its numbers beside ours.",
    arms=arms,
    # All images but one of each class are for training.
    presets={"paper": PaperPreset(seeds=3, epochs=100, n_train=49_990, n_validation=10)},
    sections=sections,
    facts=facts,
    default_model="mlp",
    default_dataset="cifar10",
)
