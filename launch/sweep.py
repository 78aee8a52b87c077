r"""Runs a command with many settings: one job for each point of a grid or of a list, on this machine or on SLURM.

    python launch/sweep.py --workdir=runs/sweep --grid=config.seed=0,1,2 --grid=config.batch_size=64,128 -- \
        pretrain --config=rotnet:image=cat.jpg --config.steps=500

    python launch/sweep.py --on=array --sbatch='--gres=gpu:1 --ntasks-per-node=1' -- \
        study --config=cifar10 --workdir=runs/study

The command is pretrain, probe or finetune, whose points get a folder of --workdir each, or study, whose points are
its rows. What is done is skipped, and what was stopped is resumed, so the same call goes on with a sweep.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssl_single_image.cli import common, finetune, probe
from ssl_single_image.errors import Halted, InputError

HERE = Path(__file__).resolve().parent
PROGRAM = "ssl-single-image"
OVERRIDE = {"pretrain": lambda args: None, "probe": probe.override, "finetune": finetune.override}
"""Commands that are swept -> what puts their flags into their config."""
PLACES = ("local", "slurm", "array", "print")
JOINER = "--"
"""Between the settings in the name of a point."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One job: the words of its command line without the program, and its name."""

    name: str
    words: list[str]
    done: bool = False


