"""What the lab trains: one network without regularization and with each regularizer, tuned alike.

All regularizers sit on the same layers, convolutions and dense ones. Every method is tuned over the
same number of candidates with the same tuning seeds; "none" is tuned, too, over learning rates. A
strength is in the sense of Keras: l in l * sum |w| or l * sum w^2.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlip_reg.experiments.selection import most_accurate
from dlip_reg.regularization import Regularization
from dlip_reg.studies.runs import Trials
from dlip_reg.studies.study import Arm, Chosen, Preset, Setting, Tuning
from dlip_reg.training.specification import RunSpec, Schedule

NO_REGULARIZATION = Regularization()
METHODS = ("dropout", "l1", "l2")
LABELS = {
    "none": "none",
    "dropout": "dropout",
    "l1": "L1",
    "l2": "L2",
    "dropout_l2": "dropout + L2",
    "dropout_max_norm": "dropout + max-norm",
}
# Wide enough that one end hardly matters and the other ruins the network.
L1_RANGE = (2e-5, 2e-3)
L2_RANGE = (3e-4, 3e-2)
DROPOUT_RANGE = (0.1, 0.7)
# Adam's default and three times it; plain SGD needs about fifty times as much.
ADAM_RATES = (1e-3, 3e-3)
SGD_RATES = (0.05, 0.15)
# Of the learning rates that "none" is tuned over.
ADAM_RANGE = (3e-4, 6e-3)
SGD_RANGE = (0.02, 0.2)
# The learning rate decays to a tenth, so that the accuracy at the end of training does
# not depend on which side of a fluctuation the last step fell.
DECAY = Schedule(0.1)
# Under SGD, where the penalty's own gradient acts, the range of strengths begins higher.
SGD_STRENGTHS = {"l1": (1e-4, 3e-3), "l2": (1e-3, 3e-2)}
# A penalty may cost this much validation accuracy: see `strongest`.
TOLERANCE = 0.02
# Srivastava et al. 2014 (appendix B.2, SVHN) drop 0.1 to 0.25 of the inputs of convolutions where
# they drop 0.5 of the dense ones.
CONV_SHARE = 0.4
# A verdict's run makes no choice on validation images.
FEWEST_VALIDATION = 100
# How much smaller the learning rate of the control is that only fits more slowly.
SLOWER = 1 / 3


@dataclass(frozen=True, kw_only=True)
class RegularizationPreset(Preset):
    """How large the lab is.

    Args:
        strengths: How many strengths each method is tried at, each with two learning rates.
        side: The search over two strengths tries side * side pairs, the one over a tied strength
            as many strengths.
        epochs, n_train, n_validation, n_test: Of each run; tuning looks at `n_validation` images,
            verdicts at `n_test`.
        label_images, label_epochs: Of the runs on random labels.
        sharpness_seeds: How many seeds the sharpness figure shows.
    """

    strengths: int
    side: int
    epochs: int
    n_train: int
    n_validation: int
    n_test: int
    label_images: int
    label_epochs: int
    sharpness_seeds: int = 3
    batch_size: int = 32

    @property
    def trials(self) -> int:
        """How many candidates each method is tuned over."""
        return self.strengths * len(ADAM_RATES)


def adam_base(setting: Setting) -> RunSpec:
    """The run of a verdict, not yet regularized: measured through training and on test images."""
    preset = setting.preset
    return RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, FEWEST_VALIDATION, preset.n_test),
        schedule=DECAY,
        batch_size=preset.batch_size,
        epochs=preset.epochs,
        measures=("curves", "weights", "test"),
    )


def candidate(setting: Setting, **changes) -> RunSpec:
    """A run for tuning: only its final validation accuracy is measured."""
    base = adam_base(setting)
    data = replace(base.data, n_validation=setting.preset.n_validation, n_test=None)
    return replace(base, data=data, measures=(), **changes)


def penalty(kind: str, strength: float) -> Regularization:
    """An L1 or L2 penalty ("l1", "l2") on the kernels of all layers."""
    return Regularization(**{f"conv_{kind}": strength, f"dense_{kind}": strength})


def dropout(rate: float, **others: float) -> Regularization:
    """Dropout after all layers, convolutions at `CONV_SHARE` of the rate."""
    return Regularization(conv_dropout=round(CONV_SHARE * rate, 4), dense_dropout=rate, **others)


def verdict_run(setting: Setting, spec: RunSpec, **changes) -> RunSpec:
    """The run of a verdict with what tuning chose."""
    base = adam_base(setting)
    return replace(spec, data=base.data, measures=base.measures, **changes)


def shared_arms(setting: Setting) -> list[Arm]:
    """The arms that several claims read: each method at its best, and the controls."""
    preset = setting.preset
    n = preset.strengths
    strengths = {
        "dropout": [dropout(rate) for rate in grid(DROPOUT_RANGE, n)],
        "l1": [penalty("l1", strength) for strength in log_grid(L1_RANGE, n)],
        "l2": [penalty("l2", strength) for strength in log_grid(L2_RANGE, n)],
    }
    rates = log_grid(ADAM_RANGE, preset.trials)
    none = [candidate(setting, learning_rate=rate) for rate in rates]
    arms = [tuned("none", setting, none, watch=("curvature",), watch_seeds=preset.sharpness_seeds)]
    for name, values in strengths.items():
        tried = [
            candidate(setting, learning_rate=rate, regularization=value)
            for rate, value in itertools.product(ADAM_RATES, values)
        ]
        arms.append(
            tuned(name, setting, tried, watch=("curvature",), watch_seeds=preset.sharpness_seeds)
        )
    arms.append(
        Arm(
            "none_slow",
            functools.partial(_slower, "none"),
            uses=("none",),
            label="none, a third of the learning rate",
        )
    )
    return arms


def sgd_arms(setting: Setting) -> list[Arm]:
    """The arms under plain SGD, where a penalty's gradient is not normalised."""
    preset = setting.preset

    def plain(rate: float, value: Regularization = NO_REGULARIZATION) -> RunSpec:
        return candidate(
            setting,
            optimizer="sgd",
            learning_rate=rate,
            regularization=value,
        )

    none = [plain(rate) for rate in log_grid(SGD_RANGE, preset.trials)]
    arms = [tuned("sgd_none", setting, none, "none under SGD")]
    for kind, ends in SGD_STRENGTHS.items():
        tried = [
            plain(rate, penalty(kind, strength))
            for rate, strength in itertools.product(SGD_RATES, log_grid(ends, preset.strengths))
        ]
        label = f"{LABELS[kind]} under SGD"
        arms.append(tuned(f"sgd_{kind}", setting, tried, label, choose=strongest))
        strong = verdict_run(setting, plain(SGD_RATES[0], penalty(kind, ends[1])))
        arms.append(Arm(f"sgd_{kind}_strong", strong, label=f"{label}, the strongest"))
    arms.append(
        Arm(
            "sgd_none_slow",
            functools.partial(_slower, "sgd_none"),
            uses=("sgd_none",),
            label="none under SGD, a third of the learning rate",
        )
    )
    return arms


