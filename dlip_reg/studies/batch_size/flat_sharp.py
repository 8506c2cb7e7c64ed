"""bs-flat-sharp: small batches converge to flat minimizers, large batches to sharp ones."""

from __future__ import annotations

import functools
from dataclasses import replace

from dlip_reg.evidence.paired import LOG_RATIO, POINTS, minus, percent
from dlip_reg.studies.batch_size.arms import BATCH_NORM, base, between, by_size, ratio_claim
from dlip_reg.studies.runs import Runs
from dlip_reg.studies.study import Arm, Chosen, Measurement, Part, Setting
from dlip_reg.training.interpolation import InterpolationSpec
from dlip_reg.training.rescaling import RescalingSpec
from dlip_reg.training.specification import RunSpec

# Adam's default, at every batch size, as in Keskar et al. 2017.
ADAM_RATE = 1e-3
_FULL_BATCH_EPOCHS = 10  # times those of the others: it makes one update an epoch
PLAIN, NORMALISED, STABILITY = "sharpness/plain", "sharpness/batch_norm", "stability"
BETWEEN, RESCALED = "minimizers/between", "minimizers/rescaled"


def sharpness_arms(setting: Setting) -> list[Arm]:
    """Adam at one rate until the training loss stops improving, as in Keskar et al. 2017.

    Measured at the weights of the lowest loss: "sharpness/plain/SIZE" and, of the smallest and the
    largest batch, "sharpness/batch_norm/SIZE"; the loss between the plain solutions of these two,
    and that of the smallest rescaled.
    """
    preset = setting.preset
    ends = small, large = preset.sharp_sizes[0], preset.sharp_sizes[-1]
    run = replace(
        base(setting),
        optimizer="adam",
        learning_rate=ADAM_RATE,
        epochs=preset.sharp_epochs,
        patience=preset.patience,
        measures=("curves", "test", "curvature", "keskar"),
    )
    measures = ("curves", "test", "keskar", "recalibrated")
    normalised = replace(run, regularization=BATCH_NORM, measures=measures)
    return [
        *(Arm(f"{PLAIN}/{size}", replace(run, batch_size=size)) for size in preset.sharp_sizes),
        *(Arm(f"{NORMALISED}/{size}", replace(normalised, batch_size=size)) for size in ends),
        Arm(BETWEEN, _between, uses=(f"{PLAIN}/{small}", f"{PLAIN}/{large}")),
        Arm(RESCALED, _rescaled, uses=(f"{PLAIN}/{small}",)),
    ]


def _between(chosen: Chosen) -> InterpolationSpec:
    return InterpolationSpec(*_unmeasured(chosen), surfaces=True)


def _rescaled(chosen: Chosen) -> RescalingSpec:
    return RescalingSpec(*_unmeasured(chosen))


def _unmeasured(chosen: Chosen) -> list[RunSpec]:
    return [replace(run, measures=()) for run in chosen.values()]


def stability_arms(setting: Setting) -> list[Arm]:
    """Plain SGD, the smallest, the middle and the full batch, each at its best rate."""
    preset = setting.preset

    def spec(size: int, chosen: Chosen) -> RunSpec:
        factor = _FULL_BATCH_EPOCHS if size == preset.n_train else 1
        run = chosen[f"rates/{size}"]
        return replace(run, epochs=factor * preset.epochs, measures=("stability",))

    return [
        Arm(f"{STABILITY}/{size}", functools.partial(spec, size), uses=(f"rates/{size}",))
        for size in (*preset.few[:2], preset.n_train)
    ]


def arms(setting: Setting) -> list[Arm]:
    """The arms of this claim."""
    return [*sharpness_arms(setting), *stability_arms(setting)]


def measure(runs: Runs) -> Measurement:
    """Log-ratio of Keskar's sharpness, the largest over the smallest batch."""
    small, *_, large = runs.tree(PLAIN)

    def sharper(label: str, name: str, group: str = PLAIN) -> Part:
        values = by_size(runs, group, name)
        return Part(label, LOG_RATIO, between(values, max(values), min(values)))

    accuracy = by_size(runs, PLAIN, "test_accuracy")
    return Measurement(
        sharper("", "keskar_1e_3").values,
        (
            sharper("φ at ε = 5·10⁻⁴", "keskar_5e_4"),
            sharper("φ at ε = 10⁻³ in 100 random dimensions", "keskar_subspace_1e_3"),
            sharper("φ at ε = 5·10⁻⁴ in 100 random dimensions", "keskar_subspace_5e_4"),
            sharper("top eigenvalue of the Hessian", "lambda_max"),
            sharper("SAM sharpness", "sam_sharpness"),
            sharper("adaptive sharpness, which no rescaling changes", "adaptive_sharpness"),
            sharper("φ at ε = 10⁻³ of nets with batch normalization", "keskar_1e_3", NORMALISED),
            sharper("top eigenvalue after SGD, full batch over smallest", "lambda_max", STABILITY),
            Part(
                f"test accuracy, batch {small} minus batch {large:,}",
                POINTS,
                percent(minus(accuracy[small], accuracy[large])),
            ),
        ),
    )


CLAIM = ratio_claim(
    id="bs-flat-sharp",
    sentence="Small batches converge to flat minimizers, large batches to sharp ones.",
    experiment="Log-ratio of Keskar's sharpness φ (full space, ε = 10⁻³), batches of a tenth of "
    "the training set over the smallest ones: Adam until the training loss stops improving, at the "
    "weights of the lowest.",
    direction=+1,
    measure=measure,
    needs=("sharpness/",),
    shown=("minimizers/", "stability/"),
    arms=arms,
    figures=("sharpness", "interpolation", "filter_normalised", "surfaces", "rescaled",
             "stability"),
)  # fmt: skip
