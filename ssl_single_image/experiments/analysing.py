"""The analysis of layers: what they respond to, how alike they are, and how many directions their features use."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import augment, datasets, images
from ssl_single_image.analysis import filters, grids, layer_figures, layer_tables, measure, similarity
from ssl_single_image.analysis.measure import Pool
from ssl_single_image.datasets import sources as named
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.cropping import checked_source
from ssl_single_image.experiments.probing import distinct, pretrained_on
from ssl_single_image.experiments.results import Analysis
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.probes import linear
from ssl_single_image.runs import LoadedEncoder, load_encoder, progress
from ssl_single_image.runs.encoders import BATCH
from ssl_single_image.schema import SEED, Section, Told, Within

Views = Callable[[int], np.ndarray]
"""Side in pixels -> the images of the labelled set at that side, (n, side, side, 3) uint8."""

RESULT = "analysis.json"
"""Marks an analysis as done; written last."""
MOST = 4096
"""Images: their Gram matrices then take 134 MB a layer."""


@dataclasses.dataclass(frozen=True)
class AnalysisSettings(Section):
    """What is analysed.

    Attributes:
      data: the labelled set whose test images the features are of; their labels are not used.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      images: how many of its test images, drawn at random; all if there are fewer.
      layers: layers to look at, by name; none: all.
      source: image whose crops are compared with each other; "": that of the first encoder that has one.
      queries: crops or images whose nearest ones are shown.
      neighbours: how many are shown of each.
      grid: maps are averaged over at most grid x grid bins, and these are the features.
      seed: of the draw of images.
    """

    data: Annotated[str, Told(datasets.FORMS)] = "photos"
    data_dir: str = ""
    images: Annotated[int, Within(similarity.FEWEST, MOST)] = 512
    layers: tuple[str, ...] = ()
    source: Annotated[str, Told(named.FORMS)] = ""
    queries: Annotated[int, Within(1, 16)] = 4
    neighbours: Annotated[int, Within(1, 16)] = 5
    grid: Annotated[int, Within(1, 16)] = 4
    seed: Annotated[int, SEED] = 0


class Prepared(NamedTuple):
    """All that an analysis needs, checked."""

    encoders: list[LoadedEncoder]
    settings: AnalysisSettings
    views: Views
    pool: Pool


def prepare(references: str | Sequence[str | os.PathLike[str]], settings: AnalysisSettings) -> Prepared:
    """Reads the encoders and the images.

    Raises:
      InputError: a checkpoint or an image that can't be read, weights that are not finite, or too few images.
    """
    encoders = checked_encoders(references, settings.layers)
    views = _labelled(encoders, settings)
    return Prepared(encoders, settings, views, _pool(encoders, settings, views))


def checked_encoders(
    references: str | Sequence[str | os.PathLike[str]], layers: Sequence[str]
) -> list[LoadedEncoder]:
    """The encoders of an analysis.

    Raises:
      InputError: one can't be read, is given twice, has weights that are not finite, or lacks one of the layers.
    """
    names = distinct([references] if isinstance(references, str | os.PathLike) else references)
    encoders = [load_encoder(name) for name in names]
    for loaded in encoders:
        loaded.check_finite()
        loaded.chosen(layers)
    return encoders


def _labelled(encoders: Sequence[LoadedEncoder], settings: AnalysisSettings) -> Views:
    """The images of the set at any side.

    Raises:
      InputError: the set can't be read, or has too few images.
    """
    size = max(loaded.encoder.spec.size for loaded in encoders)
    data = datasets.load(
        settings.data,
        data_dir=settings.data_dir or None,
        size=size,
        exclude=pretrained_on(encoders),
        multi_label=None,  # the labels are not used
    )
    count = min(settings.images, len(data.test))
    if count < similarity.FEWEST:
        raise InputError(
            f"data set {data.name} has {count} test images; an analysis needs {similarity.FEWEST} or more"
        )
    seed = settings.seed if count < len(data.test) else None
    batch = next(data.test.batches(count, seed=seed))

    @functools.cache
    def views(size: int) -> np.ndarray:
        centre = jax.jit(functools.partial(linear.central_views, size=size))
        starts = range(0, count, BATCH)
        parts = [centre(jax.tree.map(lambda x, s=start: x[s : s + BATCH], batch)) for start in starts]
        return np.concatenate([grids.to_bytes(np.asarray(part)) for part in parts])

    return views


def _pool(encoders: Sequence[LoadedEncoder], settings: AnalysisSettings, views: Views) -> Pool:
    """Crops of the source image of the first encoder that has one; without any, the labelled images.

    Raises:
      InputError: the source can't be read, or is too small.
    """
    configs = [loaded.meta.get("config", {}) for loaded in encoders]
    config: dict[str, Any] = next((config for config in configs if config.get("source")), {})
    source, size = settings.source or config.get("source", ""), encoders[0].encoder.spec.size
    if not source:
        pixels = views(size)
        spread = (i * len(pixels) // settings.queries for i in range(settings.queries))
        return Pool("image", settings.data, pixels, tuple(dict.fromkeys(spread)))
    crop = config.get("crop")
    spec = augment.CropSpec.from_config(crop) if crop else augment.CropSpec.preset("paper", size)
    sources = checked_source(
        source,
        spec,
        config.get("seed", 0),
        config.get("max_pixels", 0),
        settings.data_dir or config.get("data_dir", ""),
        1 if settings.source else config.get("shrink", 1),
    )
    queries = tuple(range(min(settings.queries, settings.images)))
    return Pool("crop", source, _crops(sources, spec, config.get("seed", 0), settings.images), queries)


def _crops(
    sources: Sequence[images.SourceImage], spec: augment.CropSpec, seed: int, count: int
) -> np.ndarray:
    """The first `count` crops of the virtual data set, (count, S, S, 3) uint8."""
    render = jax.jit(functools.partial(augment.render_crops, spec=spec))
    with progress.waiting(f"drawing {count} crops"):
        atlas = images.build_atlas([source.pixels for source in sources])
        chunk = min(BATCH, count)
        parts = [
            render(atlas, crops_key(seed), start + jnp.arange(chunk)) for start in range(0, count, chunk)
        ]
        return np.concatenate([grids.to_bytes(np.asarray(part, np.float32)) for part in parts])[:count]


def measured(made: Prepared) -> Analysis:
    """The numbers and the pictures."""
    encoders, settings, views, pool = made
    found = measure.measure(
        encoders,
        views,
        pool,
        layers=settings.layers,
        neighbours=settings.neighbours,
        grid=settings.grid,
    )
    result = {
        "data": settings.data,
        "images": len(views(encoders[0].encoder.spec.size)),
        "grid": settings.grid,
        "seed": settings.seed,
        "nearest": {
            "what": pool.what,
            "source": pool.source,
            "images": len(pool.pixels),
            "queries": list(pool.queries),
        },
        **found,
    }
    return Analysis(result, _pictures(encoders, result, pool))


def _pictures(encoders: Sequence[LoadedEncoder], result: dict[str, Any], pool: Pool) -> dict[str, bytes]:
    """File name -> PNG; encoders have the numbers of their order, from 1."""
    pictures = {"ranks.png": layer_figures.ranks(result)}
    for number, (loaded, measured) in enumerate(zip(encoders, result["encoders"], strict=True), 1):
        if filters.has_filters(loaded.encoder):
            pictures[f"filters-{number}.png"] = filters.png(filters.sheet(loaded))
        sheet = layer_figures.neighbours(measured, pool.queries, pool.pixels, pool.what)
        pictures[f"nearest-{number}.png"] = filters.png(sheet)
    numbers = {loaded.name: number for number, loaded in enumerate(encoders, 1)}
    for pair in result["cka"]:
        name = f"cka-{numbers[pair['a']]}-{numbers[pair['b']]}.png"
        pictures[name] = layer_figures.similarity(pair, result["images"], result["data"])
    return pictures


def files(analysis: Analysis) -> dict[str, str | bytes]:
    """What an analysis leaves: name -> content. The file that marks it as done comes last."""
    result = analysis.result
    return {
        **analysis.pictures,
        "ranks.csv": layer_tables.ranks_csv(result),
        "cka.csv": layer_tables.similarity_csv(result),
        "nearest.csv": layer_tables.neighbours_csv(result),
        "analysis.md": layer_tables.markdown(result, analysis.pictures),
        RESULT: json.dumps(result, indent=2, allow_nan=False) + "\n",
    }
