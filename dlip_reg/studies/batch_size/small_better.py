"""bs-small-better: usually small batches perform better."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from dlip_reg.evidence.paired import POINTS, Values, minus, percent
from dlip_reg.experiments.selection import lowest_loss
from dlip_reg.studies.batch_size.arms import BATCH_NORM, by_size, candidates, measured
from dlip_reg.studies.batch_size.curves import drawn_curves, listed, rate_of
from dlip_reg.studies.runs import Runs, Trials
from dlip_reg.studies.study import Arm, Chosen, Claim, Measurement, Part, Setting, Tuning
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import Section

KERAS_MOMENTUM = 0.99  # of BatchNormalization's moving statistics; the builders' own is 0.9
_EQUAL_UPDATES_EPOCHS = 2  # of the smallest batch; the others make as many updates
EPOCHS, UPDATES, NORMALISED, KERAS = (
    f"one_rate/{name}" for name in ("epochs", "updates", "batch_norm", "keras_momentum")
)
TEST, RECALIBRATED = "test_accuracy", "recalibrated_test_accuracy"


def one_rate_arms(setting: Setting) -> list[Arm]:
    """Mini-batch sizes at one learning rate: the best one of the common grid for all together.

    For equal epochs; for equal updates; for equal epochs with batch normalization; and this with
    Keras' own momentum, which gives the same weights and other moving statistics.
    """
    preset = setting.preset
    smallest = preset.batch_sizes[0]
    first = f"{EPOCHS}/{smallest}"  # the arm that is tuned: its rate is that of all

    def plain(size: int, chosen: Chosen) -> RunSpec:
        return replace(measured(first, chosen), batch_size=size)

    def updates(size: int, chosen: Chosen) -> RunSpec:
        return replace(plain(size, chosen), epochs=_EQUAL_UPDATES_EPOCHS * size // smallest)

    def normalised(size: int, chosen: Chosen) -> RunSpec:
        measures = ("curves", "test", "recalibrated")
        return replace(plain(size, chosen), regularization=BATCH_NORM, measures=measures)

    def keras(size: int, chosen: Chosen) -> RunSpec:
        run = normalised(size, chosen)
        builder = json.loads(run.builder) | {"batch_norm_momentum": KERAS_MOMENTUM}
        return replace(run, builder=builder, measures=("test",))

    tuning = Tuning(candidates(setting, preset.batch_sizes), best_for_all)
    arms = [Arm(first, functools.partial(plain, smallest), tuning, label="one learning rate")]
    for name, spec, sizes in (
        (EPOCHS, plain, preset.batch_sizes[1:]),
        (UPDATES, updates, preset.few),
        (NORMALISED, normalised, preset.few),
        (KERAS, keras, preset.few),
    ):
        arms += [Arm(f"{name}/{s}", functools.partial(spec, s), uses=(first,)) for s in sizes]
    return arms


def best_for_all(trials: Trials) -> RunSpec | None:
    """A candidate with the rate of the lowest mean validation loss over all batch sizes."""
    by_rate: dict[float, list] = {}
    for spec, records in trials.items():
        by_rate.setdefault(spec.learning_rate, []).extend(records)
    best = lowest_loss(by_rate)
    found = [spec for spec in trials if spec.learning_rate == best]
    # Not the first: its batch size would be reported as one at the end of a grid.
    return found[len(found) // 2] if found else None


def measure(runs: Runs) -> Measurement:
    """Test accuracy of the smallest minus the largest mini-batch after equal epochs at one rate."""
    accuracy = by_size(runs, EPOCHS, TEST)
    small, *_, large = accuracy

    def gain(group: str, name: str = TEST) -> Values:
        values = by_size(runs, group, name)
        return percent(minus(values[small], values[large]))

    return Measurement(
        gain(EPOCHS),
        (
            Part(f"test accuracy of batch {small}", "%", percent(accuracy[small])),
            Part("after equal updates", POINTS, gain(UPDATES)),
            Part("equal epochs, each at its own best rate", POINTS, gain("rates")),
            Part(
                "equal epochs, nets with batch normalization, statistics re-estimated",
                POINTS,
                gain(NORMALISED, RECALIBRATED),
            ),
        ),
    )  # fmt: skip


def section(runs: Runs) -> Section:
    """Loss curves and test accuracy of all sizes at one learning rate."""
    from dlip_reg.report import FigureItem, Section, figures

    title = "One learning rate, many batch sizes"
    sizes = list(runs.tree(EPOCHS))
    plain, normalised = drawn_curves(runs, EPOCHS), drawn_curves(runs, NORMALISED)
    updates = drawn_curves(runs, UPDATES)
    if not plain:
        return Section(title)
    styles = figures.size_styles(sizes)
    without, with_norm = "without batch normalization", "with batch normalization"
    panels = {
        without: {
            "equal epochs, one rate": by_size(runs, EPOCHS, TEST),
            "equal updates, one rate": by_size(runs, UPDATES, TEST),
            "equal epochs, each at its best rate": {
                size: values
                for size, values in by_size(runs, "rates", TEST).items()
                if size in sizes
            },
        },
        with_norm: {
            "moving statistics, momentum 0.99": by_size(runs, KERAS, TEST),
            "moving statistics, momentum 0.9": by_size(runs, NORMALISED, TEST),
            "statistics re-estimated": by_size(runs, NORMALISED, RECALIBRATED),
        },
    }
    items = (
        FigureItem(
            "one_rate",
            figures.loss_by_size({without: plain, with_norm: normalised}, styles),
            f"Training and validation loss against epochs for batch sizes {listed(sizes)}, without "
            "and with batch normalization, at one learning rate.",
            f"Figure 5 of the note: SGD at the learning rate {rate_of(runs, EPOCHS):g} at every "
            "batch size. Clean cross-entropy over the whole split, bands over seeds. Equal epochs "
            "are not equal updates: the smallest batch takes "
            f"{sizes[-1] // sizes[0]} times as many steps as the largest. Nets with batch "
            "normalization are evaluated with their moving statistics, which lag behind the "
            "weights in the first epochs, the more the larger the batch.",
        ),
        FigureItem(
            "equal_updates",
            figures.loss_by_size({"equally many updates": updates}, styles, x="updates"),
            "Training and validation loss against the number of updates for batch sizes "
            f"{listed(updates)}.",
            "The control: the same rate and the same number of updates, so that a batch k times as "
            "large has seen k times as many examples.",
        ),
        FigureItem(
            "accuracy_by_size",
            figures.against_size(panels, "test accuracy (%)", percent=True),
            "Test accuracy against the batch size: without batch normalization for equal epochs, "
            "equal updates and each size's best rate; with it for moving and for re-estimated "
            "statistics.",
            "Right, for equal epochs at the one rate: three evaluations of nets with the same "
            "weights. Only the statistics that they are evaluated with differ.",
        ),
    )
    return Section(
        title,
        (
            "The rate is the one with the lowest mean validation loss over all mini-batch sizes "
            "and tuning seeds together, so that no size is favoured. A small batch makes many "
            "noisy steps in an epoch, a large one few exact ones: an apparent effect of the batch "
            "size at equal epochs is in part one of the number of steps. The control at equal "
            "updates removes that, and gives the large batch more data instead. Neither comparison "
            "is fair by itself; together they bound the effect, and the third is each size at its "
            "own best rate.",
            "The nets of this lab have no batch normalization: with it the loss of an image "
            "depends on the other images in the batch, so that changing the batch size changes the "
            "function that is minimised, not only how. Nets with it are shown beside them.",
            "Batch normalization's moving statistics must be re-estimated before a large-batch net "
            f"is judged. {_lag(runs)}The weights are the same; only the statistics lag.",
        ),
        items,
    )


def _lag(runs: Runs) -> str:
    """How much of their initial values the moving statistics of the largest batch still hold."""
    size = max(runs.tree(NORMALISED))
    spec = runs.chosen[f"{NORMALISED}/{size}"]
    if spec is None:
        return ""
    updates = spec.epochs * max(1, spec.data.n_train // size)
    left = " and ".join(f"{100 * m**updates:.2g} % at a momentum of {m:g}" for m in (0.99, 0.9))
    return (
        f"Batch {size:,} makes {updates:,} updates; of the statistics' initial values {left} "
        "remain (Keras' own momentum is 0.99, the builders' 0.9). "
    )


CLAIM = Claim(
    id="bs-small-better",
    sentence="Usually small batches perform better.",
    experiment="Test accuracy of the smallest minus the largest mini-batch after equally many "
    "epochs of SGD at one learning rate, the one that does best over all sizes together.",
    unit=POINTS,
    direction=+1,
    smallest_effect=0.5,
    smallest_effect_source="half a point, about one image in 200: less would not decide the choice "
    "of a batch size",
    measure=measure,
    needs=("one_rate/", "rates/"),
    arms=one_rate_arms,
    figures=("one_rate", "equal_updates", "accuracy_by_size"),
)
