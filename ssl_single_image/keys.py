"""The streams of random numbers of a run: one enum, so that no two purposes share a key.

A run is named by its seed. Each purpose folds its own number into the key of the seed, and then what it counts: the
step, the crop's index, the epoch. `stream` is the only place that makes a key from a seed.
"""

from __future__ import annotations

import enum

import jax


class Stream(enum.IntEnum):
    """Purposes of random numbers; the values are part of what a seed means and never change."""

    INIT = 0
    STEP = 1
    EVALUATE = 2
    REFRESH = 3
    PICTURES = 4
    CROPS = 1
    ORDER = 2
    HEADS_INIT = 0
    HEADS_STEP = 1
    NOTHING = 9


def stream(seed: int, purpose: Stream) -> jax.Array:
    """The key of one purpose: () typed PRNG key, to be folded with what the purpose counts."""
    return jax.random.fold_in(jax.random.key(seed), purpose)


def root(seed: int) -> jax.Array:
    """The key of an untrained network, which is all that its seed names; a run uses `stream`."""
    return jax.random.key(seed)


def unused() -> jax.Array:
    """A key for functions that want one and draw nothing from it."""
    return jax.random.key(0)
