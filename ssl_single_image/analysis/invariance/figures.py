"""Figures of an analysis of invariance: heat maps by layer, shares of variance, and correct matches against depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_single_image.analysis import figures, layer_figures
from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.analysis.invariance.tables import ALL, PARTS, SETS
from ssl_single_image.analysis.layer_figures import LIGHT, MAP, UNDEFINED

Result = Mapping[str, Any]
ACROSS = 3
"""Encoders beside each other."""
CELL = 0.56
"""Inches of a cell of a heat map."""


def pictures(result: Result) -> dict[str, bytes]:
    """File name -> PNG."""
    return {
        "invariance.png": invariance(result),
        "shares.png": shares(result),
        "equivariance.png": equivariance(result),
        "correspondence.png": correspondence(result),
    }


def invariance(result: Result) -> bytes:
    """The normalised variance: an augmentation each row, a layer each column, a panel for each encoder."""

    def values(encoder: Mapping[str, Any], row: str, layer: str) -> float:
        one = encoder["invariance"][row][layer]
        return np.nan if one is None else one["variance"]

    rows = {name: name for name in result["augmentations"]}
    title = "What changes a layer: 0 is ignored, 1 changes it as much as another image does"
    return _heat_maps(result, rows, values, title, "normalised variance")


def equivariance(result: Result) -> bytes:
    """The residual of each motion, first of the movement alone and then with a fitted map of channels."""

    def values(encoder: Mapping[str, Any], row: str, layer: str) -> float:
        motion, _, part = row.rpartition("/")
        one = encoder["equivariance"][layer][motion]
        return np.nan if one is None else one[part]

    motions = list(next(iter(result["encoders"][0]["equivariance"].values())))
    rows = {f"{motion}/moved": motion for motion in motions}
    rows |= {f"{motion}/fitted": f"{motion}, channels fitted" for motion in motions}
    title = "Does the map move with its picture? 0: exactly; 1: no better than a constant"
    return _heat_maps(result, rows, values, title, "residual")


def _heat_maps(
    result: Result,
    rows: Mapping[str, str],
    values: Callable[[Mapping[str, Any], str, str], float],
    title: str,
    unit: str,
) -> bytes:
    encoders = result["encoders"]
    across = min(ACROSS, len(encoders))
    lines = -(-len(encoders) // across)
    most = max(len(encoder["equivariance"]) for encoder in encoders)
    size = (2.6 + across * (0.5 + CELL * most), 1.2 + lines * (1.5 + 0.62 * CELL * len(rows)))
    figure = Figure(figsize=(max(size[0], 7.0), size[1]), layout="constrained")
    grid = figure.subplots(lines, across, squeeze=False)
    shown = None
    for axes, encoder in zip(grid.flat, encoders, strict=False):
        layers = list(encoder["equivariance"])
        cells = np.array([[values(encoder, row, layer) for layer in layers] for row in rows])
        shown = _heat_map(axes, cells, list(rows.values()), layers)
        axes.set_title(
            figures.wrapped(encoder["checkpoint"], max(18, 7 * len(layers))), loc="left", fontsize=11
        )
    for axes in grid.flat[len(encoders) :]:
        axes.set_visible(False)
    for axes in grid[:, 1:].flat:
        axes.set_yticklabels([])
    figure.suptitle(figures.wrapped(title, round(11 * figure.get_figwidth())), x=0.01, ha="left")
    if shown is not None:
        bar = figure.colorbar(shown, ax=grid, shrink=0.8, extend="max")
        bar.outline.set_visible(False)
        bar.set_label(unit)
    return figures.png(figure)


def _heat_map(axes: Axes, cells: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Any:
    axes.set_facecolor(UNDEFINED)
    shown = axes.imshow(cells, cmap=MAP, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        ink = "white" if value < LIGHT else "black"
        text = "none" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    turned = max(map(len, columns)) > 6 or len(columns) > 6
    axes.set_xticks(range(len(columns)), columns, rotation=45 if turned else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return shown


def shares(result: Result) -> bytes:
    """The parts of the variance under all augmentations, stacked, a bar for each layer and a panel for each encoder."""
    encoders = result["encoders"]
    across = min(ACROSS, len(encoders))
    lines = -(-len(encoders) // across)
    most = max(len(encoder["shares"][ALL]) for encoder in encoders)
    figure = Figure(figsize=(max(6.4, across * (0.9 + 0.55 * most)), 1.3 + 2.7 * lines), layout="constrained")
    grid = figure.subplots(lines, across, squeeze=False, sharey=True)
    for axes, encoder in zip(grid.flat, encoders, strict=False):
        _bars(axes, encoder["shares"][ALL])
        axes.set_title(figures.wrapped(encoder["checkpoint"], max(20, 8 * most)), loc="left", fontsize=11)
    for axes in grid.flat[len(encoders) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("% of the variance")
    figure.suptitle("Where the variance of features lies, under all augmentations", x=0.01, ha="left")
    handles = grid.flat[0].containers
    figure.legend(handles, list(PARTS.values()), loc="outside lower left", frameon=False, ncols=len(PARTS))
    return figures.png(figure)


def _bars(axes: Axes, of: Mapping[str, Mapping[str, float] | None]) -> None:
    below = np.zeros(len(of))
    for (part, _), colour in zip(PARTS.items(), COLOURS, strict=False):
        heights = np.array([100 * each[part] if each else 0.0 for each in of.values()])
        axes.bar(range(len(of)), heights, bottom=below, color=colour, width=0.78)
        for place, height in enumerate(heights):
            if height >= 7:
                at = below[place] + height / 2
                axes.text(place, at, f"{height:.0f}", ha="center", va="center", color="white", fontsize=9)
        below += heights
    axes.set_xticks(range(len(of)), list(of), rotation=45 if len(of) > 5 else 0)
    axes.set_ylim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)


def correspondence(result: Result) -> bytes:
    """PCK against depth, at the first tolerance and the second, for each kind of pairs; untrained networks dashed."""
    names = [name for name in SETS if name in result["levels"]]
    tolerances = list(result["levels"][names[0]]["chance"])
    labels = [figures.wrapped(e["checkpoint"], figures.LEGEND_WIDTH) for e in result["encoders"]]
    height = 0.5 + 3.1 * len(names) + 0.22 * (len(labels) + 2)
    figure = Figure(figsize=(9.4, height), layout="constrained")
    grid = figure.subplots(len(names), len(tolerances), squeeze=False)
    for line, name in zip(grid, names, strict=True):
        for axes, tolerance in zip(line, tolerances, strict=True):
            _lines(axes, result, name, tolerance)
    figure.suptitle("Places that are matched correctly (PCK)", x=0.01, ha="left")
    handles = grid.flat[0].get_lines()
    names_of = [*labels, "the same place in the other picture", "chance"]
    figure.legend(handles, names_of, loc="outside lower left", frameon=False, fontsize=10)
    return figures.png(figure)


def _lines(axes: Axes, result: Result, name: str, tolerance: str) -> None:
    layers = list(dict.fromkeys(layer for encoder in result["encoders"] for layer in encoder[name]))
    for number, encoder in enumerate(result["encoders"]):
        values = [100 * encoder[name][x]["pck"][tolerance] if x in encoder[name] else np.nan for x in layers]
        layer_figures.draw_line(axes, values, encoder, number)
    levels = result["levels"][name]
    for level, style in (("still", "-."), ("chance", ":")):
        axes.axhline(100 * levels[level][tolerance], color=figures.CHANCE, linestyle=style, linewidth=1.5)
    axes.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 6 else 0)
    axes.set_ylim(0, 100)
    axes.set_title(f"{SETS[name]}, within {100 * float(tolerance):g} % of the side", loc="left", fontsize=11)
    axes.set_ylabel("% of places")
    figures.tidy(axes)
