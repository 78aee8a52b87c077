"""The figure of a study: accuracy by layer, a panel for each method, a line for each set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.analysis.figures import CHANCE, MARKERS, png, tidy
from ssl_single_image.analysis.study_lines import Line

SUPERVISED = "supervised"
"""The method that every panel shows, where it has as many layers."""
PANEL = 3.4
"""Inches that a panel is wide."""


def headline(lines: Sequence[Line]) -> bytes:
    """Accuracy against depth as a PNG: bars are intervals, and grey lines are the supervised network and the untrained
    one of the panel's architecture.

    Args:
      lines: of one table; those without layers are left out.
    """
    return png(headline_figure(lines))


def headline_figure(lines: Sequence[Line]) -> Figure:
    """`headline` before it is a file."""
    shown = [line for line in lines if line.layers]
    by_key = {line.key: line for line in shown}
    methods: dict[str, list[Line]] = {}
    for line in shown:
        if line.method != SUPERVISED and line.views:
            methods.setdefault(line.title, []).append(line)
    colours = {
        name: number
        for number, name in enumerate(
            dict.fromkeys(line.images for of_method in methods.values() for line in of_method)
        )
    }
    figure = Figure(figsize=(max(2, len(methods)) * PANEL, 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(methods)), sharey=True, squeeze=False)[0]
    for axes, (title, of_method) in zip(panels, methods.items(), strict=False):
        untrained = by_key.get(of_method[0].untrained)
        bounds = [("--", "untrained", untrained)] if untrained else []
        bounds += [(":", line.method, line) for line in shown if line.method == SUPERVISED]
        _draw(axes, title, of_method, bounds, colours)
    panels[0].set_ylabel("top-1 accuracy, %")
    handles = {
        handle.get_label(): handle
        for axes in panels
        for handle in axes.lines
        if handle.get_label()[:1] != "_"
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw(
    axes: Axes,
    title: str,
    lines: Sequence[Line],
    bounds: Sequence[tuple[str, str, Line]],
    colours: Mapping[str, int],
) -> None:
    for style, label, line in bounds:
        if len(line.layers) == len(lines[0].layers):
            values = [score.value for score in line.layers.values()]
            axes.plot(range(len(values)), values, style, color=CHANCE, label=label)
    for line in lines:
        number = colours[line.images]
        scores = list(line.layers.values())
        axes.errorbar(
            range(len(scores)),
            [score.value for score in scores],
            [score.half for score in scores],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
        )[0].set_label(line.images)
    axes.set_title(title, fontsize=10)
    names = list(lines[0].layers)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    tidy(axes)
