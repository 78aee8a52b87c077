"""Pretraining as a function: from a config and a folder to a trained encoder."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging
from PIL import Image

from ssl_single_image import augment, datasets, images, parallel
from ssl_single_image.analysis import crops, grids
from ssl_single_image.datasets import sources
from ssl_single_image.datasets.base import padded
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, online
from ssl_single_image.experiments.results import Run
from ssl_single_image.experiments.settings import FinetuneConfig, PretrainConfig
from ssl_single_image.keys import Stream, stream
from ssl_single_image.runs import checkpoint, places, progress, rescue, workdir
from ssl_single_image.training import loop
from ssl_single_image.types import Batch, Objective, PyTree, State

FREE = (
    "steps",
    "log_every",
    "eval_every",
    "eval_batches",
    "probe_every",
    "probe_dataset",
    "probe_images",
    "checkpoint_every",
    "keep",
    "stall_seconds",
    "sinks",
    "data_dir",
    "max_pixels",
)
"""Config keys that a resumed run may change: none of them touches the parameters reached so far."""
LEAVINGS = ("checkpoints", "metrics.jsonl", "timings.jsonl", "events.*", "*.png", "profile", "sinks.json")
"""What a run leaves in its workdir before its first checkpoint."""
SAMPLES = 48
"""Crops drawn in samples.png, until the objective draws samples of its own."""


def pretrain(
    config: Any, folder: str | Path, *, devices: int = 0, profile: tuple[int, int] | None = None
) -> Run:
    """Trains an encoder, or resumes the run that the folder holds.

    Args:
      config: a `PretrainConfig`, or a mapping of its fields, as `pretrain_config` gives.
      folder: the workdir: gets `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/` and pictures. It is a
        path, or `PROTOCOL://PATH` of a store, see `runs.places`.
      devices: how many to use; 0: all.
      profile: (start, stop), steps of which `profile/` in the workdir gets a trace; None: none.

    Returns:
      The finished run, whose folder `probe` and `load_encoder` take.

    Raises:
      InputError: a bad field, a source that can't be read, or a folder that holds another run.
      Halted: the loss diverged, or a signal stopped the run; what is saved can be resumed.
    """
    made = prepare(config, devices)
    settings = made.settings
    quick = online.QuickProbe(settings) if settings.probe_every else None
    with places.working(folder) as place, workdir.held(place, lambda: claim_run(place, made.record)):
        loop.train(
            made.objective,
            settings,
            made.data,
            seed=settings.seed,
            workdir=place,
            config=made.record,
            schedule=settings.schedule,
            devices=made.devices,
            draw=_drawing(made.objective, made.data.example, settings.seed),
            probe=quick,
            started=lambda: _draw_crops(settings, place, made.shown, made.data.example),
            profile=profile,
        )
    logging.info("complete: %d steps in %s", settings.steps, folder)
    return Run(folder)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """All that a run needs, checked, before anything is written.

    Attributes:
      settings: its config.
      devices: those that it uses.
      objective: what is trained.
      data: its inputs.
      shown: source images that a sheet shows.
      record: its config and where its inputs come from, JSON-able.
    """

    settings: PretrainConfig
    devices: list[jax.Device]
    objective: Objective
    data: loop.Data
    shown: list[images.SourceImage]
    record: dict[str, Any]


def prepare(config: Any, devices: int = 0) -> Prepared:
    """Reads a config and its inputs; the arguments are those of `pretrain`.

    Raises:
      InputError: a bad field, a source that can't be read, or a batch that can't be split over the devices.
    """
    settings: PretrainConfig = configs.read("pretrain", config).resolved()
    used = choose_devices(devices)
    parallel.local_batch_size(settings.batch_size, used)
    shown: list[images.SourceImage] = []
    if settings.entry.labelled:
        data, classes, origin = _labelled(settings, used)
    else:
        data, shown, origin = _source_images(settings)
        classes = 0
    objective = settings.entry.make(settings.setup(classes))
    return Prepared(settings, used, objective, data, shown, settings.to_config() | {"inputs": origin})


def claim_run(
    folder: Path, record: dict[str, Any], free: Sequence[str] = FREE, kind: str = "pretrain"
) -> None:
    """Makes the folder that of this run; a run of the same config but for its length is resumed.

    Args:
      folder: where the run is.
      record: its config, with "steps", and what it comes from.
      free: fields that may have changed.
      kind: of its config.

    Raises:
      InputError: it holds a run of another config, or one that is longer already.
    """
    rescue.set_aside(folder)
    found = checkpoint.recorded(folder)
    step, before = found or (0, None)
    if record["steps"] < step:
        raise InputError(f"steps = {record['steps']}: the run in {folder} is at step {step} already")
    complete = functools.partial(configs.completed, kind)
    results = found is not None
    workdir.claim(
        folder, record, free, recorded=before, results=results, leavings=LEAVINGS, complete=complete
    )
    if before and record["steps"] != before["steps"]:
        lengths = record["steps"], before["steps"]
        logging.warning("the run gets %d steps instead of %d, and its schedule with them", *lengths)


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` devices, or all.

    Raises:
      InputError: there are fewer.
    """
    devices = jax.devices()
    if count > len(devices):
        raise InputError(f"devices = {count}: there are {len(devices)} {jax.default_backend()} devices")
    return devices[:count] if count else devices


