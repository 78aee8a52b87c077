"""PIRL on crops of one image: a crop and its shuffled tiles have the same embedding.

ssl-single-image pretrain --config pirl:image=builtin:astronaut --workdir runs/pirl

Presets:
  demo         48-px crops, images of 32 px and tiles of 12 px, minutes on two CPU cores.
  cifar32      the default: the same, 1,400 steps.
  imagenet224  images of 224 px and tiles of 64 px, ResNet-50, the published schedule of 800 epochs: for accelerators.
"""

import ml_collections

from ssl_single_image.experiments.presets import choose_backbone, parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("pirl", args.preset, source=args.image)
    options = config.objective_options
    if args.preset == "imagenet224":
        choose_backbone(config, "resnet50")
        config.crop.size = 256
        options.update(loss="nce", temperature=0.07, negatives=32_000, image_min_area=0.08)
        options.update(board=255, tile=64, input_size=224)
        config.batch_size = 1024
        config.steps = 800 * config.crops // config.batch_size
        config.optimizer.learning_rate = 0.12
        config.optimizer.weight_decay = 1e-4
        config.eval_every = config.checkpoint_every = 5000
        return config
    config.crop.size = 48
    config.batch_size = 64
    # Few enough that each is seen several times: until then its entry of the bank is a random direction.
    config.crops = 12_800
    if args.preset == "demo":
        config.steps = 120
        config.crops = 1280
        options.negatives = 512
        config.eval_every = config.checkpoint_every = 60
    else:
        config.steps = 1400
        config.eval_every = config.checkpoint_every = 200
    return config
