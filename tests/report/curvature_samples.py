"""Made-up curvature results in the shape of real ones, for the figures that show them."""

import numpy as np
from report_samples import METHODS

from dlip_reg.report import figures

LAYERS = ("conv1", "conv2", "conv3", "dense1", "dense2", "logits")


def sharpness(methods=METHODS, seeds=5, epochs=15):
    rng = np.random.default_rng(0)
    at = np.arange(epochs + 1)
    result = {}
    for i, method in enumerate(methods):
        result[method] = []
        for _ in range(seeds):
            top = 4 + (40, 12, 18, 9, 6, 15)[i % 6] * (1 - np.exp(-at / 4))
            top = top * np.exp(rng.normal(0, 0.08, at.size))
            result[method].append(
                {"epoch": at.tolist(), "lambda_max": top.tolist(),
                 "lambda_max_lr_half": (top * 0.05 / 2).tolist()}
            )  # fmt: skip
    return result


def lines(seeds=5):
    rng = np.random.default_rng(1)
    at = np.linspace(-0.5, 1.5, 25)
    result = {}
    for split, gap in (("training", 0.0), ("test", 0.25)):
        result[split] = []
        for _ in range(seeds):
            loss = 0.02 + gap + 4 * (at * (1 - at)) ** 2 + 0.4 * (at - 1) ** 4
            loss = loss * np.exp(rng.normal(0, 0.1))
            accuracy = np.clip(1 - 0.35 * loss, 0, 1)
            result[split].append(
                {"alpha": at.tolist(), "loss": loss.tolist(), "accuracy": accuracy.tolist()}
            )
    return result


def surface():
    x, y = np.linspace(-1, 1, 31), np.linspace(-1, 1, 25)
    across, up = np.meshgrid(x, y, indexing="ij")
    loss = 0.05 + 4 * across**2 + 2 * up**2 + 0.8 * np.sin(5 * across) ** 2 * up**2
    return x.tolist(), y.tolist(), {"one": np.exp(loss) - 0.95, "other": np.exp(2 * loss) - 0.95}


def bands(methods=METHODS[:2], seeds=5):
    rng = np.random.default_rng(2)
    at = np.arange(0, 1001, 50)
    result = {}
    for i, method in enumerate(methods):
        result[method] = []
        for _ in range(seeds):
            level = (1.5 - 0.2 * (i % 6)) * np.exp(-at / 400) * np.exp(rng.normal(0, 0.1, at.size))
            result[method].append(
                {
                    "step": at.tolist(),
                    "loss_low": (0.6 * level).tolist(),
                    "loss_high": (level * (3 - 0.3 * (i % 6))).tolist(),
                    "loss_range": (level * (2.4 - 0.3 * (i % 6))).tolist(),
                    "gradient_distance_low": (0.1 * level).tolist(),
                    "gradient_distance_high": (4 * level).tolist(),
                    "gradient_distance_range": (3.9 * level).tolist(),
                    "effective_beta": (20 * level).tolist(),
                }
            )
    return result


def percentiles(methods=METHODS[:2]):
    rng = np.random.default_rng(3)
    at = np.arange(0, 2001, 50)
    result = {}
    for i, method in enumerate(methods):
        centre = np.cumsum(rng.normal(0, 0.3 / (1 + i), at.size))
        result[method] = {
            "step": at.tolist(),
            "percentiles": {q: (centre + (q - 50) / 35).tolist() for q in (15, 50, 85)},
        }
    return result


def norms(methods=METHODS, seeds=5, layers=LAYERS):
    rng = np.random.default_rng(4)
    return {
        title: {
            method: {
                layer: (10.0 ** (scale * (j - i / 2)) * np.exp(rng.normal(0, 0.1, seeds))).tolist()
                for j, layer in enumerate(layers)
            }
            for i, method in enumerate(methods)
        }
        for title, scale in (("at initialisation", 0.8), ("after training", 0.1))
    }


def all_figures(methods=METHODS, seeds=5, layers=LAYERS):
    """Name -> Figure, every kind there is."""
    return {
        "sharpness": figures.sharpness_curves(sharpness(methods, seeds)),
        "interpolation": figures.interpolation_curves(lines(seeds), ("batch 32", "batch 2,000")),
        "landscapes": figures.surfaces_side_by_side(*surface()),
        "bands": figures.landscape_bands(bands(methods, seeds)),
        "percentiles": figures.activation_percentiles(percentiles(methods)),
        "flow": figures.gradient_flow(norms(methods, seeds, layers)),
    }
