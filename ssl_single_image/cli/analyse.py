"""`analyse`: looks into encoders layer by layer: similarity and ranks, invariance, or landmarks, as `--what` says."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common

FIELDS = (
    "data",
    "images",
    "source",
    "queries",
    "neighbours",
    "grid",
    "views",
    "pairs",
    "test_images",
    "steps",
    "size",
    "alone",
    "seed",
)
"""Flags that are fields of the settings of one or more kinds of analysis; those not given keep their defaults."""


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.cli.probe import references
    from ssl_single_image.experiments import preflight
    from ssl_single_image.experiments.analyses import analyse
    from ssl_single_image.parallel import distributed

    common.no_words(args, "analyse")
    distributed.check_devices()
    names = references(args.checkpoint)
    fields = {name: args[name].value for name in FIELDS if args[name].present}
    fields |= {"layers": tuple(args.layers), "data_dir": args.data_dir or ""}
    if args.dry_run:
        print(preflight.analyse(names, args.workdir, what=args.what, **fields))
        return
    analyse(names, args.workdir, what=args.what, **fields)


if __name__ == "__main__":
    common.run("analyse")
