"""What the lab trains: one network without regularization and with each regularizer, tuned alike.

All regularizers sit on the same layers, convolutions and dense ones. Every method is tuned over the
same number of candidates with the same tuning seeds; "none" is tuned, too, over learning rates. A
strength is in the sense of Keras: l in l * sum |w| or l * sum w^2.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlip_reg.checks import require_whole
from dlip_reg.regularization import (
    DROPOUT_RANGE,
    L1_RANGE,
    L2_RANGE as L2_RANGE,
    Regularization,
)
from dlip_reg.studies import Arm, Arms, Preset, Setting, Trials, Tuning, times, varied
from dlip_reg.studies.readings import finished_trials, most_accurate, val_accuracy
from dlip_reg.training import RunSpec, Schedule

METHODS = ("dropout", "l1", "l2")
LABELS = {
    "none": "none",
    "dropout": "dropout",
    "l1": "L1",
    "l2": "L2",
    "dropout_l2": "dropout + L2",
    "dropout_max_norm": "dropout + max-norm",
}
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
    """How large the lab is; by default the standard preset.

    Args:
        strengths: How many strengths each method is tried at, each with two learning rates.
        side: The search over two strengths tries side * side pairs, the one over a tied strength
            as many strengths.
        epochs, n_train, n_validation, n_test: Of each run; tuning looks at `n_validation` images,
            verdicts at `n_test`.
        label_images, label_epochs: Of the runs on random labels.
        dose_epochs: Of the runs at several dropout rates, where they need more than `epochs` to
            reach a training loss in common with those without dropout.
        sharpness_seeds: How many seeds the sharpness figure shows.

    Raises:
        ValueError: Fewer than two strengths.
    """

    strengths: int = 4
    side: int = 3
    epochs: int = 15
    n_train: int = 1000
    n_validation: int = 2000
    n_test: int = 2000
    label_images: int = 200
    label_epochs: int = 80
    dose_epochs: int | None = None
    sharpness_seeds: int = 3
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("strengths", "side"):  # a grid has two ends
            require_whole(name, getattr(self, name), least=2)

    @property
    def trials(self) -> int:
        """How many candidates each method is tuned over."""
        return self.strengths * len(ADAM_RATES)


def run_of(setting: Setting, **changes: Any) -> RunSpec:
    """A run for tuning: only its final validation accuracy is measured."""
    preset = setting.preset
    return RunSpec(
        model=setting.model,
        data=setting.data(preset.n_train, preset.n_validation),
        schedule=DECAY,
        batch_size=preset.batch_size,
        epochs=preset.epochs,
        **changes,
    )


def for_tuning(setting: Setting) -> dict[str, Any]:
    """What is changed in the specification of another arm for a run for tuning."""
    return {"data": run_of(setting).data, "measures": ()}


def for_verdict(setting: Setting) -> dict[str, Any]:
    """What is changed in it for a verdict: measured through training and on test images."""
    preset = setting.preset
    return {
        "data": setting.data(preset.n_train, FEWEST_VALIDATION, preset.n_test),
        "measures": ("curves", "weights", "test"),
    }


def penalty(kind: str, strength: float) -> Regularization:
    """An L1 or L2 penalty ("l1", "l2") on the kernels of all layers."""
    fields: dict[str, Any] = {f"conv_{kind}": strength, f"dense_{kind}": strength}
    return Regularization(**fields)


def dropout(rate: float, **others: Any) -> Regularization:
    """Dropout after all layers, convolutions at `CONV_SHARE` of the rate."""
    return Regularization(conv_dropout=round(CONV_SHARE * rate, 4), dense_dropout=rate, **others)


def candidates(
    rates: Sequence[float], values: Iterable[Regularization] = (Regularization(),)
) -> list[dict[str, Any]]:
    """Each learning rate with each regularization, as changes to `run_of`."""
    return [
        {"learning_rate": rate, "regularization": value}
        for rate, value in itertools.product(rates, values)
    ]


def tuned(
    name: str,
    setting: Setting,
    tried: Sequence[Any],
    label: str = "",
    base: RunSpec | str | None = None,
    choose: Callable[[Trials], RunSpec | None] = most_accurate,
    watch_trials: tuple[str, ...] = (),
    **options: Any,
) -> Arm:
    """An arm that runs with the best of the changes `tried` to `base` (default: `run_of`)."""
    return Arm(
        name,
        base or run_of(setting),
        Tuning(tried, choose, watch=watch_trials),
        for_verdict(setting),
        label=label or LABELS.get(name, name),
        **options,
    )


def slower(name: str, label: str) -> Arm:
    """The control of the arm `name` that only fits more slowly."""
    label += ", a third of the learning rate"
    return varied(f"{name}_slow", name, label, learning_rate=times(SLOWER))


def shared_arms(setting: Setting) -> Arms:
    """The arms that several claims read: each method at its best, and the controls."""
    preset = setting.preset
    n = preset.strengths
    tried = {
        "none": candidates(log_grid(ADAM_RANGE, preset.trials)),
        "dropout": candidates(ADAM_RATES, map(dropout, grid(DROPOUT_RANGE, n))),
        "l1": candidates(ADAM_RATES, penalties("l1", L1_RANGE, n)),
        "l2": candidates(ADAM_RATES, penalties("l2", L2_RANGE, n)),
    }
    for name, values in tried.items():
        yield tuned(
            name,
            setting,
            values,
            watch_trials=() if name == "none" else ("curves", "weights"),  # for a figure
            watch=("curvature",),
            watch_seeds=preset.sharpness_seeds,
        )
    yield slower("none", "none")


def sgd_arms(setting: Setting) -> Arms:
    """The arms under plain SGD, where a penalty's gradient is not normalised."""
    preset = setting.preset
    sgd = run_of(setting, optimizer="sgd")
    rates = log_grid(SGD_RANGE, preset.trials)
    yield tuned("sgd_none", setting, candidates(rates), "none under SGD", sgd)
    for kind, ends in SGD_STRENGTHS.items():
        label = f"{LABELS[kind]} under SGD"
        tried = candidates(SGD_RATES, penalties(kind, ends, preset.strengths))
        yield tuned(f"sgd_{kind}", setting, tried, label, sgd, strongest)
        strong = {"learning_rate": SGD_RATES[0], "regularization": penalty(kind, ends[1])}
        changes = strong | for_verdict(setting)
        yield varied(f"sgd_{kind}_strong", sgd, f"{label}, the strongest", **changes)
    yield slower("sgd_none", "none under SGD")


