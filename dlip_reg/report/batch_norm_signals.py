"""The batch normalization lab's report, second part: deep nets, activations, shifted inputs."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlip_reg.claims.batch_norm.rates import CHANCE
from dlip_reg.claims.batch_norm.signals import (
    SHIFTED,
    gradient_norms,
    growth_per_layer,
    won_back,
)
from dlip_reg.claims.paired import Record, Records
from dlip_reg.claims.verdict import t_interval
from dlip_reg.experiments.batch_norm import DEEP_RATE, DEPTH, SHALLOW, TOO_LARGE, WIDTH
from dlip_reg.report import figures
from dlip_reg.report.figures.style import summarize
from dlip_reg.report.ioffe_fig1 import sigmoid_items
from dlip_reg.report.numbers import format_number
from dlip_reg.report.page import FigureItem, Section
from dlip_reg.report.two_arms import (
    ARMS,
    RE_ESTIMATED,
    WELL_SCALED,
    columns,
    each,
    finished,
    means_told,
)

Outcomes = Mapping[str, Any]
_THREE = {**ARMS, "well_scaled": WELL_SCALED}


def depth_section(outcomes: Outcomes, styles) -> Section:
    """Gradients that vanish and explode."""
    items, paragraphs = [], []
    if "deep" in outcomes:
        items += _vanishing(outcomes["deep"], styles)
        paragraphs.append(
            f"{DEPTH} layers of {WIDTH} sigmoids, started as Glorot & Bengio 2010 do: a sigmoid's "
            "slope is at most a quarter, and so is what every layer leaves of the gradient. A "
            "gradient of the first layer that is far smaller than the last one's has vanished; "
            "far larger would be no better, which is why the claim counts the distance from 1 in "
            "either direction."
        )
    if "too_large" in outcomes:
        items += _exploding(outcomes["too_large"], styles)
        paragraphs.append(_explosion(outcomes["too_large"]))
    return Section("Deep nets: gradients that vanish or explode", tuple(paragraphs), tuple(items))


def _vanishing(arms: Mapping[str, Records], styles) -> list[FigureItem]:
    norms = {
        title: {label: _layer_norms(arms[arm], row) for arm, label in ARMS.items()}
        for title, row in (("before training", 0), ("after training", -1))
    }
    curves = {
        label: [
            {
                "epoch": record["curves"]["epoch"],
                "accuracy": record["curves"]["clean_val_accuracy"],
                "loss": record["curves"]["clean_loss"],
            }
            for record in finished(arms[arm])
        ]
        for arm, label in ARMS.items()
    }
    return [
        FigureItem(
            "vanishing",
            figures.gradient_flow(norms, styles),
            f"Gradient norm by layer in a net of {DEPTH} sigmoid layers before and after "
            "training, with and without batch normalization.",
            "Norm of the gradient in each layer's kernel on a fixed batch.",
        ),
        FigureItem(
            "deep_training",
            figures.through_training(
                curves,
                {
                    "accuracy": ("validation accuracy (%)", "percent"),
                    "loss": ("training loss (nats)", "linear"),
                },
                styles,
            ),
            f"Validation accuracy and training loss of the {DEPTH}-layer sigmoid net against "
            "epochs, with and without batch normalization.",
            f"SGD at {DEEP_RATE:g}. Chance is {100 * CHANCE:g} %, at a loss of ln 10 = 2.30.",
        ),
    ]


def _layer_norms(records: Records, row: int) -> dict[str, list[float | None]]:
    """Layer -> its kernel's gradient norm in that row of "flow", by seed."""
    norms: dict[str, list[float | None]] = {}
    for layers in each(records, lambda record: record["flow"][row]["layers"]):
        for layer in layers or ():
            norms.setdefault(layer["layer"], []).append(layer["norm"])
    return norms


