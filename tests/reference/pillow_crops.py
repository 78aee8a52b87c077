"""Crops by Pillow from the same drawn parameters, and how far ours are from them."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import numpy as np
from PIL import Image

from ssl_single_image import augment, images

Reference = Callable[[augment.Geometry, int, augment.CropSpec, Image.Image], np.ndarray]
GREY = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
"""No colour jitter: Pillow is asked for the geometry alone."""


def chain(place: augment.Geometry, i: int, spec: augment.CropSpec, source: Image.Image) -> np.ndarray:
    """The authors' steps in Pillow: cut, antialiased bicubic resize, bilinear affine, centre crop."""
    (top, left), (height, width) = place.origin[i], place.extent[i]
    frame = (spec.frame, spec.frame)
    window = source.crop((int(left), int(top), int(left + width), int(top + height)))
    a, t = math.radians(place.angle[i]), math.tan(math.radians(place.shear[i]))
    m = [math.cos(a) - math.sin(a) * t, math.cos(a) * t + math.sin(a), -math.sin(a), math.cos(a)]
    c = spec.frame * 0.5
    coefficients = (m[0], m[1], c - (m[0] + m[1]) * c, m[2], m[3], c - (m[2] + m[3]) * c)
    turned = window.resize(frame, Image.Resampling.BICUBIC).transform(
        frame, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    start = round((spec.frame - spec.size) / 2.0)
    return np.asarray(turned.crop((start, start, start + spec.size, start + spec.size)), float)


def upright(place: augment.Geometry, i: int, spec: augment.CropSpec, source: Image.Image) -> np.ndarray:
    """A window resized by Pillow with antialiasing, then mirrored."""
    (top, left), (height, width) = place.origin[i], place.extent[i]
    box = (max(left, 0), max(top, 0), min(left + width, source.width), min(top + height, source.height))
    x0, y0, x1, y1 = map(float, box)
    crop = source.resize((spec.size, spec.size), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
    pixels = np.asarray(crop, float)
    return pixels[:, ::-1] if place.hflip[i] else pixels


def peak_ratios(pixels: np.ndarray, spec: augment.CropSpec, reference: Reference, count: int) -> np.ndarray:
    """Peak signal-to-noise ratios, dB, of crops against a reference that is given the same drawn parameters."""
    atlas = images.build_atlas([pixels])

    @jax.jit
    def draw(atlas: images.Atlas) -> tuple[augment.Geometry, jax.Array]:
        keys = jax.random.split(jax.random.key(2), count)
        params = jax.vmap(lambda key: augment.sample_params(key, atlas, spec))(keys)
        return params.geometry, augment.render(atlas, params, spec)

    place, crops = jax.tree.map(np.asarray, draw(atlas))
    source = Image.fromarray(pixels)
    expected = np.stack([reference(place, i, spec, source) for i in range(count)])
    return 10 * np.log10(255**2 / np.maximum(((crops * 255.0 - expected) ** 2).mean(axis=(1, 2, 3)), 1e-3))