def strongest(trials: Trials) -> RunSpec | None:
    """The strongest penalty that costs at most two points of validation accuracy.

    Penalties compared for what they do to the weights have to cost alike. The most accurate
    strength would be nearly any, since weak penalties do alike; the strongest one that is about as
    good as the best is the idea of the one-standard-error rule (Breiman et al. 1984, section
    3.4.3). Two points are about the standard error of the difference of two candidates here.
    """
    means = {
        spec: sum(map(val_accuracy, records)) / len(records)
        for spec, records in finished_trials(trials).items()
    }
    least = max(means.values(), default=0.0) - TOLERANCE
    near = {spec: mean for spec, mean in means.items() if mean >= least}

    def rank(spec: RunSpec) -> tuple[float, float]:
        return spec.regularization.dense_l1 + spec.regularization.dense_l2, near[spec]

    return max(near, key=rank, default=None)


def penalties(kind: str, ends: tuple[float, float], n: int) -> list[Regularization]:
    """`n` penalties with strengths evenly spaced in log."""
    return [penalty(kind, strength) for strength in log_grid(ends, n)]


def grid(ends: tuple[float, float], n: int) -> list[float]:
    """`n` values evenly spaced from one end to the other."""
    low, high = ends
    return [round(low + (high - low) * i / (n - 1), 4) for i in range(n)]


def log_grid(ends: tuple[float, float], n: int) -> list[float]:
    """`n` values evenly spaced in log, to three digits: strengths are shown to people."""
    low, high = ends
    return [float(f"{low * (high / low) ** (i / (n - 1)):.3g}") for i in range(n)]
