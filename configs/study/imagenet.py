"""The paper's tables at the scale of ImageNet: 224-px crops, the published networks, schedules and probes.

ssl-single-image study --config imagenet:a=img_a.jpg,b=ameyoko.jpg,thousand=FOLDER --workdir runs/study --data_dir DATA

It is for clusters: `--jobs` prints one command a row. Arguments are those of `configs/study/cifar10.py`. Every method
has the AlexNet of its publication, and is compared with that network untrained.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg
from ssl_single_image.experiments.studies import imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, a="", b="", thousand="", data_dir="")
    return imagenet(a=args.a, b=args.b, thousand=args.thousand, data_dir=args.data_dir)
