"""Windows along one axis as whole arrays, one for each place in a window, and their transpose.

What convolution and pooling are made of on CPUs: XLA vectorises such arrays, and neither gathers nor scatters.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def padded(
    x: jax.Array, axis: int, before: int, width: int, step: int, count: int, fill: float = 0.0
) -> jax.Array:
    """x as `split` wants it: `before` cells of `fill`, then x, then as many as the last of `count` windows reaches
    into; cells that no window reaches are cut off."""
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (before, (count + reach(width, step) - 1) * step - before - x.shape[axis], 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), pads)


def reach(width: int, step: int) -> int:
    """Steps that a window spans, the last one perhaps in part."""
    return -(-width // step)


def split(x: jax.Array, axis: int, width: int, step: int) -> list[jax.Array]:
    """Cell j of each window along an axis, for j < width; windows start every `step` cells.

    Args:
      x: its length along the axis is (windows + reach(width, step) - 1) * step.
    """
    phases = x.reshape(*x.shape[:axis], -1, step, *x.shape[axis + 1 :])
    count = phases.shape[axis] - reach(width, step) + 1

    def cell(j: int) -> jax.Array:
        whole = lax.slice_in_dim(phases, j // step, j // step + count, axis=axis)
        return lax.index_in_dim(whole, j % step, axis + 1, keepdims=False)

    return [cell(j) for j in range(width)]


def overlap_add(
    cells: Sequence[jax.Array], axis: int, step: int, *, start: int = 0, size: int | None = None
) -> jax.Array:
    """The transpose of `split`: windows are put back and added where they overlap.

    Args:
      cells: as `split` returns them.
      axis: theirs and the result's.
      step: cells from window to window.
      start: first cell of the result that is returned, as padding in front is not.
      size: how many are returned, zeros where no window reached; None: all from `start`.
    """
    steps = reach(len(cells), step)
    phases = []
    for phase in range(min(step, len(cells))):
        shifted = []
        for turn, cell in enumerate(cells[phase::step]):
            pads = [(0, 0)] * cell.ndim
            pads[axis] = (turn, steps - 1 - turn)
            shifted.append(jnp.pad(cell, pads))
        phases.append(functools.reduce(jnp.add, shifted))
    phases += [jnp.zeros_like(phases[0])] * (step - len(phases))
    whole = interleave(phases, axis)
    borders = [(0, 0, 0)] * whole.ndim
    length = whole.shape[axis] - start
    borders[axis] = (-start, (length if size is None else size) - length, 0)
    return lax.pad(whole, jnp.zeros((), whole.dtype), borders)


def interleave(phases: Sequence[jax.Array], axis: int) -> jax.Array:
    """Arrays in turn along an axis. XLA:CPU computes the operands of a stack first, and each of them once."""
    shape = list(phases[0].shape)
    shape[axis] *= len(phases)
    return jnp.stack(phases, axis + 1).reshape(shape)
