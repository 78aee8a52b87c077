"""Pictures of a regression of landmarks: errors by layer, and test pictures with what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssl_single_image.analysis import figures
from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.analysis.invariance.landmark_tables import names
from ssl_single_image.datasets.landmarks import LandmarkSplit

SHOWN, ACROSS = 8, 4
"""Test pictures that are shown, and how many beside each other."""
TRUE, FOUND = "white", COLOURS[1]


def errors(result: Mapping[str, Any]) -> bytes:
    """The error of the hypercolumn and of each layer alone, with intervals; untrained networks hollow. As PNG."""
    columns, encoders = names(result), result["encoders"]
    labels = [figures.wrapped(e["checkpoint"], figures.LEGEND_WIDTH) for e in encoders]
    figure = Figure(figsize=(7.4, 3.7 + 0.22 * (len(labels) + 1)), layout="constrained")
    axes = figure.subplots()
    for number, encoder in enumerate(encoders):
        offset = 0.5 * (number - (len(encoders) - 1) / 2) / max(len(encoders), 3)
        there = [(i, encoder["layers"][x]) for i, x in enumerate(columns) if x in encoder["layers"]]
        value = np.array([one["error"] for _, one in there])
        ends = np.array([one["interval"] for _, one in there])
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(
            [i + offset for i, _ in there],
            value,
            yerr=[value - ends[:, 0], ends[:, 1] - value],
            fmt=figures.MARKERS[number % len(figures.MARKERS)],
            color=colour,
            markerfacecolor="white" if encoder["checkpoint"].startswith("random:") else colour,
            markersize=8,
            capsize=4,
            label=labels[number],
        )
    mean = f"the mean of the training landmarks, {result['mean']:.1f}"
    axes.axhline(result["mean"], color=figures.CHANCE, linestyle=":", linewidth=1.5, label=mean)
    axes.set_xticks(range(len(columns)), columns, rotation=45 if len(columns) > 6 else 0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"error, % of the {result['unit']}")
    axes.set_title("Landmarks from frozen features: lower is better", loc="left")
    figures.tidy(axes)
    figure.legend(loc="outside lower left", frameon=False, fontsize=10)
    return figures.png(figure)


def sheet(checkpoint: str, test: LandmarkSplit, found: np.ndarray, error: np.ndarray) -> bytes:
    """The first test pictures with their landmarks, and lines to where the regressor puts them; as PNG.

    Args:
      checkpoint: the encoder.
      test: the pictures.
      found: (n, K, 2), what the regressor gives.
      error: (n,) of each picture, as a share of its unit.
    """
    count = min(SHOWN, len(test))
    lines = -(-count // ACROSS)
    figure = Figure(figsize=(2.6 * ACROSS, 2.85 * lines + 1.0), layout="constrained")
    for number, axes in enumerate(figure.subplots(lines, ACROSS, squeeze=False).flat):
        axes.set_axis_off()
        if number >= count:
            continue
        side = test.image.shape[1]
        axes.imshow(test.image[number], interpolation="nearest")
        truth, answer = (side * points[number] - 0.5 for points in (test.points, found))
        for (y, x), (v, u) in zip(truth, answer, strict=True):
            axes.plot([x, u], [y, v], color=FOUND, linewidth=1.2)
        axes.plot(truth[:, 1], truth[:, 0], "o", color=TRUE, markersize=5, markeredgecolor="black")
        axes.plot(
            answer[:, 1],
            answer[:, 0],
            "o",
            color=FOUND,
            markersize=3.5,
            markeredgecolor="black",
            markeredgewidth=0.4,
        )
        axes.set_xlim(-0.5, side - 0.5)
        axes.set_ylim(side - 0.5, -0.5)
        axes.set_title(f"error {100 * error[number]:.1f} %", fontsize=10, loc="left")
    figure.suptitle(figures.wrapped(f"Test pictures, hypercolumn of {checkpoint}", 84), x=0.01, ha="left")
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", markeredgecolor="black")
        for colour in (TRUE, FOUND)
    ]
    figure.legend(handles, ["landmark", "found"], loc="outside lower left", frameon=False, ncols=2)
    return figures.png(figure)
