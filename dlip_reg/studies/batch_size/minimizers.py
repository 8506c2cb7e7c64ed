"""The figures of bs-flat-sharp: sharpness, the loss between solutions, and rescaled networks.

Imported only when a report is written, for it imports Matplotlib.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from dlip_reg.report import FigureItem, Section, figures
from dlip_reg.report.figures.style import is_finite, power_of_ten, summarize
from dlip_reg.report.numbers import format_number
from dlip_reg.studies.batch_size.arms import by_size, measure
from dlip_reg.studies.batch_size.flat_sharp import BETWEEN, NORMALISED, PLAIN, RESCALED, STABILITY
from dlip_reg.studies.runs import Runs
from dlip_reg.training.records import Record
from dlip_reg.training.specification import IMPROVEMENT

# Of `dlip_reg.training`: the images that the probes, the rescaled net and the surfaces are measured
# on.
PROBED, RESCALED_ON, ON_SURFACES = 256, 512, 512
WITHOUT, WITH = "without batch normalization", "with batch normalization"
_SERIES = {WITHOUT: PLAIN, WITH: NORMALISED}
_MEASURES = {
    "keskar_1e_3": "Keskar's φ, full space, ε = 10⁻³ (%)",
    "keskar_subspace_1e_3": "φ in 100 random dimensions, ε = 10⁻³ (%)",
    "lambda_max": "top eigenvalue λ of the Hessian",
    "adaptive_sharpness": "adaptive sharpness (nats)",
}
_RESCALED = {
    "lambda_max": "top eigenvalue",
    "keskar_1e_3": "Keskar's φ, ε = 10⁻³",
    "sam_sharpness": "SAM sharpness",
    "adaptive_sharpness": "adaptive sharpness",
    "loss": "test loss",
}


def section(runs: Runs) -> Section:
    """What small and large batches converge to."""
    items = [*_by_size(runs), *_between(runs), *_rescaled(runs), *_stability(runs)]
    return Section("Flat and sharp minimizers", _text(runs), tuple(items))


def _text(runs: Runs) -> tuple[str, ...]:
    sizes = runs.tree(PLAIN)
    ends = "; ".join(_summary(runs, size) for size in (min(sizes), max(sizes)))
    return (
        "As in Keskar et al. 2017: small batches and batches of a tenth of the training set, Adam "
        f"at one rate{_stop(runs)}. Measured are the weights of the epoch with the lowest "
        f"training loss ({ends}; means over the seeds without batch normalization). φ is the "
        "largest increase of the loss in a small box around the weights, in per cent of 1 + loss: "
        "the best of three searches, each of which is in the records. A search that fails is "
        "reported as failed, never as flat.",
        "Limitations: the runs do not end at the same training loss, and near zero loss every "
        "measure of curvature decreases with the loss. And sharpness in the weights' own units is "
        "no property of the function: multiply a ReLU layer by a and divide the next by a, and the "
        "net computes the same for every image, while λ and φ change (Dinh et al. 2017). Adaptive "
        "sharpness and filter-normalised lines do not change under that rescaling; read them "
        "beside φ.",
        "Where nets have batch normalization, every measure that moves the weights takes batch "
        "statistics of a fixed batch, or re-estimates them at every point: the moving ones belong "
        "to the trained weights and to no others.",
        "λ × rate ÷ 2 says how near a step is to overshooting along the direction of largest "
        "curvature: above 1, gradient descent on a quadratic diverges. Cohen et al. 2021 observed "
        "that full-batch gradient descent sharpens until it hovers about 1. These runs are plain "
        "SGD, which the rule is about; Adam rescales every weight's step.",
    )


def _stop(runs: Runs) -> str:
    """When the runs were to stop, and how many of each kind stopped."""
    counts: dict[int, list[str]] = {}
    for label, group in _SERIES.items():
        for size in runs.tree(group):
            ended = runs.finished(f"{group}/{size}")
            early = sum(_epochs(record) < record.spec.epochs for record in ended)
            counts.setdefault(size, []).append(f"{early} of {len(ended)} {label.split()[0]}")
    texts = (f"batch {n:,}: {' and '.join(of)} batch normalization" for n, of in counts.items())
    spec = runs.chosen[f"{PLAIN}/{min(counts)}"]
    return (
        f", until the training loss has not improved by {power_of_ten(IMPROVEMENT)} nats for "
        f"{spec.patience} epochs, {spec.epochs} at most. So many runs stopped before the last of "
        f"these: {'; '.join(texts)}"
    )


def _summary(runs: Runs, size: int) -> str:
    loss, epochs, accuracy = (
        summarize(runs.values(f"{PLAIN}/{size}", read)).mean
        for read in (measure("train_loss"), _epochs, measure("test_accuracy"))
    )
    return (
        f"batch {size:,}: training loss {format_number(loss, 2)} nats in {format_number(epochs, 2)}"
        f" epochs, test accuracy {format_number(accuracy and 100 * accuracy)} %"
    )


def _epochs(record: Record) -> int:
    return record.curves.epoch[-1]


def _by_size(runs: Runs) -> list[FigureItem]:
    panels: dict[str, dict[str, Any]] = {}
    for name, title in _MEASURES.items():
        for label, group in _SERIES.items():
            values = by_size(runs, group, name)
            if any(is_finite(value) for of_size in values.values() for value in of_size):
                panels.setdefault(title, {})[label] = values
    if not panels:
        return []
    return [
        FigureItem(
            "sharpness",
            figures.against_size(panels, styles=figures.method_styles(_SERIES)),
            "Sharpness against the batch size: Keskar's phi in full space and in a subspace, the "
            "top Hessian eigenvalue and adaptive sharpness, without and with batch normalization.",
            "After training by Adam; geometric means over seeds. φ is that of all training images, "
            f"the top eigenvalue and adaptive sharpness are those of {PROBED}: these two were not "
            "measured on nets with batch normalization, which are shown for φ, the claim's own "
            "measure.",
        )
    ]


def _between(runs: Runs) -> list[FigureItem]:
    records = [record for record in runs.finished(BETWEEN) if record.line is not None]
    if not records:
        return []
    sizes = runs.tree(PLAIN)
    names = tuple(f"batch {size:,}" for size in (min(sizes), max(sizes)))
    lines = {
        split: [{"alpha": r.line.alpha, **asdict(getattr(r.line, split))} for r in records]
        for split in ("training", "test")
    }
    around = {
        name: [
            {"position": r.filter_normalised.position, **asdict(getattr(r.filter_normalised, end))}
            for r in records
        ]
        for name, end in zip(names, ("first", "second"), strict=True)
    }
    drawn = records[0].surfaces
    at = drawn.position
    return [
        FigureItem(
            "interpolation",
            figures.interpolation_curves(lines, names),
            f"Loss and accuracy along the straight line through the solutions of {names[0]} and "
            f"{names[1]}, on training and test images.",
            "The parametric plot of Keskar et al. 2017: f(α x_large + (1 − α) x_small). Its two "
            "valleys share one axis, though the two weight vectors may differ in size.",
        ),
        FigureItem(
            "filter_normalised",
            figures.lines_around(around),
            f"Training loss and accuracy along the filter-normalised line around {names[0]} and "
            f"around {names[1]}.",
            "The same direction, its filters rescaled to the norms of each solution's own (Li et "
            "al. 2018): a step of 1 is as long as the weights are. Here widths can be compared.",
        ),
        FigureItem(
            "surfaces",
            figures.surfaces_side_by_side(
                at, at, {names[0]: drawn.first, names[1]: drawn.second}
            ),
            f"Contours of the training loss around {names[0]} and {names[1]} over two random "
            "directions, on one colour scale.",
            "One seed. The same two random directions for both, filter-normalised to either net's "
            f"own weights; {ON_SURFACES} training images.",
        ),
    ]  # fmt: skip


def _rescaled(runs: Runs) -> list[FigureItem]:
    seeds = [
        {row.factor: row for row in record.rescaled}
        for record in runs.finished(RESCALED)
        if record.rescaled
    ]
    if not seeds:
        return []

    def ratio(name: str, rows: dict[float, Any], factor: float) -> float | None:
        value, unscaled = getattr(rows[factor], name), getattr(rows[1], name)
        return None if value is None or not unscaled else value / unscaled

    ratios = {
        label: {factor: [ratio(name, rows, factor) for rows in seeds] for factor in seeds[0]}
        for name, label in _RESCALED.items()
    }
    unscaled, largest = seeds[0][1], seeds[0][max(seeds[0])]
    return [
        FigureItem(
            "rescaled",
            figures.rescaled_sharpness(ratios),
            "Sharpness measures of one function as its last hidden layer is multiplied by a and "
            "its classifier divided by a.",
            "The same function at several sharpnesses. With the first seed the test loss is "
            f"{format_number(unscaled.loss, 6)} nats at a = 1 and "
            f"{format_number(largest.loss, 6)} at a = {largest.factor:g}, the top eigenvalue "
            f"{format_number(unscaled.lambda_max)} and {format_number(largest.lambda_max)}. "
            f"Sharpness is that of {RESCALED_ON} training images.",
        )
    ]


def _stability(runs: Runs) -> list[FigureItem]:
    share = "share of the run (%)"
    curves, epochs = {}, Counter()
    for size in runs.tree(STABILITY):
        arm = f"{STABILITY}/{size}"
        records = [r for r in runs[arm] if r is not None and r.stability]
        if not records:
            continue
        epochs[size] = runs.chosen[arm].epochs
        curves[f"batch {size:,}, rate {runs.chosen[arm].learning_rate:g}"] = [
            {
                share: [100 * row.epoch / epochs[size] for row in record.stability],
                "lambda_max": [row.lambda_max for row in record.stability],
                "lambda_max_lr_half": [row.lambda_max_lr_half for row in record.stability],
            }
            for record in records
        ]
    if not curves:
        return []
    return [
        FigureItem(
            "stability",
            figures.sharpness_curves(curves, x=share),
            "The top Hessian eigenvalue, and times half the learning rate, through training by SGD "
            f"for {', '.join(curves)}.",
            "Plain SGD, each batch size at its own best rate. Mini-batches train for "
            f"{min(epochs.values())} epochs, the full batch of {max(runs.tree(STABILITY)):,}, with "
            f"one update in each, for {max(epochs.values())}. The eigenvalue is that of "
            f"{PROBED} training images drawn at random. That of all images, which the full batch "
            "descends on, is on average over such draws no larger (the top eigenvalue is a convex "
            "function of the Hessian), and may be tens of per cent smaller: read a line's height "
            "above 1 accordingly.",
        )
    ]  # fmt: skip
