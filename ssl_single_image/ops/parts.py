"""Parts of a batch that are computed one after another.

On a CPU the arrays between the operations of a convolution are several times as large as its input. Those of a few
images stay in the cache, and the memory that they take is used again for the next images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def images(batch: int, bytes_each: int, target: int, least: int = 1) -> int:
    """Images of a part: a power of two, or the whole batch if that is less.

    Args:
      batch: images in all.
      bytes_each: of the arrays between, for one image.
      target: most bytes for a part.
      least: images that a part has even if they take more.
    """
    most = max(1, target // bytes_each)
    return min(batch, max(1 << most.bit_length() - 1, 1 << (least - 1).bit_length()))


def split(x: jax.Array, size: int) -> jax.Array:
    """(B, ...) -> (parts, size, ...); images of zeros fill the last part."""
    short = -len(x) % size
    if short:
        x = jnp.pad(x, [(0, short)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(-1, size, *x.shape[1:])


def join(x: jax.Array, batch: int) -> jax.Array:
    """(parts, size, ...) -> (B, ...): the inverse of `split`."""
    return x.reshape(-1, *x.shape[2:])[:batch]
