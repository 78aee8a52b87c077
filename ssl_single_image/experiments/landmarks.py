"""The regression of landmarks by frozen features, against untrained networks of the same kind."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import images
from ssl_single_image.analysis.invariance import (
    features,
    landmark_figures,
    landmark_tables,
    landmarks,
    views,
    warped_landmarks,
)
from ssl_single_image.datasets import landmarks as labelled
from ssl_single_image.datasets import sources as named
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.analysing import checked_encoders
from ssl_single_image.experiments.invariance import PHOTOS, large_enough, photographs
from ssl_single_image.experiments.probing import pretrained_on
from ssl_single_image.experiments.results import Findings
from ssl_single_image.keys import Stream, stream
from ssl_single_image.probes import intervals
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.schema import SEED, Section, Told, Within

RESULT = "landmarks.json"
"""Marks a regression of landmarks as done; written last."""
HYPERCOLUMN = "hypercolumn"
_PICTURES, _REGRESSORS = range(2)
"""What parts of the stream are for."""


@dataclasses.dataclass(frozen=True)
class LandmarkSettings(Section):
    """What landmarks are regressed on.

    Attributes:
      data: "photos": warps of one photograph. `tfds:NAME`: a set with landmarks, such as tfds:celeb_a.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      source: with "photos": the photograph; "": the first built-in one that no encoder was trained on.
      images: training pictures; all of the set if it has fewer.
      test_images: pictures that errors are measured on, likewise.
      layers: layers of the hypercolumn, by name; none: all but the first.
      alone: whether each of these layers alone is measured too.
      size: side of the pictures in pixels; 0: the encoder's input side, or twice that if it is 64 or less.
      steps: of Adam, with 32 pictures each.
      seed: of the pictures and of the regressors.
    """

    data: Annotated[str, Told("photos or tfds:NAME")] = PHOTOS
    data_dir: str = ""
    source: Annotated[str, Told(named.FORMS)] = ""
    images: Annotated[int, Within(labelled.FEWEST, 4096)] = 256
    test_images: Annotated[int, Within(labelled.FEWEST, 4096)] = 128
    layers: tuple[str, ...] = ()
    alone: bool = True
    size: Annotated[int, Within(0, 512)] = 0
    steps: Annotated[int, Within(1, 100_000)] = 300
    seed: Annotated[int, SEED] = 0


class Prepared(NamedTuple):
    """All that a regression of landmarks needs, checked; `data` is None where pictures are still to be warped."""

    encoders: list[LoadedEncoder]
    settings: LandmarkSettings
    size: int
    source: str
    photograph: np.ndarray | None
    data: labelled.LandmarkSet | None


def prepare(references: str | Sequence[str | os.PathLike[str]], settings: LandmarkSettings) -> Prepared:
    """Reads the encoders, and the photograph or the set.

    Raises:
      InputError: a checkpoint or an image that can't be read, weights that are not finite, a set without landmarks, or
        pictures too small for an encoder.
    """
    encoders = checked_encoders(references, settings.layers)
    largest = max(loaded.encoder.spec.size for loaded in encoders)
    size = settings.size or (2 * largest if largest <= features.SMALL else largest)
    if size < largest:
        raise InputError(
            f"size = {size}: is less than the input of the largest encoder, {largest}; give 0 or more"
        )
    if settings.data != PHOTOS:
        if settings.source:
            raise InputError(
                f"source = {settings.source!r}: is for warped photographs; leave it out, or data"
            )
        data = labelled.load(
            settings.data,
            data_dir=settings.data_dir or None,
            size=size,
            train=settings.images,
            test=settings.test_images,
            seed=settings.seed,
        )
        return Prepared(encoders, settings, size, settings.data, None, data)
    if settings.source:
        found = named.load_source(settings.source, size=size, data_dir=settings.data_dir)
        if len(found) > 1:
            raise InputError(
                f"source {settings.source}: names {len(found)} images; landmarks are those of one"
            )
        large_enough(found, size)
    else:
        found = photographs(pretrained_on(encoders))
    return Prepared(encoders, settings, size, found[0].name, found[0].pixels, None)


def measured(made: Prepared) -> Findings:
    """The numbers and the pictures."""
    settings, data = made.settings, made.data or _warped(made)
    units = data.test.units(data.eyes)
    programs, encoders, by_image, pictures = features.Programs(), [], [], {}
    for number, loaded in enumerate(made.encoders, 1):
        tapped = programs.of(loaded, settings.layers or loaded.layers[1:] or loaded.layers)
        found = _regressed(tapped, data, settings)
        errors = {name: landmarks.errors(one.points, data.test.points, units) for name, one in found.items()}
        by_image.append(errors)
        encoders.append(_row(loaded, tapped.layers[1:], found, errors))
        pictures[f"landmarks-{number}.png"] = landmark_figures.sheet(
            loaded.name, data.test, found[HYPERCOLUMN].points, errors[HYPERCOLUMN]
        )
    for number, row in enumerate(encoders):
        if gains := _gains(made.encoders, by_image, number):
            row["gains"] = gains
    mean = np.broadcast_to(data.train.points.mean(0), data.test.points.shape)
    result = _facts(made, data) | {
        "mean": float(100 * landmarks.errors(mean, data.test.points, units).mean()),
        "encoders": encoders,
    }
    pictures = {"landmarks.png": landmark_figures.errors(result)} | pictures
    return Findings(result, pictures, landmark_tables.markdown)


def _warped(made: Prepared) -> labelled.LandmarkSet:
    """Warps of the photograph's largest central square; the first are for training."""
    assert made.photograph is not None
    settings, sides = made.settings, np.array([made.photograph.shape[:2]], np.float32)
    square = views.Squares(jnp.zeros(1, jnp.int32), jnp.asarray(sides / 2), jnp.asarray(sides.min(1)))
    count = settings.images + settings.test_images
    with progress.waiting(f"warping {made.source}"):
        atlas = images.build_atlas([made.photograph])
        pictures, points = warped_landmarks.make(atlas, square, _key(settings, _PICTURES), count, made.size)
    train, test = (
        labelled.LandmarkSplit(pictures[part], points[part])
        for part in (slice(settings.images), slice(settings.images, None))
    )
    return labelled.LandmarkSet(made.source, warped_landmarks.names(), train, test)


