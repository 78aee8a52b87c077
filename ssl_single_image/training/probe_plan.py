"""What a probe will do, checked in full before anything is computed; `training.probing` carries it out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import optax

from ssl_single_image import augment, parallel
from ssl_single_image.datasets import LabelledSet
from ssl_single_image.probes import linear, pooling
from ssl_single_image.training import optim
from ssl_single_image.training.checkpoint import LoadedEncoder
from ssl_single_image.types import EncoderSpec, InputError

PROTOCOLS = ("cached", "published")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The probes of all encoders, checked; nothing is computed yet.

    Attributes:
      encoders: what is probed.
      setups: one an encoder; encoders of one spec share theirs, and with it what is compiled.
      data: the labelled set.
      protocol: "cached" or "published".
      epochs: passes over the training images.
      seed: of the heads' initialisation and the order of images.
      feature_dtype: of cached features.
      train_images: images of an epoch.
      test_images: images of the test.
    """

    encoders: Sequence[LoadedEncoder]
    setups: Sequence[linear.Setup]
    data: LabelledSet
    protocol: str
    epochs: int
    seed: int
    feature_dtype: str
    train_images: int
    test_images: int


def input_size(encoders: Sequence[LoadedEncoder], size: int) -> int:
    """The side of the images to probe with: `size`, or that of the encoders if 0.

    Raises:
      InputError: the encoders differ and `size` is 0.
    """
    if size < 0:
        raise InputError(f"config.size {size}: a side in pixels, or 0 for the encoder's own")
    sizes = {e.name: e.encoder.spec.size for e in encoders}
    if size == 0 and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {side}" for name, side in sizes.items())
        raise InputError(
            f"the checkpoints' input sizes differ ({listed}): set config.size or probe them apart"
        )
    return size or next(iter(sizes.values()))


def make_plan(encoders: Sequence[LoadedEncoder], data: LabelledSet, config: Mapping[str, Any]) -> Plan:
    """Checks everything that can be wrong before the first step.

    Args:
      encoders: what is probed.
      data: loaded with `size=input_size(encoders, config["size"])`.
      config: the fields of `configs/probe/*.py`.

    Raises:
      InputError: a field out of range, or one that does not fit the data or an encoder.
    """
    _check(config)
    if len(data.classes) < 2:
        raise InputError(f"data set {data.name}: has {len(data.classes)} class; a probe needs two or more")
    train = _limit(config["train_images"], len(data.train))
    if config["batch_size"] > train:
        raise InputError(f"config.batch_size {config['batch_size']}: there are only {train} training images")
    parallel.local_batch_size(config["batch_size"])
    size = input_size(encoders, config["size"])
    if config["test"] == "ten_crop":
        _check_ten_crop(data, size)
    specs = [dataclasses.replace(loaded.encoder.spec, size=size) for loaded in encoders]
    make = functools.partial(_setup, config, len(data.classes), train // config["batch_size"])
    distinct = {repr(spec): make(spec) for spec in specs}
    return Plan(
        encoders=encoders,
        setups=[distinct[repr(spec)] for spec in specs],
        data=data,
        protocol=config["protocol"],
        epochs=config["epochs"],
        seed=config["seed"],
        feature_dtype=config["feature_dtype"],
        train_images=train,
        test_images=_limit(config["test_images"], len(data.test)),
    )


def _setup(config: Mapping[str, Any], classes: int, steps: int, spec: EncoderSpec) -> linear.Setup:
    try:
        shapes = linear.tap_shapes(spec)
    except (TypeError, ValueError) as error:
        raise InputError(f"config.size {spec.size}: too small for {spec.backbone} ({error})") from error
    pools = pooling.choose(shapes, config["pooling"], config["max_features"])
    reached = [epoch for epoch in config["boundaries"] if epoch < config["epochs"]]
    boundaries = [epoch / config["epochs"] for epoch in reached]
    settings = {
        "name": "sgd",
        "nesterov": False,
        "schedule": "step",
        "warmup": 0.0,
        "factors": [config["decay"]] * len(boundaries),
    }
    merged = {**config, **settings, "boundaries": boundaries}
    optimizer: optax.GradientTransformation = optim.make_optimizer(
        merged, optim.make_schedule(merged, config["epochs"] * steps)
    )
    return linear.Setup(
        encoder=spec,
        pools=pools,
        features={layer: pooling.features(pool, shapes[layer]) for layer, pool in pools.items()},
        classes=classes,
        batch_size=config["batch_size"],
        seed=config["seed"],
        optimizer=optimizer,
        crop=augment.CropSpec.from_config({**config["augment"], "size": spec.size})
        if config["augment"]
        else None,
        test=config["test"],
    )


def _check(config: Mapping[str, Any]) -> None:
    for name in ("epochs", "batch_size", "max_features"):
        if config[name] < 1:
            raise InputError(f"config.{name} {config[name]}: must be at least 1")
    for name in ("train_images", "test_images"):
        if config[name] < 0:
            raise InputError(f"config.{name} {config[name]}: a number of images, or 0 for all")
    if not config["learning_rate"] > 0:
        raise InputError(f"config.learning_rate {config['learning_rate']}: must be above 0")
    if not (0 <= config["momentum"] < 1 and config["weight_decay"] >= 0):
        raise InputError("config.momentum must be in [0, 1) and config.weight_decay at least 0")
    boundaries = list(config["boundaries"])
    if boundaries != sorted(set(boundaries)) or any(epoch < 1 for epoch in boundaries):
        raise InputError(f"config.boundaries {tuple(boundaries)}: ascending epochs, 1 or later")
    choices = {"protocol": PROTOCOLS, "test": linear.TESTS, "feature_dtype": ("float32", "bfloat16")}
    for name, allowed in choices.items():
        if config[name] not in allowed:
            raise InputError(f"config.{name} {config[name]!r}: expected one of {', '.join(allowed)}")
    if config["protocol"] == "cached" and (config["augment"] or config["test"] != "centre"):
        raise InputError(
            "config.protocol 'cached' computes features once: needs an empty config.augment and test='centre'"
        )


def _check_ten_crop(data: LabelledSet, size: int) -> None:
    example = next(data.test.batches(1))
    height, width = (int(side) for side in example.extent[0])
    if min(height, width) <= size:
        raise InputError(
            f"config.test 'ten_crop': images of {data.name} are {width} x {height}, no larger than the views of {size};"
            " use test='centre'"
        )


def _limit(wanted: int, there: int) -> int:
    return min(wanted, there) if wanted else there
