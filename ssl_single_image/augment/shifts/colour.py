"""Colour shifts of CIFAR-10-C (Hendrycks & Dietterich 2019), with the severities of its code for images of 32 pixels.

Brightness and saturation change one coordinate of HSV. The others stay, so no hue is computed: a pixel with the value
V, the highest of its channels, keeps its ratios, or its distances from V are scaled.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int32, Key

from ssl_single_image.augment.photometric import exact_mean
from ssl_single_image.augment.shifts.base import Images, Shift, at

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
"""Factors of the distance from the mean colour."""
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
"""What is added to V."""
SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
"""Factor of the saturation, and what is added to it."""


def contrast(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Moves every channel towards its mean over the image."""
    del keys
    mean = jnp.stack([exact_mean(x[..., channel]) for channel in range(3)], -1)[:, None, None]
    return jnp.clip((x - mean) * at(CONTRAST, severity) + mean, 0, 1)


def brightness(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Adds to the value of HSV; black becomes grey."""
    del keys
    value = x.max(-1, keepdims=True)
    brighter = jnp.clip(value + at(BRIGHTNESS, severity), 0, 1)
    return jnp.clip(jnp.where(value > 0, x * (brighter / jnp.where(value > 0, value, 1)), brighter), 0, 1)


def saturate(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Scales the saturation of HSV and adds to it. A grey pixel has hue 0: what is added makes it red."""
    del keys
    value, least = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
    saturation = (value - least) / jnp.where(value > 0, value, 1)
    factor, added = at(SATURATE, severity)
    wanted = jnp.clip(saturation * factor + added, 0, 1)
    coloured = saturation > 0
    scale = wanted / jnp.where(coloured, saturation, 1)
    others = value * (1 - wanted)
    red = jnp.concatenate([value, others, others], -1)
    return jnp.clip(jnp.where(coloured, value - (value - x) * scale, red), 0, 1)


SHIFTS = {
    "contrast": Shift(contrast),
    "brightness": Shift(brightness),
    "saturate": Shift(saturate),
}
