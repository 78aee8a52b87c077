"""Figures as PNG: accuracy layer by layer, training curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_single_image.analysis import tables

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which the colour-blind can tell apart; markers differ as well."""
MARKERS = "osD^vPX*<>"
DPI = 120
KINDS = ("train", "eval", "refresh")
"""What metrics are of."""


def accuracy(probe: tables.Probe) -> bytes:
    """Top-1 accuracy against depth, one line a result, untrained networks dashed, with the chance level."""
    columns = tables.layers(probe)
    figure = Figure(figsize=(7.2, 4.4 + 0.22 * len(probe["results"])), layout="constrained")
    axes = figure.subplots()
    for number, result in enumerate(probe["results"]):
        values = [result["layers"].get(layer, {}).get("top1", np.nan) for layer in columns]
        axes.plot(
            values,
            label=f"{result['checkpoint']} (step {result['step']:,})",
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="--" if tables.is_random(result) else "-",
            linewidth=2,
            markersize=7,
        )
    chance = f"chance, {probe['chance']:.1f} %"
    axes.axhline(probe["chance"], color="0.4", linestyle=":", linewidth=1.5, label=chance)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_xlim(-0.3, len(columns) - 0.7)
    shown = [values["top1"] for result in probe["results"] for values in result["layers"].values()]
    lowest = min(probe["chance"], *shown)
    axes.set_ylim(bottom=max(0.0, lowest - 4))
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title(f"Linear probes on {probe['dataset']}, {probe['test_images']:,} test images", loc="left")
    _tidy(axes)
    figure.legend(loc="outside lower left", frameon=False, fontsize=10)
    return png(figure)


def training_curves(rows: Sequence[Mapping[str, float]]) -> bytes:
    """Every metric of `metrics.jsonl` against the step; training and evaluation share the axes of a name.

    Args:
      rows: lines of the file, each with "step" and KIND/NAME.
    """
    names = list(dict.fromkeys(key.split("/", 1)[1] for row in rows for key in row if "/" in key))
    columns = min(2, max(1, len(names)))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        for number, kind in enumerate(KINDS):
            points = [(row["step"], row[f"{kind}/{name}"]) for row in rows if f"{kind}/{name}" in row]
            if points:
                marker = MARKERS[number] if len(points) < 25 else None
                colour = COLOURS[number]
                axes.plot(*zip(*points, strict=True), label=kind, color=colour, marker=marker, markersize=4)
        axes.set_title(name.replace("_", " "), loc="left")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _tidy(axes)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
