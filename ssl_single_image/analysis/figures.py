"""Figures as PNG: accuracy layer by layer, training curves."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ssl_single_image.analysis import measured, panels, tables
from ssl_single_image.analysis.colours import COLOURS

MARKERS = "osD^vPX*<>"
"""One a line beside its colour: of ten markers and seven colours, seventy lines have a pair of their own."""
DPI = 120
LEGEND_WIDTH = 84
"""Characters in a line of the legend below a figure."""
MANY_LAYERS = 9
"""From here on, names of layers are turned to fit."""
CHANCE = "0.45"
"""Grey: what knows nothing would reach."""
ROOM = 0.1
"""Part of an axis that is kept free of data where it says what the chance level is."""
LEAST_SPAN = 4.0
"""Percentage points that an axis of accuracies shows at least: less would blow up what is noise."""


def accuracy(probe: tables.Probe) -> bytes:
    """Accuracy or mAP against depth, one line a result, untrained networks dashed.

    The axis begins where the results do. The chance level is a line where it lies on the axis, else an arrow to it.
    """
    return png(accuracy_figure(probe))


def training_curves(rows: Sequence[Mapping[str, float]]) -> bytes:
    """Every metric of `metrics.jsonl` against the step; those that are compared share axes, see `panels`.

    Args:
      rows: lines of the file, each with "step" and KIND/NAME.
    """
    return png(curves_figure(rows))


def accuracy_figure(probe: tables.Probe) -> Figure:
    """`accuracy` before it is a file."""
    columns, measure = tables.layers(probe), measured.of(probe)
    labels = [_label(result) for result in probe["results"]]
    heights = [label.count("\n") + 1 for label in labels]
    beside = len(labels) > 5 and max(map(len, labels)) <= LEGEND_WIDTH // 2
    lines = -(-len(labels) // 2) if beside else sum(heights)
    figure = Figure(figsize=(7.2, 4.2 + 0.2 * lines), layout="constrained")
    axes = figure.subplots()
    for number, (result, label) in enumerate(zip(probe["results"], labels, strict=True)):
        axes.plot(
            [result["layers"].get(layer, {}).get(measure.main, np.nan) for layer in columns],
            label=label,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="--" if tables.is_random(result) else "-",
            linewidth=2,
            markersize=7,
        )
    turned = len(columns) >= MANY_LAYERS
    axes.set_xticks(range(len(columns)), columns, rotation=45 if turned else 0)
    for name in axes.get_xticklabels() if turned else ():
        name.set(ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.4, max(len(columns), 1) - 0.6)
    shown = [values[measure.main] for result in probe["results"] for values in result["layers"].values()]
    axes.set_ylim(*_span(shown, probe["chance"]))
    axes.set_ylabel(measure.axis)
    title = f"{tables.title(probe)} on {tables.named(probe)}, {probe['test_images']:,} test images"
    axes.set_title(wrapped(title, 68), loc="left")
    _mark_chance(axes, probe["chance"])
    tidy(axes)
    figure.legend(loc="outside lower left", frameon=False, fontsize=10, ncols=2 if beside else 1)
    return figure


def curves_figure(rows: Sequence[Mapping[str, float]]) -> Figure:
    """`training_curves` before it is a file."""
    arranged = panels.arrange(name for row in rows for name in row)
    columns = min(2, max(1, len(arranged)))
    lines = max(1, -(-len(arranged) // columns))
    figure = Figure(figsize=(4.6 * columns, 2.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    last = max((row["step"] for row in rows), default=1)
    for axes, panel in zip(grid.flat, arranged, strict=False):
        _draw_panel(axes, panel, rows)
        axes.set_xlim(
            -0.03 * last, 1.03 * last
        )  # the same for all: refreshes and evaluations stand below each other
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        tidy(axes)
    for axes in grid.flat[len(arranged) :]:
        axes.set_visible(False)
    return figure


def _draw_panel(axes: Axes, panel: panels.Panel, rows: Sequence[Mapping[str, float]]) -> None:
    for number, name in enumerate(panel.lines):
        points = [(row["step"], row[name]) for row in rows if name in row]
        finite = [(step, value) for step, value in points if math.isfinite(value)]
        control = name.endswith(panels.CONTROL)
        axes.plot(
            *zip(
                *[(step, value if math.isfinite(value) else math.nan) for step, value in points], strict=True
            ),
            label=panel.label(name) + ("" if finite else " (no finite value)"),
            color=CHANCE if control else COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)] if len(points) < 25 else None,
            linestyle="--" if control else "-",
            # Wide and below: it is seen where another line coincides with it.
            linewidth=3 if control else 1.5,
            markersize=7 if control else 4,
            zorder=1.5 if control else 2,
        )
    if panel.unit:
        axes.set_ylim(-0.04, 1.04)
    axes.set_title(panel.title, loc="left")
    if len(panel.kinds) == 1:  # otherwise the legend says it
        axes.set_title(panel.kinds[0], loc="right", fontsize=9, color=CHANCE)
    axes.set_xlabel("step")
    missing = any("no finite value" in str(line.get_label()) for line in axes.lines)
    if len(axes.lines) > 1 or missing:
        axes.legend(handles=_from_the_top(axes.lines), frameon=False, fontsize=9)


def _from_the_top(lines: Sequence[Line2D]) -> list[Line2D]:
    """Many lines in the order in which they end, so that the legend reads like the axes; two or fewer as they are."""
    if len(lines) <= 2:
        return list(lines)

    def end(line: Line2D) -> float:
        values = np.asarray(line.get_ydata(), float)
        finite = values[np.isfinite(values)]
        return finite[-1] if len(finite) else -np.inf

    return sorted(lines, key=end, reverse=True)


def _label(result: Mapping[str, Any]) -> str:
    """A result in the legend, in as many lines as a long name takes."""
    return wrapped(f"{result['checkpoint']} (step {result['step']:,})", LEGEND_WIDTH)


def wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width` characters, broken after a space or a slash where there is one."""
    pieces = re.split(r"(?<=[ /])", text)
    lines = [""]
    for piece in (part for long in pieces for part in textwrap.wrap(long, width, drop_whitespace=False)):
        if len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _span(values: Iterable[float], chance: float) -> tuple[float, float]:
    """Limits of an axis that hold all finite percentages with a margin, and little else.

    Where chance lies below or above, there is room at that end for a word on it.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 100.0]
    low, high = min(finite), max(finite)
    margin = max(0.08 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    span = high - low + 2 * margin
    below, above = low - margin, high + margin
    return below - ROOM * span * (chance < below), above + ROOM * span * (chance > above)


def _mark_chance(axes: Axes, chance: float) -> None:
    low, high = axes.get_ylim()
    text = f"chance, {chance:.1f} %"
    if low <= chance <= high:
        axes.axhline(chance, color=CHANCE, linestyle=":", linewidth=1.5, label=text)
        return
    edge, inside, side = (0.0, 0.06, "bottom") if chance < low else (1.0, 0.94, "top")
    axes.annotate(
        text,
        (0.985, edge),
        (0.985, inside),
        xycoords="axes fraction",
        ha="right",
        va=side,
        color=CHANCE,
        fontsize=10,
        arrowprops={"arrowstyle": "->", "color": CHANCE, "relpos": (1.0, 0.0 if edge == 0 else 1.0)},
    )


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def tidy(axes: Axes) -> None:
    """No frame above and to the right; faint horizontal lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
