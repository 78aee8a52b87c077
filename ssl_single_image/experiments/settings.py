"""The configs of training runs: every field, its default and its legal values, and what is built from them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import optax

from ssl_single_image import datasets, models, objectives
from ssl_single_image.augment import CropSpec
from ssl_single_image.datasets import sources
from ssl_single_image.errors import InputError
from ssl_single_image.ops import backend
from ssl_single_image.schema import SEED, OneOf, Told, Within
from ssl_single_image.training import optim
from ssl_single_image.training.loop import PretrainPlan
from ssl_single_image.types import EncoderSpec

LABELLED_VIEWS = CropSpec(32, min_area=0.25, aspect=0.75, hflip=0.5)
"""Views of labelled images of CIFAR's size, as in supervised pretraining."""
ON_LABELS = optim.Optimizer(
    learning_rate=0.1, schedule="step", boundaries=(0.35, 0.7, 0.85), factors=(0.2, 0.2, 0.2)
)
"""Nesterov momentum, with a learning rate of .1, .02, .004 and .0008 to epochs 35, 70, 85 and 100."""


@dataclasses.dataclass(frozen=True)
class PretrainConfig(PretrainPlan):
    """The config of a pretraining run. With the pixels of the source images it decides the whole run.

    Attributes:
      objective: what the network is trained to do.
      objective_options: the options of that objective; those left out keep their defaults.
      preset: which preset the config came from; for the record.
      source: the image or images: a path, glob, folder, `builtin:NAME[+NAME...]`, `synthetic:NAME[,size=N]@SEED`, or
        `unlabelled:DATASET`, the training images of a labelled set.
      max_pixels: most pixels that a source image may have; 0: Pillow's guard against decompression bombs, 89 million.
        Cameras of 100 megapixels need more.
      shrink: the sides of every source image are divided by this before crops are drawn; a pixel is then the mean of
        shrink x shrink.
      dataset: the labelled set, for an objective that learns from labels.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      seed: seed of the initialisation, the crops and everything random in the steps.
      crops: d, the size of the virtual data set; the default is ImageNet's, as in the paper.
      crop: how crops are drawn.
      view_hflip: probability that a step mirrors a crop, anew at each visit.
      backbone: the architecture of the encoder.
      backbone_options: the options of that backbone; those left out keep their defaults.
      optimizer: the optimiser with its schedule.
      sync_batch_norm: batch statistics over the global batch; False: per device.
      dtype: type of the computation; "auto" is bfloat16 on GPUs and TPUs and float32 on CPUs.
      eval_batches: number of batches in an evaluation; 0: all of a labelled set.
      probe_dataset: the labelled set of the quick probes that `probe_every` asks for.
      probe_images: how many of its training images they use, and half as many test images; 0: all.

    Raises:
      InputError: an unknown name, a value out of range, or fields that contradict each other.
    """

    objective: Annotated[str, Told(f"one of {', '.join(objectives.OBJECTIVES)}")] = "rotnet"
    objective_options: Any = dataclasses.field(default_factory=dict)
    preset: str = ""
    source: Annotated[str, Told(sources.FORMS)] = ""
    max_pixels: Annotated[int, Within(0, 2**31, "[)")] = 0
    shrink: Annotated[int, Within(1, 2**16, "[)")] = 1
    dataset: Annotated[str, Told(datasets.FORMS)] = ""
    data_dir: str = ""
    seed: Annotated[int, SEED] = 0
    crops: Annotated[int, Within(1, 2**32, "[)")] = 1_281_167
    crop: CropSpec = CropSpec.preset("paper", 32)  # noqa: RUF009 (frozen)
    view_hflip: Annotated[float, Within(0, 1)] = 0.0
    backbone: Annotated[str, Told(f"one of {', '.join(models.BACKBONES)}")] = "alexnet32"
    backbone_options: Any = dataclasses.field(default_factory=dict)
    optimizer: optim.Optimizer = optim.Optimizer()  # noqa: RUF009 (frozen)
    sync_batch_norm: bool = True
    dtype: Annotated[str, OneOf("auto", "float32", "bfloat16")] = "auto"
    eval_batches: Annotated[int, Within(0)] = 4
    probe_dataset: Annotated[str, Told(datasets.FORMS)] = "photos"
    probe_images: Annotated[int, Within(0)] = 4000

    def check(self) -> None:
        super().check()
        entry = objectives.find(self.objective)
        read = {
            "objective_options": entry.options.from_value(self.objective_options),
            "backbone": models.current_name(self.backbone),
            "backbone_options": models.find(self.backbone).options.from_value(self.backbone_options),
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)
        _ = self.encoder  # refuses a size that the backbone can't take
        if entry.labelled:
            self._check_labelled()
        elif not self.source:
            raise InputError(
                f"source = '': objective {self.objective} needs an image; give a path or builtin:NAME"
            )

    def _check_labelled(self) -> None:
        if not self.dataset:
            raise InputError(
                f"dataset = '': objective {self.objective} learns from labels; give a data set, such as cifar10"
            )
        if self.steps_per_call != 1:
            raise InputError(
                f"steps_per_call = {self.steps_per_call}: must be 1 for objective {self.objective}, which is fed by"
                " the host"
            )

    @property
    def entry(self) -> objectives.Entry:
        """What the objective is made by."""
        return objectives.find(self.objective)

    @property
    def encoder(self) -> EncoderSpec:
        """The backbone and its input, whose size the objective decides."""
        size = self.entry.input_size(self.crop, self.objective_options)
        return models.encoder_spec(self.backbone, self.backbone_options.to_config(), size)

    @property
    def schedule(self) -> optax.Schedule:
        """Learning rate by step."""
        return optim.make_schedule(self.optimizer, self.steps)

    def resolved(self) -> PretrainConfig:
        """With "auto" replaced by what it means here, so that the record says what was computed."""
        return self.replace(dtype=backend.fastest("dtype")) if self.dtype == "auto" else self

    def setup(self, classes: int = 0) -> objectives.Setup:
        """What the objective is made from; `classes` is the number of labels, for those that learn from them."""
        return objectives.Setup(
            encoder=self.encoder,
            crop=self.crop,
            crops=self.crops,
            batch_size=self.batch_size,
            seed=self.seed,
            optimizer=optim.make_optimizer(self.optimizer, self.schedule),
            sync_batch_norm=self.sync_batch_norm,
            dtype=self.resolved().dtype,
            view_hflip=self.view_hflip,
            classes=classes,
            options=self.objective_options,
        )


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(PretrainPlan):
    """The config of training on labels behind frozen first layers; the defaults are 100 epochs of CIFAR-10.

    Attributes:
      frozen_layers: how many of the first layers come from the checkpoint and stay as they are.
      dataset: the labelled set.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      seed: seed of the other layers' initialisation, the order of images and their views.
      crop: how views of labelled images are drawn; its size is the side of the network's input.
      backbone: the architecture; checkpoints must have it too.
      backbone_options: its options where all layers are trained; with a checkpoint, those of the checkpoint count.
      optimizer: the optimiser with its schedule.
      sync_batch_norm: batch statistics over the global batch; False: per device.
      dtype: type of the computation; "auto" is bfloat16 on GPUs and TPUs and float32 on CPUs.
      eval_batches: number of test batches in an evaluation; 0: all.

    Raises:
      InputError: an unknown name, a value out of range, or fields that contradict each other.
    """

    steps: Annotated[int, Within(1, 2**31, "[)")] = 39_000
    batch_size: Annotated[int, Within(1)] = 128
    eval_every: Annotated[int, Within(1)] = 1950
    checkpoint_every: Annotated[int, Within(1)] = 1950
    frozen_layers: Annotated[int, Within(1)] = 2
    dataset: Annotated[str, Told(datasets.FORMS)] = "cifar10"
    data_dir: str = ""
    seed: Annotated[int, SEED] = 0
    crop: CropSpec = LABELLED_VIEWS
    backbone: Annotated[str, Told("a chain of convolutions, such as alexnet32")] = "alexnet32"
    backbone_options: Any = dataclasses.field(default_factory=dict)
    optimizer: optim.Optimizer = ON_LABELS
    sync_batch_norm: bool = True
    dtype: Annotated[str, OneOf("auto", "float32", "bfloat16")] = "auto"
    eval_batches: Annotated[int, Within(0)] = 0

    def check(self) -> None:
        super().check()
        name = models.current_name(self.backbone)
        options = models.find(name).options.from_value(self.backbone_options)
        object.__setattr__(self, "backbone", name)
        object.__setattr__(self, "backbone_options", options)
        _ = self.encoder  # refuses a size that the backbone can't take
        chain = models.chain(name, options.to_config())
        if chain is None:
            raise InputError(
                f"backbone = {name!r}: has no first layers to freeze; give a chain of convolutions, such as alexnet32"
            )
        if self.frozen_layers >= len(chain.layers):
            raise InputError(
                f"frozen_layers = {self.frozen_layers}: must be below {len(chain.layers)}, the layers of {name}"
            )
        if self.steps_per_call != 1:
            raise InputError(
                f"steps_per_call = {self.steps_per_call}: must be 1 for training on labels, fed by the host"
            )

    @property
    def encoder(self) -> EncoderSpec:
        """The backbone and its input."""
        return models.encoder_spec(self.backbone, self.backbone_options.to_config(), self.crop.size)

    @property
    def schedule(self) -> optax.Schedule:
        """Learning rate by step."""
        return optim.make_schedule(self.optimizer, self.steps)

    def resolved(self) -> FinetuneConfig:
        """With "auto" replaced by what it means here, so that the record says what was computed."""
        return self.replace(dtype=backend.fastest("dtype")) if self.dtype == "auto" else self

    def setup(self, encoder: EncoderSpec, classes: int, frozen: int) -> objectives.Setup:
        """What the objective is made from, for one checkpoint."""
        return objectives.Setup(
            encoder=encoder,
            crop=self.crop,
            crops=1,
            batch_size=self.batch_size,
            seed=self.seed,
            optimizer=optim.make_optimizer(self.optimizer, self.schedule),
            sync_batch_norm=self.sync_batch_norm,
            dtype=self.resolved().dtype,
            classes=classes,
            frozen=frozen,
        )
