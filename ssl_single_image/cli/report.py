"""`report`: writes one page of tables and figures about finished runs, or keeps it up to date while they go on."""

from __future__ import annotations

import functools

from absl import flags

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import reporting
    from ssl_single_image.parallel import distributed

    if not args.positional:
        raise InputError(
            "no runs: give workdirs of pretrain and probe, as in report --workdir R runs/rotnet runs/probe"
        )
    distributed.check_devices()
    if args.watch:
        return reporting.watch(
            args.positional,
            args.workdir,
            port=args.port,
            every=args.every,
            interactive=args.interactive,
            started=functools.partial(print, flush=True),
        )
    return print(reporting.report(args.positional, args.workdir, interactive=args.interactive))


if __name__ == "__main__":
    common.run("report")
