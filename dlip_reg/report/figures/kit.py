"""What all figures share: size, fonts, colours that also work in grey, and statistics over seeds.

A figure is drawn inside `style()`, which starts from Matplotlib's own defaults, so that a reader's
matplotlibrc changes nothing; no figure touches pyplot.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeGuard, TypeVar

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from dlip_reg.evidence.intervals import t_interval
from dlip_reg.report.numbers import SUPERSCRIPTS

Value = float | None
_P = ParamSpec("_P")
_R = TypeVar("_R")
Look = dict[str, Any]  # options of `plot`
Line = str | tuple[float, tuple[float, ...]]

# Inches; shown 900 pixels wide, so that 10 points come to 14 pixels.
WIDTH = 9.0

# Okabe and Ito, "Color Universal Design" (2008), without the yellow that white paper swallows.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Line, ...] = (
    "-",
    (0, (6, 2)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)
GREY = "#6B6B6B"
TARGET: Look = {"color": GREY, "linewidth": 1.4, "linestyle": (0, (5, 3))}  # a value to reach
_BAND_ALPHA = 0.2
# A hollow dot for one seed.
SEED: Look = {"linestyle": "", "marker": "o", "markersize": 4.5, "markerfacecolor": "white",
        "label": "one seed"}  # fmt: skip
INTERVAL: Look = {"color": GREY, "linewidth": 1.4}  # of a mean that is a mark

_RC: Any = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so text is as wide on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a "$" in a label is a dollar sign
    "svg.hashsalt": "dlip_reg",  # the same figure, the same bytes
    "svg.fonttype": "path",
}


class Figure(MatplotlibFigure):
    """A Matplotlib figure that a notebook displays without pyplot.

    Attributes:
        grids: Panel -> (x, y, values, unit) of a filled contour plot, for the interactive figure.
            Values are shares where the unit is "%", else logarithms to the base 10.
        bars: The axes of colour bars.
        seed_lines: Panel -> lines of single seeds that only the interactive figure has.
        details: Artist -> what else the interactive figure needs to know of it, see `attach`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grids: dict[Axes, tuple[Any, Any, Any, str]] = {}
        self.bars: list[Axes] = []
        self.seed_lines: dict[Axes, list[Line2D]] = {}
        self.details: dict[Artist, dict[str, Any]] = {}

    def add_bar(self, *args: Any, **options: Any) -> Colorbar:
        """A colour bar, with the arguments of `colorbar`."""
        bar = self.colorbar(*args, **options)
        self.bars.append(bar.ax)
        return bar

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", dpi=100)


@dataclass(frozen=True)
class MethodStyle:
    """How one method is drawn in every figure."""

    colour: str
    marker: str
    line: Line

    @property
    def as_line(self) -> dict[str, Any]:
        """The options of a line for `plot`."""
        return {"color": self.colour, "linestyle": self.line}

    @property
    def as_marker(self) -> dict[str, Any]:
        """The options of a mark for `plot`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": ""}


@dataclass(frozen=True)
class Summary:
    """Mean and 95 % t-interval of the finite values; None where there are too few of them.

    Attributes:
        seeds: The place of each value in what was summarized.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...]
    missing: int
    mean: float | None
    low: float | None
    high: float | None

    @property
    def note(self) -> str:
        """What to tell the reader about seeds that gave no finite value; "" if there are none."""
        total = len(self.values) + self.missing
        if not total:
            return "no runs"
        if not self.values:
            return "no finite value" if total == 1 else f"none of {total} seeds finite"
        return f"{self.missing} of {total} seeds not finite" if self.missing else ""


@contextmanager
def style() -> Iterator[None]:
    """The settings that figures are drawn and saved under."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def rendered(figure: MatplotlibFigure, kind: str, dpi: int) -> bytes:
    """The bytes of a "png" or "svg" file, the same for the same figure: no dates, no versions."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    content = io.BytesIO()
    with style():
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    return content.getvalue()


