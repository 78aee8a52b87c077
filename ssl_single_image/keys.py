"""The streams of random numbers of a run: one enum, so that no two purposes share a key.

A run is named by its seed. Each purpose folds its own number into the key of the seed, and then what it counts: the
step, the crop's index, the epoch. This module is the only one that makes a key from a seed.
"""

from __future__ import annotations

import enum

import jax


@enum.unique
class Stream(enum.IntEnum):
    """Purposes of random numbers. The values are part of what a seed means and never change; new ones are appended.

    Attributes:
      INIT: initial variables of pretraining.
      STEP: optimisation steps, by step: views, dropout, z.
      EVALUATE: evaluations, by batch: held-out crops, z.
      REFRESH: refreshes, by step: samples for PCA, seeds of k-means, the new top layer.
      PICTURES: what the pictures of a run show.
      CROPS: crops of the virtual data set, by index.
      ORDER: in which order an epoch visits the crops, by epoch.
      HEADS_INIT: initial variables of a probe's heads.
      HEADS_STEP: their optimisation steps, by step: random views.
      HEADS_ORDER: in which order an epoch visits cached features, by epoch.
      HEADS_DRAWS: what else a probe draws: images that are held out, the few that are labelled.
      STYLE: shifts of the input in style transfer, by step.
      INVARIANCE: what an analysis of invariance draws: squares, augmentations, warps, resamples.
      LANDMARKS: what a regression of landmarks draws: warps, weights, batches.
      EXEMPLARS: crops of a source, windows in them and exemplars among these, by layer.
      SHIFTS: how labelled images are shifted, by split (0 training, 1 test) and the image's number in it.
    """

    INIT = 0
    STEP = 1
    EVALUATE = 2
    REFRESH = 3
    PICTURES = 4
    CROPS = 5
    ORDER = 6
    HEADS_INIT = 7
    HEADS_STEP = 8
    HEADS_ORDER = 9
    HEADS_DRAWS = 10
    STYLE = 11
    INVARIANCE = 12
    LANDMARKS = 13
    EXEMPLARS = 14
    SHIFTS = 15


def stream(seed: int, purpose: Stream) -> jax.Array:
    """The key of one purpose: a () typed PRNG key, to be folded with what the purpose counts.

    Args:
      seed: of the run, in [0, 2**32).
      purpose: what the numbers are for.
    """
    return jax.random.fold_in(jax.random.key(seed), purpose)


def root(seed: int) -> jax.Array:
    """The key of an untrained network, which is all that its seed names; a run uses `stream`."""
    return jax.random.key(seed)


def unused() -> jax.Array:
    """A key for functions that want one and draw nothing from it."""
    return jax.random.key(0)
