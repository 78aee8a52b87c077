"""The encoders that come with the package: trained on a photograph by NASA and on an image that was computed.

ssl-single-image study --config zoo --workdir runs/zoo --data_dir DATA

`--dry_run` estimates the time. `export` then writes each run into the package, see docs/weights.md.
"""

import ml_collections

from ssl_single_image.experiments.presets import parse_arg
from ssl_single_image.experiments.studies import zoo


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, data_dir="")
    return zoo(data_dir=args.data_dir)
