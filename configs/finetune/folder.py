"""Your own images behind frozen first layers: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg.

ssl-single-image finetune --config folder:path=PATH --checkpoint runs/rotnet,none --workdir runs/finetune

Arguments: `path`, and `preset`: "demo" (300 steps) or "cifar10" (the length of 100 epochs of CIFAR-10).
"""

import ml_collections

from ssl_single_image.experiments.presets import finetuning, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, path="", preset="demo")
    return finetuning(f"folder:{args.path}", args.preset)
