"""Training on labels behind frozen first layers, as a function: from checkpoints to a table of accuracies."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from ssl_single_image import datasets, keys, models, parallel
from ssl_single_image.analysis import finetuned
from ssl_single_image.datasets import LabelledSet, base
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs
from ssl_single_image.experiments.pretraining import (
    choose_devices,
    claim_run,
    labelled_data,
    labelled_origin,
)
from ssl_single_image.experiments.probing import distinct, pretrained_on
from ssl_single_image.experiments.results import FinetuneTable
from ssl_single_image.experiments.settings import FinetuneConfig
from ssl_single_image.objectives import finetune as objective
from ssl_single_image.objectives import supervised
from ssl_single_image.probes import intervals
from ssl_single_image.runs import LoadedEncoder, checkpoint, load_encoder, places, workdir
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, Objective

NOTHING = "none"
"""The reference that freezes nothing."""
SCATTERING = "scattering"
TRUNCATED = "truncated"
FREE = ("steps", "log_every", "eval_every", "checkpoint_every", "keep", "stall_seconds", "sinks", "data_dir")
"""Config keys that a resumed run may change."""
LONGEST = 60
"""Letters of a row's folder."""


class Row(NamedTuple):
    """What is trained for one reference.

    Attributes:
      name: the reference.
      loaded: its encoder; None where nothing is frozen.
      spec: the whole network's trunk.
      frozen: how many of its layers are frozen, and have variables.
    """

    name: str
    loaded: LoadedEncoder | None
    spec: EncoderSpec
    frozen: int

    def objective(self, config: FinetuneConfig, classes: int) -> Objective:
        """What it is trained by."""
        setup = config.setup(self.spec, classes, self.frozen)
        if self.loaded is None or not self.frozen:
            return supervised.make(setup)
        return objective.make(setup, self.loaded.encoder)

    def record(self) -> dict[str, Any]:
        """What decides its result beside the config: what the first layers hold."""
        found: dict[str, Any] = {"checkpoint": self.name, "encoder": dataclasses.asdict(self.spec)}
        if self.loaded is not None:
            part = objective.frozen_part(self.loaded.encoder, self.frozen)
            found |= {"step": self.loaded.step, "sha256": checkpoint.digest(part)}
        return found


def finetune(
    config: Any, references: str | Sequence[str], folder: str | Path, *, devices: int = 0
) -> FinetuneTable:
    """Trains a network on labels behind the frozen first layers of each of several encoders.

    All begin with the same values in the other layers, and see the same views in the same order. Each is a run of its
    own in FOLDER/NAME, which is resumed where it was stopped. References may be added in a later call.

    Args:
      config: a `FinetuneConfig`, a mapping of its fields as `finetune_config` gives, or the name of a config.
      references: encoders as `load_encoder` takes them; "none" trains all layers.
      folder: gets `finetune.json`, `finetune.md` and a folder for each reference.
      devices: how many to use; 0: all.

    Returns:
      The results, which show themselves as a table.

    Raises:
      InputError: a bad field, a checkpoint of another backbone or one that can't be read, or a folder that holds
        something else.
      Halted: a loss diverged, or a signal stopped a run; what is saved can be resumed.
    """
    settings, rows, data, used = prepare(config, references, devices)
    names = [row.name for row in rows]
    record = settings.to_config() | {"checkpoint": names, "inputs": labelled_origin(data)}
    with places.working(folder) as place, workdir.held(place, lambda: _claim(place, record)):
        results = [_train(settings, row, data, place, used) for row in rows]
        result = _table(settings, data, results)
        if jax.process_index() == 0:
            write(place, result)
            logging.info("complete: %s", f"{folder}/finetune.md")
    return FinetuneTable(result)


class Prepared(NamedTuple):
    """All that finetuning needs, checked."""

    settings: FinetuneConfig
    rows: list[Row]
    data: LabelledSet
    devices: list[jax.Device]


def prepare(config: Any, references: str | Sequence[str], devices: int = 0) -> Prepared:
    """Reads the config, the encoders and the labelled set; the arguments are those of `finetune`.

    Raises:
      InputError: as `finetune`, but for the folder.
    """
    settings: FinetuneConfig = configs.read(
        "finetune", configs.load("finetune", config) if isinstance(config, str) else config
    ).resolved()
    names = distinct([references] if isinstance(references, str) else references)
    rows = [plan_row(settings, name) for name in names]
    used = choose_devices(devices)
    parallel.local_batch_size(settings.batch_size, used)
    encoders = [row.loaded for row in rows if row.loaded is not None]
    return Prepared(settings, rows, _labelled(settings, pretrained_on(encoders)), used)


def plan_row(config: FinetuneConfig, reference: str) -> Row:
    """What is trained for a reference, checked.

    Behind a scattering transform it is the hybrid network whose layers follow those that would be frozen. Of a
    truncated network it is the whole one.

    Raises:
      InputError: no such checkpoint, one of another backbone, or a transform that does not fit.
    """
    if reference == NOTHING:
        return Row(reference, None, config.encoder, 0)
    loaded = load_encoder(reference)
    given = loaded.encoder.spec
    if given.backbone == SCATTERING:
        options = given.options | {
            "rest": config.backbone,
            "rest_options": config.backbone_options.to_config(),
            "start": config.frozen_layers + 1,
        }
        spec = models.encoder_spec("hybrid", options, config.crop.size, given.mean, given.std)
        try:
            models.untrained_shapes(spec, keys.unused())
        except InputError as error:
            raise InputError(f"checkpoint {reference}: {error}") from error
        return Row(reference, loaded, spec, 0)
    if given.backbone == TRUNCATED:
        given = _whole(given, config, reference)
    if given.backbone != config.backbone:
        raise InputError(
            f"checkpoint {reference}: is of backbone {given.backbone}, but the config trains {config.backbone}; give"
            f" checkpoints of {config.backbone}, or set backbone"
        )
    spec = models.encoder_spec(given.backbone, given.options, config.crop.size, given.mean, given.std)
    return Row(reference, loaded, spec, config.frozen_layers)


