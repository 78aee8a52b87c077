"""Corruptions of CIFAR-10-C as published, image by image, with NumPy, SciPy, scikit-image and Pillow.

All take an image (S, S, 3) uint8 and a severity from 1 to 5, and give float64 in [0, 1]. Tests compare random ones
with their distributions.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, filters


def gaussian_blur(image: np.ndarray, severity: int) -> np.ndarray:
    sigma = [0.4, 0.6, 0.7, 0.8, 1][severity - 1]
    return filters.gaussian(image / 255, sigma=sigma, channel_axis=-1)


def defocus_blur(image: np.ndarray, severity: int) -> np.ndarray:
    """The disk lies on 17 x 17 pixels, and is softened by a Gaussian of 3 x 3 taps."""
    radius, alias = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][severity - 1]
    y, x = np.mgrid[-8:9, -8:9]
    disk = (y**2 + x**2 <= radius**2).astype(float)
    disk /= disk.sum()
    taps = np.exp(-np.array([1, 0, 1]) / (2 * alias**2))
    kernel = ndimage.correlate(disk, np.outer(taps, taps) / taps.sum() ** 2, mode="mirror")
    planes = [ndimage.correlate(image[..., c] / 255, kernel, mode="mirror") for c in range(3)]
    return np.clip(np.stack(planes, -1), 0, 1)


def zoom_blur(image: np.ndarray, severity: int) -> np.ndarray:
    x = image / 255
    zooms = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1], 0.01)
    total = x.copy()
    for zoom in zooms:
        total += _zoomed(x, zoom)
    return np.clip(total / (len(zooms) + 1), 0, 1)


def _zoomed(x: np.ndarray, zoom: float) -> np.ndarray:
    side = int(np.ceil(len(x) / zoom))
    top = (len(x) - side) // 2
    large = ndimage.zoom(x[top : top + side, top : top + side], (zoom, zoom, 1), order=1)
    top = (len(large) - len(x)) // 2
    return large[top : top + len(x), top : top + len(x)]


def contrast(image: np.ndarray, severity: int) -> np.ndarray:
    x = image / 255
    mean = x.mean((0, 1), keepdims=True)
    return np.clip((x - mean) * [0.75, 0.5, 0.4, 0.3, 0.15][severity - 1] + mean, 0, 1)


def brightness(image: np.ndarray, severity: int) -> np.ndarray:
    x = color.rgb2hsv(image / 255)
    x[..., 2] = np.clip(x[..., 2] + [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1], 0, 1)
    return color.hsv2rgb(x)


def saturate(image: np.ndarray, severity: int) -> np.ndarray:
    factor, added = [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)][severity - 1]
    x = color.rgb2hsv(image / 255)
    x[..., 1] = np.clip(x[..., 1] * factor + added, 0, 1)
    return color.hsv2rgb(x)


def pixelate(image: np.ndarray, severity: int) -> np.ndarray:
    side = int(len(image) * [0.95, 0.9, 0.85, 0.75, 0.65][severity - 1])
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize(image.shape[:2], Image.Resampling.BOX)) / 255


def jpeg(image: np.ndarray, severity: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=[80, 65, 58, 50, 40][severity - 1])
    return np.asarray(Image.open(out)) / 255


CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "gaussian_blur": gaussian_blur,
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "contrast": contrast,
    "brightness": brightness,
    "saturate": saturate,
    "pixelate": pixelate,
    "jpeg": jpeg,
}
EXACT = ("pixelate", "jpeg")
"""Those whose result is in 8 bits: it must be the same bits."""
