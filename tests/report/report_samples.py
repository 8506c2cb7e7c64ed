"""Made-up results in the shape of a real lab: 6 methods, 5 seeds, 15 epochs, 7 claims."""

import numpy as np

from dlip_reg.report import FigureItem, Section, figures, write_report

METHODS = ("none", "dropout", "L1", "L2", "dropout + L2", "dropout + max-norm")
STRENGTHS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)


def curves(methods=METHODS, seeds=5, epochs=15):
    rng = np.random.default_rng(0)
    at = np.arange(epochs + 1)
    result = {}
    for i, method in enumerate(methods):
        runs = []
        for _ in range(seeds):
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


def gaps(methods=METHODS, seeds=5):
    return per_seed((0.21, 0.06, 0.1, 0.11, 0.04, 0.06), 0.01, methods, seeds)


def accuracy(methods=METHODS, seeds=5):
    return per_seed((0.889, 0.902, 0.893, 0.895, 0.903, 0.901), 0.003, methods, seeds)


def histograms(methods=METHODS, seeds=5):
    rng = np.random.default_rng(2)
    edges = np.linspace(-4, 4, 81)
    result = {}
    for i, method in enumerate(methods):
        result[method] = {}
        for kind, size in (("conv", 5_000), ("dense", 40_000)):
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
    """(points on a log axis, points on a linear axis)."""
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
    return points, {"dropout": dropout}


def surface(seeds=5):
    """(conv strengths, dense strengths, accuracy, chosen cells)."""
    rng = np.random.default_rng(5)
    i, j = np.indices((5, 5))
    mean = 0.9 - 0.004 * (i - 2) ** 2 - 0.003 * (j - 3) ** 2
    mean[4, :] = 0.1
    values = mean + rng.normal(0, 0.003, (seeds, 5, 5))
    best = [np.unravel_index(seed.argmax(), seed.shape) for seed in values]
    return STRENGTHS, STRENGTHS, values, [(STRENGTHS[a], STRENGTHS[b]) for a, b in best]


def claims():
    def claim(name, sentence, experiment, unit, numbers, smallest, direction, verdict, **more):
        effect, low, high, p_value = numbers
        return {
            "id": name,
            "sentence": sentence,
            "experiment": experiment,
            "unit": unit,
            "effect": effect,
            "ci_low": low,
            "ci_high": high,
            "n_seeds": 5,
            "smallest_effect": smallest,
            "direction": direction,
            "verdict": verdict,
            "seeds_to_decide": None,
            "p_value": p_value,
            "level": 0.99,
            "parts": [],
            "figures": [],
        } | more

    return [
        claim(
            "reg-overfit",
            "regularization reduces overfitting",
            "The gap between validation and training loss of each method against no "
            "regularization, at the end of training.",
            "nats",
            (-0.1342, -0.1571, -0.1113, 0.00004),
            0.02,
            -1,
            "supported",
            figures=["gaps", "loss_curves"],
            parts=[
                {"label": "dropout", "effect": -0.151, "ci_low": -0.17, "ci_high": -0.13,
                 "unit": "nats"},
                {"label": "L1", "effect": -0.11, "ci_low": -0.14, "ci_high": -0.09,
                 "unit": "nats"},
                {"label": "L2", "effect": None, "ci_low": None, "ci_high": None, "unit": "nats"},
            ],
        ),
        claim(
            "reg-dropout-best",
            "dropout performs best among the regularizers",
            "Test accuracy of dropout against the better of L1 and L2, each at its own tuned "
            "strength under the same number of trials.",
            "percentage points",
            (0.62, -0.21, 1.45, 0.05),
            0.5,
            1,
            "undecided",
            seeds_to_decide=9,
            figures=["accuracy"],
        ),
        claim(
            "reg-dropout-weights",
            "dropout has a weight-regularization effect",
            "The RMS of the dense layers' weights with dropout against without.",
            "log ratio",
            (0.12, 0.07, 0.17, 0.002),
            0.05,
            -1,
            "contradicted",
            figures=["weights"],
        ),
        claim(
            "reg-dropout-sparse",
            "dropout induces sparsity",
            "The share of near-zero activations of the last hidden dense layer with dropout "
            "against without.",
            "share of activations",
            (0.004, -0.012, 0.02, 0.4),
            0.05,
            1,
            "no effect found",
            figures=["activations"],
        ),
        claim(
            "reg-l1-sparse",
            "L1 gives sparse weights",
            "The share of weights below 0.05 of their layer's RMS at initialisation with L1 "
            "against without.",
            "share of weights",
            (0.634, 0.59, 0.678, 1e-7),
            0.05,
            1,
            "supported",
            figures=["weights"],
        ),
        claim(
            "reg-l2-small",
            "L2 gives small weights",
            "The RMS of all kernels' weights with L2 against without.",
            "log ratio",
            (-0.52, -0.8, -0.24, 0.003),
            0.05,
            -1,
            "supported",
            figures=["weights"],
        ),
        claim(
            "reg-separate",
            "regularization strengths for CONV and FC should be tuned separately",
            "Test accuracy of the winner of a search over two strengths against that of a search "
            "over one, with the same number of trials.",
            "percentage points",
            (None, None, None, None),
            0.5,
            1,
            "undecided",
            n_seeds=0,
            figures=["surface", "strengths"],
        ),
    ]  # fmt: skip


