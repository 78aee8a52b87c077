"""The flags of every command. Nothing heavy is imported here, so that `COMMAND --help` answers at once."""

from __future__ import annotations

from collections.abc import Callable

from absl import flags

Define = Callable[[flags.FlagValues], None]
"""Adds a command's flags to the given values."""

CONFIGURED = {"pretrain": "rotnet", "probe": "cifar10", "finetune": "cifar10", "study": "cifar10"}
"""Commands that take `--config` and `--config.FIELD=VALUE`, which `common.parse` defines once it has the config, and
the config whose fields their help lists if none is given."""
PRINT_CONFIG = "print_config"
REFERENCES = (
    "WORKDIR[@STEP or @best][#ENCODER], random:BACKBONE[,OPTION=VALUE][@SEED],"
    " kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED], scattering[:OPTION=VALUE],"
    " file:PATH[,layout=NAME][,OPTION=VALUE], zoo:NAME"
)
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
        f"Encoders to probe, comma-separated: {REFERENCES}. WORKDIR@all: each checkpoint of a run.",
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


def _finetune(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder for finetune.json, finetune.md and the run of each checkpoint. Existing runs are resumed.",
        flag_values=flag_values,
    )
    flags.DEFINE_list(
        "checkpoint",
        None,
        f"Encoders whose first layers are frozen, comma-separated: {REFERENCES}; none trains all layers.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of prepared data sets; overrides config.data_dir.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "devices", 0, "Number of devices to use; 0 uses all.", lower_bound=0, flag_values=flag_values
    )
    _print_config(flag_values)
    _required(flag_values, "workdir", "checkpoint")


def _study(flag_values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, summary: str) -> None:
        flags.DEFINE_string(name, default, summary, flag_values=flag_values)

    def switch(name: str, summary: str) -> None:
        flags.DEFINE_bool(name, False, summary, flag_values=flag_values)

    text("workdir", None, "Folder of the study. The same command goes on with what is not done.")
    flags.DEFINE_list(
        "rows",
        [],
        "Only rows of these names, comma-separated patterns such as rotnet-*.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "budget",
        None,
        "Scales the training steps of every row; overrides config.budget.",
        flag_values=flag_values,
    )
    text("data_dir", None, "Folder of prepared data sets; overrides config.data_dir.")
    switch("dry_run", "Print the rows, what is left of them, and how long it will take; do nothing.")
    switch("jobs", "Print one command for each row that is not done, for a cluster; do nothing.")
    text("keep", "", "Copy what is small of all rows that are done to this folder; do nothing else.")
    flags.DEFINE_integer(
        "workers",
        1,
        "Processes that share the rows, each with its part of the accelerators; 0: one for each accelerator.",
        lower_bound=0,
        upper_bound=256,
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "devices",
        0,
        "Number of devices that train one row; 0 uses all.",
        lower_bound=0,
        flag_values=flag_values,
    )
    _print_config(flag_values)
    _required(flag_values, "workdir")


def _analyse(flag_values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, summary: str) -> None:
        flags.DEFINE_string(name, default, summary, flag_values=flag_values)

    def number(name: str, default: int, summary: str) -> None:
        flags.DEFINE_integer(name, default, summary, flag_values=flag_values)

    flags.DEFINE_list(
        "checkpoint", None, f"Encoders to analyse, comma-separated: {REFERENCES}.", flag_values=flag_values
    )
    text("workdir", None, "Folder to write analysis.json, analysis.md, CSV tables and pictures to.")
    text(
        "data",
        "photos",
        "Labelled set whose test images are used: photos, cifar10, folder:PATH or tfds:NAME.",
    )
    text("data_dir", None, "Folder of prepared data sets. Default: TFDS's own, ~/tensorflow_datasets.")
    number("images", 512, "Number of images, at least 4; all of the set if it has fewer.")
    flags.DEFINE_list(
        "layers", [], "Layers to look at, comma-separated; default: all.", flag_values=flag_values
    )
    text("source", "", "Image whose crops are compared. Default: that of the first run given.")
    number("queries", 4, "Crops whose nearest ones are shown.")
    number("neighbours", 5, "How many of the nearest crops are shown.")
    number("grid", 4, "Activations are averaged over a grid of at most so many bins a side.")
    number("seed", 0, "Seed of the draw of images.")
    _required(flag_values, "workdir", "checkpoint")


