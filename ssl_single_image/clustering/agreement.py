"""How well two clusterings of the same points agree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer


def nmi(a: Integer[Array, " n"], b: Integer[Array, " n"]) -> Float[Array, ""]:
    """Normalised mutual information, I(a; b) / ((H(a) + H(b)) / 2).

    From the lengths of runs of equal labels and of equal pairs after sorting, O(n log n) whatever the number of
    clusters: there is no k x k table. Two clusterings with one cluster each agree: 1.

    Args:
      a: (n,) int32, a label for each point; any integers.
      b: (n,) int32, likewise.

    Returns:
      () float32 in [0, 1].
    """
    first, second = lax.sort((a, b), num_keys=2)
    h_a, h_b = _entropy(_starts(first)), _entropy(_starts(jnp.sort(b)))
    h_ab = _entropy(_starts(first) | _starts(second))
    mean = (h_a + h_b) / 2
    return jnp.where(mean > 0, jnp.clip((h_a + h_b - h_ab) / jnp.where(mean > 0, mean, 1), 0, 1), 1)


def _starts(labels: jax.Array) -> jax.Array:
    """Where in (n,) a run of equal labels starts."""
    return jnp.concatenate([jnp.ones(1, bool), labels[1:] != labels[:-1]])


def _entropy(starts: jax.Array) -> jax.Array:
    """In nats, of the distribution that the lengths of runs give; `starts` (n,) bool, where they start."""
    n = len(starts)
    places = jnp.arange(n, dtype=jnp.int32)
    ends = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
    lengths = places + 1 - lax.cummax(jnp.where(starts, places, 0))
    share = lengths.astype(jnp.float32) / n
    return -jnp.where(ends, share * jnp.log(share), 0).sum()