ALT_AND_CAPTION = {
    "claims": ("Forest plot of seven claims.", "Effects in units of the smallest worth the name."),
    "loss_curves": ("Loss curves of six methods.", "Training and validation loss by method."),
    "misleads": ("Two training losses of six methods.", "What Keras prints holds the penalty."),
    "gaps": ("Bars of the gap of six methods.", "Generalization gap by method."),
    "weights": ("Histograms of weights of six methods.", "How the weights are spread."),
    "activations": ("Near-zero shares by layer.", "Activation sparsity by layer."),
    "strengths": ("Accuracy against strength.", "Convolution and dense strength apart."),
    "surface": ("Heat map of accuracy.", "Mean validation accuracy over both strengths."),
    "accuracy": ("Test accuracy of six methods.", "Each method at its own tuned strength."),
}


def all_figures(methods=METHODS, seeds=5):
    """Name -> Figure, every kind there is."""
    return {
        "claims": figures.claims_summary(claims()),
        "loss_curves": figures.loss_curves(curves(methods, seeds), methods[0]),
        "misleads": figures.training_loss_misleads(curves(methods, seeds)),
        "gaps": figures.gap_bars(gaps(methods, seeds)),
        "weights": figures.weight_histograms(histograms(methods, seeds), 0.05),
        "activations": figures.activation_sparsity(*activations(methods, seeds)),
        "strengths": figures.strength_curves(*strengths(seeds)),
        "surface": figures.strength_surface(*surface(seeds)),
        "accuracy": figures.method_accuracy(accuracy(methods, seeds)),
    }


def write_sample_report(folder):
    """A whole report of everything above."""
    items = {
        name: FigureItem(name, figure, *ALT_AND_CAPTION[name])
        for name, figure in all_figures().items()
    }
    parts = {
        "The claims at a glance": ("claims",),
        "Overfitting": ("loss_curves", "misleads", "gaps"),
        "Weights and activations": ("weights", "activations"),
        "Strengths": ("strengths", "surface", "accuracy"),
    }
    return write_report(
        folder,
        title="Regularization, measured",
        lead="Seven statements of a lecture note, each put to the test with 5 seeds.",
        claims=claims(),
        sections=[
            Section(title, [f"About {title.lower()}."], [items[name] for name in names])
            for title, names in parts.items()
        ],
        facts={
            "data": "Fashion-MNIST, 12,000 training and 4,000 test images",
            "model": "LeNet-5, 61,706 parameters",
            "seeds": "0, 1, 2, 3, 4",
        },
        notes=["Gradient descent on L1 gives near-zeros, not zeros."],
    )


def figures_of(sections):
    """The figures of all sections, by name."""
    return {item.name: item for section in sections for item in section.figures}


def told(sections):
    """What the sections say in words."""
    texts = [paragraph for section in sections for paragraph in section.paragraphs]
    return " ".join(texts + [item.caption for item in figures_of(sections).values()])