def _stylize(flag_values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, summary: str) -> None:
        flags.DEFINE_string(name, default, summary, flag_values=flag_values)

    def number(name: str, default: int, summary: str) -> None:
        flags.DEFINE_integer(name, default, summary, flag_values=flag_values)

    def weight(name: str, default: float, summary: str) -> None:
        flags.DEFINE_float(name, default, summary, flag_values=flag_values)

    text("checkpoint", None, f"Encoder to paint with: {REFERENCES}. A Sobel network can't be used.")
    text("content", None, "Image whose objects are shown: a file, builtin:NAME or synthetic:NAME@SEED.")
    text("style", None, "Image whose colours and textures are taken, likewise.")
    text("out", None, "Image file to write; NAME.json beside it records settings and losses.")
    number("size", 256, "Longer side of the picture in pixels.")
    number("steps", 200, "Steps of L-BFGS.")
    number("seed", 0, "Seed of the shifts.")
    flags.DEFINE_list(
        "style_layers",
        [],
        "Layers whose Gram matrices are compared, comma-separated. Default: the first four of five.",
        flag_values=flag_values,
    )
    text("content_layer", "", "Layer whose activations are compared. Default: the third of five.")
    weight("style_weight", 1e6, "Over n^2, the weight of a layer with n channels; larger for more style.")
    weight("content_weight", 1.0, "Weight of the content; larger for more content.")
    weight(
        "variation_weight", 1e-3, "Weight of differences between neighbours; larger for a smoother picture."
    )
    number("shift", 8, "Pixels of random shift in each step, at most; 0: none.")
    text("pooling", "average", "average, in place of the network's max pooling, or max.")
    _required(flag_values, "checkpoint", "content", "style", "out")


def _sample(flag_values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, summary: str) -> None:
        flags.DEFINE_string(name, default, summary, flag_values=flag_values)

    def number(name: str, default: int, summary: str) -> None:
        flags.DEFINE_integer(name, default, summary, flag_values=flag_values)

    text(
        "image",
        None,
        "Source: a file, folder, glob pattern, builtin:NAME[+NAME...], synthetic:NAME[,size=N]@SEED or"
        " unlabelled:DATASET. builtin:list and synthetic:list print the names.",
    )
    text("out", None, "Image file to write a sheet of crops to.")
    text(
        "export",
        None,
        "Folder to write crops to, or NAME.array_record. The same command continues it, a higher --count extends it.",
    )
    text(
        "format",
        "png",
        "With --export FOLDER: png, jpeg (or jpg) or webp for image files, array_record for a TFDS data set.",
    )
    number("count", 48, "Number of crops.")
    text("preset", "paper", "Recipe for crops: paper or authors.")
    text("crop", "", "Changes to the preset's fields, such as rotation=10,hue=0.")
    flags.DEFINE_bool(
        "alone", True, "Add a row for each augmentation alone below the sheet.", flag_values=flag_values
    )
    number("size", 32, "Side of the crops in pixels.")
    number("seed", 0, "Seed of the crops; `pretrain` with this seed sees the same ones.")
    number("scale", 0, "Enlarge crops by this whole factor; 0 picks one.")
    number(
        "max_pixels",
        0,
        "Most pixels that a source image may have; 0: 89 million. Cameras of 100 megapixels need more.",
    )
    number("shrink", 1, "Divide the sides of every source image by this first.")
    text(
        "data_dir",
        "",
        "Folder of prepared data sets, for unlabelled:DATASET. Default: ~/tensorflow_datasets.",
    )
    _required(flag_values, "image")


def _export(flag_values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, summary: str) -> None:
        flags.DEFINE_string(name, default, summary, flag_values=flag_values)

    text(
        "checkpoint",
        None,
        f"Encoder to export: {REFERENCES}. zoo:list prints the encoders that come with the package.",
    )
    text(
        "out",
        None,
        "File to write: NAME.safetensors, or NAME.pth for torch.load. NAME.md gets the model card.",
    )
    text("dtype", "float32", "Type of the numbers: float32 or float16.")
    text("licence", "", "Licence of the source image, for the card. That of a built-in photograph is known.")
    text("probe", None, "A probe.json that measured the encoder; its table goes into the card.")
    _required(flag_values, "checkpoint")


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

    text("dataset", "Data set: photos, cifar10, cifar100, imagenet, voc07, folder:PATH or tfds:NAME.")
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
    "finetune": _finetune,
    "study": _study,
    "analyse": _analyse,
    "stylize": _stylize,
    "sample": _sample,
    "export": _export,
    "report": _report,
    "prepare": _prepare,
}
