"""Brings an activation map down to the few thousand features a linear classifier is given."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_single_image.ops.pooling import adaptive_pool, max_pool
from ssl_single_image.types import InputError


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Max-pooling to side x side bins that cover the map evenly, see `ops.pooling.adaptive_pool`."""

    side: int

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B Y X C"]:
        return adaptive_pool(x, self.side, jnp.max)


@dataclasses.dataclass(frozen=True)
class Window:
    """Plain max-pooling: square windows, in cells of the map; cells of the padding never win."""

    window: int
    stride: int
    padding: int = 0

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B Y X C"]:
        return max_pool(x, self.window, self.stride, self.padding)


@dataclasses.dataclass(frozen=True)
class Region:
    """Averages over side x side equal bins of a box in each image; a cell counts by the share of it that is in a bin.

    That is RoI pooling without rounding of edges: the integral of the map over the bin, where a cell of the map is
    constant over its area. A box of any size has no empty bin.
    """

    side: int

    def __call__(self, x: Float[Array, "B H W C"], box: Float[Array, "B 4"]) -> Float[Array, "B Y X C"]:
        rows, columns = (
            self._shares(x.shape[1 + axis], box[:, axis], box[:, 2 + axis]).astype(x.dtype) for axis in (0, 1)
        )
        return jnp.einsum("byh,bhwc,bxw->byxc", rows, x, columns)

    def _shares(
        self, cells: int, start: Float[Array, " B"], end: Float[Array, " B"]
    ) -> Float[Array, "B bins cells"]:
        """Which share of each bin lies in each cell; shares of a bin sum to 1."""
        width = (end - start) * cells / self.side
        left = (start * cells)[:, None] + jnp.arange(self.side, dtype=width.dtype)[None] * width[:, None]
        cell = jnp.arange(cells, dtype=width.dtype)[None, None]
        within = jnp.minimum((left + width[:, None])[..., None], cell + 1) - jnp.maximum(
            left[..., None], cell
        )
        return jnp.maximum(within, 0) / width[:, None, None]


Pool = Adaptive | Window | Region
BINS = 3
"""On a side of a box."""
Shape = tuple[int, int, int]


def choose(
    shapes: Mapping[str, Shape],
    pooling: str | Mapping[str, Sequence[int]],
    max_features: int,
    *,
    at_least_a_cell: bool = False,
) -> dict[str, Pool]:
    """One pooling a layer.

    Args:
      shapes: layer -> (H, W, C) of its activation.
      pooling: "adaptive" takes the largest side n with C n^2 <= max_features (RotNet's probes); or layer ->
        (window, stride[, padding]) for every layer (Zhang et al. 2016, DeepCluster).
      max_features: most features of a layer, for "adaptive".
      at_least_a_cell: a layer with more channels than that keeps one value of each, and is not refused.

    Raises:
      InputError: `max_features` below a layer's channels, or explicit windows that don't fit the layers.
    """
    if pooling == "adaptive":
        least = {layer: shape[-1] if at_least_a_cell else 0 for layer, shape in shapes.items()}
        return {
            layer: _largest(layer, shape, max(max_features, least[layer])) for layer, shape in shapes.items()
        }
    if isinstance(pooling, str):
        raise InputError(f"pooling {pooling!r}: expected 'adaptive' or layer -> (window, stride, padding)")
    if set(pooling) != set(shapes):
        raise InputError(f"pooling names {', '.join(pooling)}; the encoder's layers are {', '.join(shapes)}")
    return {layer: _window(layer, shape, pooling[layer]) for layer, shape in shapes.items()}


def regions(shapes: Mapping[str, Shape], max_features: int) -> dict[str, Region]:
    """Pooling of boxes, one a layer: BINS x BINS bins, or fewer where `max_features` does not leave room for them."""
    return {
        layer: Region(min(BINS, _largest(layer, shape, max_features).side)) for layer, shape in shapes.items()
    }


def features(pool: Pool, shape: Shape) -> int:
    """How many features a map (H, W, C) gives."""
    x, box = jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1, 4), jnp.float32)
    return math.prod(jax.eval_shape(functools.partial(_pooled, pool), x, box).shape)


def flatten(
    pools: Mapping[str, Pool],
    taps: Mapping[str, Float[Array, "B _ _ _"]],
    dtype: Any = None,
    box: Float[Array, "B 4"] | None = None,
) -> dict[str, Float[Array, "B _"]]:
    """Pools every layer: (B, H, W, C) -> (B, features), in `dtype` or the activations' own; `box` is for `Region`."""
    pooled = {layer: _pooled(pool, taps[layer], box) for layer, pool in pools.items()}
    return {layer: x.reshape(x.shape[0], -1).astype(dtype or x.dtype) for layer, x in pooled.items()}


def _pooled(pool: Pool, x: jax.Array, box: jax.Array | None) -> jax.Array:
    if not isinstance(pool, Region):
        return pool(x)
    if box is None:
        raise TypeError("regions are pooled from images with boxes")
    return pool(x, box)


def _largest(layer: str, shape: Shape, max_features: int) -> Adaptive:
    height, width, channels = shape
    if max_features < channels:
        raise InputError(f"max_features {max_features}: {layer} has {channels} channels; give at least that")
    return Adaptive(min(math.isqrt(max_features // channels), height, width))


def _window(layer: str, shape: Shape, values: Sequence[int]) -> Window:
    if len(values) not in (2, 3) or min(values[:2]) < 1 or min(values) < 0:
        raise InputError(f"pooling.{layer} {tuple(values)}: expected (window, stride[, padding])")
    pool = Window(*values)
    side = min(shape[:2])
    if pool.window > side + 2 * pool.padding or 2 * pool.padding > pool.window:
        raise InputError(f"pooling.{layer} {tuple(values)}: does not fit its map of {shape[0]} x {shape[1]}")
    return pool