def _exploding(arms, styles) -> list[FigureItem]:
    by_layer = {
        title: {label: _layer_norms(arms[arm][DEPTH], row) for arm, label in _THREE.items()}
        for title, row in (("before training", 0), ("at the end of training", -1))
    }
    norms = {
        label: {depth: gradient_norms(records) for depth, records in arms[arm].items()}
        for arm, label in _THREE.items()
    }
    factors = {label: _factor(arms[arm]) for arm, label in _THREE.items()}
    return [
        FigureItem(
            "exploding_depth",
            figures.growth_with_depth(norms, factors, styles),
            "Norm of the whole gradient before training against the number of layers: "
            + "; ".join(f"{label} {told}" for label, told in factors.items())
            + ".",
            f"Nets of {SHALLOW} and of {DEPTH} layers; the slope between them on a log axis is the "
            "factor that each layer more puts on the gradient.",
        ),
        FigureItem(
            "exploding",
            figures.gradient_flow(by_layer, styles),
            f"Gradient norm by layer in a net of {DEPTH} ReLU layers whose weights start too "
            "large, before and at the end of training.",
            "A run that diverged has no gradient at the end. Too large weights multiply the "
            "gradients of all kernels alike: see how high a line lies, rather than how it slopes.",
        ),
    ]


def _explosion(arms) -> str:
    lost = {
        arm: [
            status == "diverged"
            for records in arms[arm].values()
            for status in each(records, lambda record: record["status"])
        ]
        for arm in ARMS
    }
    told = " and ".join(
        f"{sum(lost[arm])} of {len(lost[arm])} runs {label}" for arm, label in ARMS.items()
    )
    start = _factor(arms["well_scaled"])
    return (
        f"ReLU nets whose weights start with {TOO_LARGE:g} times the variance of He et al. 2015, "
        f"so that every layer multiplies the signal by √{TOO_LARGE:g} = {math.sqrt(TOO_LARGE):.2f}."
        " Every kernel's gradient then holds the product of all the other layers, so the ratio "
        "between layers says nothing: the explosion shows in the norm of the whole gradient "
        f"against depth. Trained at {DEEP_RATE:g}, {told} came to NaN or infinity. Batch "
        "normalization divides the scale out, but it has a growth of its own: at the start its "
        "gradients grow by about √(π/(π − 1)) = 1.21 per ReLU layer (Yang et al. 2019). "
        f"Here it is {_factor(arms['bn']) or 'unknown'}; weights started at the right scale, "
        f"without any batch normalization: {start or 'unknown'}."
    )


def _factor(by_depth: Mapping[int, Records]) -> str:
    mean, _, _ = t_interval(growth_per_layer(by_depth))
    return "" if math.isnan(mean) else f"× {format_number(math.exp(mean))} per layer"


def input_section(outcomes: Outcomes, styles) -> Section:
    """What goes into the activations, and what the layers before do to a layer's gradient."""
    items, paragraphs = [], []
    if "sigmoid" in outcomes:
        items += sigmoid_items(outcomes["sigmoid"], styles)
        paragraphs.append(
            "The net of Ioffe & Szegedy 2015, section 4.1, on this lab's images: 3 layers of 100 "
            "sigmoids, batches of 60, small Gaussian weights. Drift is how far the three "
            "percentiles move from one probe to the next, in units of their spread. From the 15th "
            "to the 85th that spread is "
            f"{means_told(outcomes['sigmoid'], lambda record: _spread(record, 0))} before "
            f"training, {means_told(outcomes['sigmoid'], lambda record: _spread(record, -1))} "
            "after it: where it grows, part of the drift is growth."
        )
    if "same_rate" in outcomes:
        items += [
            _independence(outcomes["same_rate"], styles),
            _largest(outcomes["same_rate"], styles),
        ]
        paragraphs.append(
            "Internal covariate shift has two definitions. Ioffe & Szegedy mean the distribution "
            "of a layer's inputs, which is shown above. Santurkar et al. 2018 mean what matters "
            "for learning: how much a layer's gradient changes because the layers before it have "
            "moved. They found batch normalization no better, at times worse, in that sense, and "
            "so its success not explained by it."
        )
    return Section("Activations and internal covariate shift", tuple(paragraphs), tuple(items))


