"""The batch-size lab's report: its outcomes turned into figures and text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlip_reg.claims.convergence import (
    TRAINING,
    VALIDATION,
    best_rates_by_seed,
    curve_of,
    fit_knee,
    log_log_slope,
    to_target,
)
from dlip_reg.claims.paired import Records, Values, measure, per_seed
from dlip_reg.claims.verdict import t_interval
from dlip_reg.report import figures
from dlip_reg.report.figures.style import summarize
from dlip_reg.report.minimizers import sharpness_section
from dlip_reg.report.numbers import format_constant, format_estimate, format_number
from dlip_reg.report.page import FigureItem, Section

Outcomes = Mapping[str, Any]
NO_NORM = "without batch normalization"


def batch_size_sections(outcomes: Outcomes) -> list[Section]:
    """The report's sections, of those experiments that were run."""
    styles = figures.size_styles(_all_sizes(outcomes))
    return [
        _one_rate(outcomes, styles),
        _rates(outcomes, styles),
        _speed(outcomes, styles),
        sharpness_section(outcomes),
    ]


def _one_rate(outcomes: Outcomes, styles) -> Section:
    title = "One learning rate, many batch sizes"
    arms = outcomes.get("one_rate", {})
    if not any(arms.values()):
        return Section(title)
    plain, normalised = arms["equal epochs"], arms["batch norm"]
    rate = _rate(plain)
    items = [
        FigureItem(
            "one_rate",
            figures.loss_by_size(
                {NO_NORM: _curves(plain), "with batch normalization": _curves(normalised)}, styles
            ),
            "Training and validation loss against epochs for batch sizes "
            f"{_listed(plain)}, without and with batch normalization, at one learning rate.",
            f"Figure 5 of the note: SGD at the learning rate {format_constant(rate)} at every "
            "batch size. Clean cross-entropy over the whole split, bands over seeds. Equal epochs "
            "are not equal updates: the smallest batch takes "
            f"{max(plain) // min(plain)} times as many steps as the largest. Nets with batch "
            "normalization are evaluated with their moving statistics, which lag behind the "
            "weights in the first epochs, the more the larger the batch.",
        ),
        FigureItem(
            "equal_updates",
            figures.loss_by_size(
                {"equally many updates": _curves(arms["equal updates"])}, styles, x="updates"
            ),
            "Training and validation loss against the number of updates for batch sizes "
            f"{_listed(arms['equal updates'])}.",
            "The control: the same rate and the same number of updates, so that a batch k times as "
            "large has seen k times as many examples.",
        ),
        _accuracy(outcomes),
    ]
    return Section(
        title,
        (
            "The rate is the one with the lowest mean validation loss over all mini-batch sizes "
            "and seeds together, so that no size is favoured. A small batch makes many noisy "
            "steps in an epoch, a large one few exact ones: what looks like the batch size's doing "
            "at equal epochs is in part the number of steps. The control at equal updates takes "
            "that away, and gives the large batch more data instead. Neither comparison is the "
            "fair one; together they bound it, and the third is each size at its own best rate.",
            "The nets of this lab have no batch normalization: with it the loss of an image "
            "depends on its companions in the batch, so that changing the batch size changes the "
            "function that is minimised, not only how. Nets with it stand beside.",
            "Batch normalization's moving statistics must be re-estimated before a large-batch net "
            f"is judged. {_lag(normalised)} Its weights are the same; only the statistics lag.",
        ),
        tuple(items),
    )


