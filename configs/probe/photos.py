"""Built-in photographs: a stand-in that needs no download. It shows that a probe runs, not how good features are.

ssl-single-image probe --config photos --checkpoint runs/rotnet,random:alexnet32 --workdir runs/probe

Arguments: `shift`, `severity` and `retrain`, as those of `cifar10`.
"""

import ml_collections

from ssl_single_image.experiments.presets import SHIFT, cached_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    return cached_probe("photos", batch_size=100, **parse_arg(arg, **SHIFT))
