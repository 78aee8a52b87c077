"""Jigsaw on crops of one image: in which order are nine tiles?

ssl-single-image pretrain --config jigsaw:image=builtin:astronaut --workdir runs/jigsaw

Presets:
  demo         48-px crops with tiles of 12 px, minutes on two CPU cores.
  cifar32      the default: the same, 1,400 steps.
  imagenet224  255-px crops with tiles of 64 px, AlexNet, 1000 permutations: for accelerators.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("jigsaw", args.preset, source=args.image)
    if args.preset == "imagenet224":
        config.crop.size = 255
        config.objective_options.update(
            permutations=1000, tile=64, chromatic=2, tile_features=1024, hidden=4096, input_size=224
        )
        config.batch_size = 256
        config.steps = 70 * config.crops // config.batch_size
        config.optimizer.learning_rate = 0.01
        config.optimizer.schedule = "step"
        config.eval_every = config.checkpoint_every = 5000
        return config
    config.crop.size = 48
    config.batch_size = 64
    if args.preset == "demo":
        config.steps = 200
        config.objective_options.permutations = 16
        config.eval_every = config.checkpoint_every = 100
    else:
        config.steps = 1400
        config.eval_every = config.checkpoint_every = 200
    return config
