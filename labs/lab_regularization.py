"""Measure what the lecture note says about dropout, L1 and L2, and write a report.

python labs/lab_regularization.py                    the standard preset
python labs/lab_regularization.py --preset quick     a first look
python labs/lab_regularization.py --list-claims      what is measured
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from front_door import BadInput, Lab, Session, main

from dlip_reg.claims.regularization import CLAIMS
from dlip_reg.experiments import Experiment, first_stage
from dlip_reg.experiments.regularization import Preset, experiments

# Few images and enough epochs to fit them: with more images the same net hardly overfits, and a
# regularizer has nothing to do.
PRESETS = {
    "quick": Preset(3, trials=4, epochs=10, n_train=500, n_validation=1000, duration="1.5 minutes"),
    "standard": Preset(
        5, trials=9, epochs=15, n_train=1000, n_validation=2000, duration="7 minutes"
    ),
    "full": Preset(
        10, trials=25, epochs=20, n_train=5000, n_validation=2000, duration="8 hours (estimated)"
    ),
}


def check(session: Session, chosen: Sequence[Experiment]) -> None:
    """Strengths that are apart for two kinds of layers need both kinds."""
    spec = first_stage(chosen)[0]
    apart = any(experiment.name == "l2_separate" for experiment in chosen)
    if apart and session.kernel_kinds(spec) != {"conv", "dense"}:
        raise BadInput(
            f"{spec.model} has no convolutions, so reg-separate cannot be measured on it; "
            "choose --claims without it, or another --model."
        )


def sections(outcomes, labels, judged):
    """The report's; imports what draws."""
    from dlip_reg.report.regularization import regularization_sections

    return regularization_sections(outcomes, labels, judged)


def facts(preset: Preset) -> dict[str, str]:
    """How the numbers came about."""
    return {
        "Seeds": str(preset.seeds),
        "Strengths tried": f"{preset.trials} for each method, with every seed",
        "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
        f"{preset.learning_rate:g}, batches of {preset.batch_size}",
        "Validation": f"{preset.n_validation} images, drawn by seed",
    }


LAB = Lab(
    name="lab_regularization",
    title="Loss function and regularization, measured",
    lead="Each sentence of the lecture note on regularization, held against runs on real images: "
    "an effect, an interval over seeds, and the verdict of a rule that was fixed before the data "
    "was seen.",
    description=__doc__.splitlines()[0],
    presets=PRESETS,
    claims=CLAIMS,
    experiments=experiments,
    check=check,
    sections=sections,
    facts=facts,
)

if __name__ == "__main__":
    sys.exit(main(LAB))
