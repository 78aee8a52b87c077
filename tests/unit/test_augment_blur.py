"""Gaussian blur against SciPy and Pillow."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage, stats

from ssl_single_image import augment
from ssl_single_image.augment import blur
from ssl_single_image.images import builtin

SPEC = augment.CropSpec(size=32, blur_probability=0.5, blur_sigma=(0.1, 2.0))
SIGMAS = (0.0, 0.1, 0.7, 1.3, 2.0)
TILE = builtin.load("astronaut")[40:72, 200:232]


def blurred() -> np.ndarray:
    x = jnp.broadcast_to(jnp.asarray(TILE, jnp.float32) / 255, (len(SIGMAS), 32, 32, 3))
    run = jax.jit(lambda x, sigma: blur.blur(x, sigma, SPEC, jnp.asarray(True)))
    return np.asarray(run(x, jnp.asarray(SIGMAS)))


def test_equals_scipy() -> None:
    for got, sigma in zip(blurred(), SIGMAS, strict=True):
        expected = TILE / 255
        if sigma:
            radius = int(np.ceil(3 * 2.0))
            expected = ndimage.gaussian_filter(expected, sigma, axes=(0, 1), mode="nearest", radius=radius)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_is_close_to_pillow() -> None:
    for got, sigma in zip(blurred(), SIGMAS, strict=True):
        expected = np.asarray(Image.fromarray(TILE).filter(ImageFilter.GaussianBlur(sigma)), float)
        # Pillow approximates the Gaussian by box filters.
        assert np.abs(got * 255 - expected).mean() < 1.5


def test_law() -> None:
    u = jax.random.uniform(jax.random.key(0), (4000, blur.UNIFORMS))
    sigma = np.asarray(jax.vmap(lambda u: blur.sample_sigma(u, SPEC))(u))
    on = sigma > 0
    assert stats.binomtest(int(on.sum()), 4000, 0.5).pvalue > 1e-3
    assert stats.kstest(sigma[on], stats.uniform.cdf, args=(0.1, 1.9)).pvalue > 1e-3
