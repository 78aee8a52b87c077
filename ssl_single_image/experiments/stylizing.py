"""Style transfer as a function: an encoder and two images to a picture, and a record of how it was made."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from absl import logging
from PIL import Image

from ssl_single_image import images, models
from ssl_single_image.analysis import grids
from ssl_single_image.analysis import style as transfer
from ssl_single_image.datasets import sources as named
from ssl_single_image.errors import Halted, InputError
from ssl_single_image.experiments.results import Stylized
from ssl_single_image.runs import LoadedEncoder, environment, load_encoder, progress, workdir
from ssl_single_image.schema import SEED, OneOf, Section, Told, Within

COMMAND = "stylize"
"""What the record names as its command."""
SMALLEST = 8
"""Pixels of the shorter side of a picture, at least."""
LOGS = 20
"""Times that the losses are shown."""


@dataclasses.dataclass(frozen=True)
class StyleSettings(Section):
    """How a picture is made.

    Attributes:
      size: longer side of the picture in pixels; both images are scaled to it.
      steps: steps of L-BFGS.
      seed: of the shifts.
      style_layers: layers whose Gram matrices are compared; none: the first four of five, or what is as deep.
      content_layer: layer whose activations are compared; "": the third of five, or what is as deep.
      style_weight: over n^2, of the Gram matrices of a layer with n channels; larger for more style.
      content_weight: of the activations; larger for more content.
      variation_weight: of differences between neighbouring pixels; larger for a smoother picture.
      shift: pixels by which the network's input is shifted at most in each step, at random; 0: not at all.
      pooling: "average" takes the mean where the network takes the maximum, for smoother gradients. Networks that are
        no plain chain of convolutions keep theirs.
    """

    size: Annotated[int, Within(32, 2048)] = 256
    steps: Annotated[int, Within(1, 100_000)] = 200
    seed: Annotated[int, SEED] = 0
    style_layers: tuple[str, ...] = ()
    content_layer: Annotated[str, Told("a layer of the encoder")] = ""
    style_weight: Annotated[float, Within(0)] = 1e6
    content_weight: Annotated[float, Within(0)] = 1.0
    variation_weight: Annotated[float, Within(0)] = 1e-3
    shift: Annotated[int, Within(0, transfer.SHIFT)] = 8
    pooling: Annotated[str, OneOf("average", "max")] = "average"


def stylize(
    reference: str | os.PathLike[str] | LoadedEncoder,
    content: str,
    style: str,
    out: str | Path | None = None,
    **fields: Any,
) -> Stylized:
    """Paints one image in the style of another, as an encoder sees style (Gatys et al. 2016).

    The encoder runs on images of any size, whatever it was trained on.

    Args:
      reference: an encoder as `load_encoder` takes it, or one that is loaded. A Sobel network can't be used.
      content: the image whose objects the picture shows: a file, `builtin:NAME` or
        `synthetic:NAME[,size=N]@SEED`.
      style: the image whose colours and textures it has, likewise.
      out: image file to write; beside it, with the ending .json, comes a record with settings and losses. None:
        nothing is written.
      **fields: of `StyleSettings`, such as `size=128`, `steps=50`, `style_weight=1e7`.

    Returns:
      The picture, which a notebook shows, and its record.

    Raises:
      InputError: a bad field, an encoder or an image that can't be used, or a place that can't be written to.
      Halted: the loss is not a number any more.
    """
    settings = StyleSettings.from_config(fields)
    place = None if out is None else _free(Path(os.path.expanduser(out)), content, style)
    loaded = reference if isinstance(reference, LoadedEncoder) else load_encoder(reference)
    problem = _problem(loaded, settings)
    sources = {"content": _read(content), "style": _read(style)}
    scaled = {name: _scaled(source, loaded, settings.size) for name, source in sources.items()}
    if place is not None:
        workdir.make(place.parent, "folder")
    picture, losses = _descend(problem, loaded, scaled, settings)
    record = {
        "command": COMMAND,
        "checkpoint": loaded.name,
        "step": loaded.step,
        **{name: source.record() for name, source in sources.items()},
        "config": settings.to_config()
        | {"style_layers": list(problem.style_layers), "content_layer": problem.content_layer},
        "losses": losses,
    }
    stylized = Stylized(Image.fromarray(picture), record)
    if place is not None:
        images.save_image(stylized.image, place)
        whole = json.dumps(record | {workdir.ENVIRONMENT: environment.describe()}, indent=2)
        workdir.write_whole(place.with_suffix(".json"), whole + "\n")
        logging.info("wrote %s and %s", place, place.with_suffix(".json").name)
    return stylized


def _free(out: Path, *sources: str) -> Path:
    """The file to write, which must replace none of the images and no record of something else.

    Raises:
      InputError: it would.
    """
    images.image_format(out)
    for source in sources:
        if any(path.resolve() == out.resolve() for path in named.source_files(source)):
            raise InputError(f"{out}: is the image {source} itself; give another file for the picture")
    record = out.with_suffix(".json")
    if record.exists() and workdir.read(record.parent, record.name).get("command") != COMMAND:
        raise InputError(
            f"{record}: is no record of stylize, and would be replaced; give another file for the picture"
        )
    return out


def _problem(loaded: LoadedEncoder, settings: StyleSettings) -> transfer.Problem:
    """What is asked for of this encoder.

    Raises:
      InputError: it can't be used, or has no such layer.
    """
    if models.sees_derivatives(loaded.encoder.spec):
        raise InputError(
            f"checkpoint {loaded.name}: is a Sobel network, which sees no colour and can't carry any; give another one"
        )
    loaded.check_finite()
    styles, content = transfer.layers_by_depth(loaded.layers)
    if settings.style_layers:
        styles = loaded.chosen(settings.style_layers)
    if settings.content_layer:
        (content,) = loaded.chosen((settings.content_layer,))
    return transfer.Problem(
        styles,
        content,
        settings.style_weight,
        settings.content_weight,
        settings.variation_weight,
        settings.shift,
        settings.pooling == "average",
    )


def _read(source: str) -> images.SourceImage:
    found = named.load_source(source)
    if len(found) > 1:
        raise InputError(f"{source}: names {len(found)} images; give one")
    return found[0]


def _scaled(source: images.SourceImage, loaded: LoadedEncoder, size: int) -> np.ndarray:
    """The image with its longer side at `size` pixels: (H, W, 3) float32 in [0, 1].

    Raises:
      InputError: its shorter side is then too small for the encoder.
    """
    height, width, _ = source.pixels.shape
    factor = size / max(height, width)
    height, width = max(1, round(height * factor)), max(1, round(width * factor))
    spec = loaded.encoder.spec
    backbone = models.find(spec.backbone)
    smallest = max(backbone.smallest_for(backbone.options.from_value(spec.options)), SMALLEST)
    if min(height, width) < smallest:
        raise InputError(
            f"{source.name}: {width} x {height} pixels at size {size}, but {spec.backbone} needs {smallest} or more a"
            " side; raise --size or crop the image"
        )
    resized = Image.fromarray(source.pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) / 255


def _descend(
    problem: transfer.Problem, loaded: LoadedEncoder, scaled: dict[str, np.ndarray], settings: StyleSettings
) -> tuple[np.ndarray, list[dict[str, float]]]:
    """The picture, (H, W, 3) uint8, and the losses before each step."""
    bar = progress.progress_bar(settings.steps, 0, "steps")
    rows: list[dict[str, float]] = []
    run = transfer.descend(
        problem,
        loaded.encoder,
        scaled["content"],
        scaled["style"],
        steps=settings.steps,
        seed=settings.seed,
    )
    with bar:
        for latest, losses in _announced(run, bar):
            picture = latest
            row = {name: float(value) for name, value in losses._asdict().items()}
            if not math.isfinite(row["loss"]):
                raise Halted(
                    f"the loss of step {len(rows)} is {row['loss']}; lower the weights; nothing is written",
                    1,
                )
            rows.append({"step": len(rows), **row})
            bar.update()
            if len(rows) % max(1, settings.steps // LOGS) == 0:
                progress.show(bar, row)
    if not np.isfinite(np.asarray(picture)).all():
        raise Halted("the picture has pixels that are not numbers; lower the weights; nothing is written", 1)
    return grids.to_bytes(np.asarray(picture)), rows


def _announced(run: Iterator[Any], bar: progress.tqdm) -> Iterator[Any]:
    """The same, with a word on what the first step waits for."""
    with progress.waiting("compiling", bar, done="compiled"):
        first = next(run)
    yield first
    yield from run
