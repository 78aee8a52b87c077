"""The config of a probe: every field, its default and its legal values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from ssl_single_image import datasets
from ssl_single_image.augment import shifts
from ssl_single_image.probes import linear, registry
from ssl_single_image.schema import SEED, OneOf, Section, Told, Within
from ssl_single_image.training import optim
from ssl_single_image.types import InputError

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
      kind: the kind of probe. linear: classifiers trained by gradients; ridge: the same in closed form; knn: a vote of
        the nearest training images; fewshot: linear ones from a few labels a class; robustness: ridge ones, tested on
        images after every shift.
      options: the options of that kind; those left out keep their defaults.
      layers: which layers are probed; (): all.
      seeds: how often classifiers are trained, with seeds from `seed` on; features are computed once.
      protocol: "cached", features computed once; "published", random views are encoded in every epoch.
      size: side of the input in pixels; 0: the encoder's.
      statistics: batch-norm statistics of the encoder; "running", those of its checkpoint; "recomputed", those of up to
        5,000 training images.
      epochs: passes over the training images.
      batch_size: images of one step over all devices.
      optimizer: optimiser and schedule of the heads.
      pooling: "adaptive", or layer -> (window, stride[, padding]).
      max_features: most features of a layer that adaptive pooling leaves; 0: 3,072, 768 for knn or 2,048 for
        robustness, and at least one of each channel.
      feature_dtype: type of the features that are kept in memory; "bfloat16" takes half of it.
      augment: fields of `CropSpec` for training views; empty: the central view.
      test: "centre", or "ten_crop" as in the published protocol.
      seed: seed of the heads' initialisation and of the order of images.
      train_images: number of training images that are used; 0: all.
      test_images: number of test images that are used; 0: all.
      shift: how test images differ from training images, a name such as "occlusion"; "": not at all.
      severity: how far they are shifted; 0: not at all.
      retrain: whether the classifiers are trained on shifted images too.

    Raises:
      InputError: a value out of range, or fields that contradict each other.
    """

    dataset: Annotated[str, Told(datasets.FORMS)] = "photos"
    data_dir: str = ""
    kind: Annotated[str, Told(f"one of {', '.join(registry.KINDS)}")] = "linear"
    options: Any = dataclasses.field(default_factory=dict)
    layers: Annotated[tuple[str, ...], Told("names of layers")] = ()
    seeds: Annotated[int, Within(1)] = 1
    protocol: Annotated[str, OneOf("cached", "published")] = "cached"
    size: Annotated[int, Within(0)] = 0
    statistics: Annotated[str, OneOf("running", "recomputed")] = "running"
    epochs: Annotated[int, Within(1)] = 20
    batch_size: Annotated[int, Within(1)] = 250
    optimizer: optim.Optimizer = HEADS
    pooling: Annotated[Any, Told("adaptive, or windows of whole numbers by layer")] = "adaptive"
    max_features: Annotated[int, Within(0)] = 0
    feature_dtype: Annotated[str, OneOf("float32", "bfloat16")] = "float32"
    augment: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    test: Annotated[str, OneOf(*linear.TESTS)] = "centre"
    seed: Annotated[int, SEED] = 0
    train_images: Annotated[int, Within(0)] = 0
    test_images: Annotated[int, Within(0)] = 0
    shift: Annotated[str, Told(f"one of {', '.join(shifts.SHIFTS)}, or empty")] = ""
    severity: Annotated[int, Within(0, shifts.SEVERITIES)] = 0
    retrain: bool = False

    def check(self) -> None:
        kind = registry.find(self.kind)
        object.__setattr__(self, "options", kind.options.from_value(self.options))
        if not isinstance(self.augment, Mapping):
            raise InputError(f"augment = {self.augment!r}: must be a mapping of crop fields")
        if self.protocol == "cached" and (self.augment or self.test != "centre"):
            raise InputError(
                "protocol = 'cached': features are computed once, so augment must be empty and test 'centre'"
            )
        if self.protocol == "published" and not kind.published:
            raise InputError(f"protocol = 'published': kind {self.kind} has the cached protocol only")
        if self.seeds > 1 and not kind.seeded:
            raise InputError(f"seeds = {self.seeds}: must be 1 for kind {self.kind}, which no seed repeats")
        self._check_shift()

    def _check_shift(self) -> None:
        if self.shift:
            shifts.check(self.shift, self.severity)
            if self.protocol == "published":
                raise InputError(
                    f"shift = {self.shift!r}: images are shifted in the cached protocol only; use protocol = 'cached'"
                )
        elif self.severity or self.retrain:
            field = "severity" if self.severity else "retrain"
            raise InputError(
                f"{field} = {getattr(self, field)}: needs a shift; there are {', '.join(shifts.SHIFTS)}"
            )

    @property
    def most_features(self) -> int:
        """`max_features`, or what the kind takes by itself."""
        return self.max_features or registry.find(self.kind).max_features
