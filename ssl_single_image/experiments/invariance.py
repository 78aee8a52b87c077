"""The analysis of invariance: what layers ignore, what they follow, and which places of two pictures they match."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import datasets, images
from ssl_single_image.analysis.invariance import (
    features,
    figures,
    match_figures,
    matching,
    measure,
    pairs,
    tables,
    variance,
    views,
)
from ssl_single_image.datasets import sources as named
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.analysing import checked_encoders
from ssl_single_image.experiments.probing import pretrained_on
from ssl_single_image.experiments.results import Findings
from ssl_single_image.images import SourceImage, builtin
from ssl_single_image.keys import Stream, stream
from ssl_single_image.probes import intervals
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.schema import SEED, Section, Told, Within

RESULT = "invariance.json"
"""Marks an analysis of invariance as done; written last."""
PHOTOS = "photos"
FEWEST, MOST = 16, 4096
"""Images: a ridge map of four parts needs some in each."""
RESAMPLES = 100
MATCHED_SIDE = 128
"""Pixels of the pictures whose places are matched, or the encoder's input side if that is more."""
_SQUARES, _VIEWS, _PAIRS, _WARPS, _IMAGES, _WARP_RESAMPLES = range(6)
"""What parts of the stream are for."""


@dataclasses.dataclass(frozen=True)
class InvarianceSettings(Section):
    """What is measured on.

    Attributes:
      data: the labelled set whose test images are looked at; their classes divide the variance.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      source: image or images whose random squares are looked at instead, each image a class; "": none.
      images: how many images or squares; all of the set if there are fewer.
      views: of each image, under each augmentation.
      layers: layers to look at, by name; none: all.
      grid: maps are averaged over at most grid x grid bins, and these are the units.
      pairs: warped photographs in which places are matched.
      seed: of everything that is drawn.
    """

    data: Annotated[str, Told(datasets.FORMS)] = PHOTOS
    data_dir: str = ""
    source: Annotated[str, Told(named.FORMS)] = ""
    images: Annotated[int, Within(FEWEST, MOST)] = 128
    views: Annotated[int, Within(2, 64)] = 4
    layers: tuple[str, ...] = ()
    grid: Annotated[int, Within(1, 16)] = 4
    pairs: Annotated[int, Within(2, 256)] = 40
    seed: Annotated[int, SEED] = 0


class Regions(NamedTuple):
    """Squares of images on the host, and what they are of.

    Attributes:
      pixels: (H, W, 3) uint8 each.
      image: (n,) the image of each square.
      centre: (n, 2).
      side: (n,).
      labels: (n,) the class of each.
    """

    pixels: list[np.ndarray]
    image: np.ndarray
    centre: np.ndarray
    side: np.ndarray
    labels: np.ndarray

    def squares(self) -> views.Squares:
        """For the device."""
        return views.Squares(
            jnp.asarray(self.image, jnp.int32),
            jnp.asarray(self.centre, jnp.float32),
            jnp.asarray(self.side, jnp.float32),
        )


class Prepared(NamedTuple):
    """All that an analysis of invariance needs, checked.

    Attributes:
      encoders: at least one.
      settings: what is measured on.
      scenes: side of an encoder's input -> the squares that invariance is measured on.
      matched: the squares that are warped.
      warped_of: what these are of, in words.
    """

    encoders: list[LoadedEncoder]
    settings: InvarianceSettings
    scenes: dict[int, Regions]
    matched: Regions
    warped_of: str


