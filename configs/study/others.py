"""Other methods (Jigsaw, PIRL, SimCLR) and other networks (ResNet-18, EfficientNet-B0) on one image.

ssl-single-image study --config others:b=ameyoko.jpg --workdir runs/others --data_dir DATA

All rows see the pixels of 96,000 images of 32 px. `--dry_run` estimates the time.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg
from ssl_single_image.experiments.studies import others


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, b="", data_dir="")
    return others(b=args.b, data_dir=args.data_dir)
