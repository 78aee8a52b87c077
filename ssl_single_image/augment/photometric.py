"""Colour: jitter in random order, normalisation.

The four operations are those of PIL and torchvision, each clamped to [0, 1]. Brightness scales, contrast blends with
the mean grey of the crop, saturation blends with each pixel's grey, and hue turns the HSV circle. The first three have
the form `scale * rgb + tint * grey + shift`, with three numbers for each crop. The random order therefore needs no
branch: three such maps are applied before hue and three after it. A map that is not due there is the identity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssl_single_image.augment.resample import Planes
from ssl_single_image.augment.spec import CropSpec

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


def sample_jitter(u: Float[Array, " UNIFORMS"], spec: CropSpec) -> Jitter:
    """Colour operations of one crop from (UNIFORMS,) uniform numbers in [0, 1)."""
    spread = (2 * u[:4] - 1) * (u[8] < spec.jitter_probability).astype(u.dtype)
    return Jitter(
        brightness=1 + spec.brightness * spread[0],
        contrast=1 + spec.contrast * spread[1],
        saturation=1 + spec.saturation * spread[2],
        hue=spec.hue * spread[3],
        order=_order(u[4:8]),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chain:
    """The operations of B crops other than hue, in order, as maps `scale * rgb + tint * grey + pivot * mean`.

    An operation that is not due is the identity: scale 1, tint and pivot 0. Contrast blends with the grey `mean`.

    Attributes:
      scale: (B, 3) float32.
      tint: (B, 3) float32.
      pivot: (B, 3) float32.
    """

    scale: jax.Array
    tint: jax.Array
    pivot: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JitterPlan:
    """What is computed once for each crop before its pixels.

    Attributes:
      before: operations before hue.
      before_contrast: those of them that come before contrast, two at most.
      after: operations after hue.
      after_contrast: those of them that come before contrast, two at most.
      hue: (B,) float32, turns.
    """

    before: Chain
    before_contrast: Chain
    after: Chain
    after_contrast: Chain
    hue: jax.Array


def plan_jitter(jitter: Jitter) -> JitterPlan:
    """Puts the operations of B crops in order."""
    operations = jnp.arange(4, dtype=jnp.int32)[None, None]
    place = jnp.argmax(jitter.order[:, :, None] == operations, axis=1)  # (B, 4): the slot of each operation
    hue, contrast = place[:, _HUE, None], place[:, _CONTRAST, None]
    three = jnp.arange(3, dtype=place.dtype)[None]
    slots = three + (three >= hue).astype(place.dtype)  # those that are not hue's
    operation = jnp.take_along_axis(jitter.order, slots, axis=1)
    factors = jnp.stack([jitter.brightness, jitter.contrast, jitter.saturation], -1)
    factor = jnp.take_along_axis(factors, operation, axis=1)

    def chain(due: jax.Array) -> Chain:
        rest = 1 - factor
        return Chain(
            scale=jnp.where(due, factor, 1.0),
            tint=jnp.where(due & (operation == _SATURATION), rest, 0.0),
            pivot=jnp.where(due & (operation == _CONTRAST), rest, 0.0),
        )

    def two(operations: Chain) -> Chain:
        return jax.tree.map(lambda column: column[:, :2], operations)

    before, first = slots < hue, slots < contrast
    return JitterPlan(
        chain(before),
        two(chain(before & first)),
        chain(~before),
        two(chain(~before & first)),
        jitter.hue,
    )


def until_hue(planes: Planes, plan: JitterPlan, spec: CropSpec) -> Planes:
    """The first half of the jitter of B crops: the operations before hue, and hue.

    Args:
      planes: colours of B crops.
      plan: of their jitter.
      spec: the laws that it was drawn from; a hue or contrast of 0 costs nothing.

    Returns:
      The colours after it, in [0, 1].
    """
    planes = _operate(planes, plan.before, _pivot(planes, plan.before_contrast, spec))
    return turn_hue(planes, plan.hue) if spec.hue else planes


def after_hue(planes: Planes, plan: JitterPlan, spec: CropSpec) -> Planes:
    """The second half: the operations after hue. Arguments and result are as those of `until_hue`."""
    return _operate(planes, plan.after, _pivot(planes, plan.after_contrast, spec))


def turn_hue(planes: Planes, turns: jax.Array) -> Planes:
    """Turns the hue of B crops by (B,) turns in [-0.5, 0.5], in HSV."""
    r, g, b = planes
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    # r, g and b themselves are compared, not `value`, which another fusion may round differently.
    red, green = (r >= g) & (r >= b), g >= b
    slope = jnp.where(red, g - b, jnp.where(green, b - r, r - g)) / jnp.maximum(chroma, 1e-12)
    sextant = slope + (jnp.where(red, 0.0, jnp.where(green, 2.0, 4.0)) + 6 * _each(turns))
    # At most one turn too far: two comparisons take a CPU half the time of `floor`.
    sextant = jnp.where(sextant < 0, sextant + 6, jnp.where(sextant >= 6, sextant - 6, sextant))

    def channel(missing: jax.Array) -> jax.Array:
        return value - chroma * jnp.clip(missing, 0, 1)

    return (
        channel(2 - jnp.abs(sextant - 3)),
        channel(jnp.abs(sextant - 2) - 1),
        channel(jnp.abs(sextant - 4) - 1),
    )


def normalise(x: Float[Array, "... 3"], mean: Sequence[float], std: Sequence[float]) -> Float[Array, "... 3"]:
    """(x - mean) / std per channel, for x (..., 3) of any float type, which is kept."""
    shift = jnp.asarray(mean, jnp.float32)
    scale = 1 / jnp.asarray(std, jnp.float32)
    wide = np.promote_types(x.dtype, np.float32)
    shift, scale = (jnp.expand_dims(v.astype(wide), range(x.ndim - 1)) for v in (shift, scale))
    return ((x.astype(wide) - shift) * scale).astype(x.dtype)


def _order(u: jax.Array) -> jax.Array:
    """The permutation that sorts four numbers, by counting: a sort takes XLA seconds to compile."""
    index = jnp.arange(4)
    smaller = (u[None, :] < u[:, None]) | ((u[None, :] == u[:, None]) & (index[None, :] < index[:, None]))
    rank = smaller.sum(axis=1)
    return (index[None] * (rank[None] == index[:, None]).astype(index.dtype)).sum(axis=1).astype(jnp.int32)


def _operate(planes: Planes, chain: Chain, mean: jax.Array) -> Planes:
    """A chain, clamped after each operation; `mean` is (B,)."""
    shift = chain.pivot * mean[:, None]
    for k in range(chain.scale.shape[1]):
        blend = _each(chain.tint[:, k]) * _grey(planes) + _each(shift[:, k])
        red, green, blue = (jnp.clip(_each(chain.scale[:, k]) * plane + blend, 0, 1) for plane in planes)
        planes = red, green, blue
    return planes


def _pivot(planes: Planes, until_contrast: Chain, spec: CropSpec) -> jax.Array:
    """What contrast blends with: the mean grey (B,) of what the operations before it give."""
    nothing = jnp.zeros(len(planes[0]))
    return exact_mean(_grey(_operate(planes, until_contrast, nothing))) if spec.contrast else nothing


def greyed(x: Float[Array, "B S S 3"], which: Bool[Array, " B"]) -> Float[Array, "B S S 3"]:
    """Crops in [0, 1], those of `which` (B,) with their luma in all channels."""
    red, green, blue = jnp.moveaxis(x.astype(np.promote_types(x.dtype, np.float32)), -1, 0)
    grey = _grey((red, green, blue)).astype(x.dtype)
    return jnp.where(which[:, None, None, None], grey[..., None], x)


def _each(values: jax.Array) -> jax.Array:
    return values[:, None, None]


def exact_mean(grey: jax.Array) -> jax.Array:
    """(B,) means of (B, S, S) in [0, 1], in fixed point: the order of an integer sum doesn't matter, so that a
    crop's mean is the same whatever else is in its batch."""
    pixels = grey.shape[1] * grey.shape[2]
    unit = 2.0 ** (30 - (pixels - 1).bit_length())
    return (grey * unit + 0.5).astype(jnp.int32).sum(axis=(1, 2)).astype(jnp.float32) / (unit * pixels)


def _grey(planes: Planes) -> jax.Array:
    return sum((weight * plane for weight, plane in zip(_LUMA, planes, strict=True)), jnp.float32(0))
