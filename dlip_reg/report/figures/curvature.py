"""How sharp the loss is: the top eigenvalue through training, and the Hessian's whole spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dlip_reg.report.figures.series import Curve, lacking_note, logarithmic, means, over_seeds
from dlip_reg.report.figures.style import (
    GREY,
    WIDTH,
    Figure,
    MethodStyle,
    band_handles,
    draw_band,
    legend_above,
    log_ticks,
    styled,
    styles_for,
    write_note,
)

_PANELS = {
    "lambda_max": "top eigenvalue λ of the Hessian",
    "lambda_max_lr_half": "λ × learning rate ÷ 2",
    "adaptive_sharpness": "adaptive sharpness, nats",
    "sam_sharpness": "SAM sharpness, nats",
}
_STABILITY_LINE = (0, (5, 3))
_DECADES = 8  # of the spectral density that are drawn below its highest value


@styled
def sharpness_curves(
    curves: Mapping[str, Sequence[Curve]],
    styles: Mapping[str, MethodStyle] | None = None,
    measures: Sequence[str] = ("lambda_max", "lambda_max_lr_half"),
    x: str = "epoch",
) -> Figure:
    """Sharpness through training by method, one panel for each of `measures`, bands over seeds.

    `curves`: method -> one curve per seed with `x`, the name of the lower axis, and the measures,
    which are names that `callbacks.Sharpness` logs. Means and bands are geometric, for the axes are
    logarithmic. The line at 1 in the panel of "lambda_max_lr_half" is where plain gradient descent
    on a quadratic stops being stable: full-batch gradient descent hovers about it (Cohen et al.
    2021).
    """
    _require(curves, "method")
    styles = styles_for(curves, styles)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    handles = [
        Line2D([], [], color=styles[method].colour, linestyle=styles[method].line, label=method)
        for method in curves
    ]
    for axes, key in zip(panels, measures, strict=True):
        drawn = []
        for method, runs in curves.items():
            line = over_seeds(runs, x, key)
            look = styles[method]
            draw_band(axes, list(line), list(line.values()), look.colour, linestyle=look.line)
            drawn += means(line.values())
        if key == "lambda_max_lr_half":
            drawn.append(1.0)
            look = {"color": GREY, "linewidth": 1.4, "linestyle": _STABILITY_LINE}
            axes.axhline(1, zorder=1.5, **look)
            label = "1: full-batch gradient descent turns unstable"
            handles.append(Line2D([], [], label=label, **look))
        logarithmic(axes, drawn)
        axes.set_title(_PANELS[key], loc="left")
        axes.set_xlabel(x)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        write_note(axes, lacking_note(curves, [key]))
    legend_above(figure, handles + band_handles(panels), columns=4)
    return figure


@styled
def spectral_density(
    densities: Mapping[str, Mapping[str, Sequence[float]]],
    styles: Mapping[str, MethodStyle] | None = None,
) -> Figure:
    """The density of the Hessian's eigenvalues on a log axis, one panel per model below another.

    `densities`: name -> {"eigenvalue": places in rising order, "density": share of the
    eigenvalues per unit, which integrates to 1}. What lies 8 decades under the highest value is
    not drawn. Raises ValueError for lists of different lengths.
    """
    _require(densities, "density")
    styles = styles_for(densities, styles)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.0 * len(densities)), layout="constrained")
    panels = figure.subplots(len(densities), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    lines = {}
    for name, density in densities.items():
        lines[name] = np.asarray([density["eigenvalue"], density["density"]], float)
    tops = [line[1][np.isfinite(line[1])].max(initial=0) for line in lines.values()]
    high = 2 * max(tops)
    for axes, (name, (eigenvalue, values)) in zip(panels, lines.items(), strict=True):
        colour = styles[name].colour
        values = np.where(np.isfinite(values), values, 0)
        axes.plot(eigenvalue, values, color=colour, linewidth=1.4)
        axes.fill_between(eigenvalue, values, color=colour, alpha=0.2, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1, zorder=1.5)
        axes.set_title(name, loc="left")
        if high > 0:
            axes.set_yscale("log", nonpositive="clip")
            axes.set_ylim(high / 10**_DECADES, high)
            log_ticks(axes.yaxis, high / 10**_DECADES, high)
        write_note(axes, "" if values.any() else "no finite value")
    panels[-1].set_xlabel("eigenvalue of the Hessian")
    figure.supylabel("density of eigenvalues", fontsize=10)
    return figure


def _require(values: Mapping, what: str) -> None:
    if not values:
        raise ValueError(f"There is no {what} to draw: give at least one.")
