"""bn-vanishing, bn-exploding, bn-bounded: deep perceptrons, which are hard to train."""

import math
from dataclasses import replace
from statistics import fmean
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import LOG_RATIO, POINTS, Question, Values, mean_of, minus, percent
from dlip_reg.studies import Arm, Arms, Measured, Runs, changed, controlled, test_accuracy, varied
from dlip_reg.studies.batch_norm.arms import NETS, at_rates, he_scaled, run_of, with_options
from dlip_reg.studies.batch_norm.learning_rates import TRAINS
from dlip_reg.studies.batch_norm.nets import against_plain, by_net, drawn
from dlip_reg.studies.drawing import Drawn, columns, figure, lines_of, together
from dlip_reg.studies.runs import known
from dlip_reg.studies.study import Setting, drawn_by, positive
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


def deep_arms(setting: Setting) -> Arms:
    """Deep sigmoid networks, a shallow one, and deep ReLU networks from weights of several scales.

    Each network has a learning rate of its own; the ReLU networks are tuned at scale 1.
    """
    rates = at_rates(setting.preset.deep_rates)
    watched = {"measures": ("flow", "percentiles", "test")}
    sigmoids = {f"deep/{net}": (net, DEPTH, label) for net, label in NETS.items()}
    sigmoids[SHALLOW_ARM] = ("plain", SHALLOW, DEEP_LABELS["shallow"])
    for name, (net, depth, label) in sigmoids.items():
        yield Arm(name, perceptron(setting, net, depth, **SIGMOID), rates, watched, label=label)
    for net, label in NETS.items():
        first = f"scale/{net}/1"
        at_1 = perceptron(setting, net, DEPTH, **he_scaled(1.0))
        yield Arm(first, at_1, rates, {"measures": ("flow", "test")}, label=label)
        for scale in setting.preset.deep_scales:
            if scale != 1:
                start, name = with_options(**he_scaled(scale)), f"scale/{net}/{scale:g}"
                yield varied(name, first, label, builder=start, measures=("test",))


def above_chance(runs: Runs, arm: str) -> Values:
    """Test accuracy above that of guessing; 0 for a run that diverged."""
    return runs.values(arm, lambda record: known(test_accuracy(record)) - runs.guessing, 0.0)


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


def log_ratio_at_start(record: Record) -> float:
    """log10 of the first layer's gradient over the last one's before training; NaN for 0."""
    ratio = record.flow[0].gradient_first_over_last
    return math.log10(ratio) if ratio else math.nan


@positive("deep/plain", SHALLOW_ARM)
def shallow_keeps_gradients(runs: Runs) -> Measured:
    """{SHALLOW} sigmoid layers without batch norm against {DEPTH}: with so few layers no gradient
    vanishes.
    """
    yield from vanishing.measure(runs, "shallow")


@positive("deep/plain", SHALLOW_ARM)
def shallow_trains(runs: Runs) -> Measured:
    """{SHALLOW} sigmoid layers without batch norm against {DEPTH}: so few are known to train."""
    yield from bounded.measure(runs, "shallow")


def share_of_scales(runs: Runs, net: str) -> Values:
    """By seed, the share of the initial scales from which the network trains."""
    return mean_of(*(trains(runs, arm) for arm in runs.grid(f"scale/{net}/*").values()))


def growth_per_layer(record: Record) -> float:
    """ln of the factor by which the gradient grows from each layer to the one before it."""
    layers = record.flow[0].layers
    first, last = layers[0].norm, layers[-2].norm
    return math.log(first / last) / (len(layers) - 2) if first and last else math.nan


@positive("scale/plain/")
def well_scaled(runs: Runs) -> Values:
    """The plain network from weights of He et al. 2015 in place of every scale: well-scaled weights
    are known to solve it.
    """
    return minus(trains(runs, "scale/plain/1"), share_of_scales(runs, "plain"))


def layer_norms(runs: Runs, prefix: str, arms: dict[str, str]) -> Any:
    """A panel before and one after training: label -> layer -> gradient norm of its kernel."""
    panels: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for when, row in (("before", 0), ("after", -1)):
        panel = panels.setdefault(f"{prefix}{when} training", {})
        for arm, label in arms.items():
            norms = panel.setdefault(label, {})
            for record in (record for record in runs[arm] if record and record.flow):
                for layer in record.flow[row].layers:
                    norms.setdefault(layer.layer, []).append(layer.norm)
    return report.figures.gradient_flow(panels)


def present(runs: Runs, pattern: str, labels: dict[str, str] = NETS) -> dict[str, str]:
    """Arm -> label, of the networks that are run."""
    arms = {pattern.format(net): label for net, label in labels.items()}
    return {arm: label for arm, label in arms.items() if arm in runs}


@figure("vanishing")
def draw_vanishing(runs: Runs) -> Drawn:
    """Gradient norm by layer, {DEPTH} sigmoid layers, before and after training.

    On a fixed batch. The slope of a sigmoid is at most a quarter, so without normalization every
    layer shrinks the gradient. A flat line means that the gradient has not vanished; whether the
    network trains is in the next figure.
    """
    yield layer_norms(runs, "", present(runs, "deep/{}"))


@figure("deep_accuracy")
def draw_accuracy(runs: Runs) -> Drawn:
    """Test accuracy of deep sigmoid networks: {networks}.

    Each at its own learning rate. Guessing has {guessing:.3g} %.
    """
    accuracy = {
        label: [gained + runs.guessing for gained in above_chance(runs.where_run(arm), arm)]
        for arm, label in present(runs, "deep/{}", DEEP_LABELS).items()
    }
    plot = report.figures.method_accuracy(accuracy)
    yield plot, {"networks": accuracy, "guessing": 100 * runs.guessing}


