"""`finetune`: trains networks on labels behind frozen first layers of encoders, and prints one table."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common, listing
from ssl_single_image.cli.probe import references


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    import jax

    from ssl_single_image.experiments import configs, preflight
    from ssl_single_image.experiments.finetuning import finetune
    from ssl_single_image.parallel import distributed

    common.no_words(args, "finetune")
    override(args)
    if args.print_config:
        print(listing.whole(configs.read("finetune", args.config).resolved()))
        return
    distributed.initialize()
    names = references(args.checkpoint)
    if args.dry_run:
        print(preflight.finetune(args.config, names, args.workdir, devices=args.devices))
        return
    table = finetune(args.config, names, args.workdir, devices=args.devices)
    if jax.process_index() == 0:
        print(table)


def override(args: flags.FlagValues) -> None:
    """Puts the flag that stands for a field into the config."""
    if args.data_dir:
        args.config.data_dir = args.data_dir


if __name__ == "__main__":
    common.run("finetune")
