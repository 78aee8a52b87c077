"""`pretrain`: trains an encoder on crops of one image, or resumes the run that its workdir holds."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common, listing


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import configs
    from ssl_single_image.experiments.pretraining import pretrain
    from ssl_single_image.parallel import distributed

    common.no_words(args, "pretrain")
    if args.print_config:
        print(listing.whole(configs.read("pretrain", args.config).resolved()))
        return
    distributed.initialize()
    pretrain(args.config, args.workdir, devices=args.devices)


if __name__ == "__main__":
    common.run("pretrain")
