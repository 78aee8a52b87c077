"""What contrastive objectives share: which examples are no negatives, cross-entropy among the others, and pictures."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32, Key, Shaped

from ssl_single_image import augment
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.parallel import replicas
from ssl_single_image.types import Metrics

COLOURS = ((1.0, 0.85, 0.0), (0.0, 0.85, 1.0))
"""RGB of the frames around the windows of the first and of the second view."""


def plain(setup: common.Setup) -> common.Setup:
    """The setup whose crops keep their colours: their views are jittered instead, each on its own."""
    return dataclasses.replace(setup, crop=setup.crop.replace(jitter_probability=0.0))


def overlapping(
    setup: common.Setup,
    atlas: Atlas,
    anchors: Shaped[Array, " A"],
    others: Shaped[Array, " B"],
    threshold: float,
) -> Bool[Array, "A B"]:
    """Whether windows of crops overlap by more than `threshold`, as intersection over union: (A, B) bool.

    All crops show one image, so two of them may show the same thing. As negatives of each other they would be false.

    Args:
      setup: of the virtual data set.
      atlas: the source images.
      anchors: (A,) numbers of crops.
      others: (B,) numbers of crops.
      threshold: 1: no two crops overlap by more, and nothing is computed.
    """
    if threshold >= 1:
        return jnp.zeros((len(anchors), len(others)), bool)
    key = common.crops_key(setup.seed)
    one, two = (
        augment.crop_params(atlas, key, numbers, setup.crop).geometry for numbers in (anchors, others)
    )
    return augment.window_overlap(one, two) > threshold


def among(
    logits: Float[Array, "A C"], correct: Int32[Array, " A"], left_out: Bool[Array, "A C"]
) -> tuple[Float[Array, " A"], Bool[Array, " A"]]:
    """Cross-entropy of the `correct` column (A,) among those not `left_out` (A, C), and whether it is the largest."""
    logits = jnp.where(left_out, -jnp.inf, logits)
    return optax.softmax_cross_entropy_with_integer_labels(logits, correct), logits.argmax(-1) == correct


def metrics(losses: Float[Array, " A"], right: Bool[Array, " A"]) -> Metrics:
    """Loss and accuracy, as (sum, count)."""
    count = jnp.float32(len(losses))
    return {
        "loss": (losses.sum(), count),
        "accuracy": (right.astype(jnp.float32).sum(), count),
    }


def without_colours(
    setup: common.Setup,
    key: Key[Array, ""],
    x: Float[Array, "B s s 3"],
    probability: float,
    axis_name: str | None,
) -> Float[Array, "B s s 3"]:
    """This replica's views, each turned grey with a probability."""
    if not probability:
        return x
    keys = replicas.position_keys(key, setup.batch_size, axis_name)
    return augment.greyed(x, jax.vmap(lambda k: jax.random.bernoulli(k, probability))(keys))


def windows(key: Key[Array, ""], crops: Atlas, spec: augment.CropSpec) -> Float[Array, "B 4"]:
    """Top, left, bottom and right edge, in pixels, of the view that `common.views_of` makes of each crop."""
    keys = replicas.position_keys(key, crops.count, None)
    at = augment.view_params(crops, keys, spec).geometry
    return jnp.concatenate([at.origin, at.origin + at.extent], -1)


def framed(
    crops: Float[Array, "B S S 3"], *edges: Float[Array, "B 4"], scale: int = 4
) -> Float[Array, "B T T 3"]:
    """Crops, `scale` times as large, with frames around windows in COLOURS."""
    crops = crops.repeat(scale, 1).repeat(scale, 2)
    centres = jnp.arange(crops.shape[1], dtype=crops.dtype) + 0.5
    y, x = centres[None, :, None], centres[None, None, :]
    for colour, window in zip(COLOURS, edges, strict=False):
        top, left, bottom, right = (scale * window[:, k, None, None] for k in range(4))
        inside = jnp.minimum(jnp.minimum(y - top, bottom - y), jnp.minimum(x - left, right - x))
        frame = (inside >= 0) & (inside < scale / 2)
        crops = jnp.where(frame[..., None], jnp.asarray(colour, crops.dtype), crops)
    return crops


def enlarged(x: Float[Array, "B s s 3"], side: int) -> Float[Array, "B T T 3"]:
    """Images by a whole factor, with white up to `side` pixels, so that the rows of a picture have equal columns."""
    factor = max(1, side // x.shape[1])
    x = x.repeat(factor, 1).repeat(factor, 2)
    rest = max(0, side - x.shape[1])
    return jnp.pad(x, ((0, 0), (0, rest), (0, rest), (0, 0)), constant_values=1)