def options() -> flags.FlagValues:
    """The flags of this script, which come before the command's."""
    values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "Show this text.", short_name="h", flag_values=values)
    flags.DEFINE_string("workdir", "", "Folder that gets a folder for each point.", flag_values=values)
    grid = "FLAG=VALUE,VALUE of the command, such as config.seed=0,1. Several make all combinations. Put double quotes"
    flags.DEFINE_multi_string("grid", [], f"{grid} around a value with a comma.", flag_values=values)
    points = "File with the flags of one point in each line, in place of --grid."
    flags.DEFINE_string("points", "", points, flag_values=values)
    on = "local: on this machine. slurm: one sbatch a point. array: one sbatch for all. print: print the commands."
    flags.DEFINE_enum("on", "local", PLACES, on, flag_values=values)
    workers = "With --on=local: how many points at once, each with its part of the accelerators or cores."
    flags.DEFINE_integer("workers", 1, workers, 1, 256, flag_values=values)
    sbatch = "With --on=slurm or array: options of sbatch, such as '--gres=gpu:1 --ntasks-per-node=1 --time=4:00:00'."
    flags.DEFINE_string("sbatch", "", sbatch, flag_values=values)
    at_once = "With --on=array: how many points run at once, at most; 0: all."
    flags.DEFINE_integer("at_once", 0, at_once, 0, flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Print what would be run, and run nothing.", flag_values=values)
    return values


def split_grid(text: str) -> tuple[str, list[str]]:
    """Flag and values of `FLAG=VALUE,VALUE`.

    Raises:
      InputError: it has another form.
    """
    name, _, values = text.lstrip("-").partition("=")
    found = next(csv.reader([values], strict=True), []) if values else []
    if not name or not found:
        raise InputError(f"--grid={text}: must be FLAG=VALUE,VALUE, such as config.seed=0,1,2")
    return name, found


def settings_of(args: flags.FlagValues) -> list[list[str]]:
    """The flags of each point.

    Raises:
      InputError: there are none, or they can't be read.
    """
    if bool(args.grid) == bool(args.points):
        raise InputError("give the points by --grid=FLAG=VALUE,VALUE or by --points=FILE, one of the two")
    if args.grid:
        axes = [[f"--{name}={value}" for value in values] for name, values in map(split_grid, args.grid)]
        return [list(words) for words in itertools.product(*axes)]
    try:
        lines = [shlex.split(line, comments=True) for line in Path(args.points).read_text().splitlines()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise InputError(f"--points={args.points}: can't be read: {reason}") from error
    if not any(lines):
        raise InputError(f"--points={args.points}: has no line with the flags of a point")
    return [words for words in lines if words]


def swept(command: str, words: list[str], args: flags.FlagValues) -> list[Point]:
    """The points of a sweep, each checked as its command would.

    Raises:
      InputError: a flag or field is wrong at a point, or its folder holds something else.
    """
    from ssl_single_image.experiments.completion import complete
    from ssl_single_image.experiments.finetuning import row_folder
    from ssl_single_image.runs import places

    if not args.workdir:
        raise InputError("--workdir: missing; give a folder for the points, before the command")
    if places.is_remote(args.workdir):
        raise InputError(f"--workdir={args.workdir}: a sweep keeps its logs here; give a folder on a disk")
    if common.take(words, "workdir")[0]:
        raise InputError(f"--workdir: give it before {command}; each point gets a folder in it")
    points: dict[str, Point] = {}
    for more in settings_of(args):
        name = row_folder(JOINER.join(word.lstrip("-").removeprefix("config.") for word in more))
        if name in points:
            raise InputError(f"point {name}: is given twice")
        place = Path(os.path.expanduser(args.workdir)) / name
        given = [command, *words, *more, f"--workdir={place}"]
        try:
            parsed = common.parse(command, command, given)
            common.no_words(parsed, command)
            OVERRIDE[command](parsed)
            references = probe.references(parsed.checkpoint) if command != "pretrain" else []
            points[name] = Point(name, given, complete(command, parsed.config, place, references))
        except InputError as error:
            raise InputError(f"point {name}: {error}") from error
    return list(points.values())


def rows(words: list[str], args: flags.FlagValues) -> list[Point]:
    """The rows of a study that are not done, as `study --jobs` prints them.

    Raises:
      InputError: the study's flags are wrong, or there are points beside its rows.
    """
    for name in ("workdir", "grid", "points"):
        if args[name].value:
            raise InputError(f"--{name}: study has rows as its points; give its own --workdir after study")
    done = subprocess.run([*cli(), "study", *words, "--jobs"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(common.one_line(RuntimeError(done.stderr)))
    lines = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line]
    return [Point(common.take(line, "rows")[0], line) for line in lines]


def plan(args: flags.FlagValues, words: Sequence[str]) -> tuple[Path, list[Point]]:
    """The folder of a sweep and all its points.

    Raises:
      InputError: something that was given is wrong.
    """
    command, *rest = words or [""]
    if command == "study":
        return Path(os.path.expanduser(common.take(rest, "workdir")[0])), rows(rest, args)
    if command not in OVERRIDE:
        raise InputError(f"{command!r}: give pretrain, probe, finetune or study, and its flags, after --")
    return Path(os.path.expanduser(args.workdir)), swept(command, rest, args)


def cli() -> list[str]:
    """The program that runs a point on this machine."""
    return shlex.split(os.environ.get("SSL_SINGLE_IMAGE", "")) or [sys.executable, "-m", "ssl_single_image"]


def submissions(args: flags.FlagValues, place: Path, left: Sequence[Point]) -> list[list[str]]:
    """The calls of sbatch.

    An array reads its commands from a file. It is named by what it holds, so a later call can't change it.
    """
    begin, script = ["sbatch", *shlex.split(args.sbatch)], str(HERE / "slurm.sbatch")
    if args.on == "slurm":
        return [[*begin, f"--job-name={point.name}", script, *point.words] for point in left]
    text = "".join(f"{PROGRAM} {shlex.join(point.words)}\n" for point in left)
    file = place / f"jobs-{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
    if not args.dry_run:
        from ssl_single_image.runs import workdir

        workdir.make(place)
        workdir.write_whole(file, text)
    many = f"--array=1-{len(left)}" + (f"%{args.at_once}" if args.at_once else "")
    return [[*begin, many, script, f"--commands={file}"]]


def submit(calls: Sequence[Sequence[str]]) -> None:
    """Calls sbatch.

    Raises:
      InputError: it is not there.
      Halted: it refused.
    """
    for number, call in enumerate(calls):
        try:
            status = subprocess.run(call, check=False).returncode
        except FileNotFoundError as error:
            raise InputError(
                "sbatch: not found; call this where jobs are submitted, or give --on=print"
            ) from error
        if status:
            raise Halted(
                f"sbatch refused, with status {status}; {number} of {len(calls)} jobs are submitted", 1
            )


def sweep(argv: Sequence[str]) -> None:
    """Does what the arguments say.

    Raises:
      InputError: something that was given is wrong.
      Halted: points failed, or a signal came.
    """
    args = options()
    try:
        words = args(list(argv))[1:]
    except flags.Error as error:
        raise InputError(common.one_line(error)) from error
    if args.help:
        print(f"{__doc__}\n{args.get_help(include_special_flags=False)}")
        return
    place, points = plan(args, words)
    left = [point for point in points if not point.done]
    for point in points:
        if point.done:
            sys.stderr.write(f"done: {point.name}\n")
    if not left:
        sys.stderr.write("nothing is left to do\n")
    elif args.on in ("slurm", "array"):
        calls = submissions(args, place, left)
        if args.dry_run:
            print("\n".join(shlex.join(call) for call in calls))
        else:
            submit(calls)
    elif args.on == "print" or args.dry_run:
        print("\n".join(f"{PROGRAM} {shlex.join(point.words)}" for point in left))
    else:
        from ssl_single_image.cli import pool

        pool.run({point.name: [*cli(), *point.words] for point in left}, args.workers, place)


def main(argv: Sequence[str]) -> None:
    """Runs the script, and ends the process with its exit status."""
    flags.FLAGS.mark_as_parsed()  # absl.logging asks the global flags, of which we define none
    try:
        sweep(argv)
    except InputError as error:
        sys.stderr.write(f"sweep.py: error: {common.one_line(error)}\n")
        sys.exit(2)
    except Halted as end:
        sys.stderr.write(f"sweep.py: {end}\n")
        sys.exit(end.status)


if __name__ == "__main__":
    main(sys.argv)
