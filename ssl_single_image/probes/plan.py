"""The plan of a probe, which is checked in full before anything is computed; `probes.runner` carries it out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from ssl_single_image import augment, models, parallel
from ssl_single_image.augment import shifts
from ssl_single_image.datasets import LabelledSet
from ssl_single_image.probes import linear, pooling, registry
from ssl_single_image.probes.config import ProbeConfig
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.schema import suggestion
from ssl_single_image.training import optim
from ssl_single_image.types import EncoderSpec, InputError


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
    kind = registry.find(config.kind)
    if data.labels.several and not kind.multi_label:
        able = ", ".join(name for name, one in registry.KINDS.items() if one.multi_label)
        raise InputError(
            f"kind = {config.kind!r}: images of {data.name} have several labels each, which only {able} can take"
        )
    if data.boxed and (config.protocol, config.pooling) != ("cached", "adaptive"):
        raise InputError(
            f"data set {data.name}: objects in boxes need protocol 'cached' and pooling 'adaptive', which here averages"
            " over the parts of a box"
        )
    train = _limit(config.train_images, len(data.train))
    if config.batch_size > train:
        raise InputError(f"batch_size = {config.batch_size}: there are only {train} training images")
    parallel.local_batch_size(config.batch_size)
    if config.statistics == "recomputed":
        _check_norms(encoders)
    size = input_size(encoders, config.size)
    if config.test == "ten_crop":
        _check_ten_crop(data, size)
    if config.shift:
        check_shift(data, config.shift, config.severity, size)
    specs = [dataclasses.replace(loaded.encoder.spec, size=size) for loaded in encoders]
    make = functools.partial(_setup, config, data, train // config.batch_size)
    distinct = {repr(spec): make(spec) for spec in specs}
    plan = ProbePlan(
        config=config,
        encoders=encoders,
        setups=[distinct[repr(spec)] for spec in specs],
        data=data,
        train_images=train,
        test_images=_limit(config.test_images, len(data.test)),
    )
    kind.check(plan)
    return plan


def _setup(config: ProbeConfig, data: LabelledSet, steps: int, spec: EncoderSpec) -> linear.Setup:
    models.encoder_spec(spec.backbone, spec.options, spec.size)  # refuses a size that is too small
    shapes = _selected(models.activation_shapes(spec), config.layers, spec)
    pools: Mapping[str, pooling.Pool]
    if data.boxed:
        pools = pooling.regions(shapes, config.most_features)
    else:
        pools = pooling.choose(
            shapes, config.pooling, config.most_features, at_least_a_cell=not config.max_features
        )
    schedule = optim.make_schedule(config.optimizer, config.epochs * steps)
    crop = augment.CropSpec.from_config({**config.augment, "size": spec.size}) if config.augment else None
    return linear.Setup(
        encoder=spec,
        pools=pools,
        features={layer: pooling.features(pool, shapes[layer]) for layer, pool in pools.items()},
        classes=len(data.classes),
        batch_size=config.batch_size,
        optimizer=optim.make_optimizer(config.optimizer, schedule),
        crop=crop,
        test=config.test,
        labels=data.labels,
    )


def _selected(
    shapes: Mapping[str, pooling.Shape], layers: Sequence[str], spec: EncoderSpec
) -> Mapping[str, pooling.Shape]:
    """Those of the layers that are asked for, by depth."""
    for layer in layers:
        if layer not in shapes:
            raise InputError(f"layers: {spec.backbone} has no {layer!r}{suggestion(layer, shapes)}")
    return {layer: shape for layer, shape in shapes.items() if layer in layers} if layers else shapes


def _check_norms(encoders: Sequence[LoadedEncoder]) -> None:
    without = [loaded.name for loaded in encoders if not loaded.has_batch_norm]
    if without:
        raise InputError(
            f"statistics = 'recomputed': {', '.join(without)} was trained without batch norm; use running"
        )


def check_shift(data: LabelledSet, name: str, severity: int, size: int, path: str = "shift") -> None:
    """Refuses a shift that images of this set and size can't have; `path` is the field that names it.

    Raises:
      InputError: see `shifts.check`; or the shift shows images of other classes, and an image has several; or the
        examples are objects in boxes, which some shifts would move.
    """
    shift = shifts.check(name, severity, size, path=path)
    if data.boxed:
        raise InputError(f"{path} = {name!r}: objects in boxes, as in {data.name}, can't be shifted")
    if shift.pool and data.labels.several:
        raise InputError(
            f"{path} = {name!r}: shows parts of images with another label, and images of {data.name} have several each"
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
