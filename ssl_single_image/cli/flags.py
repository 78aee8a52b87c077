"""The flags of every command. Nothing heavy is imported here, so that `COMMAND --help` answers at once."""

from __future__ import annotations

from collections.abc import Callable

from absl import flags

Define = Callable[[flags.FlagValues], None]
"""Adds a command's flags to the values given."""

CONFIGURED = ("pretrain", "probe")
"""Commands that take `--config` and `--config.FIELD=VALUE`, which `common.parse` defines once it has the config."""
CONFIG_HELP = (
    "The config: a name or a file, with an optional argument after a colon (rotnet:image=cat.jpg, or"
    " configs/pretrain/rotnet.py:image=cat.jpg), or the config.json of a run. --config.FIELD=VALUE changes a field."
)


def _workdir(flag_values: flags.FlagValues, text: str) -> None:
    """Adds `--workdir`, required."""
    flags.DEFINE_string("workdir", None, text, flag_values=flag_values)
    flags.mark_flag_as_required("workdir", flag_values=flag_values)


def _pretrain(flag_values: flags.FlagValues) -> None:
    _workdir(flag_values, "Folder of the run; a run that it holds already is resumed.")
    flags.DEFINE_integer(
        "devices", 0, "Use only so many devices; 0: all.", lower_bound=0, flag_values=flag_values
    )


def _probe(flag_values: flags.FlagValues) -> None:
    _workdir(flag_values, "Folder for probe.json, probe.md and probe.png.")
    flags.DEFINE_list(
        "checkpoint",
        None,
        "What to probe, comma-separated: WORKDIR[@STEP or @best][#ENCODER], random:BACKBONE[,OPTION=VALUE][@SEED].",
        flag_values=flag_values,
    )
    flags.mark_flag_as_required("checkpoint", flag_values=flag_values)
    flags.DEFINE_string(
        "data_dir", None, "Where prepared data sets lie; overrides config.data_dir.", flag_values=flag_values
    )


def _sample(flag_values: flags.FlagValues) -> None:
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
        "Folder to write crops to, or NAME.array_record; an export that was cut off is continued.",
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


def _report(flag_values: flags.FlagValues) -> None:
    _workdir(flag_values, "Folder of the report. The runs follow: report --workdir R RUN RUN ...")


def _prepare(flag_values: flags.FlagValues) -> None:
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
