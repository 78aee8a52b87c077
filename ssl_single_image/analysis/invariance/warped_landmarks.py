"""Pictures with landmarks made of one photograph: warps of it, with the points of the warp as landmarks."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from ssl_single_image import augment
from ssl_single_image.analysis.invariance import pairs, thin_plate, views
from ssl_single_image.images import Atlas, build_atlas

CONTROLS, MARGIN = 4, 0.3
"""Landmarks along each side, and how far the outer ones are from the edges of the photograph's square."""
SCALES = (1.4, 1.6)
TURN, SHIFT, JITTER = 15.0, 0.05, 0.03
"""A warp enlarges the square by a factor in SCALES, turns it by up to TURN degrees and shifts it by up to SHIFT of its
side. Each landmark is then moved by up to JITTER. So the landmarks stay in the picture, and the edges of the square
stay out of it."""
CHUNK = 64
"""Pictures that are recoloured at a time."""


def names() -> tuple[str, ...]:
    """The landmarks, by row and column of their lattice."""
    return tuple(
        f"point {row}.{column}" for row in range(1, CONTROLS + 1) for column in range(1, CONTROLS + 1)
    )


def points(key: Key[Array, ""]) -> Float[Array, "K 2"]:
    """Where the landmarks of one picture are, as shares of its side."""
    scale_key, angle_key, shift_key, move_key = jax.random.split(key, 4)
    scale = jax.random.uniform(scale_key, (), minval=SCALES[0], maxval=SCALES[1])
    angle = jnp.deg2rad(TURN) * jax.random.uniform(angle_key, (), minval=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = scale * jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    start = jnp.asarray(lattice(), jnp.float32) - 0.5
    placed = jnp.matmul(start, turn.T, precision=jax.lax.Precision.HIGHEST)
    shift = SHIFT * jax.random.uniform(shift_key, (1, 2), minval=-1)
    return 0.5 + placed + shift + JITTER * jax.random.uniform(move_key, start.shape, minval=-1)


def lattice() -> Float[np.ndarray, "K 2"]:
    """Where the landmarks are in the photograph's square."""
    return thin_plate.lattice(CONTROLS, MARGIN)


def make(
    atlas: Atlas, square: views.Squares, key: Key[Array, ""], count: int, size: int
) -> tuple[UInt8[np.ndarray, "n size size 3"], Float[np.ndarray, "n K 2"]]:
    """Warped pictures with jittered colours, and their landmarks; picture i is made from `fold_in(key, i)`.

    Args:
      atlas: of the photograph.
      square: one, which is warped.
      key: of all pictures.
      count: how many.
      size: side of the pictures in pixels.
    """
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(jnp.arange(count))
    placed = np.asarray(jax.jit(jax.vmap(points))(keys[:, 0]))
    splines = thin_plate.fit(placed, np.broadcast_to(lattice(), placed.shape))
    fine = jax.jit(functools.partial(pairs.rendered, size=thin_plate.OVERSAMPLED * size))(atlas, square)[0]
    warp = jax.jit(lambda fine, spline: _bytes(thin_plate.warp(fine, spline, size)))
    warped = [np.asarray(warp(fine, jax.tree.map(lambda x, i=i: x[i], splines))) for i in range(count)]
    return _recoloured(warped, keys[:, 1], size), placed


def _recoloured(
    pictures: list[np.ndarray], keys: Key[Array, " n"], size: int
) -> UInt8[np.ndarray, "n S S 3"]:
    """The pictures with the paper's jitter of colours; the last chunk is filled up, so that one program does."""
    spec = augment.CropSpec(size=size, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    draw = jax.jit(lambda atlas, keys: _bytes(augment.render_views(atlas, keys, spec)))
    parts = []
    for start in range(0, len(pictures), CHUNK):
        at = np.minimum(np.arange(start, start + CHUNK), len(pictures) - 1)
        parts.append(np.asarray(draw(build_atlas([pictures[i] for i in at]), keys[at])))
    return np.concatenate(parts)[: len(pictures)]


def _bytes(x: jax.Array) -> jax.Array:
    return jnp.rint(x * 255).astype(jnp.uint8)
