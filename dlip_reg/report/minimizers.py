"""The batch-size report's part on flat and sharp minimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlip_reg.claims.paired import Records
from dlip_reg.report import figures
from dlip_reg.report.numbers import format_number
from dlip_reg.report.page import FigureItem, Section

Outcomes = Mapping[str, Any]
Record = Mapping[str, Any]

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
        items.append(_by_size(arms))
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
    ends = {size: _summary(plain[size]) for size in (min(plain), max(plain))}
    told = "; ".join(
        f"batch {size:,}: training loss {loss} nats after {epochs} epochs, test accuracy {accuracy}"
        for size, (loss, epochs, accuracy) in ends.items()
    )
    return [
        "As in Keskar et al. 2017: small batches and batches of a tenth of the training set, Adam "
        "at one rate, trained until the training loss stops improving "
        f"({told}; means over the seeds). φ is the largest rise of the loss in a small box around "
        "the weights, in per cent of 1 + loss: the best of three searches, each of which is in the "
        "records. A search that fails is reported as failed, never as flat.",
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


def _by_size(arms: Mapping[str, Any]) -> FigureItem:
    series = {"without batch normalization": arms["plain"], "with it": arms["batch norm"]}
    panels = {
        title: {
            label: values
            for label, runs in series.items()
            if (values := _values(runs, name)) and any(_known(v) for v in values.values())
        }
        for name, title in _MEASURES.items()
    }
    panels = {title: panel for title, panel in panels.items() if panel}
    return FigureItem(
        "sharpness",
        figures.against_size(panels, styles=figures.method_styles(series)),
        "Sharpness against the batch size: Keskar's phi in full space and in a subspace, the top "
        "Hessian eigenvalue and adaptive sharpness, without and with batch normalization.",
        "At the end of training by Adam; geometric means over seeds. The top eigenvalue and "
        "adaptive sharpness are on 512 training images, φ on all.",
    )


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
                "net's own weights; 512 training images.",
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
            f"{format_number(unscaled['lambda_max'])} and {format_number(largest['lambda_max'])}.",
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
        f"{min(epochs, default=0)} epochs, the full batch, which makes one update in each, for "
        f"{max(epochs, default=0)}. The eigenvalue is that of 256 training images.",
    )


def _named(size: int, records: Records) -> str:
    spec = next((record["spec"] for record in records.values() if record is not None), None)
    if spec is None:
        return f"batch {size:,}"
    name = "full batch" if size == spec["data"]["n_train"] else f"batch {size:,}"
    return f"{name}, rate {format_number(spec['learning_rate'])}"


def _values(runs: Mapping[int, Records], name: str) -> dict[int, list[float | None]]:
    return {
        size: [
            record["measures"].get(name)
            if record is not None and record["status"] == "finished"
            else None
            for record in records.values()
        ]
        for size, records in runs.items()
    }


def _summary(records: Records) -> tuple[str, str, str]:
    """Mean training loss, epochs trained and test accuracy, for people."""
    runs = [r for r in records.values() if r is not None and r["status"] == "finished"]
    if not runs:
        return ("–",) * 3

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return (
        format_number(mean([r["measures"]["train_loss"] for r in runs]), 2),
        format_number(mean([r["curves"]["epoch"][-1] for r in runs]), 2),
        f"{format_number(100 * mean([r['measures']['test_accuracy'] for r in runs]))} %",
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
