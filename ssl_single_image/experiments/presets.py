"""What config files start from: all fields with their defaults, and a parser for the argument after the colon."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import Any

import ml_collections

from ssl_single_image import models, objectives
from ssl_single_image.augment import CropSpec
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.settings import FinetuneConfig, PretrainConfig
from ssl_single_image.probes import ProbeConfig
from ssl_single_image.schema import Section
from ssl_single_image.training.optim import Optimizer

PRESETS = {"demo": ("alexnet32", 32), "cifar32": ("alexnet32", 32), "imagenet224": ("alexnet", 224)}
"""Preset -> (backbone, crop side in pixels)."""


_COMMAS = re.compile(r",(?!size=[^,@]*@)")
"""Between the words of an argument. `synthetic:NAME,size=N@SEED` is one."""
WITH_COMMAS = {
    "image": "--config.source=",
    "path": "--config.dataset=folder:",
    "dataset": "--config.dataset=",
    "data_dir": "--config.data_dir=",
}
"""Argument of a config -> the beginning of a flag that takes the same and may have commas in it."""


def pretraining(objective: str, preset: str, **fields: Any) -> ml_collections.ConfigDict:
    """All fields of a pretraining config, those of a preset, and `fields` in place of their defaults.

    Raises:
      InputError: unknown preset or objective.
    """
    if preset not in PRESETS:
        raise InputError(f"config argument preset={preset}: expected one of {', '.join(PRESETS)}")
    backbone, size = PRESETS[preset]
    blank = PretrainConfig(source="-", crop=CropSpec.preset("paper", size), backbone=backbone, preset=preset)
    config = as_config_dict(blank)
    with config.ignore_type():
        config.objective_options = as_config_dict(objectives.find(objective).options())
    config.update({"objective": objective, "source": "", **fields})
    return config


def choose_backbone(config: ml_collections.ConfigDict, name: str) -> None:
    """Gives a pretraining config another backbone, with the defaults of its options."""
    config.backbone = name
    with config.ignore_type():  # options of another backbone
        config.backbone_options = as_config_dict(models.find(name).options())


SHIFT: dict[str, Any] = {"shift": "", "severity": 0, "retrain": False}
"""Arguments of probe configs that say how test images are shifted, with their defaults."""


def cached_probe(dataset: str, **fields: Any) -> ml_collections.ConfigDict:
    """The CIFAR-scale protocol: features computed once, heads trained to convergence on them.

    Args:
      dataset: the labelled set.
      **fields: of `ProbeConfig`, in place of their defaults.
    """
    return as_config_dict(ProbeConfig(dataset=dataset, **fields))


def multi_label_probe(dataset: str) -> ml_collections.ConfigDict:
    """A few thousand images with several classes each: ridge probes, with a third held out to choose the penalty.

    A tenth of so few would hardly hold rare classes. The features of a layer are as many as in the published protocol.
    """
    return as_config_dict(
        ProbeConfig(
            dataset=dataset, kind="ridge", options={"held_out": 1 / 3}, max_features=9600, batch_size=100
        )
    )


def published_probe(dataset: str) -> ml_collections.ConfigDict:
    """The ImageNet protocol of Zhang et al. (2016) with the settings of DeepCluster's evaluation."""
    heads = Optimizer(
        learning_rate=0.01,
        schedule="step",
        boundaries=(10 / 36, 20 / 36, 30 / 36),
        nesterov=False,
        weight_decay=1e-5,
    )
    published = ProbeConfig(
        dataset=dataset,
        protocol="published",
        epochs=36,
        batch_size=192,
        optimizer=heads,
        max_features=9600,
        augment={"min_area": 0.08, "aspect": 0.75, "hflip": 0.5},
        test="ten_crop",
    )
    return as_config_dict(published)


FINETUNING: dict[str, dict[str, Any]] = {
    "demo": {"steps": 300, "eval_every": 100, "checkpoint_every": 100},
    "cifar10": {},
}
"""Preset -> what differs from the defaults of `FinetuneConfig`."""


def finetuning(dataset: str, preset: str) -> ml_collections.ConfigDict:
    """Supervised training behind frozen layers on a labelled set.

    Raises:
      InputError: unknown preset.
    """
    if preset not in FINETUNING:
        raise InputError(f"config argument preset={preset}: expected one of {', '.join(FINETUNING)}")
    return as_config_dict(FinetuneConfig(dataset=dataset, **FINETUNING[preset]))


def as_config_dict(section: Section) -> ml_collections.ConfigDict:
    """A section's fields, tuples for lists: what `--config.FIELD=` can change."""
    return ml_collections.ConfigDict(tuples(section.to_config()))


def tuples(value: Any) -> Any:
    """Converts lists, as JSON has them, to tuples."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


def parse_arg(arg: str, **defaults: Any) -> ml_collections.ConfigDict:
    """Parses the argument of a config file, "key=value,key=value", into a ConfigDict.

    Args:
      arg: what follows the colon in `--config FILE.py:key=value,key=value`.
      **defaults: the keys there are, with their defaults, whose types the values take.

    Raises:
      InputError: a word without "=", a key that `defaults` lacks, a value of another type.
    """
    parsed = ml_collections.ConfigDict(defaults)
    words = [part.strip() for part in _COMMAS.split(arg) if part.strip()]
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            raise InputError(
                f"config argument {word!r}: expected key=value with a key of {', '.join(defaults) or 'none'}"
                f"{'' if equals else _cut(words[:number], words[number:])}"
            )
        kind = type(defaults[key])
        try:
            parsed[key] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError) as error:
            raise InputError(f"config argument {word!r}: {value!r} is not a {kind.__name__}") from error
    return parsed


def _cut(before: list[str], after: list[str]) -> str:
    """The end of a message about a word without "=": it may belong to the value before it."""
    key, _, value = before[-1].partition("=") if before else ("", "", "")
    if key not in WITH_COMMAS:
        return ""
    whole = ",".join([value, *itertools.takewhile(lambda word: "=" not in word, after)])
    return f"; for a name with a comma in it, give {shlex.quote(WITH_COMMAS[key] + whole)}"
