"""DeepCluster on crops of one image.

ssl-single-image pretrain --config deepcluster:image=builtin:astronaut --workdir runs/deepcluster

Presets:
  demo         2,048 crops of 32 px in 32 clusters, some minutes on two CPU cores.
  cifar32      the default: 32-px crops, under half an hour on two CPU cores.
  imagenet224  224-px crops, AlexNet on Sobel derivatives, 200 epochs of 1,281,167 crops in 10,000 clusters as
               published: for accelerators.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg, pretraining


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, preset="cifar32", image="builtin:astronaut")
    config = pretraining("deepcluster", args.preset, source=args.image)
    config.view_hflip = 0.5
    if args.preset == "imagenet224":
        config.backbone_options.update(variant="deepcluster", sobel=True)
        config.batch_size = 256
        config.steps = 200 * (config.crops // config.batch_size)
        config.optimizer.update(schedule="constant", nesterov=False, weight_decay=1e-5)
        config.eval_every = config.checkpoint_every = 5000
    elif args.preset == "demo":
        config.crops = 2048
        config.objective_options.update(clusters=32, components=64)
        config.batch_size = 64
        config.steps = 160
        config.eval_every = config.checkpoint_every = 80
    else:
        # Few clusters, and five epochs to learn them: the top layer starts anew once within the run.
        config.crops = 19_200
        config.objective_options.update(
            clusters=100, components=128, reassign=5, features="trunk", view_jitter=True
        )
        config.batch_size = 128
        config.steps = 1500
        config.eval_every = config.checkpoint_every = 300
    return config