def _lag(runs: Mapping[int, Records]) -> str:
    """How much of their initial values the moving statistics of the largest batch still hold."""
    spec = next((r["spec"] for r in runs[max(runs)].values() if r is not None), None)
    if spec is None:
        return ""
    updates = spec["epochs"] * max(1, spec["data"]["n_train"] // max(runs))
    told = " and ".join(
        f"{100 * momentum**updates:.2g} % at a momentum of {momentum:g}" for momentum in (0.99, 0.9)
    )
    return (
        f"Batch {max(runs):,} makes {updates:,} updates; of the statistics' initial values "
        f"{told} are then still there (Keras' own momentum is 0.99, the builders' 0.9)."
    )


def _accuracy(outcomes: Outcomes) -> FigureItem:
    arms = outcomes["one_rate"]
    left = {
        "equal epochs, one rate": _by_size(arms["equal epochs"], "test_accuracy"),
        "equal updates, one rate": _by_size(arms["equal updates"], "test_accuracy"),
    }
    if "rates" in outcomes:
        *minis, _ = outcomes["rates"]
        left["equal epochs, each at its best rate"] = _by_size(
            {size: outcomes["rates"][size].finals for size in minis}, "test_accuracy"
        )
    right = {
        "moving statistics, momentum 0.99": _by_size(arms["keras momentum"], "test_accuracy"),
        "moving statistics, momentum 0.9": _by_size(arms["batch norm"], "test_accuracy"),
        "statistics re-estimated": _by_size(arms["batch norm"], "recalibrated_test_accuracy"),
    }
    return FigureItem(
        "accuracy_by_size",
        figures.against_size(
            {NO_NORM: left, "with batch normalization": right},
            "test accuracy (%)",
            percent=True,
        ),
        "Test accuracy against the batch size: without batch normalization for equal epochs, equal "
        "updates and each size's best rate; with it for moving and for re-estimated statistics.",
        "Right, for equal epochs at the one rate: three evaluations of nets with the very same "
        "weights. Only the statistics that they are evaluated with differ.",
    )


def _rates(outcomes: Outcomes, styles) -> Section:
    items, paragraphs = [], []
    if "rates" in outcomes:
        items.append(_best_rates(outcomes["rates"], styles))
        paragraphs.append(
            "Each batch size tries the same coarse grid of rates, goes on beyond it while the best "
            "rate lies at an edge, and is refined by two-fold steps next to the best. A rate at "
            "which any seed diverged never wins. Beyond a rate that the curvature of the loss sets "
            "(see the last section) gradient descent overshoots, whatever the batch size."
        )
    if any(outcomes.get("scaling", {}).values()):
        items.append(_scaling(outcomes["scaling"], styles))
        base = min(outcomes["scaling"]["scaled"])
        paragraphs.append(
            "The linear scaling rule (Goyal et al. 2017): k times the batch, k times the rate, so "
            "that k small steps and one large one go equally far. Where it holds, the curves of "
            f"all batch sizes lie on that of the base, batch {base} at its own best rate. Warm-up "
            "lets the rate rise from the base's to the scaled one in the first epochs, by a "
            "constant amount a step."
        )
    return Section("Which learning rate for which batch", tuple(paragraphs), tuple(items))


def _best_rates(tuned: Mapping[int, Any], styles) -> FigureItem:
    best = best_rates_by_seed(tuned)
    losses = {
        size: {rate: per_seed(records, measure("val_loss")) for rate, records in own.trials.items()}
        for size, own in tuned.items()
    }
    by_size = {size: [of_seed.get(size) for of_seed in best.values()] for size in tuned}
    slopes = [log_log_slope(of) for of in best.values() if len(of) == len(tuned)]
    told = f"slope {format_estimate(*t_interval(slopes))}" if slopes else ""
    return FigureItem(
        "best_rates",
        figures.best_rates(losses, by_size, told, styles),
        f"Validation loss against the learning rate for batch sizes {_listed(tuned)}, and the best "
        f"rate against the batch size on log-log axes, {told}.",
        "Left: the validation loss after equally many epochs; rates at which a seed diverged are "
        "left out, and the star is the rate that is best over all seeds. Right: the best rate of "
        "each seed (dots), their geometric mean (line), the slope with its plain 95 % interval "
        f"over seeds. {_full(tuned)}",
    )


def _scaling(arms: Mapping[str, Mapping[int, Records]], styles) -> FigureItem:
    rows = {
        "unscaled: the base's rate for all": arms["unscaled"],
        "scaled: the rate grows with the batch": arms["scaled"],
        "scaled, with gradual warm-up": arms["scaled, warm-up"],
    }
    base = min(arms["scaled"])
    return FigureItem(
        "scaling",
        figures.loss_by_size({name: _curves(runs) for name, runs in rows.items()}, styles),
        f"Training and validation loss against epochs for batch sizes {_listed(arms['scaled'])} at "
        "one unscaled rate, at rates scaled with the batch size, and scaled with warm-up.",
        f"Figure 23 of the note. Base: batch {base} at the rate "
        f"{format_constant(_rate(arms['unscaled']))}. The closer the curves lie to the base's, the "
        "better the rule holds.",
    )


def _speed(outcomes: Outcomes, styles) -> Section:
    if "throughput" not in outcomes:
        return Section("How fast it is")
    throughput = outcomes["throughput"]
    rates = _by_size(throughput, "examples_per_second")
    mean = {size: summarize(values).mean for size, values in rates.items()}
    knee = fit_knee({size: rate for size, rate in mean.items() if rate is not None})
    items, to_goal = [], {}
    if "rates" in outcomes:
        tuned = outcomes["rates"]
        curves = {
            size: [
                curve and {**curve, "seconds": _seconds(record, curve, mean.get(size))}
                for record, curve in zip(
                    own.finals.values(), _curves({size: own.finals})[size], strict=True
                )
            ]
            for size, own in tuned.items()
        }
        items.append(
            FigureItem(
                "convergence",
                figures.convergence(curves, styles),
                f"Training loss of batch sizes {_listed(tuned)} against the epochs and against the "
                "seconds of training.",
                "Each batch size at its own best learning rate. The curves on the right are those "
                "on the left with the time that the examples take at that batch size on this "
                f"machine; recording is not counted. {_full(tuned)}",
            )
        )
        reached = to_target(outcomes)
        to_goal = {
            f"{name} to the target": {size: of[name] for size, of in reached.items()}
            for name in ("updates", "seconds")
        }
    items.append(
        FigureItem(
            "speed",
            figures.training_speed(rates, (knee.size, knee.overhead, knee.per_example), to_goal),
            "Examples per second against the batch size with the knee marked"
            + (", and updates and seconds to a target validation loss." if to_goal else "."),
            "Left: a step takes a fixed overhead and so much per example; at the knee, "
            f"batch {format_number(knee.size)}, both are equal and half of the peak of "
            f"{format_number(knee.peak)} examples a second is reached."
            + (
                " Right: what it takes to come to the lowest validation loss that all mini-batch "
                "sizes reach, each at its own best rate."
                if to_goal
                else ""
            ),
        )
    )
    one, *_, full = throughput
    cores = {size: _told(per_seed(throughput[size], measure("busy_cores"))) for size in (one, full)}
    return Section(
        "How fast it is",
        (
            "Larger batches spread the fixed cost of a step over more examples and give the "
            "processor's vector units and cores more to do at once: on this machine "
            f"{cores[full]} cores are busy at the full batch of {full:,}, {cores[one]} at single "
            "examples. On a graphics processor the knee lies at far larger batches.",
            "Seconds are those of this machine, measured on their own after the runs, with all "
            "its threads; updates and losses repeat bit for bit, seconds do not.",
        ),
        tuple(items),
    )


def _curves(runs: Mapping[int, Records]) -> dict[int, list[dict[str, Any] | None]]:
    """Batch size -> each seed's curve; one that diverged has None where its losses end."""
    return {
        size: [None if record is None else _curve(record, size) for record in records.values()]
        for size, records in runs.items()
    }


def _curve(record: Mapping[str, Any], size: int) -> dict[str, Any]:
    curve, spec = record["curves"], record["spec"]
    epochs, losses = list(curve["epoch"]), [list(curve[key]) for key in (TRAINING, VALIDATION)]
    if curve_of(record) is None:
        epochs.append(epochs[-1] + 1)
        for values in losses:
            values.append(None)
    steps = max(1, spec["data"]["n_train"] // size)
    return {
        "epoch": epochs,
        "updates": [epoch * steps for epoch in epochs],
        "train_loss": losses[0],
        "validation_loss": losses[1],
    }


def _seconds(
    record: Mapping[str, Any], curve: Mapping[str, Any], rate: float | None
) -> list[float]:
    if rate is None:
        return [math.nan] * len(curve["epoch"])
    return [epoch * record["spec"]["data"]["n_train"] / rate for epoch in curve["epoch"]]


def _by_size(runs: Mapping[int, Records], name: str) -> dict[int, Values]:
    return {size: per_seed(records, measure(name)) for size, records in runs.items()}


def _rate(runs: Mapping[int, Records]) -> float:
    """The learning rate that the runs of the smallest batch share."""
    records = [record for record in runs[min(runs)].values() if record is not None]
    return records[0]["spec"]["learning_rate"] if records else math.nan


def _all_sizes(outcomes: Outcomes) -> set[int]:
    sizes = set(outcomes.get("rates", {}))
    for name in ("one_rate", "scaling"):
        for runs in outcomes.get(name, {}).values():
            sizes |= set(runs)
    return sizes


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)


def _full(sizes: Iterable[int]) -> str:
    return f"Batch {max(sizes):,} is the full batch: all training images."


def _told(values: Sequence[float]) -> str:
    mean = summarize(values).mean
    return "an unknown number of" if mean is None else format_number(mean, 2)
