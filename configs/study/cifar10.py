"""The paper's tables at the scale of CIFAR-10: 32-px crops, linear probes of all layers on the whole set.

ssl-single-image study --config cifar10:a=img_a.jpg,b=ameyoko.jpg,thousand=FOLDER --workdir runs/study --data_dir DATA

Arguments `a` and `b` are the paper's images, `thousand` is a folder of 1,000 photographs. Rows of an image that is not
given are left out. Ten built-in photographs and the unlabelled training images need no argument.

Within a table, all rows of a method see equally many images. BiGAN sees half as many as the others: its step trains
three networks, and takes more than twice as long. `--dry_run` estimates the time.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg
from ssl_single_image.experiments.studies import cifar


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, a="", b="", thousand="", data_dir="")
    return cifar("cifar10", a=args.a, b=args.b, thousand=args.thousand, data_dir=args.data_dir)
