"""Accuracy or mAP against crops seen, of a run that was probed at several of its checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_single_image.analysis import figures, measured, panels, tables
from ssl_single_image.analysis.colours import COLOURS

GAUGES = ("inversion", "agreement", "rank")
"""First words of evaluation metrics that are drawn below the accuracies; see the gauges of BiGAN."""
FEWEST = 3
"""Checkpoints of a run below which there is no curve to draw."""


def runs(probe: tables.Probe) -> dict[str, list[Mapping[str, Any]]]:
    """Run, with `#ENCODER` where one was named -> its results by crops seen; runs with FEWEST checkpoints at least."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in probe["results"]:
        folder, at, rest = result["checkpoint"].rpartition("@")
        if "crops" in result and at and not tables.is_random(result):
            encoder = rest.partition("#")[2]
            found.setdefault(f"{folder}#{encoder}" if encoder else folder, []).append(result)
    return {
        run: sorted(results, key=lambda result: result["crops"])
        for run, results in found.items()
        if len(results) >= FEWEST
    }


def picture(probe: tables.Probe) -> bytes | None:
    """A PNG with a column for each run: accuracy of every layer, and below it the gauges of its evaluations.

    Dotted lines are the untrained network of the same spec, where it was probed too. None where no run was probed often
    enough.
    """
    found = runs(probe)
    if not found:
        return None
    gauges = {run: panels.arrange(_gauges(results)) for run, results in found.items()}
    rows = 1 + max(map(len, gauges.values()))
    heights = [3.6, *[1.9] * (rows - 1)]
    figure = Figure(figsize=(7.2 * len(found), sum(heights)), layout="constrained")
    grid = figure.subplots(rows, len(found), squeeze=False, height_ratios=heights)
    for column, (run, results) in enumerate(found.items()):
        _draw_accuracy(grid[0, column], probe, run, results)
        for axes, panel in itertools.zip_longest(grid[1:, column], gauges[run]):
            if panel is None:
                axes.set_visible(False)
                continue
            _draw_gauges(axes, panel, results)
            axes.sharex(grid[0, column])
        grid[len(gauges[run]), column].set_xlabel("crops seen")
    return figures.png(figure)


def _gauges(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the metrics that say how healthy a run is without labels."""
    names = {name: None for result in results for name in result.get("metrics", {})}
    return [name for name in names if name.removeprefix("eval/").partition("_")[0] in GAUGES]


def _draw_accuracy(axes: Axes, probe: tables.Probe, run: str, results: Sequence[Mapping[str, Any]]) -> None:
    untrained, measure = tables.untrained_of(probe, results[0]), measured.of(probe)
    for number, layer in enumerate(tables.layers({"results": results})):
        colour = COLOURS[number % len(COLOURS)]
        seen = [result for result in results if layer in result["layers"]]
        axes.errorbar(
            [result["crops"] for result in seen],
            [result["layers"][layer][measure.main] for result in seen],
            [tables.half_width(result["layers"][layer]) or 0 for result in seen],
            color=colour,
            marker=figures.MARKERS[number],
            markersize=5,
            capsize=2,
            elinewidth=1,
            label=layer,
        )
        if untrained:
            base = sum(other[layer][measure.main] for other in untrained) / len(untrained)
            axes.axhline(base, color=colour, linestyle=":", linewidth=1.2)
    dotted = "; dotted: untrained" if untrained else ""
    axes.set_title(f"{Path(run).name}, probed on {tables.named(probe)}{dotted}", loc="left", fontsize=11)
    axes.set_ylabel(measure.axis)
    _finish(axes)


def _draw_gauges(axes: Axes, panel: panels.Panel, results: Sequence[Mapping[str, Any]]) -> None:
    for number, line in enumerate(panel.lines):
        seen = [result for result in results if line in result.get("metrics", {})]
        axes.plot(
            [result["crops"] for result in seen],
            [result["metrics"][line] for result in seen],
            color=COLOURS[number % len(COLOURS)],
            marker=figures.MARKERS[number],
            markersize=4,
            label=panel.label(line).removeprefix(f"{panel.name} "),
        )
    axes.set_title(panel.title, loc="left", fontsize=11)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figures.tidy(axes)
