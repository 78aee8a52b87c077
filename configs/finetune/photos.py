"""Crops of built-in photographs behind frozen first layers. It needs no download, and shows that the command runs.

ssl-single-image finetune --config photos --checkpoint random:alexnet32,none --workdir runs/finetune
"""

import ml_collections

from ssl_single_image.experiments.presets import finetuning, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    parse_arg(arg)  # refuses any: this config takes no argument
    return finetuning("photos", "demo")
