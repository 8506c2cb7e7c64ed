"""What all figures share: size, fonts, colours that also work in grey, and statistics over seeds.

A figure is drawn inside `style()`, which starts from Matplotlib's own defaults, so that a reader's
matplotlibrc changes nothing; no figure touches pyplot.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import matplotlib
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dlip_reg.evidence.intervals import t_interval
from dlip_reg.report.numbers import SUPERSCRIPTS

Value = float | None
Look = dict[str, Any]  # options of `plot`
Line = str | tuple[float, tuple[float, ...]]

# Inches; shown 900 pixels wide, so that 10 points come to 14 pixels.
WIDTH = 9.0

# Okabe and Ito, "Color Universal Design" (2008), without the yellow that white paper swallows.
COLOURS = (
    "#000000", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9",
    # For pages with more methods; as many as share no factor with the markers and the lines.
    "#5D3A9B", "#7F4F24", "#8A9A00", "#A50F15", "#2F8F8F", "#6E7FD9",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "P", "p")  # "*", "v" and "x" mark the best, the worst and failures
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
        "markeredgecolor": GREY}  # fmt: skip
ONE_SEED = "one seed"
INTERVAL = "95 % interval over seeds"
CUT_INTERVAL = f"{INTERVAL}, cut at the axis"

_FONT = "DejaVu Sans"  # comes with Matplotlib, so text is as wide on every machine
# Fonts with the Korean, Japanese and Chinese letters that it lacks: of Windows, macOS and Linux.
_EAST_ASIAN = (
    *("Malgun Gothic", "Yu Gothic", "Microsoft YaHei", "Microsoft JhengHei"),
    *("Apple SD Gothic Neo", "AppleGothic", "Hiragino Sans", "Arial Unicode MS"),
    *("NanumGothic", "Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "UnDotum"),
    *("Baekmuk Dotum", "WenQuanYi Zen Hei", "IPAexGothic", "Droid Sans Fallback"),
)
_RC: Any = {
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
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
        details: Artist -> what else the interactive figure needs to know of it, see `attach`.
        entries: Label -> the legend's entry of what was drawn beside the series.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.details: dict[Artist, dict[str, Any]] = {}
        self.entries: dict[str, Any] = {}

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", dpi=100)


class Grid(NamedTuple):
    """The values of a filled contour plot, for the interactive figure.

    Attributes:
        x: Places along the horizontal axis.
        y: Places along the upright axis.
        values: One row for each y.
        text: A value in words.
        height: What the values are, where they are drawn as heights.
    """

    x: Any
    y: Any
    values: Any
    text: Callable[[float], str]
    height: str


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
    """The settings that figures are drawn and saved under; `@style()` sets them for a function."""
    fonts_log = logging.getLogger("matplotlib.font_manager")
    level = fonts_log.level
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC | {"font.family": _fonts()})
        fonts_log.setLevel(logging.ERROR)  # it warns of each font whose bold is not as DejaVu's
        try:
            yield
        finally:
            fonts_log.setLevel(level)


@functools.cache
def _fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [_FONT, *(name for name in _EAST_ASIAN if name in installed)]


def rendered(figure: MatplotlibFigure, kind: str, dpi: int) -> bytes:
    """The bytes of a "png" or "svg" file, the same for the same figure: no dates, no versions."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    content = io.BytesIO()
    with style():
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    return content.getvalue()


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
    """Return one style per method, by position or, inside `shared_styles`, by name.

    Args:
        methods: Their names.

    Returns:
        Method -> its colour, dashes and marker.
    """
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


def draw_band(axes: Axes, x: Sequence[float], summaries: Sequence[Summary], **line: Any) -> None:
    """The mean over seeds against `x` as a line, its interval as a band (none with one seed).

    `color` and `label`, the series, are those of both.
    """
    known = [(at, s) for at, s in zip(x, summaries, strict=True) if s.mean is not None]
    places, means = [at for at, _ in known], np.array([s.mean for _, s in known])
    (mean,) = axes.plot(places, means, **line)
    attach(mean, intervals=[(axes.yaxis, s.low, s.high) for _, s in known])
    if banded := [(at, s.low, s.high) for at, s in known if s.low is not None]:
        at, low, high = zip(*banded, strict=True)
        shared = {name: line[name] for name in ("color", "label")}
        axes.fill_between(at, low, high, alpha=_BAND_ALPHA, linewidth=0, **shared)


def attach(artist: Artist, **details: Any) -> None:
    """Tell the interactive figure more about an artist.

    Args:
        artist: What was drawn.
        **details: Of a line or mark: `tags`, series that it belongs to beside its label; `text`,
            what hovering shows above the values; `intervals`, for each point the (axis, low, high)
            of its interval, None and None without one, or `notes`, a text for each; `seeds`, the
            place of the seed of a line, or of each of its marks, among those of the study;
            `hidden`, true for what only the interactive figure has. Of axes: `grid`, the `Grid` of
            a filled contour plot; `bar`, true for a colour bar's; `seed_lines`, lines of single
            seeds that only the interactive figure has.
    """
    figure_of(artist).details.setdefault(artist, {}).update(details)


def figure_of(artist: Artist) -> Figure:
    """The figure of this module that an artist is drawn in."""
    figure = artist.get_figure()
    assert isinstance(figure, Figure)
    return figure


