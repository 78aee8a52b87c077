"""Built-in photographs: a stand-in that needs no download. It shows that a probe runs, not how good features are.

ssl-single-image probe --config photos --checkpoint runs/rotnet,random:alexnet32 --workdir runs/probe
"""

import ml_collections

from ssl_single_image.experiments.presets import cached_probe, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    parse_arg(arg)  # refuses any: this config takes no argument
    config = cached_probe("photos")
    config.batch_size = 100
    return config
