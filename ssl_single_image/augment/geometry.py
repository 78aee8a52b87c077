"""Where a crop comes from: random geometry, composed into one affine map from crop to source.

Points are (y, x) in pixels; pixel (i, j) has its centre at (i + .5, j + .5). A point p of the crop, measured
from the crop's centre, lies at `centre + matrix @ p` in the source.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.images.atlas import Atlas

_TRIES = 16
_TRIES_START = 9
UNIFORMS = _TRIES_START + 2 * _TRIES
"""How many uniform numbers `sample_geometry` uses. Each quantity has its own, so that switching one
augmentation off does not change what is drawn for the others."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Geometry:
    """The geometry of one crop (or of many, with leading axes).

    Attributes:
      image: () int32, index of the source image.
      matrix: (2, 2) float32, crop pixels to source pixels.
      centre: (2,) float32, the source point under the crop's centre.
      origin: (2,) float32, top left corner of the window before rotation and shear.
      extent: (2,) float32, height and width of that window.
      area: () float32, its area as a fraction of the source's (or the initial crop's).
      angle: () float32, degrees, clockwise in the crop.
      shear: () float32, degrees.
      hflip: () bool.
      vflip: () bool.
    """

    image: jax.Array
    matrix: jax.Array
    centre: jax.Array
    origin: jax.Array
    extent: jax.Array
    area: jax.Array
    angle: jax.Array
    shear: jax.Array
    hflip: jax.Array
    vflip: jax.Array


def sample_geometry(
    u: Float[Array, " UNIFORMS"], atlas: Atlas, spec: CropSpec, image: Int32[Array, ""] | None = None
) -> Geometry:
    """The geometry of one crop.

    Args:
      u: (UNIFORMS,) float32, uniform in [0, 1).
      atlas: the source images.
      spec: the laws to draw from.
      image: () int32, index of the source; None: drawn by `spec.image_choice`.
    """
    image = _choose_image(u[0], atlas, spec) if image is None else jnp.asarray(image, jnp.int32)
    source = jnp.stack([atlas.height[image, 0], atlas.width[image, 0]]).astype(jnp.float32)
    corner, region = _initial_crop(u[1:3], source, spec)
    angle, shear = spec.rotation * (2 * u[3] - 1), spec.shear * (2 * u[4] - 1)
    hflip, vflip = u[7] < spec.hflip, u[8] < spec.vflip
    turn = affine_matrix(angle, shear)
    tries = _sample_extents(u[_TRIES_START:], region, spec)
    if spec.border == "inside":
        extent, box = _first_inside(tries, region, turn)
        centre = corner + box / 2 + u[5:7] * (region - box)
        origin = centre - extent / 2
    else:
        extent = _first_upright(tries, region)
        origin = corner + _whole_offset(u[5:7], region - extent)
        centre = _upright_centre(origin, extent, turn, spec)
    matrix = _matrix(turn, extent, hflip, vflip, spec)
    area = extent[0] * extent[1] / (region[0] * region[1])
    return Geometry(image, matrix, centre, origin, extent, area, angle, shear, hflip, vflip)


def posed(
    at: Geometry,
    spec: CropSpec,
    angle: Float[Array, ""],
    shear: Float[Array, ""],
    hflip: Bool[Array, ""],
    vflip: Bool[Array, ""],
) -> Geometry:
    """The window of ONE crop turned, sheared and mirrored otherwise; with `border="inside"` it may leave the source.

    Args:
      at: where the window is.
      spec: the one that it was drawn from.
      angle: degrees.
      shear: degrees.
      hflip: () bool.
      vflip: () bool.
    """
    turn = affine_matrix(angle, shear)
    matrix = _matrix(turn, at.extent, hflip, vflip, spec)
    inside = spec.border == "inside"
    centre = at.centre if inside else _upright_centre(at.origin, at.extent, turn, spec)
    return dataclasses.replace(
        at, matrix=matrix, centre=centre, angle=angle, shear=shear, hflip=hflip, vflip=vflip
    )


def affine_matrix(angle: Float[Array, ""], shear: Float[Array, ""]) -> Float[Array, "2 2"]:
    """Output to input matrix (2, 2), in (y, x) order, of a rotation and a horizontal shear about the centre.

    Args:
      angle: degrees; positive turns the picture clockwise (as torchvision's `affine`).
      shear: degrees.
    """
    cos, sin = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    tan = jnp.tan(jnp.deg2rad(shear))
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([cos * tan + sin, cos - sin * tan])])


def crop_corners(geometry: Geometry, size: int) -> Float[Array, "... 4 2"]:
    """(..., 4, 2) float32: where the corners of crops (top left, then clockwise in the crop) lie in the source."""
    corners = jnp.asarray([(-1, -1), (-1, 1), (1, 1), (1, -1)], jnp.float32) * (size / 2)
    return geometry.centre[..., None, :] + jnp.einsum("...ij,kj->...ki", geometry.matrix, corners)