def draw_seed(axes: Axes, x: Sequence[float], y: Sequence[Value], seed: int, **line: Any) -> None:
    """One seed's line beside the mean: it can be shown in the interactive figure only."""
    look = line | {"linewidth": 0.9, "alpha": 0.7, "transform": axes.transData}
    drawn = Line2D(x, np.array(y, float), **look)
    figure = figure_of(axes)
    drawn.set_figure(figure)
    attach(axes, seed_lines=[*figure.details.get(axes, {}).get("seed_lines", ()), drawn])
    attach(drawn, seeds=seed, hidden=True)


def extra(
    axes: Axes, x: Sequence[float], y: Sequence[Value], label: str, look: Look, **here: Any
) -> Line2D:
    """Draw a line or marks beside the series, with an entry of their own in the legend.

    Args:
        axes: The panel.
        x: The places along the horizontal axis.
        y: The heights.
        label: The legend's entry.
        look: Options of `plot`; the entry is grey where they have no colour.
        **here: Further options, which the entry does not have.
    """
    (drawn,) = axes.plot(x, np.array(y, float), label=label, **look | here)
    figure_of(axes).entries[label] = entry(label, **{"color": GREY} | look)
    return drawn


def level(axes: Axes, y: float, label: str, look: Look = TARGET) -> None:
    """A level line from side to side, as `extra`."""
    extra(axes, [0, 1], [y, y], label, look, transform=axes.get_yaxis_transform(), zorder=1.5)


def upright(axes: Axes, x: float, label: str, look: Look) -> None:
    """An upright line from bottom to top, as `extra`."""
    extra(axes, [x, x], [0, 1], label, look, transform=axes.get_xaxis_transform(), zorder=1.5)


def interval_entries(figure: Figure) -> list[Any]:
    """The legend's entry of the intervals drawn in a figure, whose limits are set.

    It tells if an axis cuts one.
    """
    known = (details.get("intervals", ()) for details in figure.details.values())
    intervals = [interval for of in known for interval in of if interval[1] is not None]
    if not intervals:
        return []
    label = INTERVAL
    for axis, low, high in intervals:
        first, last = sorted(axis.get_view_interval())
        if low < first or high > last:
            label = CUT_INTERVAL
    if any(axes.collections for axes in figure.axes):
        return [Patch(color=GREY, alpha=_BAND_ALPHA, linewidth=0, label=label)]
    return [entry(label, color=GREY, linewidth=1.4)]


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


def entries(
    styles: Mapping[Any, MethodStyle], lines: bool = True, markers: bool = False
) -> list[Line2D]:
    """A legend's entries of series, without those that have no name."""
    return [
        entry(str(name), **(look.as_marker if markers else {}) | (look.as_line if lines else {}))
        for name, look in styles.items()
        if name != ""
    ]


def legend_above(figure: Figure, series: Sequence[Any] = ()) -> None:
    """One legend for the whole figure, outside its axes, in up to 5 columns that fit its width.

    The series come first, then what was drawn beside them, the seeds and the intervals.
    """
    beside = sorted(figure.entries.values(), key=lambda handle: handle.get_label() == ONE_SEED)
    handles = [*series, *beside, *interval_entries(figure)]
    for columns in range(min(5, len(handles)), 0, -1):
        legend = figure.legend(
            handles=handles, loc="outside upper center", ncols=columns,
            handlelength=3.2, columnspacing=1.6,
        )  # fmt: skip
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def wrapped(text: str, characters: int = 30) -> str:
    """A label in lines that do not run into what stands beside it, a number beside its "%"."""
    return textwrap.fill(text.replace(" %", "\u00a0%"), characters).replace("\u00a0", " ")


def plain(number: float) -> str:
    """A tick label for 0.05, 2 or 20,000; mathtext is off, so Matplotlib's log labels are not."""
    return f"{number:,.6g}" if _is_plain(number) else power_of_ten(number)


def power_of_ten(number: float) -> str:
    """A tick label for a strength, to 3 digits: 10⁻⁴, 3·10⁻⁴; 0, 0.1 and 1 stay as they are."""
    number = float(f"{number:.3g}")
    if number == 0 or 0.1 <= number < 100:
        return f"{number:.3g}"
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    mantissa = f"{float(mantissa):g}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def log_axis(axis: Axis, low: float, high: float, percent: bool = False) -> None:
    """A logarithmic axis from `low` to `high` with ticks at the `log_places`, labelled in one form.

    What is not above 0 is left out. `percent` labels shares in per cent.
    """
    name = "x" if isinstance(axis, XAxis) else "y"
    # Limits first: Matplotlib warns of the ones that it would choose for values that are all alike.
    axis.axes.set(**{f"{name}lim": (low, high)})
    getattr(axis.axes, f"set_{name}scale")("log", nonpositive="mask")
    places = log_places(low, high)
    axis.set_ticks(places, place_names([100 * at if percent else at for at in places]))
    axis.set_minor_formatter(ticker.NullFormatter())


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
    even = {float(f"{place:.4g}") for place in ticker.MaxNLocator(4).tick_values(low, high)}
    return sorted(place for place in even if low <= place <= high)


def place_names(places: Sequence[float]) -> list[str]:
    """The places' tick labels: `plain` ones, or all powers of ten where one of them has to be."""
    return [(plain if all(map(_is_plain, places)) else power_of_ten)(place) for place in places]


def _is_plain(number: float) -> bool:
    return 1e-4 < number < 1e6


def as_percent(axis: Axis) -> None:
    """Linear tick labels in per cent for shares in [0, 1]; the axis label says "(%)"."""
    axis.set_major_formatter(ticker.PercentFormatter(xmax=1, symbol=""))