def prepare(references: str | Sequence[str | os.PathLike[str]], settings: InvarianceSettings) -> Prepared:
    """Reads the encoders and the images.

    Raises:
      InputError: a checkpoint or an image that can't be read, weights that are not finite, or too few images.
    """
    encoders = checked_encoders(references, settings.layers)
    sizes = sorted({loaded.encoder.spec.size for loaded in encoders})
    side = matched_side(sizes[-1])
    if settings.source:
        found = named.load_source(settings.source, size=side, data_dir=settings.data_dir)
        large_enough(found, sizes[-1])
        scenes = dict.fromkeys(sizes, _random_squares(found, settings.images, settings.seed, _SQUARES))
        matched = _random_squares(found, settings.pairs, settings.seed, _PAIRS)
        return Prepared(encoders, settings, scenes, matched, settings.source)
    unseen = pretrained_on(encoders)
    scenes = {size: _labelled(settings, round(size / views.WINDOW), unseen) for size in sizes}
    if settings.data != PHOTOS:
        matched = _labelled(settings, side, unseen)
        return Prepared(encoders, settings, scenes, _cut(matched, settings.pairs), settings.data)
    found = photographs(unseen)
    names = " + ".join(image.name.removeprefix(builtin.PREFIX) for image in found)
    return Prepared(
        encoders, settings, scenes, _random_squares(found, settings.pairs, settings.seed, _PAIRS), names
    )


def photographs(without: Sequence[str]) -> list[SourceImage]:
    """The built-in colour photographs but those that encoders were trained on.

    Raises:
      InputError: none is left.
    """
    names = [name for name in builtin.colour_photographs() if name not in without]
    if not names:
        raise InputError(
            "the encoders were trained on every built-in photograph; name other images by source"
        )
    return images.load_source(builtin.PREFIX + "+".join(names))


def matched_side(size: int) -> int:
    """The side of pictures in which an encoder of an input side matches places."""
    return max(MATCHED_SIDE, size)


def large_enough(found: Sequence[SourceImage], size: int) -> None:
    """Refuses images that are smaller than the input of an encoder.

    Raises:
      InputError: there is one.
    """
    for image in found:
        height, width = image.pixels.shape[:2]
        if min(height, width) < size:
            raise InputError(
                f"source {image.name}: {height} x {width} pixels are fewer than the encoder's input of {size} x"
                f" {size}; give a larger image"
            )


def _labelled(settings: InvarianceSettings, size: int, without: Sequence[str]) -> Regions:
    """The largest central squares of test images, drawn at random.

    Raises:
      InputError: the set can't be read, or has too few images.
    """
    data = datasets.load(
        settings.data, data_dir=settings.data_dir or None, size=size, exclude=without, multi_label=None
    )
    count = min(settings.images, len(data.test))
    if count < FEWEST:
        raise InputError(
            f"data set {data.name} has {count} test images; an analysis of invariance needs {FEWEST} or more"
        )
    batch = next(data.test.batches(count, seed=settings.seed if count < len(data.test) else None))
    extent = np.asarray(batch.extent)
    pixels = [each[:h, :w] for each, (h, w) in zip(np.asarray(batch.image), extent, strict=True)]
    label = np.asarray(batch.label)
    if label.ndim == 2:  # of several classes, an image counts with the set of those that it has
        label = np.unique(label > 0, axis=0, return_inverse=True)[1].reshape(-1)
    return Regions(pixels, np.arange(count), extent / 2, extent.min(1).astype(float), label)


def _random_squares(found: Sequence[SourceImage], count: int, seed: int, part: int) -> Regions:
    """Squares of half the shorter side of an image to all of it, at random places; images take turns."""
    u = np.asarray(jax.random.uniform(_key(seed, part), (count, 3)), np.float64)
    image = np.arange(count) % len(found)
    sides = np.array([each.pixels.shape[:2] for each in found], float)[image]
    side = sides.min(1) * (0.5 + 0.5 * u[:, 0])
    centre = side[:, None] / 2 + u[:, 1:] * (sides - side[:, None])
    return Regions([each.pixels for each in found], image, centre, side, image)


def _cut(regions: Regions, count: int) -> Regions:
    return Regions(regions.pixels, *(each[:count] for each in regions[1:]))


def _key(seed: int, part: int) -> jax.Array:
    return jax.random.fold_in(stream(seed, Stream.INVARIANCE), part)


