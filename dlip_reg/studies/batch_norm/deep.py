"""bn-vanishing, bn-exploding, bn-bounded: deep perceptrons, which are hard to train."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, POINTS, Values, mean_of, minus, percent
from dlip_reg.studies import Arm, Claim, Control, Measurement, Runs, Setting, changed, test_accuracy
from dlip_reg.studies.batch_norm.arms import NETS, at_rates, he_scaled, run_of, with_options
from dlip_reg.studies.batch_norm.learning_rates import TRAINS
from dlip_reg.studies.batch_norm.nets import by_net, drawn, grid, placebo_control
from dlip_reg.studies.drawing import columns
from dlip_reg.studies.study import Figures, varied
from dlip_reg.training import Record, RunSpec
from dlip_reg.training.records import FlowRow

DEPTH, SHALLOW, WIDTH = 20, 2, 50
SIGMOID = {"activation": "sigmoid", "kernel_initializer": "glorot_normal"}
FACTOR = 10.0  # within which the gradients of first and last layer have to be
SHALLOW_ARM = "deep/shallow"
DEEP_LABELS = {**NETS, "shallow": f"without batch norm, {SHALLOW} layers"}


def perceptron(setting: Setting, net: str, depth: int, **options: Any) -> RunSpec:
    """A perceptron of `depth` layers with further builder options."""
    preset = setting.preset
    return changed(
        run_of(replace(setting, model="mlp"), net),
        data=setting.data(preset.n_deep, preset.n_validation, preset.n_test),
        builder=with_options(hidden=[WIDTH] * depth, **options),
        epochs=preset.deep_epochs,
        measures=(),
    )


def deep_arms(setting: Setting) -> list[Arm]:
    """Deep sigmoid networks, a shallow one, and deep ReLU networks from weights of several scales.

    Each network has a learning rate of its own; the ReLU networks are tuned at scale 1.
    """
    rates = at_rates(setting.preset.deep_rates)
    watched = {"measures": ("flow", "percentiles", "test")}
    sigmoids = {f"deep/{net}": (net, DEPTH, label) for net, label in NETS.items()}
    sigmoids[SHALLOW_ARM] = ("plain", SHALLOW, DEEP_LABELS["shallow"])
    arms = [
        Arm(name, perceptron(setting, net, depth, **SIGMOID), rates, watched, label=label)
        for name, (net, depth, label) in sigmoids.items()
    ]
    for net, label in NETS.items():
        first = f"scale/{net}/1"
        at_1 = perceptron(setting, net, DEPTH, **he_scaled(1.0))
        arms.append(Arm(first, at_1, rates, {"measures": ("flow", "test")}, label=label))
        for scale in setting.preset.deep_scales:
            if scale != 1:
                start, name = with_options(**he_scaled(scale)), f"scale/{net}/{scale:g}"
                arms.append(varied(name, first, label, builder=start, measures=("test",)))
    return arms


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


def at_start(records: Sequence[Record | None], read: Callable[[Record], float | None]) -> Values:
    """By seed, `read` of what was measured before training, also of runs that diverged later."""
    values = [None if record is None else read(record) for record in records]
    return tuple(math.nan if value is None else value for value in values)


def layer_norms(records: Sequence[Record | None], row: int) -> dict[str, list[float | None]]:
    """Layer -> its kernel's gradient norm in that row of the record's flow, by seed."""
    norms: dict[str, list[float | None]] = {}
    for layer in (layer for r in filter(None, records) if r.flow for layer in r.flow[row].layers):
        norms.setdefault(layer.layer, []).append(layer.norm)
    return norms


def log_ratio_at_start(record: Record) -> float | None:
    """log10 of the first layer's gradient over the last one's before training; None for 0."""
    ratio = record.flow[0].gradient_first_over_last
    return math.log10(ratio) if ratio else None


def measure_vanishing(runs: Runs, treated: str = "bn") -> Measurement:
    """1 where the treated network alone meets both criteria, -1 where the plain one alone does."""
    values = {net: solved(runs, f"deep/{net}") for net in ("plain", treated)}
    return Measurement(
        minus(values[treated], values["plain"]),
        (
            *by_net("meets both criteria", "%", values, lambda net: percent(values[net]),
                    DEEP_LABELS),
            *by_net("first over last layer before training", "decades", values,
                    lambda net: at_start(runs[f"deep/{net}"], log_ratio_at_start), DEEP_LABELS),
            *by_net("test accuracy above chance", POINTS, values,
                    lambda net: percent(above_chance(runs, f"deep/{net}")), DEEP_LABELS),
        ),
    )  # fmt: skip


def measure_bounded(runs: Runs, treated: str = "bn") -> Measurement:
    """Points of accuracy above chance, treated minus plain."""
    gained = {net: percent(above_chance(runs, f"deep/{net}")) for net in ("plain", treated)}

    def peaks(net: str) -> Values:
        return runs.values(f"deep/{net}", lambda record: record.percentiles[-1].activation_peak)

    return Measurement(
        minus(gained[treated], gained["plain"]),
        (
            *by_net("above chance", POINTS, gained, gained.__getitem__, DEEP_LABELS),
            *by_net("largest over RMS pre-activation at the end", "", gained, peaks, DEEP_LABELS),
        ),
    )


def shallow_control(measure: Callable[..., Measurement], why: str) -> Control:
    """The positive control of a claim: a few layers in place of batch norm."""
    description = f"{SHALLOW} sigmoid layers without batch norm against {DEPTH}: {why}"
    shallow = functools.partial(measure, treated="shallow")
    return Control("positive", description, shallow, ("deep/plain", SHALLOW_ARM))


def share_of_scales(runs: Runs, net: str) -> Values:
    """By seed, the share of the initial scales from which the network trains."""
    return mean_of(*(trains(runs, arm) for arm in grid(runs, f"scale/{net}").values()))


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
            *by_net("scales that train", "%", shares, lambda net: percent(shares[net])),
            *by_net("growth of the gradient per layer before training, scale 1,", LOG_RATIO, shares,
                    lambda net: at_start(runs[f"scale/{net}/1"], growth_per_layer)),
        ),
    )  # fmt: skip


def well_scaled(runs: Runs) -> Values:
    """The plain network from weights of He et al. 2015 in place of every scale, minus plain."""
    return minus(trains(runs, "scale/plain/1"), share_of_scales(runs, "plain"))


def draw_saturating(runs: Runs) -> Figures:
    """Gradient norms by layer, test accuracy, and the largest pre-activations."""
    present = {net: label for net, label in DEEP_LABELS.items() if f"deep/{net}" in runs}
    deep = {net: label for net, label in present.items() if net != "shallow"}
    norms = {
        title: {label: layer_norms(runs[f"deep/{net}"], row) for net, label in deep.items()}
        for title, row in (("before training", 0), ("after training", -1))
    }
    yield report.FigureItem(
        "vanishing",
        report.figures.gradient_flow(norms),
        f"Gradient norm by layer, {DEPTH} sigmoid layers, before and after training.",
        "Norm of the gradient of each layer's kernel on a fixed batch. The slope of a sigmoid is "
        "at most a quarter, so without normalization every layer shrinks the gradient. A flat line "
        "means that the gradient has not vanished; whether the network trains is in the next "
        "figure.",
    )
    accuracy = {
        label: [gained + runs.guessing for gained in above_chance(runs, f"deep/{net}")]
        for net, label in present.items()
    }
    yield report.FigureItem(
        "deep_accuracy",
        report.figures.method_accuracy(accuracy),
        f"Test accuracy of deep sigmoid networks: {', '.join(accuracy)}.",
        f"Each at its own learning rate. Guessing has {100 * runs.guessing:.3g} %.",
    )
    peaks = {
        label: [
            columns(record.percentiles, "epoch", "activation_peak")
            for record in runs.finished(f"deep/{net}")
        ]
        for net, label in deep.items()
    }
    yield report.FigureItem(
        "largest_activation",
        report.figures.through_training(
            peaks, {"activation_peak": ("largest over RMS pre-activation", "log")}
        ),
        "Largest pre-activation over its root mean square through training.",
        "The largest over all hidden layers, on fixed validation images. Dividing by the root mean "
        "square leaves out the scale, which batch normalization fixes by itself. A unit that is "
        "active for one image in a thousand can still reach 30.",
    )


def draw_scales(runs: Runs) -> Figures:
    """Accuracy against the initial scale, and the gradients at scale 1."""
    accuracy = drawn(runs, "scale", test_accuracy, runs.guessing)
    yield report.FigureItem(
        "exploding",
        report.figures.tried_values(
            accuracy, "initial weights over those of He et al. 2015", "test accuracy (%)",
            goal=runs.guessing + TRAINS, goal_label="trains: ten points above chance",
        ),
        f"Test accuracy of {DEPTH} ReLU layers against the scale of the initial weights.",
        "Each network at the learning rate that is best at scale 1; a run that diverged has the "
        "accuracy of guessing.",
    )  # fmt: skip
    at_1 = {
        label: runs[f"scale/{net}/1"] for net, label in NETS.items() if f"scale/{net}/1" in runs
    }
    norms = {
        f"scale 1, {when} training": {
            label: layer_norms(records, row) for label, records in at_1.items()
        }
        for when, row in (("before", 0), ("after", -1))
    }
    factors = {
        label: [x for x in at_start(records, growth_per_layer) if x == x]
        for label, records in at_1.items()
    }
    growth = ", ".join(
        f"× {math.exp(sum(logs) / len(logs)):.2f} {label}"
        for label, logs in factors.items()
        if logs
    )
    yield report.FigureItem(
        "growth",
        report.figures.gradient_flow(norms),
        f"Gradient norm by layer, {DEPTH} ReLU layers from well-scaled weights.",
        f"Before training the gradient grows per layer by {growth or 'an unknown factor'}. At "
        "initialization batch normalization itself makes gradients explode, by about "
        "√(π/(π − 1)) = 1.21 per ReLU layer (Yang et al. 2019): that it trains from more scales is "
        "not to say that its gradients do not explode.",
    )


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
        placebo_control(measure_vanishing, "deep/{}"),
        shallow_control(measure_vanishing, "with so few layers no gradient vanishes."),
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
        placebo_control(measure_bounded, "deep/{}"),
        shallow_control(measure_bounded, "so few are known to train."),
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
        placebo_control(measure_exploding, "scale/{}/"),
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
