"""CIFAR-10 behind frozen first layers: how good a network can be made on top of them.

ssl-single-image finetune --config cifar10 --checkpoint runs/rotnet,random:alexnet32,none --workdir runs/finetune

Argument `preset`: "cifar10" takes 100 epochs for each checkpoint; "demo" takes 300 steps.
"""

import ml_collections

from ssl_single_image.experiments.presets import finetuning, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar10")
    return finetuning("cifar10", args.preset)
