"""The cluster of each crop of a virtual data set, and epochs that visit all clusters equally often."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, UInt32

from ssl_single_image import augment
from ssl_single_image.parallel import replicas


class Clusters(NamedTuple):
    """An assignment of the d crops to k clusters; `State.extras`.

    Attributes:
      members: (d,) int32, the crops' indices, cluster by cluster.
      starts: (k + 1,) int32; cluster c has members[starts[c]:starts[c + 1]].
      spread: (k,) float32, mean squared distance of its members to its centroid.
    """

    members: Int32[Array, " d"]
    starts: Int32[Array, " k+1"]
    spread: Float[Array, " k"]

    @property
    def sizes(self) -> jax.Array:
        """(k,) int32."""
        return jnp.diff(self.starts)

    def labels(self) -> jax.Array:
        """(d,) int32, the cluster of each crop."""
        owner = jnp.repeat(
            jnp.arange(len(self.spread), dtype=jnp.int32), self.sizes, total_repeat_length=len(self.members)
        )
        return jnp.zeros_like(self.members).at[self.members].set(owner)


def blocks(crops: int, clusters: int) -> Clusters:
    """The assignment before the first refresh: by index, in k blocks as equal as possible."""
    starts = jnp.arange(clusters + 1, dtype=jnp.uint32) * (crops // clusters)
    starts += jnp.minimum(jnp.arange(clusters + 1, dtype=jnp.uint32), crops % clusters)
    return Clusters(jnp.arange(crops, dtype=jnp.int32), starts.astype(jnp.int32), jnp.zeros(clusters))


def from_labels(
    labels: Int32[Array, " n"],
    distances: Float[Array, " n"],
    crops: int,
    clusters: int,
    axis_name: str | None,
) -> Clusters:
    """The assignment of d crops from each replica's part of them, in order.

    Args:
      labels: (n,) int32; behind the d-th of all replicas' there is padding.
      distances: (n,) float32, squared distance to the centroid, 0 for padding.
      crops: d.
      clusters: k.
      axis_name: mapped axis, see `types.Step`.
    """
    spread = jax.ops.segment_sum(distances, labels, clusters)
    spread = replicas.total(spread, axis_name)
    labels = replicas.gather(labels, axis_name)[:crops]
    sizes = jnp.bincount(labels, length=clusters).astype(jnp.int32)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(sizes)])
    members = jnp.argsort(labels, stable=True).astype(jnp.int32)
    return Clusters(members, starts, spread / jnp.maximum(sizes, 1).astype(spread.dtype))


def uniform_sample(
    clusters: Clusters, key: Key[Array, ""], places: UInt32[Array, " B"]
) -> tuple[Int32[Array, " B"], Int32[Array, " B"]]:
    """Part of an epoch in which every non-empty cluster comes equally often.

    As in the published code, each of m non-empty clusters is drawn d // m + 1 times. Its crops are drawn without
    replacement where there are enough, and with replacement elsewhere. The draws are shuffled, and the first d are the
    epoch.

    Args:
      clusters: the assignment.
      key: of the epoch.
      places: (B,) uint32 in [0, d), places in the epoch.

    Returns:
      (B,) int32 indices of crops, and (B,) int32 their clusters.
    """
    sizes = clusters.sizes
    filled = jnp.flatnonzero(sizes > 0, size=len(sizes), fill_value=0)
    count = (sizes > 0).sum().astype(jnp.uint32)
    each = len(clusters.members) // count + 1
    order, within = jax.random.split(key)
    draws = augment.permute_index(order, places, count * each)
    label = filled[draws // each].astype(jnp.int32)

    def member(label: jax.Array, number: jax.Array) -> jax.Array:
        size = sizes[label].astype(jnp.uint32)
        short = size < each
        permuted, repeated = jax.random.split(jax.random.fold_in(within, label))
        bits = jax.random.bits(jax.random.fold_in(repeated, number), (), jnp.uint32)
        once = augment.permute_index(permuted, jnp.where(short, 0, number), size)
        chosen = jnp.where(short, bits % size, once)
        return clusters.members[clusters.starts[label] + chosen.astype(jnp.int32)]

    return jax.vmap(member)(label, draws % each), label
