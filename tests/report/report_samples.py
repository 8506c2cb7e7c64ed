"""Made-up results in the shape of a real lab: 6 methods, 5 seeds, 15 epochs, 8 claims."""

import itertools
from dataclasses import asdict

import numpy as np

from dlip_reg.evidence.claims import ClaimResult, ControlResult, PartResult
from dlip_reg.evidence.rule import Estimate, Question, judge
from dlip_reg.report import FigureItem, Section, figures, write_report

METHODS = ("none", "dropout", "L1", "L2", "dropout + L2", "dropout + max-norm")
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def curves(methods=METHODS, seeds=5, epochs=15):
    rng = np.random.default_rng(0)
    at = np.arange(epochs + 1)
    result = {}
    for i, method in enumerate(methods):
        runs = []
        for seed in range(seeds):
            wobble = rng.normal(0, 0.03)
            floor = (0.04, 0.2, 0.22, 0.15, 0.24, 0.21)[i % 6]
            train = floor * np.exp(wobble) + (2.35 - floor) * np.exp(-at / 1.6) + 0.25 / (1 + at)
            train *= np.exp(rng.normal(0, 0.02, at.size))
            validation = train + (0.012, 0.004, 0.006, 0.007, 0.003, 0.004)[i % 6] * at * np.exp(
                rng.normal(0, 0.05)
            )
            penalty = (0, 0, 1.6, 0.5, 0.3, 0)[i % 6] * np.exp(-at / 4)
            keras_loss = train * (1.0, 1.9, 1.0, 1.0, 1.9, 2.0)[i % 6] + penalty + 0.05
            runs.append(
                {
                    "seed": seed,
                    "epoch": at.tolist(),
                    "train_loss": train.tolist(),
                    "validation_loss": validation.tolist(),
                    "keras_loss": [None, *keras_loss[1:].tolist()],
                }
            )
        result[method] = runs
    return result


def per_seed(centre, spread, methods=METHODS, seeds=5):
    rng = np.random.default_rng(1)
    return {
        method: (centre[i % len(centre)] + rng.normal(0, spread, seeds)).tolist()
        for i, method in enumerate(methods)
    }


def accuracy(methods=METHODS, seeds=5):
    return per_seed((0.889, 0.902, 0.893, 0.895, 0.903, 0.901), 0.003, methods, seeds)


def histograms(methods=METHODS, seeds=5):
    rng = np.random.default_rng(2)
    edges = np.linspace(-4, 4, 81)
    result = {}
    for i, method in enumerate(methods):
        result[method] = {}
        for kind, size in (("plain SGD", 5_000), ("Adam", 40_000)):
            counts = []
            for _ in range(seeds):
                weights = rng.normal(0, (1.1, 1.3, 0.3, 0.6, 0.5, 0.9)[i % 6], size)
                if i % 6 == 2:
                    weights *= rng.random(size) < 0.3
                    weights += rng.normal(0, 0.01, size)
                beyond = np.concatenate([[-np.inf], edges, [np.inf]])
                counts.append(np.histogram(weights, beyond)[0].tolist())
            result[method][kind] = {"edges": edges.tolist(), "counts": counts}
    return result


def activations(methods=METHODS, seeds=5, layers=("conv1", "conv2", "dense1", "dense2")):
    """(near-zero shares, mean activations)."""
    rng = np.random.default_rng(3)
    shares, means = {}, {}
    for i, method in enumerate(methods):
        shares[method] = {
            layer: np.clip(0.3 + 0.12 * j + 0.04 * (i % 6) + rng.normal(0, 0.02, seeds), 0, 1)
            for j, layer in enumerate(layers)
        }
        means[method] = {
            layer: 0.9 - 0.15 * j - 0.06 * (i % 6) + rng.normal(0, 0.02, seeds)
            for j, layer in enumerate(layers)
        }
    return shares, means