def _whole(given: EncoderSpec, config: FinetuneConfig, reference: str) -> EncoderSpec:
    """The network that a truncated one is the beginning of; the layers that it lacks are trained like any others.

    Raises:
      InputError: it lacks some of the layers that would be frozen.
    """
    there = given.options["layers"]
    if there < config.frozen_layers:
        raise InputError(
            f"checkpoint {reference}: has {there} layers, fewer than frozen_layers = {config.frozen_layers};"
            f" set frozen_layers to {there} or less"
        )
    return dataclasses.replace(given, backbone=given.options["of"], options=given.options["of_options"])


def row_folder(reference: str) -> str:
    """Name of the folder of a reference's run: its letters, shortened, and a hash of it where that loses something."""
    short = re.sub(r"[^A-Za-z0-9._=-]+", "-", reference).strip("-.")[-LONGEST:]
    if short == reference:
        return short
    return f"{short}-{hashlib.sha256(reference.encode()).hexdigest()[:6]}"


def write(folder: Path, result: dict[str, Any]) -> None:
    """Writes the results, each file whole or not at all; `finetune.json`, which marks them as complete, last."""
    workdir.write_whole(folder / "finetune.md", f"# Frozen first layers\n\n{finetuned.markdown(result)}")
    workdir.write_whole(folder / "finetune.json", json.dumps(result, indent=2, allow_nan=False) + "\n")


def _labelled(config: FinetuneConfig, exclude: list[str]) -> LabelledSet:
    data = datasets.load(
        config.dataset, data_dir=config.data_dir or None, size=config.crop.size, exclude=exclude
    )
    if len(data.classes) < 2:
        raise InputError(f"data set {data.name}: has {len(data.classes)} class; training needs two or more")
    if config.batch_size > len(data.train):
        raise InputError(
            f"batch_size = {config.batch_size}: there are only {len(data.train)} training images"
        )
    return data


def _claim(folder: Path, record: dict[str, Any]) -> None:
    """Makes the folder that of these runs; one without any run is taken over.

    Raises:
      InputError: it holds runs of another config, or something else.
    """
    if (folder / workdir.CONFIG).exists() and "frozen_layers" not in workdir.read(folder):
        raise InputError(f"workdir {folder}: holds another kind of run; give finetune a folder of its own")
    there = any(folder.glob(f"*/{checkpoint.CHECKPOINTS}"))
    complete = functools.partial(configs.completed, "finetune")
    leavings = ("finetune.*",)
    workdir.claim(folder, record, (*FREE, "checkpoint"), results=there, leavings=leavings, complete=complete)


def _train(
    config: FinetuneConfig, row: Row, data: LabelledSet, folder: Path, used: Sequence[jax.Device]
) -> dict[str, Any]:
    """Trains one row, or resumes it, and says how good it is."""
    place = folder / row_folder(row.name)
    source = row.loaded.meta.get("config", {}).get("source", "") if row.loaded else ""
    record = config.to_config() | {"row": row.record(), "inputs": labelled_origin(data), "source": source}
    logging.info("%s: %d steps in %s", row.name, config.steps, place)
    with workdir.held(place, lambda: claim_run(place, record, FREE, "finetune")):
        loop.train(
            row.objective(config, len(data.classes)),
            config,
            labelled_data(data, config, used),
            seed=config.seed,
            workdir=place,
            config=record,
            schedule=config.schedule,
            devices=used,
        )
    meta = checkpoint.read_meta(place / checkpoint.CHECKPOINTS / str(config.steps))
    images = evaluated_images(config, data)
    correct = round(meta["metrics"]["eval/accuracy"] * images)
    low, high = (100 * end for end in intervals.wilson(correct / images, images))
    spec = dataclasses.asdict(row.spec)
    return {
        "checkpoint": row.name,
        "step": row.loaded.step if row.loaded else 0,
        "encoder": {name: list(v) if isinstance(v, tuple) else v for name, v in spec.items()},
        "frozen": _frozen(row),
        "correct": correct,
        "accuracy": 100 * correct / images,
        "low": low,
        "high": high,
        "folder": place.name,
    }


def _frozen(row: Row) -> list[str]:
    """Names of what is not trained."""
    if row.loaded is not None and row.loaded.encoder.spec.backbone == SCATTERING:
        return [SCATTERING]
    return [f"conv{number}" for number in range(1, row.frozen + 1)]


def evaluated_images(config: FinetuneConfig, data: LabelledSet) -> int:
    """How many images an evaluation sees."""
    return min(len(data.test), config.eval_batches * config.batch_size or len(data.test))


def _table(config: FinetuneConfig, data: LabelledSet, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What `finetune.json` holds."""
    return {
        "dataset": data.name,
        "classes": len(data.classes),
        "train_images": len(data.train),
        "test_images": evaluated_images(config, data),
        "size": config.crop.size,
        "config": {name: value for name, value in config.to_config().items() if name != "data_dir"},
        "data": base.identity(data),
        "results": results,
    }