def window_overlap(a: Geometry, b: Geometry) -> Float[Array, "A B"]:
    """Intersection over union of the windows of crops, before rotation and shear; 0 where the images differ.

    Args:
      a: of A crops.
      b: of B crops of the same atlas.
    """
    low = jnp.maximum(a.origin[:, None], b.origin[None])
    high = jnp.minimum((a.origin + a.extent)[:, None], (b.origin + b.extent)[None])
    both = jnp.maximum(high - low, 0).prod(-1)
    area_a, area_b = a.extent.prod(-1), b.extent.prod(-1)
    either = area_a[:, None] + area_b[None] - both
    return jnp.where(a.image[:, None] == b.image[None], both / either, 0.0)


def _choose_image(u: jax.Array, atlas: Atlas, spec: CropSpec) -> jax.Array:
    if spec.image_choice == "uniform":
        index = jnp.floor(u * atlas.count)
    else:
        total = jnp.cumsum(atlas.height[:, 0].astype(jnp.float32) * atlas.width[:, 0].astype(jnp.float32))
        index = jnp.searchsorted(total, u * total[-1], side="right")
    return jnp.minimum(index, atlas.count - 1).astype(jnp.int32)


def _initial_crop(u: jax.Array, source: jax.Array, spec: CropSpec) -> tuple[jax.Array, jax.Array]:
    """Corner (2,) and size (2,) of the part of the source that windows are drawn from."""
    if not spec.initial_crop:
        return jnp.zeros(2), source
    side = spec.initial_crop * source.min()
    if spec.border == "inside":
        return u * (source - side), jnp.full(2, side)
    side = jnp.maximum(jnp.floor(side), 1.0)
    return _whole_offset(u, source - side), jnp.full(2, side)


def _sample_extents(u: jax.Array, region: jax.Array, spec: CropSpec) -> jax.Array:
    """(_TRIES, 2) heights and widths of windows in pixels; some may not fit."""
    if spec.area_law == "log":
        low, high = math.log(spec.min_area), math.log(spec.max_area)
        area = jnp.exp(low + (high - low) * u[0::2])
    else:
        area = spec.min_area + (spec.max_area - spec.min_area) * u[0::2]
    half_log_aspect = math.log(spec.aspect) * (u[1::2] - 0.5)
    side = jnp.sqrt(area * region[0] * region[1])
    return jnp.stack([side * jnp.exp(half_log_aspect), side * jnp.exp(-half_log_aspect)], axis=-1)


def _first_inside(tries: jax.Array, region: jax.Array, turn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first window that fits when turned, with its bounding box; failing all, the first one shrunk to fit."""
    boxes = tries @ jnp.abs(turn).T
    fits = (boxes <= region[None]).all(axis=-1)
    first = jnp.argmax(fits)  # 0 when none fits
    shrink = jnp.minimum(1.0, (region / boxes[first]).min())
    return tries[first] * shrink, boxes[first] * shrink


def _first_upright(tries: jax.Array, region: jax.Array) -> jax.Array:
    """The first window of whole pixels that fits; failing all, the first one shrunk to fit."""
    whole = jnp.round(tries)
    fits = ((whole >= 1) & (whole <= region[None])).all(axis=-1)
    first = jnp.argmax(fits)
    shrunk = tries[first] * jnp.minimum(1.0, (region / tries[first]).min())
    return jnp.where(fits[first], whole[first], jnp.maximum(jnp.floor(shrunk), 1.0))


def _whole_offset(u: jax.Array, slack: jax.Array) -> jax.Array:
    """A uniform whole number in [0, slack]."""
    return jnp.minimum(jnp.floor(u * (slack + 1)), slack)


def _matrix(
    turn: jax.Array, extent: jax.Array, hflip: jax.Array, vflip: jax.Array, spec: CropSpec
) -> jax.Array:
    """Crop pixels to source pixels, (2, 2)."""
    mirror = jnp.stack([jnp.where(vflip, -1.0, 1.0), jnp.where(hflip, -1.0, 1.0)])
    if spec.border == "inside":
        return turn * (extent * mirror / spec.size)[None]
    return (extent / spec.frame)[:, None] * turn * mirror[None]


def _upright_centre(origin: jax.Array, extent: jax.Array, turn: jax.Array, spec: CropSpec) -> jax.Array:
    """The source point (2,) under the centre of a crop that is turned within its upright window."""
    resize = (extent / spec.frame)[:, None]
    return origin + extent / 2 + (resize * turn).sum(axis=1) * _centre_crop_shift(spec)


def _centre_crop_shift(spec: CropSpec) -> float:
    """Pixels from the centre of the resized window to that of the crop: an odd margin can't be halved."""
    margin = spec.frame - spec.size
    return round(margin / 2) - margin / 2