def strengths(seeds=5):
    """(panels, the title of the one on a linear axis)."""
    rng = np.random.default_rng(4)

    def series(grid, best, collapse):
        return {
            x: (0.9 - collapse * (i - best) ** 2 + rng.normal(0, 0.002, seeds)).tolist()
            for i, x in enumerate(grid)
        }

    points = {
        "L1": {"convolution": series(STRENGTHS, 2, 0.006), "dense": series(STRENGTHS, 1, 0.004)},
        "L2": {"convolution": series(STRENGTHS, 3, 0.003), "dense": series(STRENGTHS, 2, 0.005)},
    }
    points["L1"]["convolution"][STRENGTHS[-1]] = [0.1] * seeds
    rates = (0.0, 0.1, 0.25, 0.5, 0.7)
    dropout = {"convolution": series(rates, 1, 0.008), "dense": series(rates, 3, 0.003)}
    return {**points, "dropout": dropout}, "dropout"


def surface(seeds=5):
    """(separate trials, tied trials, ranges, optimum)."""
    rng = np.random.default_rng(5)
    strengths = STRENGTHS[1:]

    def trial(i, j, **values):
        mean = 0.1 if i == 3 else 0.9 - 0.004 * (i - 1) ** 2 - 0.003 * (j - 2) ** 2
        return {"strengths": values, "scores": mean + rng.normal(0, 0.003, seeds)}

    grid = list(enumerate(strengths))
    separate = [
        trial(i, j, conv_l2=conv, dense_l2=dense)
        for (i, conv), (j, dense) in itertools.product(grid, repeat=2)
    ]
    tied = [trial(i, i, l2=strength) for i, strength in enumerate(strengths)]
    ends = (strengths[0], strengths[-1])
    return separate, tied, (ends, ends), (2e-4, 1e-3)


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


def _judged(seed, name, sentence, unit, direction, delta, mean, sd, seeds=20, controls=(), **more):
    """A claim judged by the rule on made-up values; `controls`: (kind, description, mean)."""
    rng = np.random.default_rng(seed)

    def judged(mean):
        values = (mean + rng.normal(0, sd, seeds)).tolist() if sd else [float("nan")] * seeds
        return judge(values, Question(direction, delta), 8)

    def numbers(found):
        return asdict(found.estimate)

    results = []
    for kind, description, control_mean in controls:
        found = judged(control_mean)
        estimate = numbers(found)
        del estimate["level"]
        results.append(ControlResult(kind, description, **estimate, verdict=found.verdict))
    found = judged(mean)
    fails = any((c.kind == "negative") == (c.verdict == "supported") for c in results)
    verdict = "not measurable" if fails and found.verdict else found.verdict
    parts = {
        "experiment": f"{sentence[0].upper()}{sentence[1:]}: the mean over test images of the "
        "measure with the method minus without it, at matched training loss.",
        "smallest_effect_source": "a factor of two, as in the original paper",
    }
    return claim(
        name, sentence=sentence, unit=unit, direction=direction, smallest_effect=delta,
        verdict=verdict, look=found.look, estimates=found.estimates, controls=tuple(results),
        **parts | numbers(found) | more,
    )  # fmt: skip


