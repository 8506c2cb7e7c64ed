"""The regularization lab's report: its outcomes turned into figures and text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlip_reg.report import figures
from dlip_reg.report.figures.style import power_of_ten
from dlip_reg.report.page import FigureItem, Section

Outcomes = Mapping[str, Mapping[int, Any]]
Labels = Mapping[str, str]
_SEPARATE = "l2_separate"


def regularization_sections(
    outcomes: Outcomes, labels: Labels, claims: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """The report's sections; `labels` are the methods' names for people."""
    styles = figures.method_styles(list(labels.values()))
    return [
        _loss(outcomes, labels, styles),
        _weights(outcomes, labels, styles),
        _sharpness(outcomes, labels, styles),
        _strengths(outcomes, labels, styles),
    ]


def _loss(outcomes: Outcomes, labels: Labels, styles) -> Section:
    shown = [name for name in outcomes if name != _SEPARATE]
    curves = {
        labels[name]: [
            {
                "epoch": record["curves"]["epoch"],
                "train_loss": record["curves"]["clean_loss"],
                "validation_loss": record["curves"]["clean_val_loss"],
                "keras_loss": record["curves"]["keras_loss"],
            }
            for record in _finals(outcomes, name)
        ]
        for name in shown
    }
    items = []
    if "none" in outcomes:
        items.append(
            FigureItem(
                "loss_curves",
                figures.loss_curves(curves, labels["none"], styles),
                "Clean training and validation loss against epochs, one panel for each of "
                f"{_listed(curves)}, with bands over seeds.",
                "Cross-entropy without penalty, in inference mode over the whole split. A gap that "
                "opens between the two curves is overfitting.",
            )
        )
    items.append(
        FigureItem(
            "training_loss_misleads",
            figures.training_loss_misleads(curves, styles),
            f"The training loss that fit prints beside the clean one, for {_listed(curves)}.",
            "The loss that model.fit prints adds the penalty, has dropout on and averages over "
            "weights that move during the epoch. Compare methods on the clean loss only.",
        )
    )
    gaps = {labels[name]: _values(outcomes, name, _gap) for name in shown}
    items.append(
        FigureItem(
            "gap",
            figures.gap_bars(gaps, styles),
            f"Generalization gap of {_listed(gaps)}: " + _means(gaps, "nats") + ".",
            "Clean validation loss minus clean training loss after the last epoch; intervals over "
            "seeds, one dot a seed.",
        )
    )
    accuracy = {labels[n]: _values(outcomes, n, _measured("test_accuracy")) for n in outcomes}
    items.append(
        FigureItem(
            "test_accuracy",
            figures.method_accuracy(accuracy, styles),
            f"Test accuracy of {_listed(accuracy)}: " + _means(accuracy, "") + ".",
            "Each method at the strength that won on validation data; the test set was looked at "
            "once, by that winner.",
        )
    )
    return Section(
        "Loss and accuracy",
        (
            "Every method was tuned with the same number of strengths; its own is the one with the "
            "best mean validation accuracy over the seeds, and that one is shown: "
            + "; ".join(
                f"{label} ({_strength(outcomes[n])})" for n, label in labels.items() if n != "none"
            )
            + ". The intervals say how much the seeds vary; the claims above compare within each "
            "seed, which is why they can decide where these intervals overlap.",
        ),
        tuple(items),
    )


def _weights(outcomes: Outcomes, labels: Labels, styles) -> Section:
    shown = [name for name in outcomes if name != _SEPARATE and _finals(outcomes, name)]
    if not shown:
        return Section("Weights and activations", (), ())
    first = _finals(outcomes, shown[0])[0]["weights"]
    histograms = {
        labels[name]: {
            kind: {
                "edges": first["edges"],
                "counts": [
                    record["weights"]["rows"][-1]["kinds"][kind]["histogram"]
                    for record in _finals(outcomes, name)
                ],
            }
            for kind in first["rows"][-1]["kinds"]
        }
        for name in shown
    }
    items = [
        FigureItem(
            "weights",
            figures.weight_histograms(histograms, first["threshold"], styles),
            f"Histograms of the trained weights by kind of layer for {_listed(histograms)}.",
            "Weights after training, in units of their layer's RMS at initialisation. Between the "
            f"grey lines |w| is below {100 * first['threshold']:g} % of it and counts as near "
            "zero.",
        )
    ]
    activations = {
        statistic: {
            labels[name]: {
                row["stage"]: [
                    _activation(record, row["stage"], statistic)
                    for record in _finals(outcomes, name)
                ]
                for row in first["rows"][-1]["activations"]
            }
            for name in shown
        }
        for statistic in ("near_zero", "mean")
    }
    if first["rows"][-1]["activations"]:
        items.append(
            FigureItem(
                "activations",
                figures.activation_sparsity(activations["near_zero"], activations["mean"], styles),
                f"Share of near-zero activations and mean activation by layer for "
                f"{_listed(histograms)}.",
                "On a fixed probe of validation images, dropout off, as in figure 8 of Srivastava "
                "et al. 2014.",
            )
        )
    return Section(
        "Weights and activations",
        (
            "Sparse weights and sparse activations are two things: an L1 penalty acts on the "
            "weights, dropout on the activations. Gradient descent on an L1 penalty gives weights "
            "near zero, not zeros; hence a threshold.",
        ),
        tuple(items),
    )


def _sharpness(outcomes: Outcomes, labels: Labels, styles) -> Section:
    measures = ("lambda_max", "adaptive_sharpness")
    curves = {
        labels[name]: [
            {key: [row[key] for row in record["curvature"]] for key in ("epoch", *measures)}
            for record in _finals(outcomes, name)
        ]
        for name in outcomes
        if name != _SEPARATE
    }
    ends = {
        labels[name]: _values(outcomes, name, _measured("adaptive_sharpness"))
        for name in outcomes
        if name != _SEPARATE
    }
    return Section(
        "Sharpness",
        (
            "How sharply the clean training loss curves at the weights. The top eigenvalue of its "
            "Hessian depends on the scale of the weights: scaling one ReLU layer up and the next "
            "one down by the same factor changes it, and no prediction (Dinh et al. 2017). So a "
            "penalty that shrinks weights can raise it without a sharper minimum. Adaptive "
            "sharpness, how much the loss rises when each weight may move in proportion to its "
            "size, stays the same under that rescaling.",
        ),
        (
            FigureItem(
                "sharpness",
                figures.sharpness_curves(curves, styles, measures),
                "Top Hessian eigenvalue and adaptive sharpness of the clean training loss through "
                f"training; adaptive sharpness at the end: {_means(ends, 'nats')}.",
                "On 256 training images, the same at each point; geometric means with intervals "
                "over seeds. Regularization that works by flatter minima would show on the right.",
            ),
        ),
    )


def _strengths(outcomes: Outcomes, labels: Labels, styles) -> Section:
    points: dict[str, dict[str, dict[float, list[float]]]] = {}
    rates: dict[str, dict[str, dict[float, list[float]]]] = {}
    for name in ("l1", "l2"):
        if name in outcomes:
            series = {"conv and dense tied": _by_strength(outcomes, name, f"dense_{name}")}
            if name == "l2" and _SEPARATE in outcomes:
                # The other strength is the one of the two searches' common grid that does best.
                for kind in ("conv", "dense"):
                    series[f"{kind}, the other at its best"] = _profile(outcomes, f"{kind}_l2")
            points[labels[name]] = {label: line for label, line in series.items() if line}
    if "dropout" in outcomes:
        rates[labels["dropout"]] = {
            "dense layers": _by_strength(outcomes, "dropout", "dense_dropout")
        }
    items = []
    if points or rates:
        items.append(
            FigureItem(
                "strengths",
                figures.strength_curves(points, rates),
                f"Validation accuracy against strength for {_listed([*points, *rates])}.",
                "Mean over seeds and its interval at every strength that was tried.",
            )
        )
    if _SEPARATE in outcomes and any(o.trials for o in outcomes[_SEPARATE].values()):
        items.append(_surface(outcomes))
    return Section(
        "Tuning the strengths",
        (
            "A strength means Keras' l in l · Σ|w| or l · Σw²; a weight decay λ of a paper is "
            "l = λ / 2.",
        ),
        tuple(items),
    )


def _surface(outcomes: Outcomes) -> FigureItem:
    by_seed = outcomes[_SEPARATE]
    cells = [
        {
            (r["conv_l2"], r["dense_l2"]): record["measures"]["val_accuracy"]
            for record in outcome.trials
            if (r := record["spec"]["regularization"])
        }
        for outcome in by_seed.values()
    ]
    conv = sorted({pair[0] for seed in cells for pair in seed})
    dense = sorted({pair[1] for seed in cells for pair in seed})
    accuracy = [[[_or_nan(seed.get((c, d))) for d in dense] for c in conv] for seed in cells]
    best = [outcome.best for outcome in by_seed.values()]
    chosen = [(strengths.conv_l2, strengths.dense_l2) for strengths in best if strengths]
    return FigureItem(
        "strength_surface",
        figures.strength_surface(conv, dense, accuracy, chosen),
        "Heat map of mean validation accuracy over convolution and dense L2 strength, the tied "
        "diagonal and each seed's winner marked.",
        "Mean validation accuracy over seeds. A tied search sees only the diagonal; each star is "
        "the best cell of one seed.",
    )


def _by_strength(outcomes: Outcomes, method: str, field: str) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for outcome in outcomes[method].values():
        for record in outcome.trials:
            strength = record["spec"]["regularization"][field]
            found.setdefault(strength, []).append(_or_nan(record["measures"]["val_accuracy"]))
    return dict(sorted(found.items()))


def _profile(outcomes: Outcomes, field: str) -> dict[float, list[float]]:
    """The best validation accuracy at each value of `field`, over the other one, by seed."""
    found: dict[float, list[float]] = {}
    for outcome in outcomes[_SEPARATE].values():
        best: dict[float, float] = {}
        for record in outcome.trials:
            strength = record["spec"]["regularization"][field]
            value = record["measures"]["val_accuracy"]
            if value is not None:
                best[strength] = max(value, best.get(strength, 0.0))
        for strength, value in best.items():
            found.setdefault(strength, []).append(value)
    return dict(sorted(found.items()))


def _strength(by_seed: Mapping[int, Any]) -> str:
    """A method's own strengths, for people."""
    final = next((outcome.final for outcome in by_seed.values() if outcome.final), None)
    if final is None:
        return "no run ended well"
    values = final["spec"]["regularization"]
    told = []
    if values["dense_dropout"]:
        told.append(f"rate {values['dense_dropout']:g}")
    if values["max_norm"]:
        told.append(f"norm at most {values['max_norm']:g}")
    for kind in ("l1", "l2"):
        conv, dense = values[f"conv_{kind}"], values[f"dense_{kind}"]
        if conv == dense != 0:
            told.append(f"strength {power_of_ten(conv)}")
        elif conv or dense:
            told.append(f"conv {power_of_ten(conv)}, dense {power_of_ten(dense)}")
    return ", ".join(told)


def _finals(outcomes: Outcomes, method: str) -> list[Mapping[str, Any]]:
    return [o.final for o in outcomes[method].values() if o.final is not None]


def _values(outcomes: Outcomes, method: str, read: Callable) -> list[float | None]:
    return [None if o.final is None else read(o.final) for o in outcomes[method].values()]


def _measured(name: str) -> Callable:
    return lambda record: record["measures"][name]


def _gap(record: Mapping[str, Any]) -> float | None:
    ends = record["measures"]["val_loss"], record["measures"]["train_loss"]
    return None if None in ends else ends[0] - ends[1]


def _activation(record: Mapping[str, Any], stage: str, statistic: str) -> float | None:
    rows = record["weights"]["rows"][-1]["activations"]
    return next((row[statistic] for row in rows if row["stage"] == stage), None)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _listed(names) -> str:
    return ", ".join(names)


def _means(values: Mapping[str, Sequence[float | None]], unit: str) -> str:
    told = []
    for name, numbers in values.items():
        known = [number for number in numbers if number is not None]
        if known:
            told.append(f"{name} {sum(known) / len(known):.3f} {unit}".strip())
    return ", ".join(told)