def _spread(record: Record, row: int) -> float:
    """From the 15th to the 85th percentile in that row, mean over the units that are watched."""
    units = [unit["percentiles"] for unit in record["percentiles"][row]["units"]]
    return sum(levels[-1] - levels[0] for levels in units) / len(units)


def _independence(arms: Mapping[str, Records], styles) -> FigureItem:
    keys = ("epoch", "shift_relative", "shift_cosine")
    curves = {
        label: [columns(record["shift"], keys) for record in finished(arms[arm])]
        for arm, label in ARMS.items()
    }
    figure = figures.through_training(
        curves,
        {
            "shift_relative": ("change of a layer's gradient ÷ its length", "log"),
            "shift_cosine": ("cosine between the gradient before and after", "linear"),
        },
        styles,
    )
    cosine = figure.axes[1]
    cosine.set_ylim(max(-1, cosine.get_ylim()[0]), 1.02)
    return FigureItem(
        "independence",
        figure,
        "How much the other layers' step changes a layer's gradient through training: relative "
        "distance and cosine, with and without batch normalization.",
        "Definition 2.1 of Santurkar et al. 2018, mean over the layers but the first, for a step "
        "of the initial learning rate. A layer that learns independently of the ones before it "
        "has a change of 0 and a cosine of 1, at which intervals are cut.",
    )


def _largest(arms: Mapping[str, Records], styles) -> FigureItem:
    keys = ("epoch", "activation_largest")
    curves = {
        label: [columns(record["percentiles"], keys) for record in finished(arms[arm])]
        for arm, label in ARMS.items()
    }
    return FigureItem(
        "largest_activation",
        figures.through_training(
            curves,
            {"activation_largest": ("largest |input| of any hidden activation", "log")},
            styles,
        ),
        "Largest absolute input of any hidden activation through training, with and without batch "
        "normalization.",
        "Over all units of all hidden layers on fixed validation images, same net and learning "
        "rate. Normalized inputs have a variance of 1 before scale and shift are learnt, but a "
        "unit that is active for one value in a thousand still reaches 30.",
    )


def colour_section(outcomes: Outcomes, styles) -> Section:
    """Inputs that shift between training and use."""
    title = "Inputs that shift: black cats and coloured cats"
    arms = outcomes.get("colours", {})
    if not any(finished(records) for records in arms.values()):
        return Section(title)
    accuracy: dict[str, dict[str, list[float | None]]] = {}
    samples = {}
    for arm, label, key in (
        ("plain", ARMS["plain"], "accuracy"),
        ("bn", ARMS["bn"], "accuracy"),
        ("bn", RE_ESTIMATED, "recalibrated_accuracy"),
    ):
        for record in finished(arms[arm]):
            for row in record["colours"]:
                accuracy.setdefault(label, {}).setdefault(row["variant"], []).append(row[key])
                samples[row["variant"]] = _pictures(row["samples"])
    return Section(
        title,
        (
            "Trained on grey images alone, tested on the same test images as they are, tinted "
            "with one bright colour each, and with white for black. Batch normalization has learnt "
            "its statistics on the grey ones. To re-estimate them takes images of the new kind, "
            "but no labels, and changes no weight. It mends what is a shift of scale and mean, "
            "channel by channel, and nothing else; where more has changed it can do harm. "
            "In percentage points of accuracy, means over seeds, it brings "
            + " and ".join(
                f"{format_number(summarize(won_back(arms['bn'], variant)).mean, 2)} on {variant}"
                for variant in SHIFTED
            )
            + " images: look at both before a net is used for images of another kind.",
        ),
        (
            FigureItem(
                "input_shift",
                figures.shifted_inputs(samples, accuracy, CHANCE, styles),
                "Sample images, grey, tinted and inverted, and the test accuracy on each without "
                "batch normalization, with it, and with its statistics re-estimated.",
                "Means in per cent at the foot of the bars. Statistics are re-estimated on "
                "unlabelled validation images of the same kind.",
            ),
        ),
    )


def _pictures(samples: Mapping[str, Any]) -> np.ndarray:
    pixels = np.frombuffer(base64.b64decode(samples["pixels"]), np.uint8)
    return pixels.reshape(samples["shape"])
