"""bn-vanishing, bn-exploding, bn-bounded: deep perceptrons, which are hard to train."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dlip_reg.evidence.paired import LOG_RATIO, POINTS, Values, mean_of, minus, percent
from dlip_reg.experiments.selection import most_accurate
from dlip_reg.studies.batch_norm.arms import NETS, PLACEBO, he_scaled, run_at
from dlip_reg.studies.batch_norm.learning_rates import NEGATIVE, TRAINS
from dlip_reg.studies.batch_norm.readings import (
    at_start,
    drawn,
    expanded,
    grid,
    layer_norms,
    test_accuracy,
)
from dlip_reg.studies.papers.ioffe_fig1 import columns
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Claim, Control, Measurement, Part, Setting, Tuning
from dlip_reg.training.records import FlowRow, Record
from dlip_reg.training.specification import RunSpec

if TYPE_CHECKING:
    from dlip_reg.report import FigureItem

DEPTH, SHALLOW, WIDTH = 20, 2, 50
SIGMOID = {"activation": "sigmoid", "kernel_initializer": "glorot_normal"}
FACTOR = 10.0  # within which the gradients of first and last layer have to be
SHALLOW_ARM = "deep/shallow"
DEEP_LABELS = {**NETS, "shallow": f"without batch norm, {SHALLOW} layers"}


def perceptron(
    setting: Setting, net: str, rate: float, options: Mapping[str, Any], depth: int = DEPTH
) -> RunSpec:
    """A perceptron of `depth` layers with further builder options."""
    preset = setting.preset
    run = run_at(replace(setting, model="mlp"), net, rate)
    data = setting.data(preset.n_deep, preset.n_validation, preset.n_test)
    builder = expanded(run.builder, {"hidden": [WIDTH] * depth, **options})
    return replace(run, data=data, builder=builder, epochs=preset.deep_epochs, measures=())


def deep_arms(setting: Setting) -> list[Arm]:
    """Deep sigmoid networks, a shallow one, and deep ReLU networks from weights of several scales.

    Each network has a learning rate of its own; the ReLU networks are tuned at scale 1.
    """
    rates = setting.preset.deep_rates

    def tuned(name: str, net: str, options: Mapping[str, Any], measures: tuple[str, ...],
              label: str, depth: int = DEPTH) -> Arm:  # fmt: skip
        grid = [perceptron(setting, net, rate, options, depth) for rate in rates]
        spec = functools.partial(_measured, name, measures)
        return Arm(name, spec, Tuning(grid, most_accurate), label=label)

    watched = ("flow", "percentiles", "test")
    arms = [tuned(f"deep/{net}", net, SIGMOID, watched, label) for net, label in NETS.items()]
    arms.append(
        tuned(SHALLOW_ARM, "plain", SIGMOID, watched, DEEP_LABELS["shallow"], depth=SHALLOW)
    )
    for net, label in NETS.items():
        first = f"scale/{net}/1"
        arms.append(tuned(first, net, he_scaled(1.0), ("flow", "test"), label))
        arms += [
            Arm(f"scale/{net}/{scale:g}", functools.partial(_at_scale, first, scale),
                uses=(first,), label=label)
            for scale in setting.preset.deep_scales
            if scale != 1
        ]  # fmt: skip
    return arms


def _measured(name: str, measures: tuple[str, ...], chosen: Chosen) -> RunSpec:
    return replace(chosen[name], measures=measures)


def _at_scale(first: str, scale: float, chosen: Chosen) -> RunSpec:
    run = chosen[first]
    return replace(run, builder=expanded(run.builder, he_scaled(scale)), measures=("test",))


def above_chance(runs: Runs, arm: str) -> Values:
    """Test accuracy above that of guessing; 0 for a run that diverged."""
    return runs.values(arm, lambda record: record.measures.test_accuracy - runs.guessing, 0.0)


def trains(runs: Runs, arm: str) -> Values:
    """1 where the run ends at least ten points above chance, else 0; a diverged run does not."""
    return tuple(
        math.nan if math.isnan(gained) else float(gained >= TRAINS)
        for gained in above_chance(runs, arm)
    )


def solved(runs: Runs, arm: str) -> Values:
    """1 where the run trains and its gradients neither vanish nor explode at any probe, else 0."""
    kept = runs.values(arm, lambda record: float(all(map(_is_kept, record.flow))), 0.0)
    return tuple(a * b for a, b in zip(kept, trains(runs, arm), strict=True))


def _is_kept(row: FlowRow) -> bool:
    ratio = row.gradient_first_over_last
    return ratio is not None and 1 / FACTOR <= ratio <= FACTOR


def log_ratio_at_start(record: Record) -> float | None:
    """log10 of the first layer's gradient over the last one's before training; None for 0."""
    ratio = record.flow[0].gradient_first_over_last
    return math.log10(ratio) if ratio else None


def measure_vanishing(runs: Runs, treated: str = "bn", base: str = "plain") -> Measurement:
    """1 where the treated network alone meets both criteria, -1 where the base alone does."""
    arms = {net: f"deep/{net}" for net in (base, treated)}
    values = {net: solved(runs, arm) for net, arm in arms.items()}
    return Measurement(
        minus(values[treated], values[base]),
        (
            *(Part(f"meets both criteria {DEEP_LABELS[net]}", "%", percent(x))
              for net, x in values.items()),
            *(Part(f"first over last layer before training {DEEP_LABELS[net]}", "decades",
                   at_start(runs[arm], log_ratio_at_start))
              for net, arm in arms.items()),
            *(Part(f"test accuracy above chance {DEEP_LABELS[net]}", POINTS,
                   percent(above_chance(runs, arm)))
              for net, arm in arms.items()),
        ),
    )  # fmt: skip


def measure_bounded(runs: Runs, treated: str = "bn", base: str = "plain") -> Measurement:
    """Points of accuracy above chance, treated minus base."""
    arms = {net: f"deep/{net}" for net in (base, treated)}
    gained = {net: percent(above_chance(runs, arm)) for net, arm in arms.items()}
    return Measurement(
        minus(gained[treated], gained[base]),
        (
            *(Part(f"above chance {DEEP_LABELS[net]}", POINTS, x) for net, x in gained.items()),
            *(Part(f"largest over RMS pre-activation at the end {DEEP_LABELS[net]}", "",
                   runs.values(arm, lambda record: record.percentiles[-1].activation_peak))
              for net, arm in arms.items()),
        ),
    )  # fmt: skip


def share_of_scales(runs: Runs, net: str) -> Values:
    """By seed, the share of the initial scales from which the network trains."""
    return mean_of(
        *(trains(runs, f"scale/{net}/{scale:g}") for scale in grid(runs, f"scale/{net}"))
    )


def growth_per_layer(record: Record) -> float | None:
    """ln of the factor by which the gradient grows from each layer to the one before it."""
    layers = record.flow[0].layers
    first, last = layers[0].norm, layers[-2].norm
    return math.log(first / last) / (len(layers) - 2) if first and last else None


def measure_exploding(runs: Runs, treated: str = "bn") -> Measurement:
    """The share of initial scales that train, treated minus plain."""
    shares = {net: share_of_scales(runs, net) for net in ("plain", treated)}
    return Measurement(
        minus(shares[treated], shares["plain"]),
        (
            *(Part(f"scales that train {NETS[net]}", "%", percent(x)) for net, x in shares.items()),
            *(Part(f"growth of the gradient per layer before training, scale 1, {NETS[net]}",
                   LOG_RATIO, at_start(runs[f"scale/{net}/1"], growth_per_layer))
              for net in shares),
        ),
    )  # fmt: skip


def well_scaled(runs: Runs) -> Values:
    """The plain network from weights of He et al. 2015 in place of every scale, minus plain."""
    return minus(trains(runs, "scale/plain/1"), share_of_scales(runs, "plain"))


def draw_saturating(runs: Runs) -> Sequence[FigureItem]:
    """Gradient norms by layer, test accuracy, and the largest pre-activations."""
    from dlip_reg.report import FigureItem, figures

    present = {net: label for net, label in DEEP_LABELS.items() if f"deep/{net}" in runs}
    deep = {net: label for net, label in present.items() if net != "shallow"}
    norms = {
        title: {label: layer_norms(runs[f"deep/{net}"], row) for net, label in deep.items()}
        for title, row in (("before training", 0), ("after training", -1))
    }
    accuracy = {
        label: [gained + runs.guessing for gained in above_chance(runs, f"deep/{net}")]
        for net, label in present.items()
    }
    peaks = {
        label: [
            columns(record.percentiles, "epoch", "activation_peak")
            for record in runs.finished(f"deep/{net}")
        ]
        for net, label in deep.items()
    }
    return [
        FigureItem(
            "vanishing",
            figures.gradient_flow(norms),
            f"Gradient norm by layer, {DEPTH} sigmoid layers, before and after training.",
            "Norm of the gradient of each layer's kernel on a fixed batch. The slope of a sigmoid "
            "is at most a quarter, so without normalization every layer shrinks the gradient. A "
            "flat line means that the gradient has not vanished; whether the network trains is in "
            "the next figure.",
        ),
        FigureItem(
            "deep_accuracy",
            figures.method_accuracy(accuracy),
            "Test accuracy of deep sigmoid networks: " + ", ".join(accuracy) + ".",
            f"Each at its own learning rate. Guessing has {100 * runs.guessing:.3g} %.",
        ),
        FigureItem(
            "largest_activation",
            figures.through_training(
                peaks, {"activation_peak": ("largest over RMS pre-activation", "log")}
            ),
            "Largest pre-activation over its root mean square through training.",
            "The largest over all hidden layers, on fixed validation images. Dividing by the root "
            "mean square leaves out the scale, which batch normalization fixes by itself. A unit "
            "that is active for one image in a thousand can still reach 30.",
        ),
    ]


def draw_scales(runs: Runs) -> Sequence[FigureItem]:
    """Accuracy against the initial scale, and the gradients at scale 1."""
    from dlip_reg.report import FigureItem, figures

    nets = {net: label for net, label in NETS.items() if grid(runs, f"scale/{net}")}
    accuracy = {
        label: drawn(grid(runs, f"scale/{net}"), test_accuracy, runs.guessing)
        for net, label in nets.items()
    }
    norms = {
        "scale 1, before training": {
            label: layer_norms(runs[f"scale/{net}/1"], 0) for net, label in nets.items()
        },
        "scale 1, after training": {
            label: layer_norms(runs[f"scale/{net}/1"], -1) for net, label in nets.items()
        },
    }
    factors = {
        label: [x for x in at_start(runs[f"scale/{net}/1"], growth_per_layer) if x == x]
        for net, label in nets.items()
    }
    growth = ", ".join(
        f"× {math.exp(sum(logs) / len(logs)):.2f} {label}"
        for label, logs in factors.items()
        if logs
    )
    return [
        FigureItem(
            "exploding",
            figures.tried_values(
                accuracy, "initial weights over those of He et al. 2015", "test accuracy (%)",
                goal=runs.guessing + TRAINS, goal_label="trains: ten points above chance",
            ),
            f"Test accuracy of {DEPTH} ReLU layers against the scale of the initial weights.",
            "Each network at the learning rate that is best at scale 1; a run that diverged has "
            "the accuracy of guessing.",
        ),
        FigureItem(
            "growth",
            figures.gradient_flow(norms),
            f"Gradient norm by layer, {DEPTH} ReLU layers from well-scaled weights.",
            f"Before training the gradient grows per layer by {growth or 'an unknown factor'}. At "
            "initialization batch normalization itself makes gradients explode, by about "
            "√(π/(π − 1)) = 1.21 per ReLU layer (Yang et al. 2019): that it trains from more "
            "scales is not to say that its gradients do not explode.",
        ),
    ]  # fmt: skip


VANISHING = Claim(
    id="bn-vanishing",
    sentence="Batch norm solves the vanishing gradient.",
    experiment=f"{DEPTH} sigmoid layers, each network at its own learning rate. Solved is where "
    f"the gradient of the first layer is within 1/{FACTOR:g} to {FACTOR:g} times that of the last "
    "before, amid and after training, and the network ends ten points above chance; a gradient "
    "of 0 and a diverged run are failures. Share of seeds with batch norm minus without.",
    unit="share of seeds",
    direction=+1,
    bound=1.0,
    smallest_effect=0.5,
    smallest_effect_source="half of the seeds: “solves” is more often than not",
    measure=measure_vanishing,
    needs=("deep/plain", "deep/bn"),
    arms=deep_arms,
    controls=(
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure_vanishing, treated=PLACEBO),
            ("deep/plain", f"deep/{PLACEBO}"),
        ),
        Control(
            "positive",
            f"{SHALLOW} sigmoid layers without batch norm against {DEPTH}: with so few layers no "
            "gradient vanishes.",
            functools.partial(measure_vanishing, treated="shallow"),
            ("deep/plain", SHALLOW_ARM),
        ),
    ),
    draw=draw_saturating,
)
BOUNDED = Claim(
    id="bn-bounded",
    sentence="With batch norm no activation goes really high or low, and what would not train, "
    "trains.",
    experiment=f"Test accuracy above chance of {DEPTH} sigmoid layers, with batch norm minus "
    "without, each at its own learning rate; 0 for a diverged run. Beside it the largest "
    "pre-activation over its root mean square.",
    unit=POINTS,
    direction=+1,
    smallest_effect=100 * TRAINS,
    smallest_effect_source="ten points above chance, the criterion of bn-vanishing for a network "
    "that trains",
    measure=measure_bounded,
    needs=("deep/plain", "deep/bn"),
    controls=(
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure_bounded, treated=PLACEBO),
            ("deep/plain", f"deep/{PLACEBO}"),
        ),
        Control(
            "positive",
            f"{SHALLOW} sigmoid layers without batch norm against {DEPTH}: so few are known to "
            "train.",
            functools.partial(measure_bounded, treated="shallow"),
            ("deep/plain", SHALLOW_ARM),
        ),
    ),
    draw=draw_saturating,
)
EXPLODING = Claim(
    id="bn-exploding",
    sentence="Batch norm solves the exploding gradient.",
    experiment=f"{DEPTH} ReLU layers from initial weights of several times the size of He et al. "
    "2015, 0.5 to 5: the share of these scales from which the network ends ten points above "
    "chance, with batch norm minus without, each at the learning rate that is best at scale 1. A "
    "diverged run does not train. Beside it the growth of the gradient per layer at scale 1.",
    unit="share of scales",
    direction=+1,
    bound=1.0,
    smallest_effect=0.25,
    smallest_effect_source="the resolution of the measurement: one of four scales",
    measure=measure_exploding,
    needs=("scale/plain/", "scale/bn/"),
    controls=(
        Control(
            "negative",
            NEGATIVE,
            functools.partial(measure_exploding, treated=PLACEBO),
            ("scale/plain/", f"scale/{PLACEBO}/"),
        ),
        Control(
            "positive",
            "The plain network from weights of He et al. 2015 in place of every scale: well-scaled "
            "weights are known to solve it.",
            well_scaled,
            ("scale/plain/",),
        ),
    ),
    draw=draw_scales,
)
