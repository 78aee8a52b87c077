"""Walking through rows block by block, and sums and places over replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Carry = TypeVar("Carry")


def fold(
    function: Callable[[Carry, jax.Array, jax.Array], Carry], carry: Carry, rows: int, most: int
) -> Carry:
    """carry = function(carry, start, fresh) for blocks of equal size that cover [0, rows).

    The last block may reach back into the one before, so that no array need be padded, which would copy it.

    Args:
      function: gets where its block starts, () int32, and fresh (size,) float32, which is 0 for rows that an earlier
        block has covered. Rows are to be taken by `lax.dynamic_slice_in_dim`.
      carry: the first one.
      rows: at least 1.
      most: largest size of a block.
    """
    size, count = block_size(rows, most)

    def step(i: jax.Array, carry: Carry) -> Carry:
        start = jnp.minimum(i * size, rows - size)
        fresh = (start + jnp.arange(size) >= i * size).astype(jnp.float32)
        return function(carry, start, fresh)

    return lax.fori_loop(0, count, step, carry)


def block_size(rows: int, most: int) -> tuple[int, int]:
    """Rows a block and the number of blocks, the blocks as equal as can be."""
    count = -(-rows // max(1, most))
    return -(-rows // count), count


def add_up(values: jax.Array, axis_name: str | None) -> jax.Array:
    """The sum over replicas."""
    return values if axis_name is None else lax.psum(values, axis_name)


def replica(axis_name: str | None) -> jax.Array:
    """() int32: the place of this replica among all."""
    return jnp.int32(0) if axis_name is None else lax.axis_index(axis_name)


def replicas(axis_name: str | None) -> int:
    """How many there are."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def gather_all(values: jax.Array, axis_name: str | None) -> jax.Array:
    """(n, ...) of each replica -> (replicas n, ...) in order."""
    return values if axis_name is None else lax.all_gather(values, axis_name, tiled=True)


def take(x: jax.Array, indices: jax.Array, axis_name: str | None) -> jax.Array:
    """Points by global index, replica * n + row: x (n, C), indices (k,) int32 -> (k, C), the same everywhere."""
    local = indices - replica(axis_name) * len(x)
    inside = (local >= 0) & (local < len(x))
    rows = x[jnp.clip(local, 0, len(x) - 1)]
    return add_up(jnp.where(inside[:, None], rows, 0), axis_name)
