"""Which points k-means starts from, drawn by their global index: replica r has points r n to r n + n - 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ssl_single_image.parallel import replicas

WIDTH = 256
"""Values a block of the two-level cumulative sum, which rounds less than one over all and takes less time."""


def random_points(
    x: jax.Array, weights: jax.Array, key: jax.Array, k: int, axis_name: str | None
) -> jax.Array:
    """k different points, each set of k equally likely; again from the first where fewer than k count.

    Memory: 16 bytes a point of all replicas.

    Args:
      x: (n, C) float32, this replica's points.
      weights: (n,) float32; only points with a weight above 0 are drawn.
      key: the same on all replicas.
      k: at most the points of all replicas.
      axis_name: mapped axis, or None.

    Returns:
      (k, C) float32, the same on all replicas.
    """
    left_out = replicas.gather(weights, axis_name) <= 0
    order = jnp.arange(len(left_out), dtype=jnp.int32)
    ranks = jax.random.bits(key, left_out.shape, jnp.uint32)
    _, _, order = lax.sort((left_out.astype(jnp.int32), ranks, order), num_keys=2)
    drawn = jnp.arange(k) % jnp.maximum((~left_out).sum(), 1)
    return replicas.take(x, order[drawn], axis_name)


def plusplus_points(
    x: jax.Array, weights: jax.Array, key: jax.Array, k: int, axis_name: str | None
) -> jax.Array:
    """k points, each drawn with probability proportional to its squared distance to the nearest one before it.

    Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding", section 2.2. Draws are sequential:
    k passes over x, k n C products in all, as many as one iteration of Lloyd's takes but bound by memory. Each draw
    inverts the cumulative sum, whose rounding can make n devices draw a neighbour of the point that one device draws.

    Arguments and result as `random_points`'; where all distances are 0, points are drawn by weight.
    """
    norms = jnp.square(x).sum(1)

    def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        points, nearest = carry
        # Before the first draw all distances are infinite, and where all points have been drawn they are 0.
        mass = weights * jnp.where(i == 0, 1, nearest)
        mass = jnp.where(replicas.total(mass.sum(), axis_name) > 0, mass, weights)
        point = replicas.take(x, sample(mass, jax.random.fold_in(key, i), axis_name)[None], axis_name)[0]
        products = jnp.matmul(x, point, precision=lax.Precision.HIGHEST)
        distances = jnp.maximum(norms - 2 * products + jnp.square(point).sum(), 0)
        return points.at[i].set(point), jnp.minimum(nearest, distances)

    start = jnp.zeros((k, x.shape[1]), x.dtype), jnp.full(len(x), jnp.inf, x.dtype)
    return lax.fori_loop(0, k, step, start)[0]


def sample(mass: jax.Array, key: jax.Array, axis_name: str | None) -> jax.Array:
    """() int32, the global index of one point, drawn with probability proportional to its mass (n,)."""
    blocks = jnp.pad(mass, (0, -len(mass) % WIDTH)).reshape(-1, WIDTH)
    totals = blocks.sum(1)
    shares = replicas.gather(totals.sum()[None], axis_name)
    owner, target = _invert(shares, jax.random.uniform(key) * shares.sum())
    block, target = _invert(totals, target)
    place, _ = _invert(blocks[block], target)
    local = jnp.where(owner == replicas.place(axis_name), block * WIDTH + place, 0)
    return owner * len(mass) + replicas.total(local, axis_name)


def _invert(mass: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first index at which the cumulative sum of mass (m,) exceeds the target, and by how much the target exceeds
    the sum before it. Where rounding has put the target too high: the last index that has any mass."""
    sums = jnp.cumsum(mass)
    last = jnp.where(mass > 0, jnp.arange(len(mass)), 0).max()
    index = jnp.minimum((sums <= target).sum(), last).astype(jnp.int32)
    return index, target - (sums[index] - mass[index])


SEEDINGS = {"random": random_points, "plusplus": plusplus_points}
