"""`pretrain`: trains an encoder on crops of one image, or resumes the run that its workdir holds."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common, listing
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import configs, preflight
    from ssl_single_image.experiments.pretraining import pretrain
    from ssl_single_image.parallel import distributed

    common.no_words(args, "pretrain")
    profile = _steps(args.profile)
    if args.print_config:
        print(listing.whole(configs.read("pretrain", args.config).resolved()))
        return
    distributed.initialize()
    if args.dry_run:
        print(preflight.pretrain(args.config, args.workdir, devices=args.devices))
        return
    pretrain(args.config, args.workdir, devices=args.devices, profile=profile)


def _steps(text: str) -> tuple[int, int] | None:
    """The steps in START:STOP; None for "".

    Raises:
      InputError: it has another form, or STOP is not after START.
    """
    if not text:
        return None
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise InputError(
            f"--profile={text}: must be START:STOP, two steps of which the second is later, such as 20:30"
        )
    return int(start), int(stop)


if __name__ == "__main__":
    common.run("pretrain")
