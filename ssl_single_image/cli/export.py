"""`export`: writes an encoder as a file for other programs, with a model card beside it."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments.exporting import export_encoder
    from ssl_single_image.parallel import distributed

    common.no_words(args, "export")
    distributed.check_devices()
    print(export_encoder(args.checkpoint, args.out, dtype=args.dtype, licence=args.licence, probe=args.probe))


if __name__ == "__main__":
    common.run("export")
