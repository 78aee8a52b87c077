"""The flags of every command. Nothing heavy is imported here, so that `COMMAND --help` answers at once."""

from __future__ import annotations

from collections.abc import Callable

from absl import flags

Define = Callable[[flags.FlagValues], None]
"""Adds a command's flags to the given values."""

CONFIGURED = {"pretrain": "rotnet", "probe": "cifar10"}
"""Commands that take `--config` and `--config.FIELD=VALUE`, which `common.parse` defines once it has the config, and
the config whose fields their help lists if none is given."""
PRINT_CONFIG = "print_config"
CONFIG_HELP = (
    "The config, by name or file, with optional arguments after a colon (rotnet:image=cat.jpg, or"
    " configs/pretrain/rotnet.py:image=cat.jpg), or the config.json of a run. Change fields with --config.FIELD=VALUE."
)


def _required(flag_values: flags.FlagValues, *names: str) -> None:
    """Refuses flags that are missing or empty, unless `--print_config` is all that is asked for."""
    for name in names:
        flags.register_validator(
            name,
            lambda value: (
                value not in (None, "") or (PRINT_CONFIG in flag_values and flag_values[PRINT_CONFIG].value)
            ),
            f"Flag --{name} must have a value.",
            flag_values=flag_values,
        )


def _print_config(flag_values: flags.FlagValues) -> None:
    """Adds `--print_config`."""
    flags.DEFINE_bool(
        PRINT_CONFIG,
        False,
        "Print every field of the config with its value, its meaning and what it may be, and do nothing else.",
        flag_values=flag_values,
    )


def _pretrain(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "Folder of the run. An existing run is resumed.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "devices", 0, "Number of devices to use; 0 uses all.", lower_bound=0, flag_values=flag_values
    )
    _print_config(flag_values)
    _required(flag_values, "workdir")


def _probe(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "Folder to write probe.json, probe.md and probe.png to.", flag_values=flag_values
    )
    flags.DEFINE_list(
        "checkpoint",
        None,
        "Encoders to probe, comma-separated: WORKDIR[@STEP, @best or @all][#ENCODER], random:BACKBONE[,OPTION=VALUE]"
        "[@SEED].",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of prepared data sets; overrides config.data_dir.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "seeds",
        None,
        "How often classifiers are trained, on the same features; overrides config.seeds.",
        lower_bound=1,
        flag_values=flag_values,
    )
    flags.DEFINE_list(
        "layers", None, "Layers to probe, comma-separated; overrides config.layers.", flag_values=flag_values
    )
    _print_config(flag_values)
    _required(flag_values, "workdir", "checkpoint")


def _sample(flag_values: flags.FlagValues) -> None:
    text, number = flags.DEFINE_string, flags.DEFINE_integer
    text(
        "image",
        None,
        "Source image: a file, folder, glob pattern or builtin:NAME. builtin:list prints the built-in names.",
        flag_values=flag_values,
    )
    text("out", None, "Image file to write a sheet of crops to.", flag_values=flag_values)
    text(
        "export",
        None,
        "Folder to write crops to, or NAME.array_record. The same command continues it, a higher --count extends it.",
        flag_values=flag_values,
    )
    text(
        "format",
        "png",
        "With --export FOLDER: png, jpeg (or jpg) or webp for image files, array_record for a TFDS data set.",
        flag_values=flag_values,
    )
    number("count", 48, "Number of crops.", flag_values=flag_values)
    text("preset", "paper", "Recipe for crops: paper or authors.", flag_values=flag_values)
    text(
        "crop",
        "",
        "Changes to the preset's fields, such as rotation=10,hue=0.",
        flag_values=flag_values,
    )
    flags.DEFINE_bool(
        "alone", True, "Add a row for each augmentation alone below the sheet.", flag_values=flag_values
    )
    number("size", 32, "Side of the crops in pixels.", flag_values=flag_values)
    number(
        "seed", 0, "Seed of the crops; `pretrain` with this seed sees the same ones.", flag_values=flag_values
    )
    number("scale", 0, "Enlarge crops by this whole factor; 0 picks one.", flag_values=flag_values)
    number(
        "max_pixels",
        0,
        "Most pixels that a source image may have; 0: 89 million. Cameras of 100 megapixels need more.",
        flag_values=flag_values,
    )
    _required(flag_values, "image")


def _report(flag_values: flags.FlagValues) -> None:
    text = "Folder to write the report to. The runs follow: report --workdir R RUN RUN ..."
    flags.DEFINE_string("workdir", None, text, flag_values=flag_values)
    flags.DEFINE_bool(
        "interactive",
        None,
        "Plots that answer the mouse, 1.3 MB more. Default: where Bokeh is installed (pip install '.[report]').",
        flag_values=flag_values,
    )
    flags.DEFINE_bool(
        "watch",
        False,
        "Serve the page on this machine, and build it anew while the runs go on. Ctrl-C ends it.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "port",
        8000,
        "With --watch: the port of 127.0.0.1; 0: any that is free.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "every",
        10.0,
        "With --watch: seconds between two looks at the runs.",
        lower_bound=0.1,
        flag_values=flag_values,
    )
    _required(flag_values, "workdir")


def _prepare(flag_values: flags.FlagValues) -> None:
    def text(name: str, summary: str) -> None:
        flags.DEFINE_string(name, None, summary, flag_values=flag_values)

    text("dataset", "Data set: photos, cifar10, cifar100, imagenet, folder:PATH or tfds:NAME.")
    text("data_dir", "Folder of prepared data sets. Default: TFDS's own, ~/tensorflow_datasets.")
    text("folder", "Folder of train/CLASS/* and test/CLASS/* images to convert; needs --name.")
    text("name", "With --folder: name of the new set, which is then read as tfds:NAME.")
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
