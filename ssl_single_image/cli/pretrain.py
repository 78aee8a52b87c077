"""`pretrain`: trains an encoder on crops of one image, or goes on with the run that its workdir holds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import flags, logging
from PIL import Image

from ssl_single_image import augment, datasets, images, models, parallel
from ssl_single_image.analysis import grids
from ssl_single_image.cli import common, sample
from ssl_single_image.datasets.base import padded
from ssl_single_image.objectives import OBJECTIVES, Setup
from ssl_single_image.parallel import distributed
from ssl_single_image.training import loop, optim, workdir
from ssl_single_image.types import Batch, EncoderSpec, InputError, Objective, PyTree, State

FREE = ("log_every", "eval_every", "eval_batches", "checkpoint_every", "keep", "data_dir")
"""Config keys that a resumed run may change: none of them touches the parameters."""

SAMPLES = 48
"""Crops drawn in samples.png, until the objective draws samples of its own."""
PICTURES = 4
"""What the run's key is folded with for the objective's pictures."""
SCALE = 2
"""How much their tiles are enlarged."""


def main(args: flags.FlagValues) -> None:
    distributed.initialize()
    config: ml_collections.ConfigDict = args.config
    devices = choose_devices(args.devices)
    folder = Path(args.workdir)
    entry = OBJECTIVES.get(config.objective)
    if entry is None:
        raise InputError(f"config.objective {config.objective!r}: expected one of {', '.join(OBJECTIVES)}")
    config.dtype = choose_dtype(config.dtype)  # the record says what it was
    plan = make_plan(config)
    schedule = optim.make_schedule(config.optimizer, config.steps)
    crop = augment.CropSpec.from_config(config.crop.to_dict())
    parallel.local_batch_size(config.batch_size, devices)
    if entry.labelled:
        data, classes, origin = labelled_data(config, crop.size, devices)
    else:
        data, classes, origin = single_image_data(config, crop)
    setup = make_setup(config, crop, classes, schedule)
    record = config.to_dict() | {"inputs": origin}
    workdir.claim(folder, record, FREE)
    objective = entry.make(setup)

    def draw_crops() -> None:
        sheet_file = folder / "samples.png"
        if not entry.labelled and jax.process_index() == 0 and not sheet_file.exists():
            sheet = sample.crop_sheet(images.load_source(config.source), crop, SAMPLES, config.seed)
            images.save_image(sheet, sheet_file)

    loop.train(
        objective,
        plan,
        data,
        seed=config.seed,
        workdir=folder,
        config=record,
        schedule=schedule,
        devices=devices,
        draw=make_draw(objective, data.example, config.seed),
        started=draw_crops,
    )
    logging.info("complete: %d steps in %s", config.steps, folder)


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` devices, or all.

    Raises:
      InputError: there are fewer.
    """
    devices = jax.devices()
    if count > len(devices):
        raise InputError(f"--devices={count}: there are {len(devices)} {jax.default_backend()} devices")
    return devices[:count] if count else devices


def choose_dtype(name: str) -> str:
    """The dtype of the computation; "auto" is the one that the default backend is made for.

    Raises:
      InputError: not a dtype that networks compute in.
    """
    if name == "auto":
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in ("float32", "bfloat16"):
        raise InputError(f"config.dtype {name!r}: expected auto, float32 or bfloat16")
    return name


def make_plan(config: ml_collections.ConfigDict) -> loop.Plan:
    """The loop's lengths and intervals from the config."""
    names = [field.name for field in dataclasses.fields(loop.Plan) if field.name in config]
    return loop.Plan(images_per_step=config.batch_size, **{name: config[name] for name in names})


def make_draw(objective: Objective, inputs: PyTree, seed: int) -> loop.Draw | None:
    """Draws what the objective has to show, always of the same crops."""
    if objective.pictures is None:
        return None
    compute = jax.jit(objective.pictures)
    key = jax.random.fold_in(jax.random.key(seed), PICTURES)

    def draw(state: State) -> dict[str, Image.Image]:
        pictures = jax.device_get(compute(state, key, inputs))
        return {name: grids.titled_rows(rows, scale=SCALE) for name, rows in pictures.items()}

    return draw


def make_setup(
    config: ml_collections.ConfigDict, crop: augment.CropSpec, classes: int, schedule: Any
) -> Setup:
    """What the objective is made from.

    Raises:
      InputError: a field out of range, an unknown backbone or optimiser.
    """
    if config.crops < 1:
        raise InputError(f"config.crops {config.crops}: the virtual data set must have at least 1 crop")
    if config.batch_size < 1:
        raise InputError(f"config.batch_size {config.batch_size}: must be at least 1")
    options = config.backbone_options.to_dict()
    own = OBJECTIVES[config.objective].read_options(config.objective_options.to_dict())
    models.build_backbone(config.backbone, options)
    return Setup(
        encoder=EncoderSpec(config.backbone, options, crop.size, models.MEAN, models.STD),
        crop=crop,
        crops=config.crops,
        batch_size=config.batch_size,
        seed=config.seed,
        optimizer=optim.make_optimizer(config.optimizer, schedule),
        sync_batch_norm=config.sync_batch_norm,
        dtype=choose_dtype(config.dtype),
        view_hflip=config.view_hflip,
        classes=classes,
        options=own,
    )


def single_image_data(
    config: ml_collections.ConfigDict, crop: augment.CropSpec
) -> tuple[loop.Data, int, list[dict[str, Any]]]:
    """The source images as an atlas that every step gets, and what they were."""
    sources = images.load_source(config.source)
    augment.check_source(crop, [s.pixels.shape for s in sources], [s.name for s in sources])
    atlas = images.build_atlas([source.pixels for source in sources])
    atlas = jax.device_put(atlas)
    data = loop.Data(
        example=atlas,
        train=lambda step: itertools.repeat(atlas),
        evaluate=lambda: itertools.repeat(atlas, config.eval_batches),
        split=False,
    )
    return data, 0, [source.record() for source in sources]


def labelled_data(
    config: ml_collections.ConfigDict, size: int, devices: Sequence[jax.Device]
) -> tuple[loop.Data, int, list[dict[str, Any]]]:
    """Batches of a labelled set, split over processes and devices."""
    if config.steps_per_call != 1:
        raise InputError("config.steps_per_call: must be 1 for an objective that is fed from the host")
    labelled = datasets.load(config.dataset, data_dir=config.data_dir or None, size=size)
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
    origin = [{"name": labelled.name, "classes": len(labelled.classes), "images": len(labelled.train)}]
    return loop.Data(example, train, evaluate, split=True), len(labelled.classes), origin


if __name__ == "__main__":
    common.run("pretrain", main)
