"""Colour: jitter in random order, normalisation.

The four operations are those of PIL and torchvision: brightness scales, contrast blends with the mean grey of
the crop, saturation blends with each pixel's grey, hue turns the HSV circle. The first three and all their
compositions have the form `scale * rgb + tint * grey(rgb) + shift` with three numbers a crop, so whatever comes
before hue is one such map, and so is whatever comes after it. Values are clamped to [0, 1] before hue and at the end,
where the sequential chain clamps after every operation; docs/augmentation.md gives the difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.augment.stage import stage

UNIFORMS = 9
_LUMA = (0.299, 0.587, 0.114)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Jitter:
    """Colour operations of one crop (or of many, with leading axes); factors of 1 and a shift of 0 change nothing.

    Attributes:
      brightness: () float32 factor.
      contrast: () float32 factor.
      saturation: () float32 factor.
      hue: () float32 shift in turns.
      order: (4,) int32, the operations (0 brightness, 1 contrast, 2 saturation, 3 hue), first to last.
    """

    brightness: jax.Array
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array
    order: jax.Array


def draw_jitter(u: jax.Array, spec: CropSpec) -> Jitter:
    """Colour operations of one crop from (UNIFORMS,) uniform numbers in [0, 1)."""
    spread = (2 * u[:4] - 1) * (u[8] < spec.jitter_probability)
    return Jitter(
        brightness=1 + spec.brightness * spread[0],
        contrast=1 + spec.contrast * spread[1],
        saturation=1 + spec.saturation * spread[2],
        hue=spec.hue * spread[3],
        order=_order(u[4:8]),
    )


def jitter_colours(x: jax.Array, jitter: Jitter, spec: CropSpec, always: jax.Array) -> jax.Array:
    """Applies the jitter of each crop.

    Args:
      x: (B, S, S, 3) float32 in [0, 1].
      jitter: batched draws.
      spec: the laws they were drawn from; a hue or contrast of 0 costs nothing.
      always: see `stage`.

    Returns:
      (B, S, S, 3) float32 in [0, 1].
    """
    slots = jnp.arange(4)
    if not spec.hue:
        return _apply(x, jitter, slots >= 0, spec)
    slot = jnp.argmax(jitter.order == _HUE, axis=-1, keepdims=True)

    def until_hue(x: jax.Array, jitter: Jitter) -> jax.Array:
        return turn_hue(_apply(x, jitter, slots < slot, spec), jitter.hue)

    return _apply(stage(always, until_hue, x, jitter), jitter, slots > slot, spec)


def turn_hue(x: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns the hue of (B, S, S, 3) in [0, 1] by (B,) turns, in HSV."""
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    inverse = 1 / jnp.where(chroma > 0, chroma, 1.0)
    # Which channel is largest is asked of r, g and b themselves: in another fusion `value` may be rounded otherwise.
    sextant = jnp.where(
        (r >= g) & (r >= b),
        (g - b) * inverse,
        jnp.where(g >= b, 2 + (b - r) * inverse, 4 + (r - g) * inverse),
    )
    sextant = sextant + 6 * turns[:, None, None]
    k = sextant[..., None] + jnp.asarray([5.0, 3.0, 1.0])
    k = k - 6 * jnp.floor(k / 6)
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def normalise(x: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """(x - mean) / std per channel, for x (..., 3) of any float type, which is kept."""
    shift = jnp.asarray(mean, jnp.float32)
    scale = 1 / jnp.asarray(std, jnp.float32)
    return ((x - shift) * scale).astype(x.dtype)


def _order(u: jax.Array) -> jax.Array:
    """The permutation that sorts four numbers, by counting: a sort takes XLA seconds to compile."""
    index = jnp.arange(4)
    smaller = (u[None, :] < u[:, None]) | ((u[None, :] == u[:, None]) & (index[None, :] < index[:, None]))
    rank = smaller.sum(axis=1)
    return (index * (rank == index[:, None])).sum(axis=1).astype(jnp.int32)


def _apply(x: jax.Array, jitter: Jitter, active: jax.Array, spec: CropSpec) -> jax.Array:
    """One clamped `scale * rgb + tint * grey + shift`: the operations in the slots where `active` (B, 4)."""
    grey = _grey(x)
    mean = _exact_mean(grey) if spec.contrast else jnp.zeros(x.shape[0])
    active = jnp.broadcast_to(active, jitter.order.shape)
    scale, tint, shift = (v[:, None, None] for v in jax.vmap(_compose)(jitter, active, mean))
    return jnp.clip(scale[..., None] * x + (tint * grey + shift)[..., None], 0, 1)


def _compose(jitter: Jitter, active: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(scale, tint, shift) of one crop's active operations; `mean` is the mean grey of their input."""
    scale, tint, shift = jnp.ones(()), jnp.zeros(()), jnp.zeros(())
    factors = jnp.stack([jitter.brightness, jitter.contrast, jitter.saturation, jnp.ones(())])
    for slot in range(4):
        operation = jitter.order[slot]
        f = jnp.where(active[slot], factors[operation], 1.0)
        pivot = (scale + tint) * mean + shift  # the mean grey at this point of the chain
        shift = jnp.select(
            [operation == _BRIGHTNESS, operation == _CONTRAST],
            [f * shift, f * shift + (1 - f) * pivot],
            shift,
        )
        tint = jnp.where(operation == _SATURATION, tint + (1 - f) * scale, f * tint)
        scale = f * scale
    return scale, tint, shift


def _exact_mean(grey: jax.Array) -> jax.Array:
    """(B,) means of (B, S, S) in [0, 1], in fixed point: the order of an integer sum doesn't matter, so that a
    crop's mean is the same whatever else is in its batch."""
    pixels = grey.shape[1] * grey.shape[2]
    unit = 2.0 ** (30 - (pixels - 1).bit_length())
    return jnp.round(grey * unit).astype(jnp.int32).sum(axis=(1, 2)).astype(jnp.float32) / (unit * pixels)


def _grey(x: jax.Array) -> jax.Array:
    return _LUMA[0] * x[..., 0] + _LUMA[1] * x[..., 1] + _LUMA[2] * x[..., 2]
