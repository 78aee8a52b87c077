"""The plan of a probe, which is checked in full before anything is computed; `probes.runner` carries it out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from ssl_single_image import augment, datasets, models, parallel
from ssl_single_image.datasets import LabelledSet
from ssl_single_image.probes import linear, pooling
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.schema import SEED, OneOf, Section, Told, Within
from ssl_single_image.training import optim
from ssl_single_image.types import EncoderSpec, InputError

HEADS = optim.Optimizer(
    learning_rate=0.01,
    schedule="step",
    boundaries=(0.5, 0.75),
    factors=(0.1, 0.1),
    nesterov=False,
    weight_decay=0.01,
)
"""How heads are trained to convergence on cached features; see docs/notes/probing.md."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig(Section):
    """The config of a probe; the defaults are the cached protocol for images of CIFAR's size.

    Attributes:
      dataset: the labelled set.
      data_dir: where prepared sets lie, or relative folders; "": TFDS's own folder.
      kind: the kind of probe; `probes.KINDS` has them all.
      protocol: "cached", features computed once; "published", random views are encoded in every epoch.
      size: side of the input in pixels; 0: the encoder's.
      statistics: batch-norm statistics of the encoder; "running", those of its checkpoint; "recomputed", those of up to
        5,000 training images.
      epochs: passes over the training images.
      batch_size: images of one step over all devices.
      optimizer: optimiser and schedule of the heads.
      pooling: "adaptive", or layer -> (window, stride[, padding]).
      max_features: most features of a layer that adaptive pooling leaves.
      feature_dtype: type of the features that are kept in memory; "bfloat16" takes half of it.
      augment: fields of `CropSpec` for training views; empty: the central view.
      test: "centre", or "ten_crop" as in the published protocol.
      seed: seed of the heads' initialisation and of the order of images.
      train_images: number of training images that are used; 0: all.
      test_images: number of test images that are used; 0: all.

    Raises:
      InputError: a value out of range, or fields that contradict each other.
    """

    dataset: Annotated[str, Told(datasets.FORMS)] = "photos"
    data_dir: str = ""
    kind: str = "linear"
    protocol: Annotated[str, OneOf("cached", "published")] = "cached"
    size: Annotated[int, Within(0)] = 0
    statistics: Annotated[str, OneOf("running", "recomputed")] = "running"
    epochs: Annotated[int, Within(1)] = 20
    batch_size: Annotated[int, Within(1)] = 250
    optimizer: optim.Optimizer = HEADS
    pooling: Annotated[Any, Told("adaptive, or windows of whole numbers by layer")] = "adaptive"
    max_features: Annotated[int, Within(1)] = 3072
    feature_dtype: Annotated[str, OneOf("float32", "bfloat16")] = "float32"
    augment: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    test: Annotated[str, OneOf(*linear.TESTS)] = "centre"
    seed: Annotated[int, SEED] = 0
    train_images: Annotated[int, Within(0)] = 0
    test_images: Annotated[int, Within(0)] = 0

    def check(self) -> None:
        if not isinstance(self.augment, Mapping):
            raise InputError(f"augment = {self.augment!r}: must be a mapping of crop fields")
        if self.protocol == "cached" and (self.augment or self.test != "centre"):
            raise InputError(
                "protocol = 'cached': features are computed once, so augment must be empty and test 'centre'"
            )


@dataclasses.dataclass(frozen=True)
class ProbePlan:
    """The probes of all encoders, checked; nothing is computed yet.

    Attributes:
      config: what is measured and how.
      encoders: what is probed.
      setups: one for each encoder; encoders of one spec share theirs, and with it the compiled programs.
      data: the labelled set.
      train_images: images of an epoch.
      test_images: images for evaluation.
    """

    config: ProbeConfig
    encoders: Sequence[LoadedEncoder]
    setups: Sequence[linear.Setup]
    data: LabelledSet
    train_images: int
    test_images: int


def input_size(encoders: Sequence[LoadedEncoder], size: int) -> int:
    """The side of the images to probe with: `size`, or that of the encoders if 0.

    Raises:
      InputError: the encoders differ and `size` is 0.
    """
    sizes = {e.name: e.encoder.spec.size for e in encoders}
    if size == 0 and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {side}" for name, side in sizes.items())
        raise InputError(
            f"the checkpoints' input sizes differ ({listed}): set size in the probe's config, or probe them apart"
        )
    return size or next(iter(sizes.values()))


def make_plan(encoders: Sequence[LoadedEncoder], data: LabelledSet, config: ProbeConfig) -> ProbePlan:
    """Checks everything that can be wrong before the first step.

    Args:
      encoders: what is probed.
      data: loaded with `size=input_size(encoders, config.size)`.
      config: what is measured and how.

    Raises:
      InputError: a field that does not fit the data or an encoder.
    """
    if len(data.classes) < 2:
        raise InputError(f"data set {data.name}: has {len(data.classes)} class; a probe needs two or more")
    train = _limit(config.train_images, len(data.train))
    if config.batch_size > train:
        raise InputError(f"batch_size = {config.batch_size}: there are only {train} training images")
    parallel.local_batch_size(config.batch_size)
    if config.statistics == "recomputed":
        _check_norms(encoders)
    size = input_size(encoders, config.size)
    if config.test == "ten_crop":
        _check_ten_crop(data, size)
    specs = [dataclasses.replace(loaded.encoder.spec, size=size) for loaded in encoders]
    make = functools.partial(_setup, config, len(data.classes), train // config.batch_size)
    distinct = {repr(spec): make(spec) for spec in specs}
    return ProbePlan(
        config=config,
        encoders=encoders,
        setups=[distinct[repr(spec)] for spec in specs],
        data=data,
        train_images=train,
        test_images=_limit(config.test_images, len(data.test)),
    )


def _setup(config: ProbeConfig, classes: int, steps: int, spec: EncoderSpec) -> linear.Setup:
    models.encoder_spec(spec.backbone, spec.options, spec.size)  # refuses a size that is too small
    shapes = linear.activation_shapes(spec)
    pools = pooling.choose(shapes, config.pooling, config.max_features)
    schedule = optim.make_schedule(config.optimizer, config.epochs * steps)
    crop = augment.CropSpec.from_config({**config.augment, "size": spec.size}) if config.augment else None
    return linear.Setup(
        encoder=spec,
        pools=pools,
        features={layer: pooling.features(pool, shapes[layer]) for layer, pool in pools.items()},
        classes=classes,
        batch_size=config.batch_size,
        seed=config.seed,
        optimizer=optim.make_optimizer(config.optimizer, schedule),
        crop=crop,
        test=config.test,
    )


def _check_norms(encoders: Sequence[LoadedEncoder]) -> None:
    without = [loaded.name for loaded in encoders if not loaded.has_batch_norm]
    if without:
        raise InputError(
            f"statistics = 'recomputed': {', '.join(without)} was trained without batch norm; use running"
        )


def _check_ten_crop(data: LabelledSet, size: int) -> None:
    example = next(data.test.batches(1))
    height, width = (int(side) for side in example.extent[0])
    if min(height, width) <= size:
        raise InputError(
            f"test = 'ten_crop': images of {data.name} are {width} x {height}, no larger than the views of {size};"
            " use 'centre'"
        )


def _limit(wanted: int, there: int) -> int:
    return min(wanted, there) if wanted else there
