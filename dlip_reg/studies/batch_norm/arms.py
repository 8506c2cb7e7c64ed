"""What the lab trains: every network without ("plain") and with batch normalization ("bn").

The lab's own network is trained by plain SGD whose learning rate decays exponentially to a
twentieth. The best learning rate of each of the two is found on tuning seeds; the other arms are
derived from it. Deep networks and the sigmoid network of Ioffe & Szegedy 2015 are perceptrons,
whatever the lab's network is.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlip_reg.regularization import Regularization
from dlip_reg.studies.papers.ioffe_fig1 import LABELS
from dlip_reg.studies.study import Arm, Chosen, Preset, Setting, Tuning
from dlip_reg.training.specification import RunSpec, Schedule

BATCH_SIZE = 32
DECAY = 0.05
DEPTH, WIDTH = 20, 100
DEEP_RATE = 0.1
# L2 strengths, two per decade, the same in every preset: where all weak strengths perform alike,
# the smoothed best one depends on where the grid begins. At the strongest both networks are well
# past their best.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True, kw_only=True)
class BatchNormPreset(Preset):
    """How large the lab is.

    Args:
        epochs, n_train, n_validation, n_test: Of the runs of the lab's own network.
        rates, dropout_rates, strengths: What both networks try; the strengths are of L2.
        deep_epochs, n_deep: Epochs and training images of the deep networks.
        sigmoid_epochs, n_sigmoid: The same for the sigmoid network.
    """

    epochs: int
    n_train: int
    n_validation: int
    rates: tuple[float, ...]
    dropout_rates: tuple[float, ...]
    deep_epochs: int
    sigmoid_epochs: int
    n_test: int | None = None
    strengths: tuple[float, ...] = STRENGTHS
    n_deep: int = 1000
    n_sigmoid: int = 3000


def run_at(setting: Setting, net: str, rate: float) -> RunSpec:
    """The lab's own network "plain" or "bn" at a learning rate, with its curves measured."""
    preset = setting.preset
    return RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation, preset.n_test),
        regularization=Regularization(batch_norm=net == "bn"),
        optimizer="sgd",
        learning_rate=rate,
        schedule=Schedule(DECAY),
        batch_size=BATCH_SIZE,
        epochs=preset.epochs,
        measures=("curves",),
    )


def perceptron(
    setting: Setting, net: str, depth: int, builder: Mapping[str, Any], measures: Sequence[str]
) -> RunSpec:
    """A deep perceptron "plain" or "bn" with further builder options, at a constant rate."""
    preset = setting.preset
    return replace(
        run_at(setting, net, DEEP_RATE),
        model="mlp",
        data=setting.data(preset.n_deep, preset.n_validation),
        builder={"hidden": [WIDTH] * depth, **builder},
        schedule=Schedule(),
        epochs=preset.deep_epochs,
        measures=measures,
    )


def shared_arms(setting: Setting) -> list[Arm]:
    """The tuned networks, the grid of learning rates, and both networks at the same rate."""
    grids = {net: [run_at(setting, net, rate) for rate in setting.preset.rates] for net in LABELS}
    watched = ("curves", "landscape", "percentiles", "shift")
    # Without batch norm the other examples in the batch have no influence on an example.
    measures = {"plain": watched, "bn": (*watched, "batch_noise")}
    return [
        *(Arm(net, tuning=Tuning(grid), label=LABELS[net]) for net, grid in grids.items()),
        *(
            Arm(f"rates/{net}/{spec.learning_rate:g}", spec, label=LABELS[net])
            for net, grid in grids.items()
            for spec in grid
        ),
        *(
            derived("same_rate/" + net, net, measures=measures[net], batch_norm=net == "bn")
            for net in LABELS
        ),
    ]


def derived(name: str, net: str, **changes: Any) -> Arm:
    """An arm that changes the tuned network "plain" or "bn"; see `_changed`.

    The arms "same_rate/..." both derive from "plain": its learning rate is the common one.
    """
    tuned = "plain" if name.startswith("same_rate/") else net
    spec = functools.partial(_changed, tuned, changes)
    return Arm(name, spec, uses=(tuned,), label=LABELS[net])


def _changed(net: str, changes: Mapping[str, Any], chosen: Chosen) -> RunSpec:
    return changed(chosen[net], **changes)


def changed(spec: RunSpec, **changes: Any) -> RunSpec:
    """`spec` with some fields replaced, its own or those of its regularization."""
    own = {name: value for name, value in changes.items() if hasattr(spec, name)}
    others = {name: value for name, value in changes.items() if name not in own}
    return replace(spec, **own, regularization=replace(spec.regularization, **others))
