"""A drawn figure for plotly.js: what Matplotlib shows, with values to hover and series to toggle.

Everything is read from the Matplotlib figure: lines, bands, marks, axes and legend. An artist
belongs to the series that its label names; `kit.attach` tells more of it. Texts are escaped, for
plotly reads them as HTML.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import starmap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis, YAxis
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.collections import Collection, PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from PIL import Image

from dlip_reg.report.figures.kit import Grid, style
from dlip_reg.report.numbers import format_number

_DPI = 100  # pixels of the page per inch of a figure
_SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down",
    "P": "cross", "X": "x", "*": "star", "p": "pentagon", "x": "x-thin", "|": "line-ns",
    "<": "triangle-left", ">": "triangle-right", ".": "circle",
}  # fmt: skip
_CORNERS = {5: "square"}  # vertices of a scattered mark -> its symbol, where it is not a circle


@style()
def describe(figure: MatplotlibFigure) -> dict[str, Any]:
    """Describe a figure for plotly.js.

    Args:
        figure: A figure of this subpackage.

    Returns:
        "data" (traces), "layout" and "legend" (entries with label, colour, symbol, dashes). The
        "meta" of a trace has "series", the legend entries that it goes with; "seeds", the place of
        its seed, or of that of each mark, if it belongs to single seeds; and "hidden", true if it
        is not part of the static figure.
    """
    figure.draw_without_rendering()
    handles: list[Any] = [h for legend in figure.legends for h in legend.legend_handles]
    labels = [handle.get_label() for handle in handles]
    heights = [legend.get_window_extent().y0 / figure.bbox.height for legend in figure.legends]
    top = min([1.0, *map(float, heights)])
    height = figure.get_figheight() * top
    layout: dict[str, Any] = {
        "height": round(_DPI * height),
        "annotations": _margin_texts(figure),
        "shapes": [],
        "images": [],
    }
    data: list[dict[str, Any]] = []
    panels = [axes for axes in figure.axes if axes.get_visible()]
    places = [axes.get_position().bounds for axes in panels]
    for i, axes in enumerate(panels):
        # The first panel there; a second one is drawn over it, with the same horizontal axis.
        first = next(j for j, bounds in enumerate(places) if np.allclose(bounds, places[i]))
        # plotly's axes have no number for the first panel, then 2, 3 and so on.
        own, across = (str(j + 1) if j else "" for j in (i, first))
        names = (f"x{across}", f"y{own}")
        x0, y0, wide, high = places[i]
        if first == i:
            domain = [x0, min(x0 + wide, 1)]
            layout[f"xaxis{own}"] = _axis(axes.xaxis) | {"domain": domain, "anchor": names[1]}
        domain = [y0 / top, min((y0 + high) / top, 1)]
        layout[f"yaxis{own}"] = _axis(axes.yaxis) | {"domain": domain, "anchor": names[0]}
        if first != i:
            layout[f"yaxis{own}"] |= {"overlaying": f"y{across}", "showgrid": False}
        traces = [_colour_bar(axes)] if "bar" in _details(axes) else _traces(axes, handles)
        # plotly leaves out an axis that has no trace.
        traces = traces or [{"type": "scatter", "x": [None], "y": [None], "meta": {"series": []}}]
        for trace in traces:
            trace |= {"xaxis": names[0], "yaxis": names[1]}
            trace["meta"]["series"] = [s for s in trace["meta"]["series"] if s in labels]
        data += traces
        layout["annotations"] += _texts(axes, *names)
        layout["shapes"] += [_shape(patch, axes, *names) for patch in axes.patches]
        layout["images"] += [_image(image, *names) for image in axes.images]
    return {
        "data": data,
        "layout": layout,
        "legend": [_entry(handle) for handle in handles],
    }


def _traces(axes: Axes, handles: Sequence[Any]) -> list[dict[str, Any]]:
    bands = {
        bool(handle.get_hatch()): str(handle.get_label())
        for handle in handles
        if isinstance(handle, Patch)
    }
    found = []
    if grid := _details(axes).get("grid"):
        surface = next(c for c in axes.collections if isinstance(c, ContourSet))
        found.append(_contours(surface, grid))
    for drawn in axes.collections:
        if isinstance(drawn, PolyCollection):
            found.append(_band(drawn, axes, bands.get(bool(drawn.get_hatch()), "")))
        elif isinstance(drawn, PathCollection):
            found.append(_points(drawn, axes))
    lines = [*axes.lines, *_details(axes).get("seed_lines", ())]
    return found + [_line(line, axes) for line in lines if np.size(line.get_xdata())]


def _line(line: Line2D, axes: Axes) -> dict[str, Any]:
    in_x, in_y = line.get_transform().contains_branch_seperately(axes.transData)
    places = np.asarray(line.get_xydata(), float)
    if not (in_x and in_y):  # a rule or a mark at a share of the panel's height
        places = axes.transData.inverted().transform(line.get_transform().transform(places))
    has_line, has_marks = line.get_linestyle() != "None", line.get_marker() in _SYMBOLS
    trace = _scatter(line, axes, *places.T) | {
        "mode": "+".join(["lines"] * has_line + ["markers"] * has_marks) or "none",
        "line": {
            "color": _colour(line.get_color(), line.get_alpha()),
            "width": line.get_linewidth() * _DPI / 72,
            "dash": _dashes(line),
            "shape": "hv" if line.get_drawstyle() == "steps-post" else "linear",
        },
        "marker": _marker(line),
    }
    is_rule = has_line and not (in_x and in_y)
    return trace | ({"hoverinfo": "skip"} if is_rule else _hover(line, axes))


def _scatter(artist: Any, axes: Axes, x: Any, y: Any) -> dict[str, Any]:
    """What every trace but a surface has."""
    return {
        "type": "scatter",
        "x": _rounded(x, _unit(axes.xaxis)),
        "y": _rounded(y, _unit(axes.yaxis)),
        "cliponaxis": bool(artist.get_clip_on()),
        "meta": _meta(artist),
    }


def _marker(line: Line2D) -> dict[str, Any]:
    face = line.get_markerfacecolor()
    hollow = isinstance(face, str) and face in ("none", "None")
    edge = _colour(line.get_markeredgecolor(), line.get_alpha())
    symbol = _SYMBOLS.get(str(line.get_marker()), "circle")
    return {
        "symbol": symbol + "-open" * (hollow or symbol.startswith(("x-", "line-"))),
        "size": line.get_markersize() * _DPI / 72,
        "color": edge if hollow else _colour(face, line.get_alpha()),
        "line": {"color": edge, "width": line.get_markeredgewidth() * _DPI / 72},
    }


def _hover(artist: Any, axes: Axes) -> dict[str, Any]:
    """What hovering shows: series, values, and the interval where there is one."""
    meta, details = _meta(artist), _details(artist)
    seed = meta.get("seeds")
    names = [*meta["series"], *([f"seed {seed + 1}"] if isinstance(seed, int) else [])]
    parts = [f"<b>{_html(details.get('text') or ', '.join(names))}</b>"]
    figure: Any = axes.get_figure()
    shared = {"x": figure.get_supxlabel(), "y": figure.get_supylabel()}
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if not _has_names(axis):
            label, title = axis.get_label_text().partition("\n")[0], axes.get_title("left")
            label = _html(label or shared[name] or title.replace("\n", " ") or name)
            parts.append(f"{label}: %{{{name}:,.4~r}}")
    texts = [*details.get("notes", ()), *starmap(_interval, details.get("intervals", ()))]
    parts += ["%{customdata}"] * any(texts)
    return {"customdata": texts, "hovertemplate": "<br>".join(parts) + "<extra></extra>"}


def _interval(axis: Axis, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    unit = _unit(axis)
    return f"95 % interval: {format_number(unit * low)} to {format_number(unit * high)}"


def _band(band: Collection, axes: Axes, label: str) -> dict[str, Any]:
    outlines = [path.vertices for path in band.get_paths()]
    hatched = bool(band.get_hatch())
    colour = band.get_edgecolor() if hatched else band.get_facecolor()
    gaps = [np.vstack([outline, [[math.nan] * 2]]) for outline in outlines if np.size(outline)]
    x, y = np.concatenate(gaps).T if gaps else ([], [])
    return _scatter(band, axes, x, y) | {
        "mode": "none",
        "fill": "toself",
        "fillcolor": _colour(colour[0], 0.15 if hatched else None) if len(colour) else "",
        "hoverinfo": "skip",
        "meta": {"series": [*_meta(band)["series"], label]},
    }


def _points(points: PathCollection, axes: Axes) -> dict[str, Any]:
    """Scattered marks."""
    faces, edges = points.get_facecolor(), points.get_edgecolor()
    symbol = _CORNERS.get(np.shape(points.get_paths()[0].vertices)[0], "circle")
    x, y = np.asarray(points.get_offsets(), float).T
    return _scatter(points, axes, x, y) | {
        "mode": "markers",
        "marker": {
            "symbol": symbol if len(faces) else f"{symbol}-open",
            "size": math.sqrt(points.get_sizes()[0]) * _DPI / 72,
            "color": [_colour(face) for face in faces] or _colour(edges[0]),
            "line": {
                "color": _colour(edges[0]),
                "width": np.atleast_1d(points.get_linewidth()).item(0),
            },
        },
        **_hover(points, axes),
    }


def _heights(kind: str, x: Any, y: Any, values: Any) -> dict[str, Any]:
    """What every trace of a surface has."""
    return {
        "type": kind, "x": _rounded(x), "y": _rounded(y), "z": [_rounded(row) for row in values],
        "colorscale": "Cividis", "showscale": False, "meta": {"series": []},
    }  # fmt: skip


def _contours(drawn: ContourSet, grid: Grid) -> dict[str, Any]:
    """A filled contour plot; "height" is the title of its upright axis as heights in 3-D."""
    low, second, *_, high = map(float, drawn.levels)
    texts = [
        [grid.text(value) if math.isfinite(value) else "" for value in row] for row in grid.values
    ]
    return _heights("contour", grid.x, grid.y, grid.values) | {
        "text": texts,
        "hovertemplate": "%{text}<br>x %{x:,.3~r}, y %{y:,.3~r}<extra></extra>",
        "zmin": low,
        "zmax": high,
        "meta": {"series": [], "height": {"title": {"text": grid.height}}},
        "contours": {"start": low, "end": high, "size": second - low},
        "line": {"width": 0.5, "color": "rgba(255,255,255,0.5)"},
    }


def _colour_bar(axes: Axes) -> dict[str, Any]:
    places = np.linspace(*axes.get_ylim(), 64)
    colours = np.stack([places, places], 1)
    return _heights("heatmap", [0, 1], places, colours) | {"hoverinfo": "skip"}


def _axis(axis: XAxis | YAxis) -> dict[str, Any]:
    """The scale, limits, title and ticks of an axis."""
    axes, name = axis.axes, axis.axis_name
    low, high = getattr(axes, f"get_{name}lim")()
    label = axis.label
    shown = bool(axes.axison) and not (name == "x" and "bar" in _details(axes))
    described: dict[str, Any] = {
        "type": "log" if axis.get_scale() == "log" else "linear",
        "range": [_place(low, axis), _place(high, axis)],
        "title": {
            "text": _html(label.get_text()),
            "font": {"color": _colour(label.get_color()), "size": 13.5},
        },
        "visible": shown,
        "showgrid": any(line.get_visible() for line in axis.get_gridlines()),
        "showticklabels": any(t.get_visible() and t.get_text() for t in axis.get_ticklabels()),
        "zeroline": False,
    }
    if (side := axis.get_ticks_position()) in ("right", "top"):
        described |= {"side": side, "automargin": True, "ticklabelstandoff": 6}
    if side in axes.spines:
        described["showline"] = axes.spines[side].get_visible()
    if axis.get_tick_params().get("length") == 0:
        described["ticks"] = ""
    if isinstance(axis.get_major_formatter(), PercentFormatter | ScalarFormatter):
        # Labels at the ends of pictures side by side would run into each other.
        described["ticklabeloverflow"] = "hide past domain" if "grid" in _details(axes) else "allow"
        # Else a second axis would have its ticks at the height of the first one's.
        return described | {"tickmode": "auto", "nticks": 6}
    places = axis.get_majorticklocs()
    labels = [_coloured(label) for label in axis.get_ticklabels()]
    if not labels:  # hidden here, as a panel beside this one has them; a phone shows them
        labels = [_html(text) for text in axis.get_major_formatter().format_ticks(list(places))]
    if name == "y" and _has_names(axis):  # plotly writes a label about its tick, not below it
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        middles = [(0, (box.y0 + box.y1) / 2) for box in boxes]
        places = axes.transData.inverted().transform(middles)[:, 1]
    inside = [
        (float(place), label)
        for place, label in zip(places, labels, strict=False)
        if min(low, high) <= place <= max(low, high)
    ]
    return described | {
        "tickvals": [place for place, _ in inside],
        "ticktext": [text for _, text in inside],
    }


def _coloured(label: Text) -> str:
    text, colour = _html(label.get_text()), _colour(label.get_color())
    return text if colour == "#000000" else f'<span style="color:{colour}">{text}</span>'


def _note(text: str, x: float, y: float, xref: str, yref: str, **look: Any) -> dict[str, Any]:
    place = {"text": text, "x": float(x), "y": float(y), "xref": xref, "yref": yref}
    return place | {"showarrow": False} | look


def _texts(axes: Axes, x: str, y: str) -> list[dict[str, Any]]:
    found = [_text(text, axes, x, y) for text in axes.texts if axes.axison]
    for side, title, place in (
        ("left", axes.get_title("left"), 0),
        ("center", axes.get_title(), 0.5),
    ):
        if title:
            look = {"xanchor": side, "yanchor": "bottom", "align": side, "font": {"size": 14}}
            text = f"<b>{_html(title)}</b>"
            found.append(_note(text, place, 1, f"{x} domain", f"{y} domain", **look))
    return found


def _text(text: Text, axes: Axes, x: str, y: str) -> dict[str, Any]:
    across, up = text.get_position()
    shift = (0.0, 0.0)
    if isinstance(text, Annotation):
        (across, up), shift = text.xy, text.xyann
    elif text.get_transform() == axes.transAxes:
        x, y = f"{x} domain", f"{y} domain"
    across = _place(across, axes.xaxis) if x.isalnum() else across
    up = _place(up, axes.yaxis) if y.isalnum() else up
    vertical = text.get_verticalalignment()
    return _note(
        _html(text.get_text()), across, up, x, y,
        xshift=shift[0] * _DPI / 72, yshift=shift[1] * _DPI / 72,
        xanchor=text.get_horizontalalignment(),
        yanchor="middle" if vertical == "center" else vertical,
        font={"size": float(text.get_fontsize()) * _DPI / 72, "color": _colour(text.get_color())},
        bgcolor="rgba(255,255,255,0.85)" if text.get_bbox_patch() else "rgba(0,0,0,0)",
    )  # fmt: skip


def _margin_texts(figure: MatplotlibFigure) -> list[dict[str, Any]]:
    across, up = _html(figure.get_supxlabel()), _html(figure.get_supylabel())
    notes = [
        _note(across, 0.5, 0, "paper", "paper", yanchor="bottom"),
        _note(up, 0, 0.5, "paper", "paper", xanchor="left", textangle=-90),
    ]
    return [note for note in notes if note["text"]]


def _shape(patch: Patch, axes: Axes, x: str, y: str) -> dict[str, Any]:
    in_x, in_y = patch.get_transform().contains_branch_seperately(axes.transData)
    box = patch.get_path().get_extents(patch.get_patch_transform())
    wide, high = _unit(axes.xaxis) if in_x else 1, _unit(axes.yaxis) if in_y else 1
    return {
        "type": "rect", "layer": "below",
        "line": {"width": patch.get_linewidth(), "color": _colour(patch.get_edgecolor())},
        "fillcolor": _colour(patch.get_facecolor()),
        "xref": x if in_x else f"{x} domain", "yref": y if in_y else f"{y} domain",
        "x0": wide * box.x0, "x1": wide * box.x1, "y0": high * box.y0, "y1": high * box.y1,
    }  # fmt: skip


def _image(image: AxesImage, x: str, y: str) -> dict[str, Any]:
    content = io.BytesIO()
    pixels = image.to_rgba(np.asarray(image.get_array()), bytes=True)
    Image.fromarray(pixels[::-1] if image.origin == "lower" else pixels).save(content, "PNG")
    left, right, low, high = image.get_extent()
    top = min(low, high) if image.axes.yaxis_inverted() else max(low, high)
    return {
        "source": "data:image/png;base64," + base64.b64encode(content.getvalue()).decode(),
        "xref": x, "yref": y, "x": min(left, right), "y": top,
        "sizex": abs(right - left), "sizey": abs(high - low),
        "sizing": "stretch", "layer": "below",
    }  # fmt: skip


def _entry(handle: Any) -> dict[str, Any]:
    """A legend's entry: a line with or without a mark, or a patch."""
    if isinstance(handle, Patch):
        hatched, plain = _colour(handle.get_edgecolor(), 0.3), _colour(handle.get_facecolor())
        return {"label": handle.get_label(), "patch": hatched if handle.get_hatch() else plain}
    has_line = handle.get_linestyle() != "None"
    marker = _marker(handle)
    return {
        "label": handle.get_label(),
        "color": _colour(handle.get_color(), handle.get_alpha()) if has_line else "",
        "dash": _dashes(handle),
        "symbol": handle.get_marker() if handle.get_marker() in _SYMBOLS else "",
        "fill": "none" if marker["symbol"].endswith("-open") else marker["color"],
        "edge": marker["line"]["color"],
    }


