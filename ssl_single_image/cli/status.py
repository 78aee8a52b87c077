"""`status`: prints how far workdirs are, how fast they go, and how long they will take."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import statuses

    if not args.positional:
        raise InputError("no workdirs: give some, as in status runs/rotnet runs/study")
    print(statuses.status(args.positional))


if __name__ == "__main__":
    common.run("status")
