"""The batch-size report's part on flat and sharp minimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlip_reg.claims.paired import Record, Records, measure, per_seed
from dlip_reg.report import figures
from dlip_reg.report.figures.style import is_finite, power_of_ten, summarize
from dlip_reg.report.numbers import format_constant, format_number
from dlip_reg.report.page import FigureItem, Section
from dlip_reg.training.specification import IMPROVEMENT

Outcomes = Mapping[str, Any]

# Of `dlip_reg.training`: the images that the probes, the rescaled net and the surfaces are measured
# on.
PROBED, RESCALED, ON_SURFACES = 256, 512, 512

_MEASURES = {
    "keskar_1e-3": "Keskar's φ, full space, ε = 10⁻³ (%)",
    "keskar_subspace_1e-3": "φ in 100 random dimensions, ε = 10⁻³ (%)",
    "lambda_max": "top eigenvalue λ of the Hessian",
    "adaptive_sharpness": "adaptive sharpness (nats)",
}
_RESCALED = {
    "lambda_max": "top eigenvalue",
    "keskar_1e-3": "Keskar's φ, ε = 10⁻³",
    "sam_sharpness": "SAM sharpness",
    "adaptive_sharpness": "adaptive sharpness",
    "loss": "test loss",
}


def sharpness_section(outcomes: Outcomes) -> Section:
    """The section, of what was run of "sharpness" and "stability"."""
    title = "Flat and sharp minimizers"
    items, paragraphs = [], []
    if "sharpness" in outcomes:
        arms = outcomes["sharpness"]
        paragraphs += _explained(arms)
        items += _by_size(arms)
        items += _between(arms)
        items += _rescaled(arms["rescaled"])
    if outcomes.get("stability"):
        items.append(_stability(outcomes["stability"]))
        paragraphs.append(
            "λ × rate ÷ 2 says how near a step is to overshooting along the steepest curve: above "
            "1, gradient descent on a quadratic climbs. Cohen et al. 2021 saw full-batch gradient "
            "descent sharpen until it hovers about 1. These runs are plain SGD, which the rule is "
            "about; Adam rescales every weight's step."
        )
    return Section(title, tuple(paragraphs), tuple(items))


def _explained(arms: Mapping[str, Any]) -> list[str]:
    plain = arms["plain"]
    told = "; ".join(_summary(size, plain[size]) for size in (min(plain), max(plain)))
    return [
        "As in Keskar et al. 2017: small batches and batches of a tenth of the training set, Adam "
        f"at one rate{_stop(arms)}. What is measured are the weights of the epoch with the lowest "
        f"training loss ({told}; means over the seeds without batch normalization). φ is the "
        "largest rise of the loss in a small box around the weights, in per cent of 1 + loss: the "
        "best of three searches, each of which is in the records. A search that fails is reported "
        "as failed, never as flat.",
        "What to hold against it: the runs do not end at the same training loss, and near zero "
        "loss every measure of curvature shrinks with the loss. And sharpness in the weights' own "
        "units is no property of the function: multiply a ReLU layer by a and divide the next by "
        "a, and the net computes the same for every image, while λ and φ change (Dinh et al. "
        "2017). Adaptive sharpness and filter-normalised lines do not see that rescaling; read "
        "them beside φ.",
        "Where nets have batch normalization, every measure that moves the weights takes batch "
        "statistics of a fixed batch, or re-estimates them at every point: the moving ones belong "
        "to the trained weights and to no others.",
    ]


def _stop(arms: Mapping[str, Any]) -> str:
    """When the runs were to stop, and how many of each kind did."""
    series = {"without": arms["plain"], "with": arms["batch norm"]}
    ended = [r for runs in series.values() for records in runs.values() for r in _finished(records)]
    if not ended:
        return ""
    spec = ended[0]["spec"]
    stopped = []
    for size in arms["plain"]:
        of_arms = {arm: _finished(runs[size]) for arm, runs in series.items() if size in runs}
        counts = (f"{sum(map(_stopped, own))} of {len(own)} {arm}" for arm, own in of_arms.items())
        stopped.append(f"batch {size:,}: {' and '.join(counts)} batch normalization")
    return (
        f", until the training loss has not improved by {power_of_ten(IMPROVEMENT)} nats for "
        f"{spec['patience']} epochs, {spec['epochs']} at most. So many runs stopped by themselves, "
        "before the last of these: " + "; ".join(stopped)
    )


def _by_size(arms: Mapping[str, Any]) -> list[FigureItem]:
    series = {
        "without batch normalization": arms["plain"],
        "with batch normalization": arms["batch norm"],
    }
    panels: dict[str, dict[str, Any]] = {}
    for name, title in _MEASURES.items():
        for label, runs in series.items():
            values = {size: per_seed(own, _measured(name)) for size, own in runs.items()}
            if any(is_finite(value) for of_size in values.values() for value in of_size):
                panels.setdefault(title, {})[label] = values
    if not panels:
        return []
    return [
        FigureItem(
            "sharpness",
            figures.against_size(panels, styles=figures.method_styles(series)),
            "Sharpness against the batch size: Keskar's phi in full space and in a subspace, the "
            "top Hessian eigenvalue and adaptive sharpness, without and with batch normalization.",
            "After training by Adam; geometric means over seeds. φ is that of all training images, "
            f"the top eigenvalue and adaptive sharpness are those of {PROBED}: these two were not "
            "measured on nets with batch normalization, which stand beside for φ, the claim's own "
            "measure.",
        )
    ]


def _between(arms: Mapping[str, Any]) -> list[FigureItem]:
    records = [r for r in arms["between"].values() if r is not None and r["line"] is not None]
    if not records:
        return []
    names = tuple(f"batch {size:,}" for size in (min(arms["plain"]), max(arms["plain"])))
    lines = {
        split: [{"alpha": r["line"]["alpha"], **r["line"][split]} for r in records]
        for split in ("training", "test")
    }
    around = {
        name: [
            {"position": r["filter_normalised"]["position"], **r["filter_normalised"][end]}
            for r in records
        ]
        for name, end in zip(names, ("first", "second"), strict=True)
    }
    items = [
        FigureItem(
            "interpolation",
            figures.interpolation_curves(lines, names),
            f"Loss and accuracy along the straight line through the solutions of {names[0]} and "
            f"{names[1]}, on training and test images.",
            "The parametric plot of Keskar et al. 2017: f(α x_large + (1 − α) x_small). Its two "
            "valleys are drawn on one ruler, though the two weight vectors may differ in size.",
        ),
        FigureItem(
            "filter_normalised",
            figures.lines_around(around),
            f"Training loss and accuracy along the filter-normalised line around {names[0]} and "
            f"around {names[1]}.",
            "The same direction, its filters rescaled to the norms of each solution's own (Li et "
            "al. 2018): a step of 1 is as long as the weights are. Here widths can be compared.",
        ),
    ]
    drawn = next((r["surfaces"] for r in records if r["surfaces"] is not None), None)
    if drawn is not None:
        at = drawn["position"]
        items.append(
            FigureItem(
                "surfaces",
                figures.surfaces_side_by_side(
                    at, at, {names[0]: drawn["first"], names[1]: drawn["second"]}
                ),
                f"Contours of the training loss around {names[0]} and {names[1]} over two random "
                "directions, on one colour scale.",
                "One seed. The same two random directions for both, filter-normalised to either "
                f"net's own weights; {ON_SURFACES} training images.",
            )
        )
    return items


def _rescaled(records: Records) -> list[FigureItem]:
    rows = [r["rescaled"] for r in records.values() if r is not None and r["rescaled"]]
    if not rows:
        return []
    ratios: dict[str, dict[float, list[float | None]]] = {}
    for of_seed in rows:
        as_it_is = next(row for row in of_seed if row["factor"] == 1)
        for name, label in _RESCALED.items():
            for row in of_seed:
                values = ratios.setdefault(label, {}).setdefault(row["factor"], [])
                ends = row[name], as_it_is[name]
                values.append(None if None in ends or ends[1] == 0 else ends[0] / ends[1])
    largest = max(rows[0], key=lambda row: row["factor"])
    unscaled = next(row for row in rows[0] if row["factor"] == 1)
    return [
        FigureItem(
            "rescaled",
            figures.rescaled_sharpness(ratios),
            "Sharpness measures of one function as its last hidden layer is multiplied by a and "
            "its classifier divided by a.",
            "The same function at many sharpnesses. With the first seed the test loss is "
            f"{format_number(unscaled['loss'], 6)} nats at a = 1 and "
            f"{format_number(largest['loss'], 6)} at a = {largest['factor']:g}, the top eigenvalue "
            f"{format_number(unscaled['lambda_max'])} and {format_number(largest['lambda_max'])}. "
            f"Sharpness is that of {RESCALED} training images.",
        )
    ]


def _stability(runs: Mapping[int, Records]) -> FigureItem:
    share = "share of the run (%)"
    curves = {
        _named(size, records): [
            {
                share: [100 * row["epoch"] / record["spec"]["epochs"] for row in rows],
                "lambda_max": [row["lambda_max"] for row in rows],
                "lambda_max_lr_half": [row["lambda_max_lr_half"] for row in rows],
            }
            for record in records.values()
            if record is not None and (rows := record["stability"])
        ]
        for size, records in runs.items()
    }
    epochs = {
        record["spec"]["epochs"]
        for records in runs.values()
        for record in records.values()
        if record is not None
    }
    return FigureItem(
        "stability",
        figures.sharpness_curves(curves, x=share),
        "The top Hessian eigenvalue, and times half the learning rate, through training by SGD for "
        + ", ".join(curves)
        + ".",
        "Plain SGD, each batch size at its own best rate. Mini-batches train for "
        f"{min(epochs, default=0)} epochs, the full batch of {max(runs):,}, which makes one update "
        f"in each, for {max(epochs, default=0)}. The eigenvalue is that of {PROBED} training "
        "images drawn at random. That of all images, which the full batch descends on, is on "
        "average over such draws no larger (the top eigenvalue is a convex function of the "
        "Hessian), and may be tens of per cent smaller: read a line's height above 1 accordingly.",
    )


def _named(size: int, records: Records) -> str:
    rates = {r["spec"]["learning_rate"] for r in records.values() if r is not None}
    return f"batch {size:,}" + "".join(f", rate {format_constant(rate)}" for rate in rates)


def _summary(size: int, records: Records) -> str:
    loss, epochs, accuracy = (
        summarize(per_seed(records, read)).mean
        for read in (measure("train_loss"), _epochs, measure("test_accuracy"))
    )
    return (
        f"batch {size:,}: training loss {format_number(loss, 2)} nats in {format_number(epochs, 2)}"
        f" epochs, test accuracy {format_number(accuracy and 100 * accuracy)} %"
    )


def _finished(records: Records) -> list[Record]:
    return [r for r in records.values() if r is not None and r["status"] == "finished"]


def _epochs(record: Record) -> float:
    return record["curves"]["epoch"][-1]


def _stopped(record: Record) -> bool:
    return _epochs(record) < record["spec"]["epochs"]


def _measured(name: str) -> Callable[[Record], float | None]:
    """Reads a measure that not every arm has."""
    return lambda record: record["measures"].get(name)
