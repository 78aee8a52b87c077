"""Views of the same squares of images under one augmentation at a time, or under all of them.

A square is a labelled image or a region of a photograph. Without an augmentation, the view of a square is its central
window. The window is small enough that every augmentation alone stays within the square, so no view shows a filled
border.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Key

from ssl_single_image import augment
from ssl_single_image.analysis import augmentations
from ssl_single_image.images import Atlas

WINDOW = 0.7
"""Side of the central window, as a share of the square's."""
SCALE = 2.0
"""The window's area is divided or multiplied by this factor at most."""
ASPECT = 4 / 3
"""Height over width of the window, or its inverse, at most."""
ALL = "all"
"""The name of all augmentations together."""
GREY = "greyscale"
_POSE = ("angle", "shear", "hflip", "vflip")
_BINARY = ("hflip", "vflip")
"""Drawn values that only two views can have: views alternate between them, so each has its half."""


class Squares(NamedTuple):
    """Square regions of the images of an atlas; points are (y, x) in pixels of the image.

    Attributes:
      image: (n,) int32, index of the image.
      centre: (n, 2) float32.
      side: (n,) float32.
    """

    image: Int32[Array, " n"]
    centre: Float[Array, "n 2"]
    side: Float[Array, " n"]


def _shifted(at: augment.Geometry, u: jax.Array) -> augment.Geometry:
    room = at.extent * (1 / WINDOW - 1) / 2
    return dataclasses.replace(at, centre=at.centre + room * u[:, 0:2])


def _scaled(at: augment.Geometry, u: jax.Array) -> augment.Geometry:
    return dataclasses.replace(at, extent=at.extent * jnp.exp(math.log(SCALE) / 2 * u[:, 2:3]))


def _stretched(at: augment.Geometry, u: jax.Array) -> augment.Geometry:
    half = math.log(ASPECT) / 2 * u[:, 3:4]
    return dataclasses.replace(at, extent=at.extent * jnp.exp(jnp.concatenate([half, -half], axis=1)))


_WINDOWS: dict[str, Callable[[augment.Geometry, jax.Array], augment.Geometry]] = {
    "shift": _shifted,
    "scale": _scaled,
    "aspect": _stretched,
}
"""Changes of the window, from four numbers in [-1, 1) for each view."""


def reference(size: int) -> augment.CropSpec:
    """The augmentations and their ranges, the same for all encoders of an input side; each is on in every view.

    Ranges of the colours are those of the paper's recipe, and so is that of the rotation. An augmentation that the
    spec gains is measured as soon as it is switched on here.
    """
    return augment.CropSpec(
        size=size,
        rotation=35.0,
        shear=15.0,
        hflip=0.5,
        vflip=0.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        blur_probability=1.0,
        blur_sigma=(0.1, size / 32),
        noise=0.1,
    )


def _called(one: augmentations.Augmentation) -> str:
    return one.field.removesuffix("_probability")


def _active() -> list[augmentations.Augmentation]:
    return [one for one in augmentations.AUGMENTATIONS if one.on(reference(32))]


def names() -> tuple[str, ...]:
    """The augmentations, one at a time, and all together."""
    return (*_WINDOWS, *map(_called, _active()), GREY, ALL)


def titles(size: int) -> dict[str, str]:
    """What each augmentation does, in words with its range."""
    spec = reference(size)
    window = {
        "shift": f"window shifted by up to {100 * (1 / WINDOW - 1) / 2:.0f} % of its side",
        "scale": f"window's area divided or multiplied by up to {SCALE:g}",
        "aspect": f"height / width of the window from {1 / ASPECT:.2f} to {ASPECT:.2f}",
    }
    told = {_called(one): one.title(spec) for one in _active()}
    return window | told | {GREY: "every second view without its colours", ALL: "all of these at once"}


def draw(
    atlas: Atlas,
    squares: Squares,
    number: Int32[Array, " n"],
    draws: Int32[Array, " n"],
    on: Bool[Array, " names"],
    key: Key[Array, ""],
    size: int,
) -> augment.CropParams:
    """What is rendered of one view of each square; a view depends on its key, its square and its number alone.

    Args:
      atlas: the images.
      squares: one a view.
      number: of the square in the data, which its randomness is drawn by.
      draws: the number of the view among those of its square.
      on: for each of `names()` but the last, whether it is done to the views.
      key: of the whole measurement.
      size: side of a view in pixels.
    """
    spec = reference(size)
    keys = jax.vmap(lambda i, t: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, i), t)))(
        number, draws
    )
    params = jax.vmap(lambda k, i: augment.sample_params(k, atlas, spec, i))(keys[:, 0], squares.image)
    u = 2 * jax.vmap(lambda k: jax.random.uniform(k, (4,)))(keys[:, 1]) - 1
    at = _central(params.geometry, squares)
    for place, change in enumerate(_WINDOWS.values()):
        at = jax.tree.map(functools.partial(jnp.where, on[place]), change(at, u), at)
    return _posed(dataclasses.replace(params, geometry=at), draws, on[len(_WINDOWS) :], squares, spec)