def _key(settings: LandmarkSettings, part: int) -> jax.Array:
    return jax.random.fold_in(stream(settings.seed, Stream.LANDMARKS), part)


def _regressed(
    tapped: features.Tapped, data: labelled.LandmarkSet, settings: LandmarkSettings
) -> dict[str, landmarks.Result]:
    """The hypercolumn, and each of its layers alone if there are several; all from the same batches."""
    with progress.waiting(f"encoding pictures with {tapped.loaded.name}"):
        train, test = landmarks.standardised_maps(tapped, [data.train.image, data.test.image])
    layers = list(train)
    wanted = {HYPERCOLUMN: layers}
    if settings.alone and len(layers) > 1:
        wanted |= {layer: [layer] for layer in layers}
    found = {}
    with progress.progress_bar(settings.steps * len(wanted), 0, "steps") as bar:
        for name, stack in wanted.items():
            found[name] = landmarks.regress(
                _key(settings, _REGRESSORS),
                {layer: train[layer] for layer in stack},
                data.train.points,
                {layer: test[layer] for layer in stack},
                steps=settings.steps,
                told=bar.update,
            )
    return found


def _row(
    loaded: LoadedEncoder,
    layers: Sequence[str],
    found: dict[str, landmarks.Result],
    errors: dict[str, np.ndarray],
) -> dict[str, Any]:
    return {
        "checkpoint": loaded.name,
        "step": loaded.step,
        "backbone": loaded.encoder.spec.backbone,
        "encoder": json.loads(json.dumps(dataclasses.asdict(loaded.encoder.spec))),
        "hypercolumn": list(layers),
        "layers": {
            name: {
                "error": float(100 * errors[name].mean()),
                "interval": list(intervals.over_repeats(100 * errors[name])),
                "loss": one.loss,
            }
            for name, one in found.items()
        },
    }


def _gains(
    encoders: Sequence[LoadedEncoder], errors: Sequence[dict[str, np.ndarray]], number: int
) -> dict[str, Any]:
    """What the errors of a trained encoder are below those of untrained networks of its spec, paired by picture."""
    loaded = encoders[number]
    base = [
        errors[i]
        for i, each in enumerate(encoders)
        if each.untrained and each.encoder.spec == loaded.encoder.spec
    ]
    if loaded.untrained or not base:
        return {}
    found = {}
    for name, own in errors[number].items():
        difference = 100 * (np.mean([other[name] for other in base], axis=0) - own)
        found[name] = {"points": float(difference.mean()), "interval": list(intervals.paired(difference))}
    return found


def _facts(made: Prepared, data: labelled.LandmarkSet) -> dict[str, Any]:
    return {
        "data": made.settings.data,
        "source": made.source,
        "landmarks": list(data.landmarks),
        "unit": "distance between the eyes" if data.eyes else "side of the picture",
        "images": len(data.train),
        "test_images": len(data.test),
        "size": made.size,
        "steps": made.settings.steps,
        "seed": made.settings.seed,
    }


def files(found: Findings) -> dict[str, str | bytes]:
    """What the regression leaves: name -> content. The file that marks it as done comes last."""
    return {
        **found.pictures,
        "landmarks.csv": landmark_tables.csv_of(found.result),
        "landmarks.md": found.markdown(),
        RESULT: json.dumps(found.result, indent=2, allow_nan=False) + "\n",
    }
