"""bn-internal-shift, bn-input-shift: distributions that change in training, and after it."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import partial
from statistics import fmean

import numpy as np

from dlip_reg.evidence.paired import POINTS, Values, log_ratio, mean_of, minus, percent
from dlip_reg.studies.batch_norm.arms import changed
from dlip_reg.studies.batch_norm.readings import (
    Content,
    both,
    means_text,
    smaller_claim,
    validation_accuracy,
)
from dlip_reg.studies.papers.ioffe_fig1 import (
    LABELS,
    by_net,
    mean_drift,
    sigmoid_arms,
    sigmoid_figures,
)
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Measurement, Part, Setting
from dlip_reg.training.records import Record
from dlip_reg.training.specification import RunSpec

RE_ESTIMATED = "with, statistics re-estimated"
SHIFTED = ("tinted", "inverted")
COLOURS = ("colours/plain", "colours/bn")


def lab_sigmoid_arms(setting: Setting) -> list[Arm]:
    """The sigmoid networks of Ioffe & Szegedy 2015 on the lab's images."""
    preset = setting.preset
    data = setting.data(preset.n_sigmoid, preset.n_validation)
    return sigmoid_arms(data, preset.sigmoid_epochs)


def colour_arms(setting: Setting) -> list[Arm]:
    """Each network at its own best learning rate, trained on grey images in three channels."""
    return [
        Arm(f"colours/{net}", partial(_in_colour, net), uses=(net,), label=label)
        for net, label in LABELS.items()
    ]


def _in_colour(net: str, chosen: Chosen) -> RunSpec:
    data = replace(chosen[net].data, colour=True)
    return changed(chosen[net], data=data, measures=("colours",))


def measure_internal_shift(runs: Runs) -> Measurement:
    """ln of the mean drift with batch norm over without."""
    drift = by_net(runs, "sigmoid", mean_drift)
    accuracy = by_net(runs, "sigmoid", validation_accuracy)
    gain = percent(minus(accuracy["bn"], accuracy["plain"]))
    return Measurement(
        log_ratio(drift["bn"], drift["plain"]),
        (
            *both("drift between probes", "spreads", drift),
            Part("validation accuracy, with minus without", POINTS, gain),
        ),
    )


def measure_input_shift(runs: Runs) -> Measurement:
    """Accuracy on the changed images minus accuracy on the grey ones, without batch norm."""
    plain, bn = (
        {v: minus(_accuracy(runs, arm, v), _accuracy(runs, arm, "grey")) for v in SHIFTED}
        for arm in COLOURS
    )
    grey = _accuracy(runs, COLOURS[0], "grey")
    parts = [Part("accuracy on grey images without batch norm", "%", grey)]
    for text, by_variant in (
        ("without batch norm", plain),
        ("with batch norm", bn),
        ("re-estimated minus moving statistics", {v: regained(runs, v) for v in SHIFTED}),
    ):
        parts += [Part(f"{v} images, {text}", POINTS, x) for v, x in by_variant.items()]
    return Measurement(mean_of(*plain.values()), tuple(parts))


def regained(runs: Runs, variant: str) -> Values:
    """By seed, the points of accuracy that re-estimated statistics gain on images of a variant."""
    after = _accuracy(runs, COLOURS[1], variant, "recalibrated_accuracy")
    return minus(after, _accuracy(runs, COLOURS[1], variant))


def _accuracy(runs: Runs, arm: str, variant: str, name: str = "accuracy") -> Values:
    def read(record: Record) -> float | None:
        return next((getattr(r, name) for r in record.colours if r.variant == variant), None)

    return percent(runs.values(arm, read))


