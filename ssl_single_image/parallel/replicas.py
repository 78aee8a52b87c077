"""What one replica of a mapped function knows of the others: its place, and sums, means and keys over all of them.

Every function takes `axis_name`, the mapped axis as in `types.Step`; None means that there is one replica.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32, Key, Shaped, UInt32

from ssl_single_image.ops.backend import fastest
from ssl_single_image.types import PyTree


def count(axis_name: str | None) -> int:
    """How many replicas there are."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def place(axis_name: str | None) -> Int32[Array, ""]:
    """() int32: the place of this replica among all."""
    return jnp.int32(0) if axis_name is None else lax.axis_index(axis_name)


def total(values: PyTree, axis_name: str | None) -> PyTree:
    """The sum over replicas, of each leaf.

    On GPUs and TPUs XLA joins the messages of several leaves, and may send them while it computes. On CPUs it sends
    them one by one, each with its latency, so they are joined here.
    """
    if axis_name is None:
        return values
    if fastest("sum_over_replicas") == "apart":
        return lax.psum(values, axis_name)
    return _joined(values, axis_name)


def mean(values: PyTree, axis_name: str | None) -> PyTree:
    """The mean over replicas, of each leaf."""
    if axis_name is None:
        return values
    return jax.tree.map(lambda x: x / count(axis_name), total(values, axis_name))


def _joined(values: PyTree, axis_name: str) -> PyTree:
    """The sum over replicas, by one message for each type."""
    leaves, structure = jax.tree.flatten(values)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    sums = list(leaves)
    for kind in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [number for number, leaf in enumerate(leaves) if leaf.dtype == kind]
        flat = lax.psum(jnp.concatenate([leaves[number].reshape(-1) for number in places]), axis_name)
        ends = np.cumsum([leaves[number].size for number in places])
        for number, part in zip(places, jnp.split(flat, ends[:-1]), strict=True):
            sums[number] = part.reshape(leaves[number].shape)
    return jax.tree.unflatten(structure, sums)


def gather(values: PyTree, axis_name: str | None) -> PyTree:
    """(n, ...) of each replica -> (replicas n, ...) in order."""
    return values if axis_name is None else lax.all_gather(values, axis_name, tiled=True)


def take(x: Shaped[Array, "n ..."], indices: Int32[Array, " k"], axis_name: str | None) -> Array:
    """Rows by global index, replica * n + row: x (n, ...), indices (k,) int32 -> (k, ...), the same everywhere."""
    return total(_own(x, indices, axis_name), axis_name)


def deal(x: Shaped[Array, "n ..."], indices: Int32[Array, " k"], axis_name: str | None) -> Array:
    """As `take`, but each replica gets its part of the k rows alone, in order; their number divides k."""
    rows = _own(x, indices, axis_name)
    return rows if axis_name is None else lax.psum_scatter(rows, axis_name, tiled=True)


def put(
    x: Shaped[Array, "n ..."],
    indices: Int32[Array, " k"],
    rows: Shaped[Array, "k ..."],
    axis_name: str | None,
) -> Array:
    """Rows (k, ...) in place of those of global index `indices` (k,) int32, no two of which are the same.

    Both are the same on all replicas. An index outside is left out.
    """
    first = place(axis_name) * len(x)
    inside = (indices >= first) & (indices < first + len(x))
    return x.at[jnp.where(inside, indices - first, len(x))].set(rows, mode="drop")


def _own(x: jax.Array, indices: jax.Array, axis_name: str | None) -> jax.Array:
    """(k, ...): the rows that this replica holds, and 0 in place of others."""
    if axis_name is None:
        return x.at[indices].get(mode="promise_in_bounds")
    local = indices - place(axis_name) * len(x)
    inside = (local >= 0) & (local < len(x))
    rows = x[jnp.clip(local, 0, len(x) - 1)]
    return jnp.where(inside.reshape(-1, *[1] * (x.ndim - 1)), rows, jnp.zeros((), x.dtype))


def positions(batch_size: int, axis_name: str | None) -> UInt32[Array, " B"]:
    """(B,) uint32: the places of this replica's examples in the global batch."""
    local = batch_size // count(axis_name)
    first = 0 if axis_name is None else place(axis_name) * local
    return jnp.asarray(first + jnp.arange(local), jnp.uint32)


def position_keys(key: Key[Array, ""], batch_size: int, axis_name: str | None) -> Key[Array, " B"]:
    """(B,) keys, one an example; each depends on the place in the global batch and not on the replica."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(positions(batch_size, axis_name))


def replica_key(key: Key[Array, ""], axis_name: str | None) -> Key[Array, ""]:
    """A key of this replica's own, for randomness that has no place in the global batch (dropout)."""
    return key if axis_name is None else jax.random.fold_in(key, place(axis_name))
