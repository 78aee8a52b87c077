"""Lloyd's k-means by blocks of points, with faiss's repair of empty clusters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32, Key

from ssl_single_image.clustering.blocks import fold
from ssl_single_image.clustering.seeding import SEEDINGS, sample
from ssl_single_image.parallel import replicas
from ssl_single_image.types import InputError

DTYPES = ("float32", "bfloat16")
BLOCK = 1 << 22
"""Distances of one block of points."""
GROUP = 16
"""Centroids among which the nearest is sought at once."""
APART = 1 / 1024
"""How far the two halves of a split cluster move away from its centroid, as a fraction."""


class KMeans(NamedTuple):
    """A clustering.

    Attributes:
      labels: (n,) int32 in [0, k), the nearest centroid of each of this replica's points, whatever their weights.
      distances: (n,) float32, squared distance to it.
      centroids: (k, C) float32.
      sizes: (k,) float32, sums of weights over all replicas' points.
      inertia: (iterations + 1,) float32, mean of the distances (by weight) before each update of the centroids and
        after the last. If the tolerance stopped it early, the last value is repeated.
    """

    labels: Int32[Array, " n"]
    distances: Float[Array, " n"]
    centroids: Float[Array, "k C"]
    sizes: Float[Array, " k"]
    inertia: Float[Array, " iterations+1"]


class _Pass(NamedTuple):
    """What one pass over the points gives; sums and sizes are over all replicas."""

    labels: jax.Array
    distances: jax.Array
    sums: jax.Array
    sizes: jax.Array
    inertia: jax.Array


_Sums = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
_Carry = tuple[jax.Array, jax.Array, _Pass, jax.Array]
"""Passes so far, centroids, the pass over the points with them, the inertia of each pass."""


def kmeans(
    x: Float[Array, "n C"],
    key: Key[Array, ""],
    k: int,
    *,
    iterations: int = 20,
    tolerance: float = 0.0,
    seeding: str = "random",
    restarts: int = 1,
    weights: Float[Array, " n"] | None = None,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> KMeans:
    """Lloyd's algorithm (1982, "Least squares quantization in PCM") from k of the points.

    Empty clusters take over half of another one, see `repair_empty`.

    Memory beside x is less than 4 (2 b k + 3 b C + 6 k C + 4 n) bytes. Blocks have b = min(n, max(1, BLOCK // k))
    points. Random seeding needs 16 bytes more for each point of all replicas, for a moment. Restarts keep a second
    result. Time is that of n k C products for each iteration and the last assignment, and that of the seeding.

    Args:
      x: (n, C) float32, this replica's points.
      key: the same on all replicas.
      k: number of clusters.
      iterations: updates of the centroids.
      tolerance: stops when an update has lowered the inertia by less than this share of it; 0: never.
      seeding: "random", k different points, or "plusplus", see `seeding.plusplus_points`.
      restarts: runs from different seeds, of which the one of least inertia is returned; the first run doesn't depend
        on how many there are.
      weights: (n,) float32, 0 for points that don't count (padding) and 1 for others; None: all count.
      dtype: of the factors of the scalar products, "float32" or "bfloat16"; all else is float32. Points of float64
        are clustered in float64.
      axis_name: mapped axis whose replicas hold the other points, as many each.

    Raises:
      InputError: k not in [1, number of points], an unknown seeding or dtype, iterations or restarts below 1, a
        negative tolerance, or x not a matrix.
    """
    _check(x, k, iterations, tolerance, seeding, restarts, dtype, replicas.count(axis_name))
    weights = jnp.ones(len(x), x.dtype) if weights is None else weights

    def run(restart: jax.Array) -> KMeans:
        seed_key, repair_key = jax.random.split(jax.random.fold_in(key, restart))
        seeds = SEEDINGS[seeding](x, weights, seed_key, k, axis_name)
        return _lloyd(x, weights, seeds, repair_key, iterations, tolerance, dtype, axis_name)

    def better(restart: jax.Array, best: KMeans) -> KMeans:
        new = run(restart)
        is_better = (restart == 0) | (new.inertia[-1] < best.inertia[-1])
        return jax.tree.map(lambda a, b: jnp.where(is_better, a, b), new, best)

    shapes = jax.eval_shape(run, jnp.int32(0))
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return lax.fori_loop(0, restarts, better, nothing)


def repair_empty(
    centroids: Float[Array, "k C"], sizes: Float[Array, " k"], key: Key[Array, ""]
) -> tuple[Float[Array, "k C"], Float[Array, " k"]]:
    """Splits other clusters until none is empty, as faiss does (Johnson, Douze and Jégou 2017, `Clustering.cpp`).

    Each empty cluster, in order, gets the centroid of a donor. A donor is drawn with probability proportional to its
    size - 1. The two then move apart by factors 1 +- APART, + on the even dimensions of the new one. The new one gets
    half of the donor's size, rounded down. This takes O(k + C) for each empty cluster. Once no cluster has more than
    one point, those still empty stay so.

    Args:
      centroids: (k, C) float32.
      sizes: (k,) float32, whole numbers.
      key: for the draws; the same on all replicas.

    Returns:
      Centroids and sizes after it.
    """
    empty = jnp.argsort(sizes > 0, stable=True)
    factors = jnp.where(jnp.arange(centroids.shape[1]) % 2 == 0, 1 + APART, 1 - APART)
    # A split lowers the sum of what can be given by 1.
    splits = jnp.minimum((sizes == 0).sum(), jnp.maximum(sizes - 1, 0).sum().astype(jnp.int32))

    def split(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        i, centroids, sizes = carry
        new = empty[i]
        donor = sample(jnp.maximum(sizes - 1, 0), jax.random.fold_in(key, i), None)
        whole, half = centroids[donor], jnp.floor(sizes[donor] / 2)
        centroids = lax.dynamic_update_index_in_dim(centroids, whole * factors, new, 0)
        centroids = lax.dynamic_update_index_in_dim(centroids, whole * (2 - factors), donor, 0)
        sizes = lax.dynamic_update_index_in_dim(sizes, sizes[donor] - half, donor, 0)
        return i + 1, centroids, lax.dynamic_update_index_in_dim(sizes, half, new, 0)

    _, centroids, sizes = lax.while_loop(
        lambda carry: carry[0] < splits, split, (jnp.int32(0), centroids, sizes)
    )
    return centroids, sizes


def _check(
    x: jax.Array,
    k: int,
    iterations: int,
    tolerance: float,
    seeding: str,
    restarts: int,
    dtype: str,
    copies: int,
) -> None:
    if x.ndim != 2:
        raise InputError(f"k-means: points of shape {x.shape}: expected (n, C)")
    for name, value in (("k", k), ("iterations", iterations), ("restarts", restarts)):
        if value < 1:
            raise InputError(f"k-means: {name} {value}: must be at least 1")
    if k > copies * len(x):
        raise InputError(f"k-means: k {k}: there are only {copies * len(x)} points")
    if tolerance < 0:
        raise InputError(f"k-means: tolerance {tolerance}: must not be negative")
    for name, word, known in (("seeding", seeding, SEEDINGS), ("dtype", dtype, DTYPES)):
        if word not in known:
            raise InputError(f"k-means: {name} {word!r}: expected {' or '.join(known)}")


def _lloyd(
    x: jax.Array,
    weights: jax.Array,
    seeds: jax.Array,
    key: jax.Array,
    iterations: int,
    tolerance: float,
    dtype: str,
    axis_name: str | None,
) -> KMeans:
    """From seeds (k, C)."""

    def update(i: jax.Array, centroids: jax.Array, seen: _Pass) -> jax.Array:
        means = seen.sums / jnp.maximum(seen.sizes, 1)[:, None]
        centroids = jnp.where(seen.sizes[:, None] > 0, means, centroids)
        return repair_empty(centroids, seen.sizes, jax.random.fold_in(key, i))[0]

    def step(carry: _Carry) -> _Carry:
        i, centroids, seen, history = carry
        # One place that calls _assign: the first pass on its own would double the time to compile.
        centroids = lax.cond(i > 0, update, lambda i, centroids, seen: centroids, i, centroids, seen)
        seen = _assign(x, weights, centroids, dtype, axis_name)
        return i + 1, centroids, seen, history.at[i].set(seen.inertia)

    def goes_on(carry: _Carry) -> jax.Array:
        i, _, seen, history = carry
        if tolerance == 0:
            return i <= iterations
        before = history[jnp.maximum(i - 2, 0)]
        return (i <= iterations) & ((i < 2) | (before - seen.inertia >= tolerance * before))

    nothing = _Pass(
        jnp.zeros(len(x), jnp.int32),
        jnp.zeros(len(x), x.dtype),
        jnp.zeros_like(seeds),
        jnp.zeros(len(seeds), x.dtype),
        jnp.zeros((), x.dtype),
    )
    start = (jnp.int32(0), seeds, nothing, jnp.zeros(iterations + 1, x.dtype))
    passes, centroids, seen, history = lax.while_loop(goes_on, step, start)
    history = jnp.where(jnp.arange(iterations + 1) < passes, history, seen.inertia)
    return KMeans(seen.labels, seen.distances, centroids, seen.sizes, history)


def _assign(
    x: jax.Array, weights: jax.Array, centroids: jax.Array, dtype: str, axis_name: str | None
) -> _Pass:
    """The nearest centroid of each point, and the sums from which the next centroids come."""
    n, k = len(x), len(centroids)
    factors = centroids.dtype if dtype == "float32" else dtype
    offsets = jnp.square(centroids).sum(1) / 2

    def add_block(carry: _Sums, start: jax.Array, fresh: jax.Array) -> _Sums:
        labels, distances, sums, sizes = carry
        points = lax.dynamic_slice_in_dim(x, start, len(fresh))
        counted = fresh * lax.dynamic_slice_in_dim(weights, start, len(fresh))
        nearest = _nearest(points.astype(factors), centroids.astype(factors), offsets)
        apart = jnp.square(points - centroids[nearest]).sum(1)
        return (
            lax.dynamic_update_slice_in_dim(labels, nearest, start, 0),
            lax.dynamic_update_slice_in_dim(distances, apart, start, 0),
            sums.at[nearest].add(points * counted[:, None]),
            sizes.at[nearest].add(counted),
        )

    start = (jnp.zeros(n, jnp.int32), jnp.zeros(n, x.dtype), jnp.zeros_like(centroids), jnp.zeros(k, x.dtype))
    labels, distances, sums, sizes = fold(add_block, start, n, BLOCK // k)
    sums, sizes = replicas.total(sums, axis_name), replicas.total(sizes, axis_name)
    inertia = replicas.total((weights * distances).sum(), axis_name) / jnp.maximum(sizes.sum(), 1)
    return _Pass(labels, distances, sums, sizes, inertia)


def _nearest(points: jax.Array, centroids: jax.Array, offsets: jax.Array) -> jax.Array:
    """(b,) int32: which centroid (k, C) is nearest to each point (b, C), the first of several.

    Offsets (k,) are half the centroids' squared lengths. The largest score is sought in two levels, among groups and
    then in the best group: XLA:CPU vectorises a plain maximum, and not one that carries along where it is.
    """
    groups = -(-len(centroids) // GROUP)
    missing = groups * GROUP - len(centroids)
    centroids = jnp.pad(centroids, ((0, missing), (0, 0)))
    offsets = jnp.pad(offsets, (0, missing), constant_values=jnp.inf).reshape(groups, GROUP)
    products = lax.dot_general(
        centroids,
        points,
        (((1,), (1,)), ((), ())),
        precision=lax.Precision.HIGHEST,
        preferred_element_type=offsets.dtype,
    ).reshape(groups, GROUP, len(points))
    group = (products - offsets[:, :, None]).max(1).argmax(0)
    members = jnp.take_along_axis(products, group[None, None], 0)[0] - offsets[group].T
    return (group * GROUP + members.argmax(0)).astype(jnp.int32)
