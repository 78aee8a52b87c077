"""From a key to pixels in two steps, drawing and rendering, so that the drawn parameters can be inspected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from ssl_single_image.augment import blur, geometry, photometric
from ssl_single_image.augment.resample import (
    CENTRE_UNIT,
    Planes,
    interleave,
    locate,
    lookup,
    pack,
    points,
    unpack,
    whole,
)
from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.images.atlas import Atlas
from ssl_single_image.ops.materialise import materialise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CropParams:
    """Everything drawn for one crop (or for many, with leading axes).

    Attributes:
      geometry: where the crop comes from.
      jitter: its colour operations.
      blur_sigma: () float32, crop pixels; 0: no blur.
      noise_key: () key of the additive noise.
    """

    geometry: geometry.Geometry
    jitter: photometric.Jitter
    blur_sigma: jax.Array
    noise_key: jax.Array


def sample_params(
    key: Key[Array, ""], atlas: Atlas, spec: CropSpec, image: Int32[Array, ""] | None = None
) -> CropParams:
    """Draws ONE crop; `jax.vmap` over keys (and images) draws many.

    Args:
      key: a typed PRNG key; all the crop's randomness comes from it.
      atlas: the source images.
      spec: the laws to draw from.
      image: () int32, index of the source image; None: drawn by `spec.image_choice`.
    """
    draw_key, noise_key = jax.random.split(key)
    first, second = geometry.UNIFORMS, geometry.UNIFORMS + photometric.UNIFORMS
    u = jax.random.uniform(draw_key, (second + blur.UNIFORMS,))
    return CropParams(
        geometry=geometry.sample_geometry(u[:first], atlas, spec, image),
        jitter=photometric.sample_jitter(u[first:second], spec),
        blur_sigma=blur.sample_sigma(u[second:], spec),
        noise_key=noise_key,
    )


def render(atlas: Atlas, params: CropParams, spec: CropSpec) -> Float[Array, "B S S 3"]:
    """Renders crops: resample, colour jitter, blur, noise.

    Args:
      atlas: the images that `params` was drawn for.
      params: with one leading axis, B.
      spec: the one that `params` was drawn from.

    Returns:
      (B, S, S, 3) in [0, 1], of type `spec.dtype`.
    """
    always = atlas.width[0, 0] > 0
    at = params.geometry
    place = locate(atlas, at.image, at.matrix, at.centre)
    packed = lookup(atlas.texels, place, always, size=spec.size, interpolation=spec.interpolation)
    if spec.border == "window":
        packed = jnp.where(_within_window(at, spec.size), packed, 0)
    if spec.jitters:
        plan = photometric.plan_jitter(params.jitter)
        for half in (photometric.until_hue, photometric.after_hue):
            packed = materialise(always, partial(_recolour, half, spec=spec), packed, plan)
    x = materialise(always, interleave, packed)
    if spec.blur_probability:
        x = blur.blur(x, params.blur_sigma, spec, always)
    if spec.noise:
        noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(params.noise_key)
        x = jnp.clip(x + spec.noise * noise, 0, 1)
    return x.astype(spec.output_dtype)


def _recolour(
    half: Callable[..., Planes], packed: jax.Array, plan: photometric.JitterPlan, spec: CropSpec
) -> jax.Array:
    return pack(half(unpack(packed), plan, spec))


def _within_window(at: geometry.Geometry, size: int) -> jax.Array:
    """(B, S, S) bool: whether a pixel's centre lies in the crop's upright window."""
    inside = jnp.ones((), bool)
    positions = points(whole(at.matrix, CENTRE_UNIT // 2), whole(at.centre - at.origin, CENTRE_UNIT), size)
    for axis, position in enumerate(positions):
        stop = whole(at.extent[:, axis, None, None], CENTRE_UNIT)
        inside = inside & (position >= 0) & (position < stop)
    return inside
