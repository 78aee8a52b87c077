"""`study`: does all rows of a study, or says what is left of it."""

from __future__ import annotations

import datetime
import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from absl import flags
from tabulate import tabulate

from ssl_single_image.cli import common, listing, sharing
from ssl_single_image.errors import Halted, InputError

if TYPE_CHECKING:
    from ssl_single_image.experiments import studying

MODULE = "ssl_single_image.cli.study"
PROGRAM = "ssl-single-image study"
WITH_VALUE, ALONE = ("rows", "keep", "workers"), ("dry_run", "jobs")
"""Flags that are no part of the command that goes on with the study."""


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image.experiments import configs, studying
    from ssl_single_image.parallel import distributed
    from ssl_single_image.runs import places

    common.no_words(args, "study")
    for name in ("data_dir", "budget"):
        if args[name].value is not None:
            args.config[name] = args[name].value
    settings = configs.read("study", args.config)
    if args.print_config:
        print(listing.whole(settings))
    elif args.dry_run:
        print(_plan(studying.planned(settings, args.workdir, args.rows)))
    elif args.jobs:
        left = [unit.name for unit, stages in studying.planned(settings, args.workdir, args.rows) if stages]
        print("\n".join(f"{_command(args)} --rows={name}" for name in left))
    elif args.keep:
        print(studying.keep(settings, args.workdir, args.keep))
    elif args.workers != 1:
        if places.is_remote(args.workdir):
            raise InputError(f"--workers={args.workers}: must be 1 for a study in a store, {args.workdir}")
        _share(args)
    else:
        distributed.check_devices()
        print(
            studying.study(
                settings, args.workdir, rows=args.rows, devices=args.devices, command=_command(args)
            )
        )


def _command(args: flags.FlagValues) -> str:
    """The command that goes on with the study, without what selects rows."""
    words = list(args.words)
    for name in WITH_VALUE:
        words = common.take(words, name)[1]
    return f"{PROGRAM} {shlex.join(word for word in words if word.lstrip('-') not in ALONE)}"


def _plan(found: studying.Planned) -> str:
    """A table of what is left, and the sums."""
    rows: list[list[str]] = []
    seconds, disk, unknown = 0.0, 0, 0
    for unit, stages in found:
        told = [f"{stage} {_time(each.seconds)} ({each.basis})" for stage, each in stages]
        rows.append([unit.name, f"{unit.views:,}", ", ".join(told) or "done"])
        seconds += sum(each.seconds or 0.0 for _, each in stages)
        disk += sum(each.disk for _, each in stages)
        unknown += sum(each.seconds is None for _, each in stages)
    table = tabulate(rows, ("row", "views", "left"), disable_numparse=True)
    left = sum(bool(stages) for _, stages in found)
    more = f", and {unknown} stages whose time is not known" if unknown else ""
    took = f"{_time(seconds)}{more}; checkpoints take {disk / 1e9:.1f} GB"
    return f"{table}\n\n{left} of {len(found)} rows are left: {took}."


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def _share(args: flags.FlagValues) -> None:
    """Starts several drivers of the study, and waits for them.

    Raises:
      Halted: one of them did not complete.
    """
    devices = sharing.devices()
    count = args.workers or len(devices) or 1
    words = common.take(list(args.words), "workers")[1]
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", MODULE, *words], env=os.environ | sharing.share_of(devices, number)
        )
        for number in range(count)
    ]
    if not devices:
        for number, driver in enumerate(drivers):
            sharing.keep_to_cores(driver.pid, number, count)

    def pass_on(number: int, frame: object) -> None:
        for driver in drivers:
            driver.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)  # Ctrl-C reaches all of them by itself
    try:
        statuses = [driver.wait() for driver in drivers]
    except KeyboardInterrupt:
        for driver in drivers:
            driver.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if failed := [status for status in statuses if status]:
        status = failed[0] if failed[0] > 0 else 128 - failed[0]
        raise Halted(
            f"{len(failed)} of {count} workers did not complete; what they said stands above", status
        )


if __name__ == "__main__":
    common.run("study")
