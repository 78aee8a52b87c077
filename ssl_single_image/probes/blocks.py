"""Functions of all rows of a cache, block by block: a cache is too large for temporaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from ssl_single_image.types import PyTree

T = TypeVar("T")


def sum_over_blocks(function: Callable[[Any], T], cache: PyTree, rows: int) -> T:
    """Sum of `function` over blocks of `rows` rows, one after the other.

    Args:
      function: block -> arrays.
      cache: leaves (N, ...); N is a multiple of `rows`.
      rows: of a block.
    """
    blocks = _blocks(cache, rows)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, _first(blocks)))

    def add(total: PyTree, block: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, function(block)), None

    return lax.scan(add, zeros, blocks)[0]


def over_blocks(function: Callable[[Any], T], cache: PyTree, rows: int) -> T:
    """`function` of every block of `rows` rows, joined again along the first axis.

    Args:
      function: block -> arrays (rows, ...).
      cache: leaves (N, ...); N is a multiple of `rows`.
      rows: of a block.
    """
    found = lax.map(function, _blocks(cache, rows))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


def _blocks(cache: PyTree, rows: int) -> PyTree:
    return jax.tree.map(lambda x: x.reshape(-1, rows, *x.shape[1:]), cache)


def _first(blocks: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x[0], blocks)
