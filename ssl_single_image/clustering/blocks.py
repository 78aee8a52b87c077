"""A loop over rows, block by block."""

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
    """Rows in a block and the number of blocks; the blocks are as equal as possible."""
    count = -(-rows // max(1, most))
    return -(-rows // count), count
