"""BiGAN on crops of one image.

ssl-single-image pretrain --config bigan:image=builtin:astronaut --workdir runs/bigan

Presets:
  demo         32-px crops, some minutes on two CPU cores: shows that it runs, not what it learns.
  cifar32      the default: 32-px crops. The discriminator's image path is the backbone that other methods train; it is
               the encoder `#discriminator` of the run. The encoder E is a small strided one.
  imagenet224  AlexNet with leaky ReLU on 112-px crops, generator and discriminator at 64 px, the published schedule of
               100 epochs of 1,281,167 crops: for accelerators.
"""

import ml_collections

from ssl_single_image.augment import CropSpec
from ssl_single_image.experiments.presets import as_config_dict, choose_backbone, parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("bigan", args.preset, source=args.image)
    config.batch_size = 128
    config.optimizer.update(
        name="adam",
        learning_rate=2e-4,
        b1=0.5,
        weight_decay=2.5e-5,
        decay_gains=False,
        schedule="exponential",
        boundaries=(0.5,),
        factors=(0.01,),
    )
    if args.preset == "imagenet224":
        config.backbone_options.variant = "bigan"
        config.crop = as_config_dict(CropSpec.preset("paper", 112))
        config.objective_options.image_size = 64
        config.steps = 100 * config.crops // config.batch_size
        config.eval_every = config.checkpoint_every = 5000
    else:
        choose_backbone(config, "dcgan32")
        config.batch_size = 64
        config.objective_options.update(
            latent=64,
            prior="normal",
            squash=False,
            normalise_codes=True,
            width=32,
            discriminator="alexnet32",
            loss="hinge",
            spectral_norm=True,
            generator_rate=2.0,
            discriminator_rate=2.0,
        )
        config.steps = 100 if args.preset == "demo" else 3000
        config.eval_every = config.checkpoint_every = 50 if args.preset == "demo" else 500
    return config
