"""What an analysis of invariance measures of one encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ssl_single_image.analysis.invariance import equivariance, features, matching, pairs, variance, views
from ssl_single_image.images import Atlas
from ssl_single_image.runs import progress

PAIRS = 4
"""Pairs that are matched at a time."""
Interval = Callable[[float, Float[np.ndarray, " R"]], tuple[float, float]]
"""(value, what resamples give) -> both ends of the 95 % interval."""


class Scenes(NamedTuple):
    """The squares that invariance is measured on.

    Attributes:
      atlas: of their images.
      squares: n of them.
      labels: (n,) the class of each.
      key: of all that is drawn for them.
      views: T, how many of each square under each augmentation.
    """

    atlas: Atlas
    squares: views.Squares
    labels: Int[np.ndarray, " n"]
    key: Key[Array, ""]
    views: int


def invariance(
    tapped: features.Tapped,
    scenes: Scenes,
    *,
    grid: int,
    weights: Float[np.ndarray, "R n"],
    interval: Interval,
) -> dict[str, Any]:
    """The normalised variance of each layer under each augmentation, and the shares of variance.

    Args:
      tapped: the encoder and its layers.
      scenes: what is looked at.
      grid: maps are averaged over at most grid x grid bins, whose values are the units.
      weights: of the squares, as `variance.resamples` gives.
      interval: makes an interval of resamples.

    Returns:
      "invariance": augmentation -> layer -> {"variance", "interval", "units"}; "shares": augmentation -> layer -> the
      three parts and their "intervals". None stands for what is not defined, because nothing varies.

    Raises:
      InputError: features that are not finite.
    """
    render = views.Renderer(scenes.atlas, scenes.squares, scenes.key, tapped.loaded.encoder.spec.size)
    pool = jax.jit(functools.partial(features.pooled, grid=grid))
    found: dict[str, Any] = {"invariance": {}, "shares": {}}
    done = views.names()
    with progress.progress_bar(len(done), 0, "augmentations") as bar:
        for name in done:
            u = _views_of(scenes, tapped.batch, lambda i, t, name=name: pool(tapped(render(name, i, t))))
            for layer in tapped.layers:
                features.checked(tapped.loaded.name, layer, u[layer])
            found["invariance"][name] = {x: _normalised(u[x], weights, interval) for x in tapped.layers}
            parts = {x: variance.shares(u[x], scenes.labels, weights) for x in tapped.layers}
            found["shares"][name] = {x: _divided(part, interval) for x, part in parts.items()}
            bar.update()
    return found


def _views_of(
    scenes: Scenes, batch: int, encode: Callable[..., dict[str, jax.Array]]
) -> dict[str, variance.Views]:
    """Layer -> (n, T, D); views go through the encoder in batches of one size, the last filled up."""
    total = len(scenes.squares.side) * scenes.views
    parts = []
    for start in range(0, total, batch):
        at = np.minimum(np.arange(start, start + batch), total - 1)
        parts.append(jax.device_get(encode(*np.divmod(at, scenes.views))))
    return {
        layer: np.concatenate([part[layer] for part in parts])[:total].reshape(
            -1, scenes.views, parts[0][layer].shape[1]
        )
        for layer in parts[0]
    }


def _normalised(u: variance.Views, weights: np.ndarray, interval: Interval) -> dict[str, Any] | None:
    (value,), units = variance.normalised_variance(u, weights[:1])
    if not units:
        return None
    samples, _ = variance.normalised_variance(u, weights[1:].astype(np.float32))
    low, high = interval(float(value), samples)
    return {"variance": float(value), "interval": [max(low, 0.0), high], "units": units}


def _divided(found: list[variance.Shares] | None, interval: Interval) -> dict[str, Any] | None:
    if found is None:
        return None
    whole, *resampled = found
    ends = {
        part: interval(value, np.array([getattr(one, part) for one in resampled]))
        for part, value in whole._asdict().items()
    }
    kept = {part: [max(low, 0.0), min(high, 1.0)] for part, (low, high) in ends.items()}
    return {**whole._asdict(), "intervals": kept}


def equivariances(tapped: features.Tapped, scenes: Scenes) -> dict[str, Any]:
    """Layer -> motion -> {"moved", "fitted", "penalty"}, see `equivariance.Residual`, or None where nothing varies.

    Raises:
      InputError: features that are not finite.
    """
    name, size = tapped.loaded.name, tapped.loaded.encoder.spec.size
    draw = jax.jit(functools.partial(pairs.rendered, size=size))
    sums = jax.jit(_sums)
    count, parts = len(scenes.squares.side), equivariance.PARTS
    chunk = max(1, tapped.batch // (1 + len(equivariance.MOTIONS)))
    totals: list[Any] = [None] * parts
    with progress.waiting(f"moving pictures before {name}"):
        for part in range(parts):
            chosen = np.arange(part, count, parts)
            for at in np.array_split(chosen, -(-len(chosen) // chunk)):
                pictures = draw(scenes.atlas, jax.tree.map(lambda x, at=at: x[at], scenes.squares))
                moved = [pictures, *(move(pictures) for move in equivariance.MOTIONS.values())]
                maps = tapped.filled(jnp.concatenate(moved))
                totals[part] = _added(totals[part], jax.device_get(sums(maps)))
    found = {}
    for layer in tapped.layers:
        for total in totals:
            features.checked(name, layer, *(x for moments in total[layer].values() for x in moments))
        by_motion = {
            motion: equivariance.residual([total[layer][motion] for total in totals])
            for motion in equivariance.MOTIONS
        }
        found[layer] = equivariance.summary(by_motion)
    return found


def _sums(maps: features.Maps) -> dict[str, dict[str, equivariance.Moments]]:
    """The moments of each layer and motion from maps of pictures, followed by those of the same pictures moved."""
    found = {}
    for layer, each in maps.items():
        still, *seen = jnp.split(each, 1 + len(equivariance.MOTIONS))
        moves = zip(equivariance.MOTIONS.items(), seen, strict=True)
        found[layer] = {motion: equivariance.moments(move(still), after) for (motion, move), after in moves}
    return found


def _added(total: Any, more: Any) -> Any:
    return {
        layer: {
            motion: equivariance.add(None if total is None else total[layer][motion], each)
            for motion, each in by_motion.items()
        }
        for layer, by_motion in more.items()
    }


def matched(tapped: features.Tapped, given: pairs.Pairs) -> dict[str, matching.Matches]:
    """Layer -> what it matches in each of the pairs.

    Raises:
      InputError: features that are not finite.
    """
    asked = jnp.asarray(given.numbers, jnp.int32)
    pick = jax.jit(jax.vmap(lambda a, b: matching.match(a, b, asked, given.grid)))
    count, found = len(given.first), []
    with progress.waiting(f"matching places with {tapped.loaded.name}"):
        for start in range(0, count, PAIRS):
            at = np.minimum(np.arange(start, start + min(PAIRS, count)), count - 1)
            maps = tapped(np.concatenate([given.first[at], given.second[at]]))
            for layer, each in maps.items():
                features.checked(tapped.loaded.name, layer, np.asarray(each.sum()))
            found.append({layer: np.asarray(pick(*jnp.split(each, 2))) for layer, each in maps.items()})
    together = {x: np.concatenate([part[x] for part in found])[:count] for x in tapped.layers}
    return {layer: given.matches(place) for layer, place in together.items()}


def correspondence(
    by_layer: dict[str, matching.Matches], interval: Interval | None, weights: Float[np.ndarray, "R n"] | None
) -> dict[str, Any]:
    """Layer -> {"pck": {tolerance: share}, "interval": of the first tolerance, "median_error": in shorter sides}.

    Args:
      by_layer: as `matched` gives.
      interval: makes one of resamples of pairs; None: a single pair has none.
      weights: of the pairs, as `variance.resamples` gives.
    """
    found: dict[str, Any] = {}
    for layer, matches in by_layer.items():
        rates = {f"{tolerance:g}": matching.rate(matches, tolerance) for tolerance in matching.TOLERANCES}
        main = rates[f"{matching.TOLERANCES[0]:g}"]
        found[layer] = {
            "pck": {name: float(np.nanmean(rate)) for name, rate in rates.items()},
            "median_error": float(np.median(matches.error[matches.valid])),
        }
        if interval is not None and weights is not None:
            values = weights @ np.nan_to_num(main)
            found[layer]["interval"] = list(interval(float(values[0]), values[1:]))
    return found


def levels(matches: matching.Matches, grid: tuple[int, int]) -> dict[str, dict[str, float]]:
    """What knows nothing reaches, by tolerance: "chance", a random place, and "still", the place that was asked for."""
    return {
        "chance": {f"{t:g}": matching.chance(matches, t, grid) for t in matching.TOLERANCES},
        "still": {f"{t:g}": matching.still(matches, t) for t in matching.TOLERANCES},
    }
