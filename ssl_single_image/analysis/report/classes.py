"""Accuracy or average precision by class and layer of one result, as a table whose cells are shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from ssl_single_image.analysis import tables

LEVELS = 20
"""Shades of the map: one for every five percent."""
MOST = 120
"""Classes that are all shown; of more, the EXTREMES with the highest and the lowest values."""
EXTREMES = 25
COLOURS = "Blues"
"""Matplotlib's colour map: light is low."""
DARK = 0.72
"""Part of the map from where on its text is white."""


def styles() -> list[dict[str, str]]:
    """Background and text of each shade, "#rrggbb", from 0 to 100 %."""
    colours = matplotlib.colormaps[COLOURS]
    shares = [0.9 * level / (LEVELS - 1) for level in range(LEVELS)]
    return [
        {"ground": to_hex(colours(share)), "text": "#ffffff" if share > DARK else "#000000"}
        for share in shares
    ]


def heat(probe: tables.Probe, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows of classes, columns of layers.

    Args:
      probe: what `probe.json` holds; its `data.classes` names the classes, where it is there.
      result: one of its results.

    Returns:
      "name", "layers", "rows" of {"name", "cells"} and "left_out", the number of classes not shown; None where the
      result has no values by class.
    """
    layers = [
        layer for layer in tables.layers({"results": [result]}) if result["layers"][layer].get("per_class")
    ]
    columns = [result["layers"][layer]["per_class"] for layer in layers]
    if not columns:
        return None
    count = min(map(len, columns))
    named = probe.get("data", {}).get("classes", [])
    names = named if len(named) == count else [f"class {number}" for number in range(count)]
    means = [_mean([column[number] for column in columns]) for number in range(count)]
    shown = _shown(means)
    rows = [
        {"name": names[number], "cells": [_cell(column[number]) for column in columns]} for number in shown
    ]
    return {"name": result["checkpoint"], "layers": layers, "rows": rows, "left_out": count - len(shown)}


def _shown(means: Sequence[float]) -> list[int]:
    """Which classes: all in order, or those at the two ends."""
    if len(means) <= MOST:
        return list(range(len(means)))
    ordered = sorted(range(len(means)), key=lambda number: -means[number])
    return [*ordered[:EXTREMES], *ordered[-EXTREMES:]]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _cell(value: float | None) -> dict[str, Any]:
    if value is None:  # no test image of this class
        return {"text": "", "level": 0}
    return {"text": f"{value:.0f}", "level": min(LEVELS - 1, int(value / 100 * LEVELS))}
