"""Supervised classification on a labelled set: the upper end of the scale.

ssl-single-image pretrain --config supervised:dataset=cifar10 --workdir runs/supervised

Presets: demo and cifar32 (32-px, the CIFAR-scale AlexNet) and imagenet224 (AlexNet); dataset as `probe` names them.
"""

import ml_collections

from ssl_single_image.augment import CropSpec
from ssl_single_image.experiments.presets import as_config_dict, parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", dataset="cifar10", data_dir="")
    config = pretraining("supervised", args.preset, dataset=args.dataset, data_dir=args.data_dir)
    # Random resized crops and flips of the labelled images, as in the published supervised training.
    size = config.crop.size
    views = CropSpec(size, min_area=0.25 if size < 64 else 0.08, aspect=0.75, hflip=0.5)
    config.crop = as_config_dict(views)
    config.eval_batches = 0  # the whole test split
    config.batch_size = 128
    config.steps = 4000
    if args.preset == "imagenet224":
        config.batch_size = 256
        config.steps = 90 * 1_281_167 // config.batch_size
        config.optimizer.update({"learning_rate": 0.01, "schedule": "step", "weight_decay": 1e-4})
        config.eval_every = config.checkpoint_every = 5000
    elif args.preset == "demo":
        config.steps = 200
        config.eval_every = config.checkpoint_every = 100
    return config
