"""ImageNet, the published protocol: random views, 36 epochs, ten-crop test. For accelerators.

ssl-single-image probe --config imagenet --checkpoint runs/rotnet --workdir runs/imagenet --data_dir D

Argument `pooling=deepcluster`: the explicit windows of Zhang et al. (2016) instead of adaptive pooling.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg, published_probe

WINDOWS = {"conv1": (6, 6, 3), "conv2": (4, 4, 0), "conv3": (3, 3, 1), "conv4": (3, 3, 1), "conv5": (2, 2, 0)}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, pooling="adaptive")
    config = published_probe("imagenet")
    with config.ignore_type():  # the field holds a name or a mapping
        config.pooling = ml_collections.ConfigDict(WINDOWS) if args.pooling == "deepcluster" else args.pooling
    return config
