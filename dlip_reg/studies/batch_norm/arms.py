"""What the lab trains: every network without ("plain") and with batch normalization ("bn").

A third network, the placebo, has the scale and the shift of batch normalization and does not
normalize: what it does, normalization has not done. The lab's own network is trained by plain SGD
whose learning rate decays exponentially to a twentieth. The best learning rate of each of the three
is found on tuning seeds; the other arms are derived from it. Deep networks and the sigmoid network
of Ioffe & Szegedy 2015 are perceptrons, whatever the lab's network is.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dlip_reg.studies import Arm, Arms, Preset, Setting, Trials, Tuning, changed
from dlip_reg.studies.papers.ioffe_fig1 import LABELS as LABELS
from dlip_reg.studies.readings import most_accurate
from dlip_reg.training import RunSpec, Schedule

BATCH_SIZE = 32
DECAY = 0.05
PLACEBO = "placebo"
NETS = {**LABELS, PLACEBO: "placebo: scale and shift alone"}
SCALE_AND_SHIFT = "dlip_reg.studies.batch_norm.placebo:scale_and_shift"

Choose = Callable[[Trials], RunSpec | None]


@dataclass(frozen=True, kw_only=True)
class BatchNormPreset(Preset):
    """How large the lab is; by default the standard preset.

    Args:
        epochs, n_train, n_validation, n_test: Of the runs of the lab's own network.
        rates: Learning rates that all networks try.
        start_scales, start_rates: For bn-easier, the scales of the initial weights, and the
            learning rates tried at each.
        speeds: How many times faster the learning rate decays.
        dropout_rates, dropout_epochs: Of the runs with dropout and of those compared with them.
        dropout_curve: The dropout rates of bn-less-dropout.
        strengths: Strengths of L2.
        deep_epochs, n_deep, deep_rates: Of the deep networks; they try all `deep_rates`.
        deep_scales: For bn-exploding, the scales of the initial weights.
        matched_images, matched_epochs, matched_rates: Training images, epochs and learning rates
            of the runs that are compared at matched training loss; momentum tries a tenth of each.
        matched_levels: The levels of the training loss, in nats, at which they are compared.
        noise_epochs, noise_levels, noise_test_images: The same of the runs with ghost batches.
    """

    epochs: int = 8
    n_train: int = 1000
    n_validation: int = 500
    n_test: int = 2000
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    start_rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    speeds: tuple[float, ...] = (1, 2, 4, 6, 8, 12)
    dropout_rates: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    dropout_epochs: int = 12
    dropout_curve: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5)
    strengths: tuple[float, ...] = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    deep_epochs: int = 8
    n_deep: int = 500
    deep_rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    start_scales: tuple[float, ...] = (0.5, 1.0, 2.0)
    deep_scales: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0)
    matched_images: int = 1024
    matched_epochs: int = 12
    matched_rates: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
    matched_levels: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35)
    noise_epochs: int = 12
    noise_levels: tuple[float, ...] = (0.7, 0.5, 0.35)
    noise_test_images: int = 1000


def run_of(setting: Setting, net: str) -> RunSpec:
    """The lab's own network "plain", "bn" or "placebo", with its curves."""
    preset = setting.preset
    run = RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation, preset.n_test),
        optimizer="sgd",
        schedule=Schedule(DECAY),
        batch_size=BATCH_SIZE,
        epochs=preset.epochs,
        measures=("curves",),
    )
    return changed(run, **as_net(net, setting.model))


def as_net(net: str, model: str) -> dict[str, Any]:
    """What makes the network "bn" or "placebo" of the plain `model`, as changes to its run."""
    if net == PLACEBO:
        return {"model": SCALE_AND_SHIFT, "builder": with_options(net=model)}
    return {"batch_norm": net == "bn"}


def with_options(**options: Any) -> Callable[[str], dict[str, Any]]:
    """For changes to a run: the builder's options with some more."""
    return lambda builder: {**json.loads(builder), **options}


def at_rates(rates: Iterable[float], choose: Choose = most_accurate) -> Tuning:
    """The best of the learning rates."""
    return Tuning([{"learning_rate": rate} for rate in rates], choose)


def he_scaled(scale: float) -> dict[str, Any]:
    """The builder option for initial weights of `scale` times the size of He et al. 2015."""
    initializer = {"class_name": "VarianceScaling", "config": {"scale": 2 * scale**2}}
    return {"kernel_initializer": initializer}


def shared_arms(setting: Setting) -> Arms:
    """The network without batch norm, with it and with the placebo, each at its best rate."""
    tuning = at_rates(setting.preset.rates)
    for net, label in NETS.items():
        yield Arm(net, run_of(setting, net), tuning, label=label)