def measured(made: Prepared) -> Findings:
    """The numbers and the pictures."""
    settings, programs = made.settings, features.Programs()
    given, weights = _pairs(made), _weights(made)
    encoders, pictures, levels = [], {}, {}
    for number, loaded in enumerate(made.encoders, 1):
        tapped = programs.of(loaded, settings.layers)
        scenes = _scenes(made, loaded.encoder.spec.size)
        resampled = variance.resamples(len(scenes.labels), RESAMPLES, _key(settings.seed, _IMAGES))
        found = measure.invariance(
            tapped, scenes, grid=settings.grid, weights=resampled, interval=intervals.bootstrap
        )
        found["equivariance"] = measure.equivariances(tapped, scenes)
        for name, pair in given[loaded.encoder.spec.size].items():
            matches = measure.matched(tapped, pair)
            interval = intervals.bootstrap if len(pair.first) > 1 else None
            found[name] = measure.correspondence(matches, interval, weights)
            levels[name] = measure.levels(matches[features.PIXELS], pair.grid)
            best = _best(found[name])
            pictures[f"{name}-{number}.png"] = match_figures.picture(
                loaded.name, name, best, pair, matches[best]
            )
        encoders.append(_of(loaded) | found)
    result = _facts(made) | {"levels": levels, "encoders": encoders}
    return Findings(result, figures.pictures(result) | pictures, tables.markdown)


def _best(found: dict[str, Any]) -> str:
    """The layer that matches most places; the first of equals."""
    rates = {layer: one["pck"][f"{matching.TOLERANCES[0]:g}"] for layer, one in found.items()}
    return max((layer for layer in rates if layer != features.PIXELS), key=rates.__getitem__)


def _of(loaded: LoadedEncoder) -> dict[str, Any]:
    return {
        "checkpoint": loaded.name,
        "step": loaded.step,
        "backbone": loaded.encoder.spec.backbone,
        "encoder": json.loads(json.dumps(dataclasses.asdict(loaded.encoder.spec))),
    }


def _facts(made: Prepared) -> dict[str, Any]:
    settings = made.settings
    size = made.encoders[0].encoder.spec.size
    return {
        "data": settings.source or settings.data,
        "images": len(made.scenes[size].side),
        "views": settings.views,
        "grid": settings.grid,
        "seed": settings.seed,
        "warped": made.warped_of,
        "pairs": len(made.matched.side),
        "augmentations": views.titles(size),
    }


def _scenes(made: Prepared, size: int) -> measure.Scenes:
    regions, settings = made.scenes[size], made.settings
    atlas = images.build_atlas(regions.pixels)
    return measure.Scenes(
        atlas, regions.squares(), regions.labels, _key(settings.seed, _VIEWS), settings.views
    )


def _weights(made: Prepared) -> np.ndarray:
    return variance.resamples(len(made.matched.side), RESAMPLES, _key(made.settings.seed, _WARP_RESAMPLES))


def _pairs(made: Prepared) -> dict[int, dict[str, pairs.Pairs]]:
    """Side of an encoder's input -> name -> pairs; the pictures of one side are shared."""
    with progress.waiting("warping photographs"):
        atlas = images.build_atlas(made.matched.pixels)
        sizes = {loaded.encoder.spec.size for loaded in made.encoders}
        by_side = {
            side: pairs.warped(atlas, made.matched.squares(), _key(made.settings.seed, _WARPS), side)
            for side in {matched_side(size) for size in sizes}
        }
    stereo = {} if _saw_stereo(made) else {"stereo": pairs.stereo()}
    return {size: {"warps": by_side[matched_side(size)], **stereo} for size in sizes}


def _saw_stereo(made: Prepared) -> bool:
    """Whether one of the encoders was trained on the scene of the stereo pair: nothing is then measured on it."""
    return bool(set(pretrained_on(made.encoders)) & set(builtin.STEREO))


def files(found: Findings) -> dict[str, str | bytes]:
    """What the analysis leaves: name -> content. The file that marks it as done comes last."""
    return {
        **found.pictures,
        "invariance.csv": tables.invariance_csv(found.result),
        "equivariance.csv": tables.equivariance_csv(found.result),
        "correspondence.csv": tables.correspondence_csv(found.result),
        "invariance.md": found.markdown(),
        RESULT: json.dumps(found.result, indent=2, allow_nan=False) + "\n",
    }
