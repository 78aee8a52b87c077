"""Attractors of random affine contractions (iterated function systems), drawn in colour."""

from __future__ import annotations

import dataclasses

import numpy as np

_POINTS, _POINTS_A_PIXEL = 1 << 16, 24
_WARM_UP = 32
"""Steps until points are on the attractor. Maps shrink by about 0.6, so that the distance is then negligible."""
_AREA, _LONGEST = 1.1, 0.95
"""Sum of the determinants, and what no factor reaches: maps must shrink."""
_KEPT = 0.65
"""Of a point's own colour at each step; with less, the colour is that of the last map or two."""
_TRIAL_POINTS, _TRIAL_SIDE = 1 << 12, 32
_LEAST_FILLED = 0.9
"""Of the trial picture; FractalDB asks for a fifth, of a picture on black."""
_MARGIN = 0.1
"""Share of the points left outside the picture on each side."""
_TRIALS = 1000


@dataclasses.dataclass(frozen=True)
class System:
    """Maps x -> matrix x + shift.

    Attributes:
      matrix: (n, 2, 2).
      shift: (n, 2).
      chance: (n,) of being followed, 1 in all.
      colour: (n, 3) RGB in [0, 1].
    """

    matrix: np.ndarray
    shift: np.ndarray
    chance: np.ndarray
    colour: np.ndarray


@dataclasses.dataclass(frozen=True)
class Points:
    """Points on the attractor.

    Attributes:
      place: (n, 2).
      colour: (n, 3).
      depth: (n,) in [0, 1): the digits are the maps that the point came through, the last one first. What has less
        depth hides what has more.
    """

    place: np.ndarray
    colour: np.ndarray
    depth: np.ndarray


def render(rng: np.random.Generator, size: int) -> np.ndarray:
    """A picture (size, size, 3) in [0, 1] of the attractor of a random system.

    A system has three to eight maps. A map turns, scales two axes by factors from U(0.5, 1) and U(0.5, 1) times the
    first, turns again, mirrors one axis with a chance of a half, and moves by U(-1, 1) along each axis. All factors are
    then multiplied by one number, which makes the determinants sum to 1.1: the images of the attractor under the maps
    cover it and hardly overlap. A map is followed in proportion to its determinant, as in FractalDB. Systems are drawn
    until all factors are below 0.95 and nine tenths of a trial picture of 32 x 32 pixels are met; about a sixth of the
    picture then stays black. It leaves out a tenth of the points on each side, where the attractor thins out.

    At each step a point keeps 0.65 of its colour and takes 0.35 of its map's, which is uniform in the RGB cube. The
    images of the attractor hide each other in the order of the maps, and so do their parts. So there are edges at
    every scale, where an average over the points of a pixel would blur them.
    At last each channel is stretched to the range from 0 to 1, but for one value in a hundred at both ends.
    """
    for _ in range(_TRIALS):
        system = _draw_system(rng)
        if np.linalg.norm(system.matrix, ord=2, axis=(1, 2)).max() >= _LONGEST:
            continue
        points = _on_attractor(rng, system, _TRIAL_POINTS)
        low, high = np.quantile(points.place, [_MARGIN, 1 - _MARGIN], axis=0)
        if np.isfinite(_front(rng, system, points, low, high, _TRIAL_SIDE)[0]).mean() >= _LEAST_FILLED:
            break
    depth, colour = _front(rng, system, _on_attractor(rng, system, _POINTS), low, high, size)
    met = np.isfinite(depth)
    dark, bright = np.quantile(colour[met], [0.01, 0.99], axis=0)
    return np.where(met[..., None], (colour - dark) / (bright - dark), 0)


def _draw_system(rng: np.random.Generator) -> System:
    count = rng.integers(3, 9)
    long = rng.uniform(0.5, 1, count)
    scales = np.stack([long, long * rng.uniform(0.5, 1, count) * rng.choice([-1, 1], count)], axis=-1)
    scales *= np.sqrt(_AREA / np.abs(scales.prod(axis=-1)).sum())
    before, after = _turns(rng.uniform(0, 2 * np.pi, (2, count)))
    left = np.abs(scales.prod(axis=-1))
    return System(
        matrix=(after * scales[:, None]) @ before,
        shift=rng.uniform(-1, 1, (count, 2)),
        chance=left / left.sum(),
        colour=rng.random((count, 3)),
    )


def _turns(angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


def _on_attractor(rng: np.random.Generator, system: System, count: int) -> Points:
    points = Points(np.zeros((count, 2)), np.full((count, 3), 0.5), np.zeros(count))
    for _ in range(_WARM_UP):
        points = _step(rng, system, points)
    return points


def _step(rng: np.random.Generator, system: System, points: Points) -> Points:
    """Sends every point through a map of its own, drawn by its chance."""
    maps = len(system.chance)
    chosen = rng.choice(maps, len(points.depth), p=system.chance)
    x, y = points.place.T
    matrix, shift = system.matrix[chosen], system.shift[chosen]
    return Points(
        np.stack([matrix[:, i, 0] * x + matrix[:, i, 1] * y + shift[:, i] for i in (0, 1)], axis=-1),
        _KEPT * points.colour + (1 - _KEPT) * system.colour[chosen],
        (points.depth + chosen) / maps,
    )


def _front(
    rng: np.random.Generator, system: System, points: Points, low: np.ndarray, high: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depth (side, side) and colour (side, side, 3) of the foremost point of each pixel; infinity and black without."""
    depth, colour = np.full(side * side, np.inf, np.float32), np.zeros((side * side, 3), np.float32)
    for _ in range(max(1, _POINTS_A_PIXEL * side**2 // len(points.depth))):
        points = _step(rng, system, points)
        cell = np.floor((points.place - low) / (high - low) * side).astype(int)
        inside = np.flatnonzero(((cell >= 0) & (cell < side)).all(axis=-1))
        pixel = cell[inside, 0] * side + cell[inside, 1]
        order = np.lexsort((points.depth[inside], pixel))
        pixel, first = np.unique(pixel[order], return_index=True)
        foremost = inside[order[first]]
        nearer = points.depth[foremost] < depth[pixel]
        depth[pixel[nearer]] = points.depth[foremost[nearer]]
        colour[pixel[nearer]] = points.colour[foremost[nearer]]
    return depth.reshape(side, side), colour.reshape(side, side, 3)
