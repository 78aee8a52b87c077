"""CIFAR-100: 50,000 training and 10,000 test images of 32 x 32, 100 classes; features are computed once.

ssl-single-image probe --config cifar100 --checkpoint runs/rotnet,random:alexnet32 --workdir runs/c100
"""

import ml_collections

from ssl_single_image.experiments.presets import SHIFT, cached_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    return cached_probe("cifar100", **parse_arg(arg, **SHIFT))