def styled(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function that makes figures inside `style()`."""

    @wraps(draw)
    def draw_in_style(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with style():
            return draw(*args, **kwargs)

    return draw_in_style


_SHARED_STYLES: ContextVar[dict[str, MethodStyle] | None] = ContextVar("styles", default=None)


@contextmanager
def shared_styles(methods: Iterable[str] = ()) -> Iterator[None]:
    """Draw a method in the same style in every figure made inside this block.

    Args:
        methods: The methods that come first. Any other method gets the next free style when it is
            first drawn.
    """
    token = _SHARED_STYLES.set({})
    try:
        method_styles(methods)
        yield
    finally:
        _SHARED_STYLES.reset(token)


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """Return one style per method, by position or, inside `shared_styles`, by name."""
    shared = _SHARED_STYLES.get()
    known = {} if shared is None else shared
    methods = list(methods)
    for method in methods:
        i = len(known)
        known.setdefault(
            method,
            MethodStyle(
                COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)]
            ),
        )
    return {method: known[method] for method in methods}


def is_finite(value: Value) -> TypeGuard[float]:
    """Whether `value` is a number that can be drawn."""
    return value is not None and math.isfinite(value)


def summarize(values: Iterable[Value]) -> Summary:
    """Mean and 95 % t-interval over seeds without None, NaN and infinity; one seed: no interval."""
    every = list(values)
    finite = tuple(float(value) for value in every if is_finite(value))
    seeds = tuple(i for i, value in enumerate(every) if is_finite(value))
    missing = len(every) - len(finite)
    if len(finite) < 2:
        return Summary(finite, seeds, missing, finite[0] if finite else None, None, None)
    mean, low, high = (float(number) for number in t_interval(finite))
    return Summary(finite, seeds, missing, mean, low, high)


def draw_band(
    axes: Axes, x: Sequence[float], summaries: Sequence[Summary], colour: str, **line: Any
) -> None:
    """The mean over seeds against `x` as a line, its interval as a band (none with one seed).

    `label` is the series that both belong to.
    """
    drawn = [
        (at, s.mean, s.low, s.high)
        for at, s in zip(x, summaries, strict=True)
        if s.mean is not None
    ]
    (mean,) = axes.plot([at for at, *_ in drawn], [m for _, m, *_ in drawn], color=colour, **line)
    attach(mean, interval=[bounds for _, _, *bounds in drawn])
    banded = [(at, low, high) for at, _, low, high in drawn if low is not None]
    if banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(
            at, low, high, color=colour, alpha=_BAND_ALPHA, linewidth=0, label=line.get("label")
        )


def attach(artist: Artist, **details: Any) -> None:
    """Tell the interactive figure more about an artist.

    Args:
        artist: What was drawn.
        **details: `tags`, series that it belongs to beside its label; `text`, what hovering shows
            above the values; `interval`, the bounds of each point; `seeds`, the place of the seed
            of a line, or of each of its marks, among those of the study.
    """
    figure_of(artist).details.setdefault(artist, {}).update(details)


def figure_of(artist: Artist) -> Figure:
    """The figure of this module that an artist is drawn in."""
    figure = artist.get_figure()
    assert isinstance(figure, Figure)
    return figure


def draw_seed(axes: Axes, x: Sequence[float], y: Sequence[Value], seed: int, **line: Any) -> None:
    """One seed's line beside the mean: it can be shown in the interactive figure only."""
    values = [math.nan if value is None else value for value in y]
    look = line | {"linewidth": 0.9, "alpha": 0.7, "transform": axes.transData}
    drawn = Line2D(x, values, **look)
    figure = figure_of(axes)
    drawn.set_figure(figure)
    figure.seed_lines.setdefault(axes, []).append(drawn)
    attach(drawn, seeds=seed)


def band_handles(axes: Iterable[Axes]) -> list[Patch]:
    """The legend's entry for the bands, if `draw_band` drew any in `axes`; their limits are set."""
    axes = list(axes)
    if not any(panel.collections for panel in axes):
        return []
    return [Patch(color=GREY, alpha=_BAND_ALPHA, linewidth=0, label=interval_label(axes))]


def interval_label(axes: Iterable[Axes]) -> str:
    """What a legend calls the intervals in `axes`: it tells if the axis cuts one."""
    cut = any(_is_cut(panel) for panel in axes)
    return "95 % interval over seeds" + (", cut at the axis" if cut else "")


def _is_cut(axes: Axes) -> bool:
    """Whether a band or an error bar reaches beyond the axis."""
    low, high = axes.get_ylim()
    extents = [drawn.get_datalim(axes.transData) for drawn in axes.collections]
    return any(extent.ymin < low or extent.ymax > high for extent in extents)


def write_note(axes: Axes, text: str) -> None:
    """A remark in the upper right corner of a panel, over whatever is drawn there."""
    if text:
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
        axes.text(
            0.97, 0.95, wrapped(text, 36), transform=axes.transAxes, ha="right", va="top",
            fontsize=9, fontstyle="italic", color=GREY, bbox=box, zorder=10,
        )  # fmt: skip


def new_figure(height: float) -> Figure:
    """An empty figure as wide as the page, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def panel_grid(
    count: int, columns: int, height: float, **sharing: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `height` inches in rows of up to `columns`.

    Raises ValueError for no panel.
    """
    require(count, "panel")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = new_figure(0.9 + height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False, **sharing).flat)
    for unused in range(count, len(grid)):
        grid[unused].set_visible(False)
        grid[unused - columns].tick_params(labelbottom=True)
    return figure, grid[:count]