def _central(at: augment.Geometry, squares: Squares) -> augment.Geometry:
    """The upright central windows of squares."""
    extent = jnp.broadcast_to(WINDOW * squares.side[:, None], squares.centre.shape)
    return dataclasses.replace(at, centre=squares.centre, extent=extent)


def _posed(
    params: augment.CropParams, draws: jax.Array, on: jax.Array, squares: Squares, spec: augment.CropSpec
) -> augment.CropParams:
    """Parameters with what is on as it was drawn and the rest neutral, in windows that stay within their squares."""
    found, kept = augmentations.values(params), {}
    for place, one in enumerate(_active()):
        if one.drawn:
            value = draws % 2 == 1 if one.drawn in _BINARY else found[one.drawn]
            kept[one.drawn] = jnp.where(on[place], value, jnp.full_like(value, one.neutral))
    geometry = jax.vmap(lambda at, pose: augment.posed(at, spec, **pose))(
        params.geometry, {name: kept[name] for name in _POSE}
    )
    jitter = dataclasses.replace(params.jitter, **{k: v for k, v in kept.items() if k in vars(params.jitter)})
    others = {name: value for name, value in kept.items() if name in vars(params)}
    return dataclasses.replace(params, geometry=_within(geometry, squares, spec), jitter=jitter, **others)


def _within(at: augment.Geometry, squares: Squares, spec: augment.CropSpec) -> augment.Geometry:
    """Windows moved, and shrunk if that is not enough, until they lie in their squares: only `ALL` needs it."""
    reach = jnp.abs(at.matrix).sum(axis=2) * (spec.size / 2)
    shrink = jnp.minimum(1, squares.side / (2 * reach.max(axis=1)))
    room = jnp.maximum(squares.side[:, None] / 2 - reach * shrink[:, None], 0)
    offset = jnp.clip(at.centre - squares.centre, -room, room)
    return dataclasses.replace(
        at,
        centre=squares.centre + offset,
        matrix=at.matrix * shrink[:, None, None],
        extent=at.extent * shrink[:, None],
    )


def rendering(name: str, size: int) -> augment.CropSpec:
    """The spec that views under one of `names()` are rendered with; several share one, so that few are compiled."""
    spec = reference(size)
    if name == ALL:
        return spec
    plain = augmentations.cropping(spec)
    one = next((one for one in _active() if _called(one) == name), None)
    if one is None or one.drawn in _POSE:
        return plain
    if one.chance == "jitter_probability":
        colours = {each.field: getattr(spec, each.field) for each in _active() if each.chance == one.chance}
        return plain.replace(**colours)
    return one.alone(spec)


class Renderer:
    """Renders views of one set of squares; programs are compiled once for all augmentations that can share them."""

    def __init__(self, atlas: Atlas, squares: Squares, key: Key[Array, ""], size: int):
        self._atlas, self._squares, self._key, self._size = atlas, squares, key, size
        self._draw = jax.jit(functools.partial(draw, size=size))
        self._render = jax.jit(_rendered, static_argnames="spec")

    def __call__(self, name: str, number: np.ndarray, draws: np.ndarray) -> Float[Array, "n S S 3"]:
        """Views under one of `names()`, float32 in [0, 1].

        Args:
          name: of the augmentation.
          number: (n,) integers, of the squares.
          draws: (n,) integers, the number of each view among those of its square.
        """
        on = np.array([name in (other, ALL) for other in names()[:-1]])
        squares = jax.tree.map(lambda x: x[number], self._squares)
        numbers, counts = jnp.asarray(number, jnp.int32), jnp.asarray(draws, jnp.int32)
        params = self._draw(self._atlas, squares, numbers, counts, on, self._key)
        grey = (counts % 2 == 1) & (name in (GREY, ALL))
        return self._render(self._atlas, params, grey, spec=rendering(name, self._size))


def _rendered(
    atlas: Atlas, params: augment.CropParams, grey: Bool[Array, " n"], spec: augment.CropSpec
) -> Float[Array, "n S S 3"]:
    return augment.greyed(augment.render(atlas, params, spec), grey)


def whole(squares: Squares, size: int) -> augment.Geometry:
    """The geometry that shows each square whole and upright, for `augment.render`."""
    zero, no = jnp.zeros_like(squares.side), jnp.zeros_like(squares.side, bool)
    extent = jnp.broadcast_to(squares.side[:, None], squares.centre.shape)
    matrix = (squares.side / size)[:, None, None] * jnp.eye(2, dtype=extent.dtype)[None]
    origin = squares.centre - extent / 2
    return augment.Geometry(
        squares.image, matrix, squares.centre, origin, extent, zero + 1, zero, zero, no, no
    )
