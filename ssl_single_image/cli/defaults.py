"""The fields of a pretraining config with their defaults; config files change what differs."""

from __future__ import annotations

import ml_collections

from ssl_single_image.augment import CropSpec
from ssl_single_image.types import InputError

PRESETS = {"demo": ("cifar32", 32), "cifar32": ("cifar32", 32), "imagenet224": ("alexnet", 224)}
"""Preset -> (backbone, crop side in pixels)."""


def pretrain(objective: str, preset: str, image: str) -> ml_collections.ConfigDict:
    """All fields of a pretraining config.

    Raises:
      InputError: unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"config argument preset={preset}: expected one of {', '.join(PRESETS)}")
    backbone, size = PRESETS[preset]
    config = ml_collections.ConfigDict()
    config.objective = objective
    config.preset = preset
    config.source = image  # path, glob, directory or builtin:NAME
    config.seed = 0
    config.steps = 1000
    config.batch_size = 64  # crops a step, over all devices
    config.crops = 1_281_167  # d: size of the virtual data set; ImageNet's, as in the paper
    config.crop = ml_collections.ConfigDict(CropSpec.preset("paper", size).to_config())
    config.view_hflip = 0.0  # probability that a step mirrors a crop, anew at each visit
    config.backbone = backbone
    config.backbone_options = ml_collections.ConfigDict()
    config.optimizer = optimizer()
    config.objective_options = ml_collections.ConfigDict()  # see the objective's Options
    config.sync_batch_norm = True
    config.dtype = "auto"  # of the computation: bfloat16 on GPUs and TPUs, float32 on CPUs; or either by name
    config.log_every = 50
    config.eval_every = 500
    config.eval_batches = 4
    config.checkpoint_every = 500
    config.keep = 3
    config.steps_per_call = 1
    return config


def optimizer() -> ml_collections.ConfigDict:
    """SGD as RotNet has it (Gidaris et al. 2018); see `training.optim` for the meaning of the fields."""
    return ml_collections.ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.05,
            "schedule": "cosine",
            "boundaries": (0.3, 0.6, 0.8),
            "factors": (0.1, 0.1, 0.1),
            "warmup": 0.0,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-4,
            "decay_gains": True,
            "b1": 0.9,
            "b2": 0.999,
        }
    )
