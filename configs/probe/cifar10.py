"""CIFAR-10: 50,000 training and 10,000 test images of 32 x 32, 10 classes; features are computed once.

ssl-single-image probe --config cifar10 --checkpoint runs/rotnet,random:alexnet32 --workdir runs/cifar10
"""

import ml_collections

from ssl_single_image.experiments.presets import cached_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    parse_arg(arg)  # refuses any: this config takes no argument
    return cached_probe("cifar10")
