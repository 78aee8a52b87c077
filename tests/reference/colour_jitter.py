"""Colour jitter by Pillow's own operations and by a clamped chain of floats, and pieces of photographs for it."""

from __future__ import annotations

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance

from ssl_single_image import augment
from ssl_single_image.augment import photometric
from ssl_single_image.augment.resample import Planes
from ssl_single_image.images import builtin

COUNT = 120
SPEC = augment.CropSpec(size=32, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def tiles(name: str) -> np.ndarray:
    """COUNT different 32 x 32 pieces of a photograph, uint8."""
    pixels = builtin.load(name)
    rng = np.random.default_rng(0)
    corners = zip(*(rng.integers(0, side - 32, COUNT) for side in pixels.shape[:2]), strict=True)
    return np.stack([pixels[y : y + 32, x : x + 32] for y, x in corners])


def draws(spec: augment.CropSpec, count: int = COUNT) -> photometric.Jitter:
    u = jax.random.uniform(jax.random.key(5), (count, photometric.UNIFORMS))
    return jax.vmap(lambda u: photometric.sample_jitter(u, spec))(u)


def jittered(pixels: np.ndarray, jitter: photometric.Jitter, spec: augment.CropSpec) -> np.ndarray:
    @jax.jit
    def run(planes: Planes, jitter: photometric.Jitter) -> jax.Array:
        plan = photometric.plan_jitter(jitter)
        for half in (photometric.until_hue, photometric.after_hue):
            planes = half(planes, plan, spec)
        return jnp.stack(planes, -1)

    return np.asarray(run(split(pixels.astype(np.float32) / 255), jitter)) * 255


def split(pixels: np.ndarray) -> Planes:
    red, green, blue = (jnp.asarray(pixels[..., i]) for i in range(3))
    return red, green, blue


def turned(image: Image.Image, turns: float) -> Image.Image:
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.array(turns * 255).astype(np.int32).astype(np.uint8)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def pillow_chain(pixels: np.ndarray, j: photometric.Jitter, i: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    for operation in np.asarray(j.order[i]):
        if operation == 3:
            image = turned(image, float(j.hue[i]))
        else:
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[operation]
            image = kind(image).enhance(float((j.brightness, j.contrast, j.saturation)[operation][i]))
    return np.asarray(image, float)


def float_chain(x: np.ndarray, j: photometric.Jitter, i: int) -> np.ndarray:
    """The sequential chain in float64 on [0, 1]; hue pixel by pixel through `colorsys`."""
    for operation in np.asarray(j.order[i]):
        grey = x @ [0.299, 0.587, 0.114]
        if operation == 0:
            x = x * float(j.brightness[i])
        elif operation == 1:
            x = grey.mean() + (x - grey.mean()) * float(j.contrast[i])
        elif operation == 2:
            x = grey[..., None] + (x - grey[..., None]) * float(j.saturation[i])
        else:
            x = np.apply_along_axis(_turn, -1, x, float(j.hue[i]))
        x = np.clip(x, 0, 1)
    return x


def _turn(rgb: np.ndarray, turns: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb((h + turns) % 1, s, v)
