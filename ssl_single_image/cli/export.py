"""`export`: writes an encoder as a file for other programs, with a model card beside it."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import listing
    from ssl_single_image.experiments.exporting import export_encoder
    from ssl_single_image.parallel import distributed
    from ssl_single_image.runs import zoo

    common.no_words(args, "export")
    if args.checkpoint == zoo.LIST:
        print(listing.zoo(), end="")
        return
    if not args.out:
        raise InputError("--out: missing; give the file to write, NAME.safetensors or NAME.pth")
    distributed.check_devices()
    print(export_encoder(args.checkpoint, args.out, dtype=args.dtype, licence=args.licence, probe=args.probe))


if __name__ == "__main__":
    common.run("export")
