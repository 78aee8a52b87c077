"""Your own images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg.

ssl-single-image probe --config folder:path=PATH --checkpoint runs/rotnet --workdir runs/folder

Arguments: `path`, and `protocol`: "cached" (features computed once, quick) or "published" (random views, ten crops).
"""

import ml_collections

from ssl_single_image.errors import InputError
from ssl_single_image.experiments.presets import cached_probe, parse_arg, published_probe


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, path="", protocol="cached")
    protocols = {"cached": cached_probe, "published": published_probe}
    if args.protocol not in protocols:
        raise InputError(f"config argument protocol={args.protocol}: expected one of {', '.join(protocols)}")
    return protocols[args.protocol](f"folder:{args.path}")
