"""`report`: writes one page of tables and figures about finished runs."""

from __future__ import annotations

from absl import flags

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments.reporting import report
    from ssl_single_image.parallel import distributed

    if not args.positional:
        raise InputError(
            "no runs: give workdirs of pretrain and probe, as in report --workdir R runs/rotnet runs/probe"
        )
    distributed.check_devices()
    print(report(args.positional, args.workdir))


if __name__ == "__main__":
    common.run("report")
