"""CIFAR-100: 50,000 training and 10,000 test images of 32 x 32, 100 classes; features are computed once.

ssl-single-image probe --config configs/probe/cifar100.py --checkpoint runs/rotnet,random:cifar32 --workdir runs/c100
"""

import ml_collections

from ssl_single_image.cli.probe_defaults import cached


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    if arg:
        raise ValueError(f"{arg!r}: this config takes no argument")
    return cached("cifar100")
