"""Made images and a way to shift them, for tests of shifts."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ssl_single_image.augment import shifts

SIDE, COUNT, CLASSES = 32, 24, 3
SEVERITIES = range(1, shifts.SEVERITIES + 1)


def pictures(count: int = COUNT, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Soft blobs under noise, with black, grey and white corners in the first: (count, side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.normal(size=(count, side, side, 3)), (0, 1.5, 1.5, 0))
    image = (128 + 300 * soft + rng.normal(0, 12, soft.shape)).clip(0, 255).astype(np.uint8)
    image[0, :4, :4], image[0, :4, 4:8], image[0, 4:8, :4] = 0, 77, 255
    return image


def pool(count: int = 12, side: int = SIDE) -> shifts.Pool:
    """Images of three classes."""
    label = jnp.arange(count, dtype=jnp.int32) % CLASSES
    return shifts.Pool(jnp.asarray(pictures(count, side, seed=9)), label)


@functools.cache
def compiled(names: tuple[str, ...]) -> Any:
    """One program for some shifts."""

    def function(x, keys, severity, number, label, pool):
        return shifts.apply(names, x, keys, severity, number=number, label=label, pool=pool)

    return jax.jit(function)


def unit(image: np.ndarray) -> np.ndarray:
    """In [0, 1], rounded as NumPy divides; XLA multiplies by the reciprocal."""
    return image.astype(np.float32) / np.float32(255)


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(count))


def shifted(
    name: str, image: np.ndarray, severity: int, seed: int = 0, names: tuple[str, ...] = ()
) -> np.ndarray:
    """Images (N, S, S, 3) uint8 after a shift, with labels 0, 1, 2, 0, ..."""
    names = names or (name,)
    x = unit(image)
    label = jnp.arange(len(image), dtype=jnp.int32) % CLASSES
    arguments = (jnp.int32(severity), jnp.int32(names.index(name)), label, pool(side=image.shape[1]))
    return np.asarray(compiled(names)(x, keys_of(len(image), seed), *arguments))
