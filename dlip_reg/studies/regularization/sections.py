"""The lab's figures that belong to no single claim: loss curves, sharpness, strengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlip_reg.studies.drawing import by_label, loss_curves
from dlip_reg.studies.regularization.arms import LABELS, METHODS
from dlip_reg.studies.runs import Runs

if TYPE_CHECKING:
    from dlip_reg.evidence.claims import ClaimResult
    from dlip_reg.report import FigureItem, Section


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> list[Section]:
    """The sections behind the claims."""
    from dlip_reg.report import Section

    return [
        Section(
            "Training with each regularizer",
            (
                "Each method is shown at the strengths that were best on validation images with "
                "other seeds: " + "; ".join(_strengths(runs)) + ".",
            ),
            tuple(_loss(runs)),
        ),
        Section(
            "Sharpness",
            (
                "The top eigenvalue of the Hessian depends on the scale of the weights: rescaling "
                "two layers of a ReLU network against each other changes it, and no prediction "
                "(Dinh et al. 2017). Adaptive sharpness stays the same under that rescaling.",
            ),
            tuple(_sharpness(runs)),
        ),
        Section("Tuning", (), tuple(_tuning(runs))),
    ]


def _strengths(runs: Runs) -> list[str]:
    from dlip_reg.report.numbers import format_constant

    texts = []
    for arm, label in LABELS.items():
        if spec := runs.chosen.get(arm):
            values = spec.regularization
            named = {
                "learning rate": spec.learning_rate,
                "rate": values.dense_dropout,
                "L1": values.dense_l1,
                "L2": values.dense_l2,
                "max-norm": values.max_norm,
            }
            parts = [f"{name} {format_constant(value)}" for name, value in named.items() if value]
            texts.append(f"{label} ({', '.join(parts)})")
    return texts


def _loss(runs: Runs) -> list[FigureItem]:
    from dlip_reg.report import FigureItem, figures

    arms = [arm for arm in LABELS if arm in runs]
    curves = by_label(
        runs,
        arms,
        lambda record: {
            "epoch": record.curves.epoch,
            "train_loss": record.curves.clean_loss,
            "keras_loss": record.curves.keras_loss,
        },
    )
    if LABELS["none"] not in curves:
        return []
    return [
        *loss_curves(runs, arms),
        FigureItem(
            "training_loss_misleads",
            figures.training_loss_misleads(curves),
            f"The training loss that fit prints beside the clean one, for {', '.join(curves)}.",
            "The loss that model.fit prints adds the penalty, has dropout on and averages over "
            "weights that move during the epoch. Compare methods on the clean loss only.",
        ),
    ]


def _sharpness(runs: Runs) -> list[FigureItem]:
    from dlip_reg.report import FigureItem, figures

    measures = ("lambda_max", "adaptive_sharpness")
    curves = by_label(
        runs,
        ("none", *METHODS),
        lambda record: (
            record.curvature
            and {
                name: [getattr(row, name) for row in record.curvature]
                for name in ("epoch", *measures)
            }
        ),
    )
    if not curves:
        return []
    return [
        FigureItem(
            "sharpness",
            figures.sharpness_curves(curves, measures=measures),
            "Top Hessian eigenvalue and adaptive sharpness of the clean training loss through "
            f"training, for {', '.join(curves)}.",
            "On 256 training images, the same at each point; geometric means with intervals over "
            "the seeds of the first look. Regularization that works by flatter minima would show "
            "on the right.",
        )
    ]


def _tuning(runs: Runs) -> list[FigureItem]:
    from dlip_reg.report import FigureItem, figures

    tried: dict[str, dict[str, dict[float, list[float]]]] = {}
    for arm in METHODS:
        for spec, records in runs.trials.get(arm, {}).items():
            lines = tried.setdefault(LABELS[arm], {})
            line = lines.setdefault(f"learning rate {spec.learning_rate:g}", {})
            line[getattr(spec.regularization, f"dense_{arm}")] = [
                r.measures.val_accuracy for r in records if r and r.status == "finished"
            ]
    if not tried:
        return []
    return [
        FigureItem(
            "strengths",
            figures.strength_curves(tried, linear=LABELS["dropout"]),
            f"Validation accuracy against strength for {', '.join(tried)}.",
            "Mean over tuning seeds and its interval at each strength and learning rate tried. "
            "The best one is what the verdicts' runs use, with other seeds.",
        )
    ]
