"""Built-in photographs: a stand-in that needs no download. It shows that a probe runs, not how good features are.

ssl-single-image probe --config configs/probe/photos.py --checkpoint runs/rotnet,random:cifar32 --workdir runs/probe
"""

import ml_collections

from ssl_single_image.cli.probe_defaults import cached


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    if arg:
        raise ValueError(f"{arg!r}: this config takes no argument")
    config = cached("photos")
    config.batch_size = 100
    return config
