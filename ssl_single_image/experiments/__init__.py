"""What a command does, as functions: from Python, from a notebook, from the command line."""

from __future__ import annotations

import os
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from ssl_single_image.experiments import configs
from ssl_single_image.experiments.analyses import analyse
from ssl_single_image.experiments.cropping import crop_spec, export_crops, show_crops
from ssl_single_image.experiments.exporting import export_encoder
from ssl_single_image.experiments.finetuning import finetune
from ssl_single_image.experiments.listing import zoo
from ssl_single_image.experiments.pretraining import pretrain
from ssl_single_image.experiments.probing import probe
from ssl_single_image.experiments.reporting import report
from ssl_single_image.experiments.statuses import status
from ssl_single_image.experiments.studying import study
from ssl_single_image.experiments.stylizing import stylize
from ssl_single_image.runs import LoadedEncoder, load_encoder

__all__ = [
    "analyse",
    "crop_spec",
    "export_crops",
    "export_encoder",
    "features",
    "finetune",
    "finetune_config",
    "pretrain",
    "pretrain_config",
    "probe",
    "probe_config",
    "report",
    "show_crops",
    "status",
    "study",
    "study_config",
    "stylize",
    "zoo",
]


def pretrain_config(
    name: str, *, preset: str | None = None, image: str | None = None, **fields: Any
) -> ml_collections.ConfigDict:
    """A pretraining config by name, with fields changed.

    Args:
      name: "rotnet", "deepcluster", "bigan" or "supervised"; or the path of a config file, or of a run's config.json.
      preset: "demo", "cifar32" or "imagenet224"; None: the config's own default.
      image: the source image or images, as `load_source` takes them; None: the config's own.
      **fields: in place of the config's: `steps=100`, `crop={"rotation": 0}`, `**{"optimizer.warmup": 0.1}`.

    Raises:
      InputError: no such config, preset or field.
    """
    argument = f":preset={preset}" if preset is not None else ""
    chosen: dict[str, str] = {key: fields[key] for key in ("backbone", "objective") if key in fields}
    config = configs.load("pretrain", name + argument, chosen)
    return configs.update(config, fields | ({"source": image} if image is not None else {}))


def probe_config(name: str, **fields: Any) -> ml_collections.ConfigDict:
    """A probe's config by name, with fields changed.

    Args:
      name: "cifar10", "cifar100", "imagenet", "voc07", "voc07_boxes", "photos", or "folder:path=PATH"; or the path of a
        config file.
      **fields: in place of the config's: `train_images=5000`, `optimizer={"learning_rate": 0.02}`.

    Raises:
      InputError: no such config or field.
    """
    chosen: dict[str, str] = {"kind": fields["kind"]} if "kind" in fields else {}
    return configs.update(configs.load("probe", name, chosen), fields)


def finetune_config(name: str, *, preset: str | None = None, **fields: Any) -> ml_collections.ConfigDict:
    """A config of training behind frozen layers by name, with fields changed.

    Args:
      name: "cifar10", "photos", or "folder:path=PATH"; or the path of a config file, or of an earlier config.json.
      preset: "demo" or "cifar10", where the config has presets; None: the config's own default.
      **fields: in place of the config's: `steps=100`, `frozen_layers=1`.

    Raises:
      InputError: no such config, preset or field.
    """
    argument = "" if preset is None else f"{',' if ':' in name else ':'}preset={preset}"
    chosen: dict[str, str] = {key: fields[key] for key in ("backbone",) if key in fields}
    return configs.update(configs.load("finetune", name + argument, chosen), fields)


def study_config(name: str, *, budget: float | None = None, **arguments: str) -> ml_collections.ConfigDict:
    """A study's config by name.

    Args:
      name: "cifar10", "cifar100" or "imagenet"; or the path of a config file, or of a study's config.json.
      budget: scales the training steps of every row; None: the config's own.
      **arguments: of the config: the images `a` and `b`, the folder `thousand`, and `data_dir`.

    Raises:
      InputError: no such config or argument.
    """
    argument = ",".join(f"{key}={value}" for key, value in arguments.items())
    config = configs.load("study", f"{name}:{argument}" if argument else name)
    return configs.update(config, {} if budget is None else {"budget": budget})


def features(
    encoder: str | os.PathLike[str] | LoadedEncoder,
    images: Float[Array | np.ndarray, "n h w 3"] | UInt8[Array | np.ndarray, "n h w 3"],
    layer: str,
) -> Float[np.ndarray, "n rows columns channels"]:
    """Activations of one layer; `LoadedEncoder.features` of an encoder or of what a reference names."""
    loaded = encoder if isinstance(encoder, LoadedEncoder) else load_encoder(encoder)
    return loaded.features(images, layer)
