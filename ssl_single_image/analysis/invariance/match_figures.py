"""Pictures of matches: two pictures beside each other, with lines between the places that a layer matches."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssl_single_image.analysis import figures
from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.analysis.invariance import matching, pairs
from ssl_single_image.analysis.invariance.tables import SETS

RIGHT, WRONG = COLOURS[2], COLOURS[1]
SHOWN = 4
"""Pairs that are shown."""
LINES = {"warps": 36, "stereo": 72}
"""Matches that are drawn in a pair, at most: at even distances of those that were asked for."""
GAP = 0.04
"""Between the two pictures, as a share of their width."""


def picture(checkpoint: str, name: str, layer: str, given: pairs.Pairs, matches: matching.Matches) -> bytes:
    """The first pairs with their matches, right ones green and wrong ones orange, as PNG.

    Args:
      checkpoint: the encoder.
      name: "warps" or "stereo".
      layer: whose matches are drawn.
      given: the pairs.
      matches: of that layer.
    """
    count = min(SHOWN, len(given.first))
    height, width = given.first.shape[1:3]
    across = min(2, count)
    lines = -(-count // across)
    panel = (9.6 if across == 1 else 5.6, (9.6 if across == 1 else 5.6) * height / (width * (2 + GAP)))
    figure = Figure(figsize=(panel[0] * across, (panel[1] + 0.3) * lines + 1.1), layout="constrained")
    for number, axes in enumerate(figure.subplots(lines, across, squeeze=False).flat):
        axes.set_axis_off()
        if number < count:
            _pair(axes, given, matches, number, LINES[name])
    tolerance = matching.TOLERANCES[0]
    rate = 100 * float(np.nanmean(matching.rate(matches, tolerance)))
    text = f"{layer} of {checkpoint}: {rate:.0f} % of all places in the {SETS[name]} are matched within"
    figure.suptitle(
        figures.wrapped(f"{text} {100 * tolerance:g} % of the side", 96), x=0.01, ha="left", fontsize=12
    )
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in (RIGHT, WRONG)]
    labels = ["right: within the tolerance", "wrong: the line ends where the layer looks"]
    figure.legend(handles, labels, loc="outside lower left", frameon=False, ncols=2, fontsize=10)
    return figures.png(figure)


def _pair(axes: Axes, given: pairs.Pairs, matches: matching.Matches, number: int, most: int) -> None:
    height, width = given.first.shape[1:3]
    shift = round(width * (1 + GAP))
    canvas = np.ones((height, shift + width, 3))
    canvas[:, :width], canvas[:, shift:] = given.first[number], given.second[number]
    axes.imshow(canvas, interpolation="nearest")
    side = min(height, width)
    valid = np.flatnonzero(matches.valid[number])
    shown = valid[np.unique(np.linspace(0, len(valid) - 1, min(most, len(valid))).round().astype(int))]
    right = matches.error[number] <= matching.TOLERANCES[0]
    for place in sorted(shown, key=lambda place: right[place]):  # right ones above
        (y, x), (v, u) = side * matches.asked[number][place] - 0.5, side * matches.found[number][place] - 0.5
        colour = RIGHT if right[place] else WRONG
        axes.plot([x, u + shift], [y, v], color=colour, linewidth=1.0, alpha=0.9)
        axes.plot(
            [x, u + shift],
            [y, v],
            "o",
            color=colour,
            markersize=3,
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
    axes.set_xlim(-0.5, shift + width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