def draw_internal_shift(runs: Runs) -> Content:
    """Figure 1 of Ioffe & Szegedy 2015 on the lab's images."""
    before, after = (means_text(runs, "sigmoid", partial(_spread, row)) for row in (0, -1))
    yield (
        "The network of Ioffe & Szegedy 2015, section 4.1, on this lab's images: 3 layers of 100 "
        "sigmoids, batches of 60, small Gaussian weights. Drift is how far the three percentiles "
        "move from one probe to the next, in units of their spread. From the 15th to the 85th that "
        f"spread is {before} before training, {after} after it: where it grows, part of the drift "
        "is growth."
    )
    yield from sigmoid_figures(runs)


def _spread(row: int, record: Record) -> float:
    """From the 15th to the 85th percentile in that row, mean over the units watched."""
    return fmean(u.percentiles[-1] - u.percentiles[0] for u in record.percentiles[row].units)


def draw_input_shift(runs: Runs) -> Content:
    """Samples of the images, and the accuracy on each kind."""
    from dlip_reg.report import figures
    from dlip_reg.report.figures.style import summarize
    from dlip_reg.report.numbers import format_number

    accuracy: dict[str, dict[str, list[float | None]]] = {}
    samples = {}
    plain, bn = COLOURS
    for arm, label, name in (
        (plain, LABELS["plain"], "accuracy"),
        (bn, LABELS["bn"], "accuracy"),
        (bn, RE_ESTIMATED, "recalibrated_accuracy"),
    ):
        for row in (row for record in runs.finished(arm) for row in record.colours):
            accuracy.setdefault(label, {}).setdefault(row.variant, []).append(getattr(row, name))
            pixels = np.frombuffer(base64.b64decode(row.samples.pixels), np.uint8)
            samples[row.variant] = pixels.reshape(row.samples.shape)
    if not accuracy:
        return
    means = {variant: summarize(regained(runs, variant)).mean for variant in SHIFTED}
    gains = " and ".join(f"{format_number(mean, 2)} on {v}" for v, mean in means.items())
    yield (
        "Trained on grey images alone, tested on the same test images unchanged, tinted with one "
        "bright colour each, and with inverted brightness. The statistics of batch normalization "
        "are those of the grey images. Re-estimating them takes images of the new kind, but no "
        "labels, and changes no weight. It corrects a shift of scale and mean, channel by channel, "
        "and nothing else; where more has changed it can do harm. In percentage points of "
        f"accuracy, means over seeds, it gains {gains} images: look at both before a network is "
        "used for images of another kind."
    )
    yield (
        "input_shift",
        figures.shifted_inputs(samples, accuracy, runs.guessing),
        "Sample images, grey, tinted and inverted, and the test accuracy on each kind.",
        "Means in per cent below the bars. Statistics are re-estimated on unlabelled validation "
        "images of the same kind.",
    )


INTERNAL_SHIFT = smaller_claim(
    id="bn-internal-shift",
    sentence="Batch norm reduces the internal covariate shift.",
    experiment="3 sigmoid layers of 100: how far the 15th, 50th and 85th percentiles of the inputs "
    "of the last layer's sigmoids move from epoch to epoch, over their spread, mean over 8 units "
    "and all epochs; log-ratio with batch norm over without (Ioffe & Szegedy 2015, figure 1).",
    measure=measure_internal_shift,
    needs=("sigmoid/plain", "sigmoid/bn"),
    arms=lab_sigmoid_arms,
    figures=("sigmoid_inputs", "sigmoid_drift"),
)
INPUT_SHIFT = Claim(
    id="bn-input-shift",
    sentence="A net trained on black cats does poorly on coloured cats: its input distribution "
    "shifts.",
    experiment="Trained on grey images, tested on the same images tinted and with inverted "
    "brightness: accuracy on these minus accuracy on the grey ones, mean of the two, without batch "
    "norm. Also shown: the same with batch norm, before and after its statistics are re-estimated "
    "on unlabelled images of the new kind.",
    unit=POINTS,
    direction=-1,
    smallest_effect=5.0,
    smallest_effect_source="as fixed in the first edition: five points of accuracy",
    measure=measure_input_shift,
    needs=COLOURS,
    arms=colour_arms,
    figures=("input_shift",),
)
