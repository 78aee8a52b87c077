"""The fields of a probing config with their defaults, one function a protocol; config files change what differs."""

from __future__ import annotations

import ml_collections


def cached(dataset: str) -> ml_collections.ConfigDict:
    """The CIFAR-scale protocol: features computed once, heads trained to convergence on them.

    How the schedule was found is told in docs/probing.md.
    """
    config = ml_collections.ConfigDict()
    config.dataset = dataset
    config.data_dir = ""  # where prepared sets lie, or relative folders; "": TFDS's own folder
    config.size = 0  # side of the input in pixels; 0: the encoder's
    config.protocol = "cached"
    config.epochs = 20
    config.batch_size = 250
    config.learning_rate = 0.01
    config.boundaries = (10, 15)  # epochs after which the rate is multiplied by `decay`
    config.decay = 0.1
    config.momentum = 0.9
    config.weight_decay = 0.01
    config.pooling = "adaptive"  # or layer -> (window, stride, padding)
    config.max_features = 3072  # most features of a layer, for adaptive pooling
    config.feature_dtype = "float32"  # of the cache: bfloat16 takes half the memory
    config.augment = ml_collections.ConfigDict()  # fields of CropSpec for training views; empty: central view
    config.test = "centre"  # or "ten_crop"
    config.seed = 0
    config.train_images = 0  # 0: all
    config.test_images = 0
    return config


def published(dataset: str) -> ml_collections.ConfigDict:
    """The ImageNet protocol of Zhang et al. (2016) with the settings of DeepCluster's evaluation."""
    config = cached(dataset)
    config.protocol = "published"
    config.epochs = 36
    config.batch_size = 192
    config.learning_rate = 0.01
    config.boundaries = (10, 20, 30)
    config.decay = 0.1
    config.weight_decay = 1e-5
    config.max_features = 9600
    config.augment = ml_collections.ConfigDict({"min_area": 0.08, "aspect": 0.75, "hflip": 0.5})
    config.test = "ten_crop"
    return config
