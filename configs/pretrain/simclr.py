"""SimCLR on crops of one image: two views of a crop are nearer to each other than to those of other crops.

ssl-single-image pretrain --config simclr:image=builtin:astronaut --workdir runs/simclr

Presets:
  demo         48-px crops in views of 32 px, minutes on two CPU cores.
  cifar32      the default: the same, 1,400 steps.
  imagenet224  224-px views, ResNet-50, 100 epochs of 1,281,167 crops: for accelerators.
"""

import ml_collections

from ssl_single_image.experiments.presets import choose_backbone, parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("simclr", args.preset, source=args.image)
    if args.preset == "imagenet224":
        choose_backbone(config, "resnet50")
        config.crop.size = 256
        config.objective_options.update(input_size=224, hidden=2048, temperature=0.1, view_min_area=0.08)
        config.batch_size = 1024
        config.steps = 100 * config.crops // config.batch_size
        config.optimizer.learning_rate = 0.12
        config.optimizer.weight_decay = 1e-4
        config.eval_every = config.checkpoint_every = 5000
        return config
    config.crop.size = 48
    config.batch_size = 128
    if args.preset == "demo":
        config.steps = 80
        config.eval_every = config.checkpoint_every = 40
    else:
        config.steps = 1400
        config.eval_every = config.checkpoint_every = 200
    return config
