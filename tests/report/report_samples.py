"""Results of real labs, those of the gallery, and what is said of sections made from them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from dlip_reg.codec import from_plain
from dlip_reg.evidence.claims import ClaimResult, PartResult
from dlip_reg.evidence.rule import Estimate
from dlip_reg.report import FigureItem, Section, figures, write_report

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
RESULTS = json.loads((GALLERY / "results.json").read_text("utf-8"))
METHODS = tuple(RESULTS["method_accuracy"][0])
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def arguments(name, methods=METHODS, seeds=3):
    """The real arguments of a figure, given to `methods` one by one, and again from the first."""

    def few(value):
        if isinstance(value, dict):
            return {key: item if key == "edges" else few(item) for key, item in value.items()}
        return value[:seeds]

    def renamed(by_method):
        found = list(few(by_method).values())
        return {method: found[i % len(found)] for i, method in enumerate(methods)}

    first, *rest = RESULTS[name]
    if name == "gradient_flow":
        return [{title: renamed(by_method) for title, by_method in first.items()}]
    if name == "activation_sparsity":
        return [renamed(first), *map(renamed, rest)]
    return [renamed(first), *rest]


def curves(methods=METHODS, seeds=3):
    """Loss curves that a test may change."""
    return json.loads(json.dumps(arguments("loss_curves", methods, seeds)[0]))


def strengths(seeds=3):
    """(panels, the title of the one on a linear axis)."""
    rng = np.random.default_rng(4)

    def series(grid, best, collapse):
        return {
            x: (0.9 - collapse * (i - best) ** 2 + rng.normal(0, 0.002, seeds)).tolist()
            for i, x in enumerate(grid)
        }

    points = {
        "L1": {"convolution": series(STRENGTHS, 2, 0.006), "dense": series(STRENGTHS, 1, 0.004)},
        "dropout": {"dense": series((0.0, 0.1, 0.25, 0.5, 0.7), 3, 0.003)},
    }
    points["L1"]["convolution"][STRENGTHS[-1]] = [0.1] * seeds
    return points, "dropout"


def percentiles(methods):
    at = np.arange(0, 2001, 50)
    return {
        method: {
            "step": at.tolist(),
            "percentiles": {q: (np.sin(at / 300) + (q - 50) / 35).tolist() for q in (15, 50, 85)},
        }
        for method in methods
    }


def all_figures(methods=METHODS, seeds=3):
    """Name -> Figure, every kind there is of what depends on methods and seeds."""

    def drawn(name):
        return getattr(figures, name)(*arguments(name, methods, seeds))

    lines, *ends = RESULTS["losses_along"]
    lines = {split: runs[:seeds] for split, runs in lines.items()}
    names = ("training_loss_misleads", "weight_histograms", "activation_sparsity",
             "method_accuracy", "through_training", "landscape_bands", "gradient_flow")  # fmt: skip
    return {
        "loss_curves": figures.loss_curves(curves(methods, seeds), methods[0]),
        "strengths": figures.strength_curves(*strengths(seeds)),
        "interpolation": figures.losses_along(lines, *ends),
        "percentiles": figures.activation_percentiles(percentiles(methods)),
        **{name: drawn(name) for name in names},
    }


def surfaces():
    """Name -> Figure, of what depends on neither methods nor seeds."""
    return {
        "surface": figures.response_surface(*RESULTS["response_surface"]),
        "landscapes": figures.surfaces_side_by_side(*RESULTS["surfaces_side_by_side"]),
    }


def claim(name="reg-overfit", **changes):
    """A supported claim in numbers that are easy to check; `changes` replaces attributes."""
    parts = {
        "sentence": "regularization reduces overfitting",
        "experiment": "Test loss minus training loss at matched training loss.",
        "unit": "nats",
        "direction": -1,
        "null": 0.0,
        "effect": -0.1342,
        "ci_low": -0.1571,
        "ci_high": -0.1113,
        "n_seeds": 10,
        "smallest_effect": 0.02,
        "smallest_effect_source": "the resolution of the measurement",
        "level": 0.985,
        "verdict": "supported",
        "look": 10,
        "estimates": (
            Estimate(-0.12, -0.25, 0.01, 5, 0.99),
            Estimate(-0.1342, -0.1571, -0.1113, 10, 0.985),
        ),
    }
    return ClaimResult(name, **parts | changes)


def claims():
    """Those of the regularization lab at its standard preset, with every verdict there is."""
    written = json.loads((GALLERY / "claims_regularization.json").read_text("utf-8"))
    found = [from_plain(ClaimResult, plain) for plain in written]
    part = PartResult("L2", "nats", None, None, None)
    found[0] = replace(found[0], figures=("training",), notes=("A note.",), parts=(part,))
    control = found[-1].controls[0]
    failing = replace(control, kind="negative", verdict="supported")
    lost = found[-1].n_seeds - 1  # a seed was
    found[-1] = replace(found[-1], verdict="not measurable", controls=(failing,), n_seeds=lost)
    return found


def estimates():
    """The claims without a verdict, as they are after 3 seeds; one was not measured at all."""
    undecided = {"verdict": None, "look": None, "n_seeds": 3}
    found = [replace(c, **undecided, estimates=c.estimates[:1]) for c in claims()]
    found[-1] = replace(found[-1], effect=None, ci_low=None, ci_high=math.nan)
    return found


ON_PAGE = ("training", "flow", "surface", "accuracy")


def write_sample_report(folder):
    """A whole report with a slider, lines, a surface and rows."""
    frames = {}
    for name, last in (("2 epochs", 3), ("all epochs", None)):
        runs = curves(("none", "L2"))
        for run in runs["none"] + runs["L2"]:
            run |= {key: run[key][:last] for key in ("epoch", "train_loss", "validation_loss")}
        frames[name] = figures.loss_curves(runs, "none")
    drawn = {
        "training": frames["all epochs"],
        "flow": figures.gradient_flow(*arguments("gradient_flow", ("none", "L2"))),
        "surface": figures.response_surface(*RESULTS["response_surface"]),
        "accuracy": figures.method_accuracy(*arguments("method_accuracy")),
    }
    items = [
        FigureItem(name, plot, f"Alt of {name}.", f"Caption of {name}.",
                   frames if name == "training" else {}, "Trained for")
        for name, plot in drawn.items()
    ]  # fmt: skip
    return write_report(
        folder,
        title="Regularization, measured",
        lead="Eight statements of a lecture note, each tested with up to 20 seeds.",
        claims=claims(),
        sections=[Section("Training", ["About it."], items[:2]), Section("More", [], items[2:])],
        facts={"data": "Fashion-MNIST, 12,000 training and 4,000 test images"},
        notes=["Gradient descent on L1 gives near-zeros, not zeros."],
        protocol="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    )


def figures_of(sections):
    """The figures of all sections, by name."""
    return {item.name: item for section in sections for item in section.figures}


def told(sections):
    """What the sections say in words."""
    texts = [paragraph for section in sections for paragraph in section.paragraphs]
    return " ".join(texts + [item.caption for item in figures_of(sections).values()])
