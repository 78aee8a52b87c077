"""The flags of every command. Nothing heavy is imported here, so that `COMMAND --help` answers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from absl import flags
from ml_collections import config_flags

Define = Callable[[flags.FlagValues, Sequence[str]], None]
"""Adds a command's flags to the values given; the argument list is needed to read `--config` overrides."""


def _config(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Adds `--config FILE.py[:arg]`, required, with locked `--config.KEY=VALUE` overrides."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file, with an optional argument after a colon: configs/pretrain/rotnet.py:image=cat.jpg",
        lock_config=True,
        flag_values=flag_values,
        sys_argv=list(argv),
    )
    flags.mark_flag_as_required("config", flag_values=flag_values)


def _workdir(flag_values: flags.FlagValues, text: str) -> None:
    """Adds `--workdir`, required."""
    flags.DEFINE_string("workdir", None, text, flag_values=flag_values)
    flags.mark_flag_as_required("workdir", flag_values=flag_values)


def _pretrain(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    _config(flag_values, argv)
    _workdir(flag_values, "Folder of the run; one that holds this run already is gone on with.")
    flags.DEFINE_integer(
        "devices", 0, "Use only so many devices; 0: all.", lower_bound=0, flag_values=flag_values
    )


def _probe(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    _config(flag_values, argv)
    _workdir(flag_values, "Folder for probe.json, probe.md and probe.png.")
    flags.DEFINE_list(
        "checkpoint",
        None,
        "What to probe, comma-separated: WORKDIR, WORKDIR@STEP, WORKDIR@best, random:BACKBONE[@SEED].",
        flag_values=flag_values,
    )
    flags.mark_flag_as_required("checkpoint", flag_values=flag_values)
    flags.DEFINE_string(
        "data_dir", None, "Where prepared data sets lie; overrides config.data_dir.", flag_values=flag_values
    )


def _sample(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    del argv
    text, number = flags.DEFINE_string, flags.DEFINE_integer
    text(
        "image",
        None,
        "File, folder, glob pattern or builtin:NAME; builtin:list lists.",
        flag_values=flag_values,
    )
    text("out", None, "Image file to write: a sheet of crops.", flag_values=flag_values)
    text(
        "export",
        None,
        "Folder to write crops to, or NAME.array_record; an export that was cut off is gone on with.",
        flag_values=flag_values,
    )
    text(
        "format",
        "png",
        "Of --export FOLDER: png, jpeg or webp files, or array_record (a TFDS data set).",
        flag_values=flag_values,
    )
    number("count", 48, "Number of crops.", flag_values=flag_values)
    text("preset", "paper", "How crops are made: paper or authors.", flag_values=flag_values)
    text(
        "crop",
        "",
        "Fields of the crop that differ from the preset: rotation=10,hue=0",
        flag_values=flag_values,
    )
    flags.DEFINE_bool(
        "alone", True, "Below the sheet, a row for each augmentation alone.", flag_values=flag_values
    )
    number("size", 32, "Side of the crops in pixels.", flag_values=flag_values)
    number(
        "seed", 0, "Names the virtual data set: that of `pretrain` with this seed.", flag_values=flag_values
    )
    number("scale", 0, "Whole factor that crops are shown at; 0 picks one.", flag_values=flag_values)
    flags.mark_flag_as_required("image", flag_values=flag_values)


def _report(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    del argv
    _workdir(flag_values, "Folder of the report. The runs follow: report --workdir R RUN RUN ...")


def _prepare(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    del argv

    def text(name: str, summary: str) -> None:
        flags.DEFINE_string(name, None, summary, flag_values=flag_values)

    text("dataset", "photos, cifar10, cifar100, imagenet, folder:PATH or tfds:NAME.")
    text("data_dir", "Folder of prepared data sets; default: TFDS's own, ~/tensorflow_datasets.")
    text("folder", "Convert this folder of train/CLASS/* and test/CLASS/* images; needs --name.")
    text("name", "With --folder: name of the new set, read afterwards as tfds:NAME.")
    flags.DEFINE_bool("check", False, "Only load --dataset and print what it holds.", flag_values=flag_values)
    flags.DEFINE_integer(
        "size", 32, "With --check: input side of the encoder.", lower_bound=8, flag_values=flag_values
    )


DEFINE: dict[str, Define] = {
    "pretrain": _pretrain,
    "probe": _probe,
    "sample": _sample,
    "report": _report,
    "prepare": _prepare,
}
