"""What an analysis measures of encoders: similarity, ranks and nearest images, all of the same pooled features."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ssl_single_image.analysis import filters, rank, similarity
from ssl_single_image.errors import InputError
from ssl_single_image.runs import LoadedEncoder, progress

Features = Mapping[str, Float[np.ndarray, "n _"]]
"""Layer -> pooled features, one image a row."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """Images among which neighbours are looked for.

    Attributes:
      what: what one of them is called, "crop" or "image".
      source: where they come from.
      pixels: (n, S, S, 3) uint8.
      queries: numbers of those whose neighbours are shown.
    """

    what: str
    source: str
    pixels: UInt8[np.ndarray, "n S S 3"]
    queries: tuple[int, ...]


def measure(
    encoders: Sequence[LoadedEncoder],
    views: Callable[[int], UInt8[np.ndarray, "n S S 3"]],
    pool: Pool,
    *,
    layers: Sequence[str] = (),
    neighbours: int = 5,
    grid: int = 4,
) -> dict[str, Any]:
    """Measures all encoders on the same images.

    Args:
      encoders: at least one.
      views: side of an encoder's input -> the images at that side; at least 4 of them.
      pool: what neighbours are looked for in.
      layers: names of layers; none: all.
      neighbours: how many of each query.
      grid: bins of the pooled maps along each axis, at most.

    Returns:
      "encoders" and "cka" of `analysis.json`.

    Raises:
      InputError: features that are not finite.
    """
    results, grams = [], []
    for loaded in encoders:
        features = _features(loaded, views(loaded.encoder.spec.size), layers, grid)
        near = _features(loaded, pool.pixels, layers, grid)
        with progress.waiting(f"comparing the layers of {loaded.name}"):
            grams.append({layer: similarity.gram(x) for layer, x in features.items()})
            results.append(
                {
                    "checkpoint": loaded.name,
                    "step": loaded.step,
                    "backbone": loaded.encoder.spec.backbone,
                    "encoder": json.loads(json.dumps(dataclasses.asdict(loaded.encoder.spec))),
                    "layers": rank.ranks(features),
                    "filters": filters.summary(loaded.encoder),
                    "nearest": {
                        layer: _nearest(x, pool.queries, min(neighbours, len(x) - 1))
                        for layer, x in near.items()
                    },
                }
            )
    pairs = itertools.combinations_with_replacement(range(len(encoders)), 2)
    return {"encoders": results, "cka": [_pair(encoders, grams, a, b) for a, b in pairs]}


def _features(loaded: LoadedEncoder, pixels: np.ndarray, layers: Sequence[str], grid: int) -> Features:
    with progress.waiting(f"encoding {len(pixels)} images with {loaded.name}"):
        features = loaded.pooled_features(pixels, layers, side=grid)
    for layer, x in features.items():
        if not np.isfinite(x).all():
            raise InputError(f"checkpoint {loaded.name}: the features of {layer} are not finite")
    return features


def _nearest(x: np.ndarray, queries: Sequence[int], count: int) -> list[list[dict[str, Any]]]:
    """For each query its neighbours, {"image", "cosine"}."""
    return [
        [{"image": int(i), "cosine": float(c)} for i, c in zip(*found, strict=True)]
        for found in zip(*similarity.nearest(x, queries, count), strict=True)
    ]


def _pair(
    encoders: Sequence[LoadedEncoder], grams: Sequence[Mapping[str, np.ndarray]], a: int, b: int
) -> dict[str, Any]:
    values = similarity.cka_matrix(list(grams[a].values()), list(grams[b].values()))
    return {
        "a": encoders[a].name,
        "b": encoders[b].name,
        "layers_a": list(grams[a]),
        "layers_b": list(grams[b]),
        "values": [[None if math.isnan(value) else value for value in row] for row in values.tolist()],
    }
