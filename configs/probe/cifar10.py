"""CIFAR-10: 50,000 training and 10,000 test images of 32 x 32, 10 classes; features are computed once.

ssl-single-image probe --config configs/probe/cifar10.py --checkpoint runs/rotnet,random:cifar32 --workdir runs/cifar10
"""

import ml_collections

from ssl_single_image.cli.probe_defaults import cached


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    if arg:
        raise ValueError(f"{arg!r}: this config takes no argument")
    return cached("cifar10")
