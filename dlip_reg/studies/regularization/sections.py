"""The lab's figures that belong to no single claim: loss curves, sharpness, strengths."""

from collections.abc import Sequence
from typing import Any

from dlip_reg import report
from dlip_reg.evidence import ClaimResult
from dlip_reg.report.numbers import format_constant
from dlip_reg.studies import Runs, is_finished
from dlip_reg.studies.drawing import Drawn, by_label, columns, figure, loss_curves
from dlip_reg.studies.regularization.arms import LABELS, METHODS
from dlip_reg.training import Record


def sections(runs: Runs, claims: Sequence[ClaimResult]) -> "list[report.Section]":
    """The sections behind the claims."""
    arms, none = [arm for arm in LABELS if arm in runs], runs.finished("none")
    return [
        report.Section(
            "Training with each regularizer",
            (
                "Each method is shown at the strengths that were best on validation images with "
                "other seeds: " + "; ".join(_strengths(runs)) + ".",
            ),
            (*loss_curves(runs, arms), *_misleading_loss(runs, arms)) if none else (),
        ),
        report.Section(
            "Sharpness",
            (
                "The top eigenvalue of the Hessian depends on the scale of the weights: rescaling "
                "two layers of a ReLU network against each other changes it, and no prediction "
                "(Dinh et al. 2017). Adaptive sharpness stays the same under that rescaling.",
            ),
            tuple(_sharpness(runs)),
        ),
        report.Section("Tuning", (), tuple(_tuning(runs))),
    ]


def _strengths(runs: Runs) -> list[str]:
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


@figure("training_loss_misleads")
def _misleading_loss(runs: Runs, arms: Sequence[str]) -> Drawn:
    """The training loss that fit prints beside the clean one, for {arms}.

    The loss that model.fit prints adds the penalty, has dropout on and averages over weights that
    move during the epoch. Compare methods on the clean loss only.
    """

    def losses(record: Record) -> dict[str, Any]:
        curves = record.curves
        return {
            "epoch": curves.epoch,
            "train_loss": curves.clean_loss,
            "keras_loss": curves.keras_loss,
        }

    curves = by_label(runs, arms, losses)
    yield report.figures.training_loss_misleads(curves), {"arms": curves}


@figure("sharpness")
def _sharpness(runs: Runs) -> Drawn:
    """Top Hessian eigenvalue and adaptive sharpness of the clean training loss through training,
    for {methods}.

    On 256 training images, the same at each point; geometric means with intervals over the seeds of
    the first look. Regularization that works by flatter minima would show on the right.
    """
    measures = ("lambda_max", "adaptive_sharpness")
    curves = by_label(
        runs,
        ("none", *METHODS),
        lambda record: record.curvature and columns(record.curvature, "epoch", *measures),
    )
    if curves:
        plot = report.figures.sharpness_curves(curves, measures=measures)
        yield plot, {"methods": curves}


@figure("strengths")
def _tuning(runs: Runs) -> Drawn:
    """Validation accuracy against strength for {methods}.

    Mean over tuning seeds and its interval at each strength and learning rate tried. The best one
    is what the verdicts' runs use, with other seeds.
    """
    tried: dict[str, dict[str, dict[float, list[float]]]] = {}
    for arm in METHODS:
        for spec, records in runs.trials.get(arm, {}).items():
            lines = tried.setdefault(LABELS[arm], {})
            line = lines.setdefault(f"learning rate {spec.learning_rate:g}", {})
            line[getattr(spec.regularization, f"dense_{arm}")] = [
                record.measures.val_accuracy for record in records if is_finished(record)
            ]
    if tried:
        plot = report.figures.strength_curves(tried, linear=LABELS["dropout"])
        yield plot, {"methods": tried}
