"""A heat map of robustness probes: accuracy after each shift, by layer, a panel a result."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ssl_single_image.analysis import figures, robustness, tables

MAP = "viridis"
LIGHT = 0.6
"""Part of the scale from where on letters on MAP are black."""
MOST = 8
"""Results that are drawn; the table has all."""
TITLE_WIDTH = 34
"""Characters in a line above a panel."""


def picture(probe: tables.Probe) -> bytes | None:
    """Accuracy after each shift, as PNG; None of a probe without shifts. All panels have one scale."""
    layers = tables.layers(probe)
    found = [(result, robustness.by_shift(result, layers)) for result in probe["results"]]
    found = [(result, rows) for result, rows in found if rows][:MOST]
    if not found:
        return None
    arrays = [np.array([row[1:] for row in rows], float) for _, rows in found]
    low, high = (float(end) for end in (np.nanmin(np.stack(arrays)), np.nanmax(np.stack(arrays))))
    count, names = len(found), [row[0] for row in found[0][1]]
    width = 2.6 + count * (0.6 + 0.62 * len(layers))
    figure = Figure(figsize=(max(width, 6.0), 1.9 + 0.34 * len(names)), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for axes, (result, _), values in zip(panels, found, arrays, strict=True):
        drawn = axes.imshow(values, cmap=MAP, vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            ink = "black" if value > low + LIGHT * (high - low) else "white"
            text = "" if np.isnan(value) else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 6 else 0)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.spines[:].set_visible(False)
        axes.set_title(
            figures.wrapped(f"{result['checkpoint']} (step {result['step']:,})", TITLE_WIDTH), fontsize=10
        )
    averaged = robustness.severities(found[0][0])
    title = f"Top-1 accuracy on {probe['dataset']} after each shift, % ({averaged})"
    figure.suptitle(figures.wrapped(title, max(60, 36 * count)), x=0.01, ha="left", fontsize=12)
    figure.colorbar(drawn, ax=panels, shrink=0.9).outline.set_visible(False)
    return figures.png(figure)
