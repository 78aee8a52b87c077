"""`report`: tables and figures of finished runs on one page."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ssl_single_image.analysis import report
from ssl_single_image.cli import common
from ssl_single_image.types import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    if not args.positional:
        raise InputError(
            "no runs: give workdirs of pretrain and probe, as in report --workdir R runs/rotnet runs/probe"
        )
    folder = Path(args.workdir)
    report.build(folder, [Path(run) for run in args.positional])
    print(folder / "index.html")


if __name__ == "__main__":
    common.run("report", main)
