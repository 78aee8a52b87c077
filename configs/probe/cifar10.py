"""CIFAR-10: 50,000 training and 10,000 test images of 32 x 32, 10 classes; features are computed once.

ssl-single-image probe --config cifar10 --checkpoint runs/rotnet,random:alexnet32 --workdir runs/cifar10

Arguments: `shift`, a way in which test images differ from training images, its `severity` from 1 to 5, and `retrain`,
whether the classifiers learn from shifted images too.
"""

import ml_collections

from ssl_single_image.experiments.presets import SHIFT, cached_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    return cached_probe("cifar10", **parse_arg(arg, **SHIFT))
