"""Harder images (clutter, occlusion, pose, corruptions), invariance by layer, and filters from single patches.

ssl-single-image study --config harder:b=ameyoko.jpg,thousand=THOUSAND --workdir runs/harder --data_dir DATA

All trained rows see the pixels of 96,000 images of 32 px. `--dry_run` estimates the time.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg
from ssl_single_image.experiments.studies import harder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, b="", thousand="", data_dir="")
    return harder(b=args.b, thousand=args.thousand, data_dir=args.data_dir)