@figure("largest_activation")
def draw_peaks(runs: Runs) -> Drawn:
    """Largest pre-activation over its root mean square through training.

    Of all hidden layers, on fixed validation images. Dividing by the root mean square
    leaves out the scale, which batch normalization fixes by itself. A unit that is active for one
    image in a thousand can still reach 30.
    """

    def read(record: Record) -> dict[str, Any]:
        return columns(record.percentiles, "epoch", "activation_peak")

    peaks = {label: lines_of(runs, arm, read) for arm, label in present(runs, "deep/{}").items()}
    panels = {"activation_peak": ("largest over RMS pre-activation", "log")}
    yield report.figures.through_training(peaks, panels)


@figure("exploding")
def draw_scales(runs: Runs) -> Drawn:
    """Test accuracy of {DEPTH} ReLU layers against the scale of the initial weights.

    Each network at the learning rate that is best at scale 1; a run that diverged has the accuracy
    of guessing.
    """
    yield report.figures.tried_values(
        drawn(runs, "scale/{}/*", test_accuracy, runs.guessing),
        "initial weights over those of He et al. 2015",
        "test accuracy (%)",
        goal=runs.guessing + TRAINS,
        goal_label="trains: ten points above chance",
    )


@figure("growth")
def draw_growth(runs: Runs) -> Drawn:
    """Gradient norm by layer, {DEPTH} ReLU layers from well-scaled weights.

    Before training the gradient grows per layer by {growth}. At initialization batch normalization
    itself makes gradients explode, by about √(π/(π − 1)) = 1.21 per ReLU layer (Yang et al. 2019):
    that it trains from more scales is not to say that its gradients do not explode.
    """
    at_1 = present(runs, "scale/{}/1")
    growth = [
        f"× {math.exp(fmean(logs)):.2f} {label}"
        for arm, label in at_1.items()
        if (logs := [x for x in runs.each([arm], growth_per_layer) if x == x])
    ]
    yield layer_norms(runs, "scale 1, ", at_1), {"growth": growth or "an unknown factor"}


DRAW_SATURATING = together(draw_vanishing, draw_accuracy, draw_peaks)


@drawn_by(DRAW_SATURATING)
@controlled(shallow_keeps_gradients)
@against_plain(
    "bn-vanishing", "share of seeds", Question(+1, 0.5, bound=1.0), "deep/{}", arms=deep_arms
)
def vanishing(runs: Runs, treated: str = "bn") -> Measured:
    """Batch norm solves the vanishing gradient.

    {DEPTH} sigmoid layers, each network at its own learning rate. Solved is where the gradient
    of the first layer is within 1/{FACTOR:g} to {FACTOR:g} times that of the last before, amid and
    after training, and the network ends ten points above chance; a gradient of 0 and a diverged run
    are failures. Share of seeds with batch norm minus without.

    Smallest effect: half of the seeds: “solves” is more often than not
    """
    nets = ("plain", treated)
    values = {net: solved(runs, f"deep/{net}") for net in nets}
    starts = {net: runs.each([f"deep/{net}"], log_ratio_at_start) for net in nets}
    gained = {net: percent(above_chance(runs, f"deep/{net}")) for net in nets}
    shares = {net: percent(values[net]) for net in nets}
    yield minus(values[treated], values["plain"])
    yield from by_net("meets both criteria", "%", shares, DEEP_LABELS)
    yield from by_net("first over last layer before training", "decades", starts, DEEP_LABELS)
    yield from by_net("test accuracy above chance", POINTS, gained, DEEP_LABELS)


@drawn_by(DRAW_SATURATING)
@controlled(shallow_trains)
@against_plain("bn-bounded", POINTS, Question(+1, 100 * TRAINS), "deep/{}")
def bounded(runs: Runs, treated: str = "bn") -> Measured:
    """With batch norm no activation goes really high or low, and what would not train, trains.

    Test accuracy above chance of {DEPTH} sigmoid layers, with batch norm minus without, each at
    its own learning rate; 0 for a diverged run. Beside it the largest pre-activation over its root
    mean square.

    Smallest effect: ten points above chance, the criterion of bn-vanishing for a network that
    trains
    """

    def peak(record: Record) -> float | None:
        return record.percentiles[-1].activation_peak

    gained = {net: percent(above_chance(runs, f"deep/{net}")) for net in ("plain", treated)}
    peaks = {net: runs.values(f"deep/{net}", peak) for net in gained}
    yield minus(gained[treated], gained["plain"])
    yield from by_net("above chance", POINTS, gained, DEEP_LABELS)
    yield from by_net("largest over RMS pre-activation at the end", "", peaks, DEEP_LABELS)


@drawn_by(together(draw_scales, draw_growth))
@controlled(well_scaled)
@against_plain("bn-exploding", "share of scales", Question(+1, 0.25, bound=1.0), "scale/{}/")
def exploding(runs: Runs, treated: str = "bn") -> Measured:
    """Batch norm solves the exploding gradient.

    {DEPTH} ReLU layers from initial weights of several times the size of He et al. 2015, 0.5 to
    5: the share of these scales from which the network ends ten points above chance, with batch
    norm minus without, each at the learning rate that is best at scale 1. A diverged run does not
    train. Beside it the growth of the gradient per layer at scale 1.

    Smallest effect: the resolution of the measurement: one of four scales
    """
    shares = {net: share_of_scales(runs, net) for net in ("plain", treated)}
    growth = {net: runs.each([f"scale/{net}/1"], growth_per_layer) for net in shares}
    yield minus(shares[treated], shares["plain"])
    yield from by_net("scales that train", "%", {net: percent(shares[net]) for net in shares})
    label = "growth of the gradient per layer before training, scale 1,"
    yield from by_net(label, LOG_RATIO, growth)