class _DashRecorder(RendererBase):
    """Keeps the dashes of the first path drawn: a line has no public name for them."""

    dashes: Any = None

    def draw_path(
        self, gc: GraphicsContextBase, path: Any, transform: Any, rgbFace: Any = None
    ) -> None:
        if self.dashes is None:
            self.dashes = gc.get_dashes()[1] or ()


def _dashes(line: Line2D) -> str:
    recorder = _DashRecorder()
    line.draw(recorder)
    dashes = recorder.dashes if line.is_dashed() else ()
    return ",".join(f"{dash * _DPI / 72:.3g}px" for dash in dashes or ()) or "solid"


def _meta(artist: Any) -> dict[str, Any]:
    """The "meta" of its trace, see `describe`."""
    label, details = str(artist.get_label()), _details(artist)
    # Automatic labels start with "_".
    series = [*details.get("tags", ()), *([] if label.startswith("_") else [label])]
    return {"series": series} | {k: details[k] for k in ("seeds", "hidden") if k in details}


def _details(artist: Any) -> dict[str, Any]:
    details: dict[Any, dict[str, Any]] = getattr(artist.get_figure(), "details", {})
    return details.get(artist, {})


def _unit(axis: Axis) -> float:
    """What to multiply values by: 100 for shares on an axis that is labelled in per cent."""
    formatter = axis.get_major_formatter()
    return 100 / formatter.xmax if isinstance(formatter, PercentFormatter) else 1


def _place(value: float, axis: Axis) -> float:
    """A value as ranges and annotations of plotly have it: on a log axis, its logarithm."""
    scaled = _unit(axis) * float(value)
    return math.log10(scaled) if axis.get_scale() == "log" else scaled


def _has_names(axis: Axis) -> bool:
    """Whether the ticks have names and no numbers."""
    return any(character.isalpha() for t in axis.get_ticklabels() for character in t.get_text())


def _rounded(values: Iterable[float], unit: float = 1) -> list[float | None]:
    return [float(f"{unit * v:.5g}") if math.isfinite(v) else None for v in values]


def _colour(colour: Any, alpha: float | None = None) -> str:
    red, green, blue, share = to_rgba(colour, alpha)
    if share == 1:
        return str(to_hex(colour))
    return f"rgba({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f},{share:.2g})"


def _html(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>")
