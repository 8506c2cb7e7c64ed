"""Measure what the lecture note says about dropout, L1 and L2, and write a report.

python labs/lab_regularization.py                    the standard preset
python labs/lab_regularization.py --preset quick     a first look
python labs/lab_regularization.py --list-claims      what is measured
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from front_door import Lab, main
from session import BadInput, Session, counted

from dlip_reg.claims import Claim, judge_claims
from dlip_reg.claims.regularization import CLAIMS
from dlip_reg.experiments.regularization import Preset, RegularizationLab, methods

# Few images and enough epochs to fit them: with more images the same net hardly overfits, and a
# regularizer has nothing to do.
PRESETS = {
    "quick": Preset(3, trials=4, epochs=10, n_train=500, n_validation=1000, duration="1 minute"),
    "standard": Preset(
        5, trials=9, epochs=15, n_train=1000, n_validation=2000, duration="7 minutes"
    ),
    "full": Preset(10, trials=25, epochs=20, n_train=5000, n_validation=2000, duration="8 hours"),
}


def run(options: argparse.Namespace, claims: Sequence[Claim]) -> Path:
    """Do the lab as the options say; returns the report's path."""
    whole = PRESETS[options.preset]
    preset = replace(whole, seeds=options.seeds or whole.seeds)
    needed = {name for claim in claims for name in claim.needs}
    every = methods(preset.trials)
    chosen = {name: method for name, method in every.items() if name in needed}
    lab = RegularizationLab(options.model, options.dataset, preset, tuple(chosen.values()))
    runs = _number_of_runs(lab)

    with Session("lab_regularization", options) as session:
        kinds = session.kernel_kinds(lab.example())
        if "l2_separate" in needed and kinds != {"conv", "dense"}:
            raise BadInput(
                f"{options.model} has no convolutions, so reg-separate cannot be measured on it; "
                "choose --claims without it, or another --model."
            )
        session.open(
            f"Preset {options.preset}: {counted(runs, 'run')} ({counted(len(chosen), 'method')}, "
            f"{preset.trials} strengths each, {counted(preset.seeds, 'seed')}). The whole preset's "
            f"{_number_of_runs(replace(lab, preset=whole, methods=tuple(every.values())))} take "
            f"about {preset.duration} on two cores with the default model and data."
        )
        trial_specs = lab.trial_specs()
        with session.progress(runs) as progress:
            trials = session.run(trial_specs)
            final_specs = lab.final_specs(trials)
            progress.expect(len({*trial_specs, *final_specs}))
            finals = session.run(final_specs)
        outcomes = lab.outcomes(trials, finals)
        judged = judge_claims(claims, outcomes, family_size=len(CLAIMS))

        from dlip_reg.report.regularization import regularization_report

        labels = {name: method.label for name, method in chosen.items()}
        return session.write(
            judged,
            [*trials.values(), *finals.values()],
            lambda facts, notes: regularization_report(
                options.out, outcomes, labels, judged, facts, notes
            ),
            {
                "Seeds": str(preset.seeds),
                "Strengths tried": f"{preset.trials} for each method, with every seed",
                "Training": f"{preset.n_train} images, {preset.epochs} epochs of Adam at "
                f"{preset.learning_rate:g}, batches of {preset.batch_size}",
                "Validation": f"{preset.n_validation} images, drawn by seed",
            },
        )


def _number_of_runs(lab: RegularizationLab) -> int:
    """All trials, and each method's winner once more for each seed."""
    return len(set(lab.trial_specs())) + lab.preset.seeds * len(lab.methods)


LAB = Lab("lab_regularization", __doc__.splitlines()[0], PRESETS, CLAIMS, run)

if __name__ == "__main__":
    sys.exit(main(LAB))