def strongest(trials: Trials) -> RunSpec | None:
    """The strongest penalty that costs at most two points of validation accuracy.

    Penalties compared for what they do to the weights have to cost alike. The most accurate
    strength would be nearly any, since weak penalties do alike; the strongest one that is about as
    good as the best is the idea of the one-standard-error rule (Breiman et al. 1984, section
    3.4.3). Two points are about the standard error of the difference of two candidates here.
    """
    means = {
        spec: sum(record.measures.val_accuracy for record in records) / len(records)
        for spec, records in trials.items()
        if all(record is not None and record.status == "finished" for record in records)
    }
    if not means:
        return None
    best = max(means.values())
    near = {spec: mean for spec, mean in means.items() if mean >= best - TOLERANCE}
    return max(near, key=lambda spec: (_strength(spec), near[spec]))


def _strength(spec: RunSpec) -> float:
    return spec.regularization.dense_l1 + spec.regularization.dense_l2


def tuned(
    name: str,
    setting: Setting,
    candidates: Sequence[RunSpec] | Callable[[Chosen], Sequence[RunSpec]],
    label: str = "",
    **options: Any,
) -> Arm:
    """An arm that runs with the best candidate, by default the most accurate on validation."""
    return Arm(
        name,
        functools.partial(_found, name, setting),
        Tuning(
            candidates,
            options.pop("choose", most_accurate),
            expected=options.pop("expected", None),
        ),
        label=label or LABELS.get(name, name),
        **options,
    )


def _found(name: str, setting: Setting, chosen: Chosen) -> RunSpec:
    return verdict_run(setting, chosen[name])


def _slower(name: str, chosen: Chosen) -> RunSpec:
    return replace(chosen[name], learning_rate=SLOWER * chosen[name].learning_rate)


def grid(ends: tuple[float, float], n: int) -> list[float]:
    """`n` values evenly spaced from one end to the other."""
    low, high = ends
    return [round(low + (high - low) * i / (n - 1), 4) for i in range(n)]


def log_grid(ends: tuple[float, float], n: int) -> list[float]:
    """`n` values evenly spaced in log, to three digits: strengths are shown to people."""
    low, high = ends
    return [float(f"{low * (high / low) ** (i / (n - 1)):.3g}") for i in range(n)]