def claims(seeds=20):
    """Eight claims; at 20 seeds there is every verdict."""
    slow = ("negative", "none at a learning rate that fits as slowly", 0.0)
    sgd = ("positive", "L1 under plain SGD at a strength that must give sparse weights", 0.6)
    return [
        _judged(
            1, "reg-overfit", "regularization reduces overfitting", "nats", -1, 0.02, -0.134,
            0.02, seeds, [slow], figures=("misleads", "loss_curves"),
            parts=(
                PartResult("dropout", "nats", -0.151, -0.17, -0.13),
                PartResult("L2", "nats", None, None, None),
                PartResult("steps to the target", "log-ratio", -0.3, -0.5, -0.1),
            ),
        ),
        _judged(
            2, "reg-dropout-best", "dropout performs best among the regularizers",
            "percentage points", 1, 0.5, 0.55, 0.8, seeds, figures=("accuracy",),
            notes=("The best dropout rate is the largest of its grid.",),
        ),
        _judged(
            3, "reg-dropout-weights", "dropout has a weight-regularization effect", "log-ratio",
            -1, 0.3, 0.9, 0.3, seeds, figures=("weights",),
        ),
        _judged(
            4, "reg-dropout-sparse", "dropout induces sparsity", "Hoyer sparseness", 1, 0.05,
            0.004, 0.01, seeds, figures=("activations",),
        ),
        _judged(
            5, "reg-l1-sparse", "L1 gives sparse weights, whereas L2 gives small ones",
            "Hoyer sparseness", 1, 0.05, 0.634, 0.05, seeds,
            [("negative", "L1 at a strength that does nothing", 0.0), sgd], figures=("weights",),
        ),
        _judged(
            6, "reg-l2-small", "L2 gives small weights", "log-ratio", -1, 0.6931, -1.2, 0.3,
            seeds, figures=("weights",),
        ),
        _judged(
            7, "reg-separate",
            "regularization strengths for CONV and FC layers should be tuned separately",
            "percentage points", 1, 0.5, 2.1, 0.6, seeds,
            [("negative", "two searches over one strength with other seeds", 1.9)],
            figures=("surface", "strengths"),
        ),
        _judged(
            8, "reg-complex", "it constrains the model from learning complex concepts",
            "log-ratio", 1, 0.6931, 0.0, 0.0, seeds,
        ),
    ]  # fmt: skip


NAMES = (
    "loss_curves", "misleads", "weights", "activations", "strengths", "surface", "accuracy",
)  # fmt: skip
ON_PAGE = {  # figure -> its alternative text and its caption
    "loss_curves": ("Loss curves of six methods.", "Training and validation loss by method."),
    "misleads": ("Two training losses of six methods.", "What Keras prints holds the penalty."),
    "surface": ("Surface of accuracy.", "Mean validation accuracy over both strengths."),
}


def all_figures(methods=METHODS, seeds=5):
    """Name -> Figure, every kind there is."""
    return {
        "loss_curves": figures.loss_curves(curves(methods, seeds), methods[0]),
        "misleads": figures.training_loss_misleads(curves(methods, seeds)),
        "weights": figures.weight_histograms(histograms(methods, seeds), 0.05),
        "activations": figures.activation_sparsity(*activations(methods, seeds)),
        "strengths": figures.strength_curves(*strengths(seeds)),
        "surface": figures.response_surface(*surface(seeds)),
        "accuracy": figures.method_accuracy(accuracy(methods, seeds)),
    }


def write_sample_report(folder, **changes):
    """A whole report with some of the figures; `changes` replaces arguments of `write_report`."""
    drawn = {
        "loss_curves": figures.loss_curves(curves(), METHODS[0]),
        "misleads": figures.training_loss_misleads(curves()),
        "surface": figures.response_surface(*surface()),
    }
    items = {name: FigureItem(name, plot, *ON_PAGE[name]) for name, plot in drawn.items()}
    parts = {"Overfitting": ("loss_curves", "misleads"), "Strengths": ("surface",)}
    arguments = {
        "title": "Regularization, measured",
        "lead": "Eight statements of a lecture note, each tested with up to 20 seeds.",
        "claims": claims(),
        "sections": [
            Section(title, [f"About {title.lower()}."], [items[name] for name in names])
            for title, names in parts.items()
        ],
        "facts": {
            "data": "Fashion-MNIST, 12,000 training and 4,000 test images",
            "model": "LeNet-5, 61,706 parameters",
            "seeds": "0, 1, 2, 3, 4",
        },
        "notes": ["Gradient descent on L1 gives near-zeros, not zeros."],
        "protocol": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    }
    return write_report(folder, **arguments | changes)


def figures_of(sections):
    """The figures of all sections, by name."""
    return {item.name: item for section in sections for item in section.figures}


def told(sections):
    """What the sections say in words."""
    texts = [paragraph for section in sections for paragraph in section.paragraphs]
    return " ".join(texts + [item.caption for item in figures_of(sections).values()])