def require(values: Any, what: str) -> None:
    """Raise ValueError if there is nothing to draw."""
    if not values:
        raise ValueError(f"There is no {what} to draw: give at least one.")


def entry(label: str, /, **look: Any) -> Line2D:
    """A legend's entry, drawn with the options of `plot`."""
    return Line2D([], [], **look | {"label": label})


def entries(styles: Mapping[Any, MethodStyle], markers: bool = False) -> list[Line2D]:
    """A legend's entries of series, without those that have no name."""
    return [
        entry(str(name), **look.as_line, **({"marker": look.marker} if markers else {}))
        for name, look in styles.items()
        if name != ""
    ]


def seed_entry() -> Line2D:
    """The legend's entry of the dots of single seeds."""
    return entry("one seed", markeredgecolor=GREY, **SEED)


def interval_entry(axes: Iterable[Axes] = ()) -> Line2D:
    """The legend's entry of the intervals of marks in `axes`."""
    return entry(interval_label(axes), **INTERVAL)


def legend_above(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """One legend for the whole figure, outside its axes, in as many columns as fit its width."""
    for fewer in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(
            handles=handles, loc="outside upper center", ncols=fewer,
            handlelength=3.2, columnspacing=1.6,
        )  # fmt: skip
        if fewer == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def wrapped(text: str, characters: int = 30) -> str:
    """A label in lines that do not run into what stands beside it."""
    return textwrap.fill(text, characters)


def plain(number: float) -> str:
    """A tick label for 0.05, 2 or 20,000; mathtext is off, so Matplotlib's log labels are not."""
    return f"{number:,.6g}" if _is_plain(number) else power_of_ten(number)


def power_of_ten(number: float) -> str:
    """A tick label for a strength: 10⁻⁴, 3·10⁻⁴; 0, 0.1 and 1 stay as they are."""
    if number == 0 or 0.1 <= number < 100:
        return f"{number:.3g}"
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    mantissa = f"{float(mantissa):g}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def log_axis(axis: Axis, low: float, high: float, percent: bool = False) -> None:
    """A logarithmic axis from `low` to `high` with `log_ticks`; what is not above 0 is left out.

    `percent` labels shares in per cent.
    """
    name = "x" if isinstance(axis, XAxis) else "y"
    getattr(axis.axes, f"set_{name}scale")("log", nonpositive="mask")
    axis.axes.set(**{f"{name}lim": (low, high)})
    log_ticks(axis, low, high, percent)


def log_ticks(axis: Axis, low: float, high: float, percent: bool = False) -> None:
    """Ticks at the `log_places` from `low` to `high`, all labelled in one form."""
    factor = 100 if percent else 1
    places = log_places(low, high)
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(place_names([factor * place for place in places])))
    axis.set_minor_formatter(NullFormatter())


def log_places(low: float, high: float) -> list[float]:
    """Up to 8 round numbers from `low` to `high` for a log scale.

    The coarsest of four series of round numbers that has at least four of them there, or else
    evenly spaced ones.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        numbers = [float(f"{step}e{decade}") for decade in decades for step in steps]
        places = [number for number in numbers if low <= number <= high]
        if len(places) >= 4:
            return places[:: math.ceil(len(places) / 8)]
    even = {float(f"{place:.4g}") for place in MaxNLocator(4).tick_values(low, high)}
    return sorted(place for place in even if low <= place <= high)


def place_names(places: Sequence[float]) -> list[str]:
    """The places' tick labels: `plain` ones, or all powers of ten where one of them has to be."""
    return [(plain if all(map(_is_plain, places)) else power_of_ten)(place) for place in places]


def _is_plain(number: float) -> bool:
    return 1e-4 < number < 1e6


def as_percent(axis: Axis) -> None:
    """Linear tick labels in per cent for shares in [0, 1]; the axis label says "(%)"."""
    axis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
