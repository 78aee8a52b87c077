"""Pictures of an analysis: heat maps of CKA, ranks against depth, and the nearest images of a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ssl_single_image.analysis import figures, grids
from ssl_single_image.analysis.colours import COLOURS

RANKS = {"rankme": "RankMe", "effective_rank": "effective rank"}
MAP = "viridis"
"""Colours of a heat map: even steps, and readable in grey."""
LIGHT = 0.6
"""From this value on, letters on MAP are black."""
UNDEFINED = "0.85"
TITLE_WIDTH = 56
"""Characters in a line above a heat map."""
QUERY_FRAME = COLOURS[1]


def similarity(pair: Mapping[str, Any], images: int, data: str) -> bytes:
    """A heat map of the CKA of all layers of two encoders, as PNG; depth grows upwards and to the right.

    Args:
      pair: one of the "cka" of `analysis.json`.
      images: how many the features are of.
      data: the name of their set.
    """
    values = np.array([[np.nan if v is None else v for v in row] for row in pair["values"]], float)
    rows, columns = values.shape
    width, height = 2.6 + 0.62 * columns, 2.0 + 0.62 * rows
    figure = Figure(figsize=(max(width, 5.4), max(height, 3.6)), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(UNDEFINED)
    shown = axes.imshow(values, cmap=MAP, vmin=0, vmax=1, origin="lower", aspect="equal")
    for (row, column), value in np.ndenumerate(values):
        ink = "black" if not value < LIGHT else "white"
        text = "none" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=10)
    axes.set_xticks(range(columns), pair["layers_b"], rotation=45 if columns > 6 else 0)
    axes.set_yticks(range(rows), pair["layers_a"])
    axes.set_xlabel(figures.wrapped(pair["b"], 40))
    axes.set_ylabel(figures.wrapped(pair["a"], 28))
    axes.spines[:].set_visible(False)
    title = f"Linear CKA, debiased\n{figures.wrapped(f'{images:,} images of {data}', TITLE_WIDTH)}"
    axes.set_title(title, loc="left", fontsize=12)
    figure.colorbar(shown, ax=axes, shrink=0.9).outline.set_visible(False)
    return figures.png(figure)


def ranks(result: Mapping[str, Any]) -> bytes:
    """RankMe and effective rank against depth, one line an encoder, untrained ones dashed; as PNG.

    Args:
      result: what `analysis.json` holds.
    """
    encoders = result["encoders"]
    labels = [
        figures.wrapped(f"{e['checkpoint']} (step {e['step']:,})", figures.LEGEND_WIDTH) for e in encoders
    ]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(9.4, 3.9 + 0.2 * lines), layout="constrained")
    names = list(dict.fromkeys(layer for encoder in encoders for layer in encoder["layers"]))
    for axes, (key, title) in zip(figure.subplots(1, 2), RANKS.items(), strict=True):
        for number, encoder in enumerate(encoders):
            draw_line(
                axes, [encoder["layers"].get(name, {}).get(key, np.nan) for name in names], encoder, number
            )
        axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 6 else 0)
        axes.set_xlim(-0.4, max(len(names), 1) - 0.6)
        axes.set_ylim(bottom=0)
        axes.set_title(title, loc="left")
        figures.tidy(axes)
    figure.suptitle(f"Features of {result['images']:,} images of {result['data']}", x=0.01, ha="left")
    figure.legend(
        handles=figure.axes[0].get_lines(),
        labels=labels,
        loc="outside lower left",
        frameon=False,
        fontsize=10,
    )
    return figures.png(figure)


def neighbours(
    encoder: Mapping[str, Any], queries: Sequence[int], images: np.ndarray, what: str
) -> Image.Image:
    """For each query a block with a row for each layer: the query, framed, and what is nearest to it there.

    Args:
      encoder: one of the "encoders" of `analysis.json`, with "nearest".
      queries: numbers of images.
      images: (n, S, S, 3) uint8.
      what: calls an image, such as "crop".
    """
    scale = grids.default_scale(images.shape[1])
    blocks = []
    for place, query in enumerate(queries):
        tiles, labels = [], []
        for layer, found in encoder["nearest"].items():
            tiles += [images[query], *(images[other["image"]] for other in found[place])]
            labels += [layer, *(f"{other['cosine']:.2f}" for other in found[place])]
        columns = len(tiles) // len(encoder["nearest"])
        frames = [QUERY_FRAME if i % columns == 0 else "" for i in range(len(tiles))]
        blocks.append(
            grids.contact_sheet(
                tiles, labels, columns=columns, scale=scale, heading=f"{what} {query}", frames=frames
            )
        )
    text = (
        f"{encoder['checkpoint']}, step {encoder['step']:,}",
        f"Left, framed: a {what}. Then the {what}s with the most similar features, and the cosine.",
    )
    heading = grids.text_panel("\n".join(figures.wrapped(line, 100) for line in text))
    pairs = [grids.side_by_side(blocks[i : i + 2]) for i in range(0, len(blocks), 2)]
    return grids.stacked([heading, *pairs])


def draw_line(axes: Axes, values: Sequence[float], encoder: Mapping[str, Any], number: int) -> None:
    """A line of an encoder's values by layer; dashed for an untrained network. `number` chooses colour and marker."""
    axes.plot(
        values,
        color=COLOURS[number % len(COLOURS)],
        marker=figures.MARKERS[number % len(figures.MARKERS)],
        linestyle="--" if encoder["checkpoint"].startswith("random:") else "-",
        linewidth=2,
        markersize=7,
    )
