"""What a shift is, and what the shifts share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

SEVERITIES = 5
"""The highest severity; 0 is no shift."""

Images = Float[Array, "B S S 3"]
"""Square images, float32 in [0, 1]."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pool:
    """Images that a shift may show parts of.

    Attributes:
      image: (P, S, S, 3) uint8, of the side of the images that are shifted.
      label: (P,) int32; two classes at least.
    """

    image: UInt8[Array, "P S S 3"]
    label: Int32[Array, " P"]


@dataclasses.dataclass(frozen=True)
class Shift:
    """A way of changing images, pure and jit-able.

    Attributes:
      apply: (images, keys (B,), severity () int32 in [1, SEVERITIES]) -> images of the same shape in [0, 1]. Image b
        depends on images[b], keys[b] and severity alone. A shift with `pool` also takes the labels (B,) int32 of the
        images, and a `Pool`.
      smallest: side in pixels of the smallest images that it takes.
      pool: whether it shows parts of images with other labels.
    """

    apply: Callable[..., Images]
    smallest: int = 1
    pool: bool = False


def at(values: Sequence[Any] | np.ndarray, severity: Int32[Array, ""]) -> Array:
    """The entry of a severity, which may be traced, of `values`, which has one for each of 1 to SEVERITIES.

    Floats are float32 and whole numbers int32 or uint32.
    """
    table = np.asarray(values)
    if table.dtype == np.float64:
        table = table.astype(np.float32)
    elif table.dtype == np.int64:
        table = table.astype(np.int32)
    assert len(table) == SEVERITIES, table.shape
    return jnp.asarray(table)[severity - 1]


def levels(x: Float[Array, "*shape"]) -> Int32[Array, "*shape"]:
    """Images in [0, 1] -> the nearest of 256 levels, int32."""
    return jnp.floor(x * 255 + 0.5).astype(jnp.int32)
