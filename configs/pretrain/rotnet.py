"""RotNet on crops of one image.

ssl-single-image pretrain --config rotnet:image=builtin:astronaut --workdir runs/rotnet

Presets:
  demo         32-px crops, some three minutes on two CPU cores.
  cifar32      the default: 32-px crops, under half an hour on two CPU cores.
  imagenet224  224-px crops, AlexNet, the published schedule of 50 epochs of 1,281,167 crops: for accelerators.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("rotnet", args.preset, source=args.image)
    if args.preset == "imagenet224":
        config.batch_size = 192
        config.steps = 50 * config.crops // config.batch_size
        config.view_hflip = 0.5
        config.optimizer.learning_rate = 0.01
        config.optimizer.schedule = "step"
        config.eval_every = config.checkpoint_every = 5000
    elif args.preset == "demo":
        config.steps = 200
        config.batch_size = 32
        config.eval_every = config.checkpoint_every = 100
    else:
        config.steps = 2700
        config.batch_size = 32
        config.eval_every = config.checkpoint_every = 300
    return config