def _draw_crops(
    config: PretrainConfig, folder: Path, shown: Sequence[images.SourceImage], atlas: PyTree
) -> None:
    sheet_file = folder / "samples.png"
    if shown and jax.process_index() == 0 and not sheet_file.exists():
        heading = f"The first {SAMPLES} crops of this run, {config.crop.size} x {config.crop.size}"
        sheet = crops.crop_sheet(shown, config.crop, SAMPLES, config.seed, heading=heading, atlas=atlas)
        images.save_image(sheet, sheet_file)


def _drawing(objective: Objective, inputs: PyTree, seed: int) -> loop.Draw | None:
    """Draws what the objective has to show, always of the same crops."""
    if objective.pictures is None:
        return None
    compute = jax.jit(objective.pictures)
    key = stream(seed, Stream.PICTURES)

    def draw(state: State) -> dict[str, Image.Image]:
        pictures = jax.device_get(compute(state, key, inputs))
        return {name: grids.titled_rows(rows) for name, rows in pictures.items()}

    return draw


def _source_images(
    config: PretrainConfig,
) -> tuple[loop.Data, list[images.SourceImage], list[dict[str, Any]]]:
    """The source images as an atlas that every step gets, those that a sheet shows, and what they all were."""
    with progress.waiting(f"decoding {config.source}"):
        found = sources.load_source(
            config.source,
            size=config.crop.size,
            data_dir=config.data_dir,
            max_pixels=config.max_pixels,
            shrink=config.shrink,
        )
    augment.check_source(config.crop, [s.pixels.shape for s in found], [s.name for s in found])
    with progress.waiting("building the atlas"):
        atlas = jax.device_put(images.build_atlas([source.pixels for source in found]))
    data = loop.Data(
        example=atlas,
        train=lambda step: itertools.repeat(atlas),
        evaluate=lambda: itertools.repeat(atlas, config.eval_batches),
        split=False,
    )
    # Copies, because images of a labelled set are parts of one array, which would stay in memory.
    shown = [dataclasses.replace(image, pixels=image.pixels.copy()) for image in found[: crops.MOST_PANELS]]
    return data, shown, sources.records(config.source, found)


def _labelled(
    config: PretrainConfig, devices: Sequence[jax.Device]
) -> tuple[loop.Data, int, list[dict[str, Any]]]:
    """Batches of a labelled set, and what it is."""
    labelled = datasets.load(config.dataset, data_dir=config.data_dir or None, size=config.encoder.size)
    return labelled_data(labelled, config, devices), len(labelled.classes), labelled_origin(labelled)


def labelled_origin(labelled: datasets.LabelledSet) -> list[dict[str, Any]]:
    """What a run records of the set that it learns from."""
    return [{"name": labelled.name, "classes": len(labelled.classes), "images": len(labelled.train)}]


def labelled_data(
    labelled: datasets.LabelledSet, config: PretrainConfig | FinetuneConfig, devices: Sequence[jax.Device]
) -> loop.Data:
    """Batches of a labelled set, split over processes and devices."""
    shard = (jax.process_index(), jax.process_count())
    local = parallel.local_batch_size(config.batch_size, devices)

    def train(step: int) -> Iterator[Batch]:
        return labelled.train.batches(config.batch_size, seed=config.seed, start=step, shard=shard)

    def evaluate() -> Iterator[Batch]:
        batches = labelled.test.batches(config.batch_size, shard=shard)
        return (
            padded(batch, len(batch.label), local)
            for batch in itertools.islice(batches, config.eval_batches or None)
        )

    example = next(labelled.test.batches(min(2, len(labelled.test))))
    return loop.Data(example, train, evaluate, split=True)
