"""The flags of every command. Nothing heavy is imported here, so that `COMMAND --help` answers at once."""

from __future__ import annotations

from collections.abc import Callable

from absl import flags

CONFIGURED = {"pretrain": "rotnet", "probe": "cifar10", "finetune": "cifar10", "study": "cifar10"}
"""Commands that take `--config` and `--config.FIELD=VALUE`, which `common.parse` defines once it has the config, and
the config whose fields their help lists if none is given."""
PRINT_CONFIG = "print_config"
DEFAULT_DATA_DIR = "default: TFDS's own, ~/tensorflow_datasets"
REFERENCES = (
    "WORKDIR[@STEP or @best][#ENCODER], random:BACKBONE[,OPTION=VALUE][@SEED],"
    " kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED] and likewise esvm:, mmcf: and patches:,"
    " scattering[:OPTION=VALUE],"
    " file:PATH[,layout=NAME][,OPTION=VALUE], zoo:NAME"
)
CONFIG_HELP = (
    "The config, by name or file, with optional arguments after a colon (rotnet:image=cat.jpg, or"
    " configs/pretrain/rotnet.py:image=cat.jpg), or the config.json of a run. Change fields with --config.FIELD=VALUE."
)


class Adder:
    """Adds flags to the given values; what is given here twice or more is written once."""

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self._values = flag_values

    def text(self, name: str, default: str | None, summary: str) -> None:
        """A string."""
        flags.DEFINE_string(name, default, summary, flag_values=self._values)

    def texts(self, name: str, default: list[str] | None, summary: str) -> None:
        """Strings, separated by commas."""
        flags.DEFINE_list(name, default, summary, flag_values=self._values)

    def whole(
        self,
        name: str,
        default: int | None,
        summary: str,
        lowest: int | None = None,
        highest: int | None = None,
    ) -> None:
        """A whole number within bounds."""
        flags.DEFINE_integer(name, default, summary, lowest, highest, flag_values=self._values)

    def real(self, name: str, default: float | None, summary: str, lowest: float | None = None) -> None:
        """A number that is not less than a bound."""
        flags.DEFINE_float(name, default, summary, lowest, flag_values=self._values)

    def switch(self, name: str, default: bool | None, summary: str) -> None:
        """On or off."""
        flags.DEFINE_bool(name, default, summary, flag_values=self._values)

    def devices(self) -> None:
        """`--devices`."""
        self.whole("devices", 0, "Number of devices to use; 0 uses all.", lowest=0)

    def data_dir(self, otherwise: str = "overrides config.data_dir") -> None:
        """`--data_dir`."""
        self.text("data_dir", None, f"Folder of prepared data sets; {otherwise}.")

    def dry_run(self) -> None:
        """`--dry_run`."""
        summary = (
            "Check all that can be wrong, compile what needs memory, say what would be done, and do nothing."
        )
        self.switch("dry_run", False, summary)

    def print_config(self) -> None:
        """`--print_config`."""
        summary = "Print every field of the config with its value, its meaning and what it may be, and do nothing else."
        self.switch(PRINT_CONFIG, False, summary)

    def required(self, *names: str) -> None:
        """Refuses flags that are missing or empty, unless `--print_config` is all that is asked for."""
        values = self._values
        for name in names:
            flags.register_validator(
                name,
                lambda value: (
                    value not in (None, "") or (PRINT_CONFIG in values and values[PRINT_CONFIG].value)
                ),
                f"Flag --{name} must have a value.",
                flag_values=values,
            )


def _pretrain(add: Adder) -> None:
    add.text("workdir", None, "Folder of the run, also PROTOCOL://PATH. An existing run is resumed.")
    add.devices()
    trace = "START:STOP: steps of which WORKDIR/profile gets a trace, for TensorBoard and Perfetto."
    add.text("profile", "", trace)
    add.dry_run()
    add.print_config()
    add.required("workdir")


def _probe(add: Adder) -> None:
    add.text("workdir", None, "Folder to write probe.json, probe.md and probe.png to.")
    encoders = f"Encoders to probe, comma-separated: {REFERENCES}. WORKDIR@all: each checkpoint of a run."
    add.texts("checkpoint", None, encoders)
    add.data_dir()
    seeds = "How often classifiers are trained, on the same features; overrides config.seeds."
    add.whole("seeds", None, seeds, lowest=1)
    add.texts("layers", None, "Layers to probe, comma-separated; overrides config.layers.")
    add.dry_run()
    add.print_config()
    add.required("workdir", "checkpoint")


def _finetune(add: Adder) -> None:
    folder = (
        "Folder for finetune.json, finetune.md and the run of each checkpoint. Existing runs are resumed."
    )
    add.text("workdir", None, folder)
    encoders = (
        f"Encoders whose first layers are frozen, comma-separated: {REFERENCES}; none trains all layers."
    )
    add.texts("checkpoint", None, encoders)
    add.data_dir()
    add.devices()
    add.dry_run()
    add.print_config()
    add.required("workdir", "checkpoint")


def _study(add: Adder) -> None:
    add.text("workdir", None, "Folder of the study. The same command goes on with what is not done.")
    add.texts("rows", [], "Only rows of these names, comma-separated patterns such as rotnet-*.")
    add.real("budget", None, "Scales the training steps of every row; overrides config.budget.")
    add.data_dir()
    add.switch(
        "dry_run", False, "Print the rows, what is left of them, and how long it will take; do nothing."
    )
    add.switch("jobs", False, "Print one command for each row that is not done, for a cluster; do nothing.")
    add.text("keep", "", "Copy what is small of all rows that are done to this folder; do nothing else.")
    workers = (
        "Processes that share the rows, each with its part of the accelerators; 0: one for each accelerator."
    )
    add.whole("workers", 1, workers, lowest=0, highest=256)
    add.whole("devices", 0, "Number of devices that train one row; 0 uses all.", lowest=0)
    add.print_config()
    add.required("workdir")


def _analyse(add: Adder) -> None:
    add.texts("checkpoint", None, f"Encoders to analyse, comma-separated: {REFERENCES}.")
    add.text("workdir", None, "Folder to write results, tables and pictures to.")
    what = (
        "What to look at. layers: filters, nearest crops, similarity and ranks. invariance: what layers ignore and"
        " follow, and which places they match. landmarks: points found by a regressor on frozen features."
    )
    add.text("what", "layers", what)
    data = (
        "Labelled set whose test images are used: photos, cifar10, folder:PATH or tfds:NAME. For landmarks: photos,"
        " which are then warped, or a set with landmarks such as tfds:celeb_a. Default: photos."
    )
    add.text("data", None, data)
    add.data_dir(DEFAULT_DATA_DIR)
    images = "Number of images; all of the set if it has fewer. Default: 512 for layers, 128 for invariance, 256 for"
    add.whole("images", None, f"{images} the training of landmarks.")
    add.texts(
        "layers", [], "Layers to look at, comma-separated; default: all, for landmarks all but the first."
    )
    source = "layers: image whose crops are compared, default: that of the first run given."
    add.text(
        "source", None, f"{source} invariance: images in place of --data. landmarks: the photograph to warp."
    )
    add.whole("queries", None, "layers: crops whose nearest ones are shown. Default: 4.")
    add.whole("neighbours", None, "layers: how many of the nearest crops are shown. Default: 5.")
    grid = "layers, invariance: activations are averaged over a grid of at most so many bins a side."
    add.whole("grid", None, f"{grid} Default: 4.")
    add.whole("views", None, "invariance: views of each image under each augmentation. Default: 4.")
    add.whole("pairs", None, "invariance: warped photographs in which places are matched. Default: 40.")
    add.whole("test_images", None, "landmarks: pictures that errors are measured on. Default: 128.")
    add.whole("steps", None, "landmarks: optimisation steps of a regressor. Default: 300.")
    add.whole(
        "size", None, "landmarks: side of the pictures in pixels. Default: up to twice the encoder's input."
    )
    add.switch("alone", None, "landmarks: measure each layer alone too. Default: true.")
    add.whole("seed", None, "Seed of what is drawn at random. Default: 0.")
    add.dry_run()
    add.required("workdir", "checkpoint")


def _stylize(add: Adder) -> None:
    add.text("checkpoint", None, f"Encoder to paint with: {REFERENCES}. A Sobel network can't be used.")
    add.text("content", None, "Image whose objects are shown: a file, builtin:NAME or synthetic:NAME@SEED.")
    add.text("style", None, "Image whose colours and textures are taken, likewise.")
    add.text("out", None, "Image file to write; NAME.json beside it records settings and losses.")
    add.whole("size", 256, "Longer side of the picture in pixels.")
    add.whole("steps", 200, "Steps of L-BFGS.")
    add.whole("seed", 0, "Seed of the shifts.")
    layers = "Layers whose Gram matrices are compared, comma-separated. Default: the first four of five."
    add.texts("style_layers", [], layers)
    add.text("content_layer", "", "Layer whose activations are compared. Default: the third of five.")
    add.real("style_weight", 1e6, "Over n^2, the weight of a layer with n channels; larger for more style.")
    add.real("content_weight", 1.0, "Weight of the content; larger for more content.")
    smooth = "Weight of differences between neighbours; larger for a smoother picture."
    add.real("variation_weight", 1e-3, smooth)
    add.whole("shift", 8, "Pixels of random shift in each step, at most; 0: none.")
    add.text("pooling", "average", "average, in place of the network's max pooling, or max.")
    add.required("checkpoint", "content", "style", "out")


def _sample(add: Adder) -> None:
    source = (
        "Source: a file, folder, glob pattern, builtin:NAME[+NAME...], synthetic:NAME[,size=N]@SEED or"
        " unlabelled:DATASET. builtin:list and synthetic:list print the names."
    )
    add.text("image", None, source)
    add.text("out", None, "Image file to write a sheet of crops to.")
    export = "Folder to write crops to, or NAME.array_record. The same command goes on, a higher --count extends it."
    add.text("export", None, export)
    kinds = (
        "With --export FOLDER: png, jpeg (or jpg) or webp for image files, array_record for a TFDS data set."
    )
    add.text("format", "png", kinds)
    add.whole("count", 48, "Number of crops.")
    add.text("preset", "paper", "Recipe for crops: paper or authors.")
    add.text("crop", "", "Changes to the preset's fields, such as rotation=10,hue=0.")
    add.switch("alone", True, "Add a row for each augmentation alone below the sheet.")
    add.whole("size", 32, "Side of the crops in pixels.")
    add.whole("seed", 0, "Seed of the crops; `pretrain` with this seed sees the same ones.")
    add.whole("scale", 0, "Enlarge crops by this whole factor; 0 picks one.")
    pixels = "Most pixels that a source image may have; 0: 89 million. Cameras of 100 megapixels need more."
    add.whole("max_pixels", 0, pixels)
    add.whole("shrink", 1, "Divide the sides of every source image by this first.")
    add.data_dir(f"used by unlabelled:DATASET; {DEFAULT_DATA_DIR}")
    add.required("image")


def _export(add: Adder) -> None:
    encoder = f"Encoder to export: {REFERENCES}. zoo:list prints the encoders that come with the package."
    add.text("checkpoint", None, encoder)
    out = "File to write: NAME.safetensors, or NAME.pth for torch.load. NAME.md gets the model card."
    add.text("out", None, out)
    add.text("dtype", "float32", "Type of the numbers: float32 or float16.")
    add.text(
        "licence", "", "Licence of the source image, for the card. That of a built-in photograph is known."
    )
    add.text("probe", None, "A probe.json that measured the encoder; its table goes into the card.")
    add.required("checkpoint")


def _status(add: Adder) -> None:
    del add  # the workdirs are words: status RUN RUN ...


def _report(add: Adder) -> None:
    add.text(
        "workdir", None, "Folder to write the report to. The runs follow: report --workdir R RUN RUN ..."
    )
    interactive = (
        "Plots that answer the mouse, 1.3 MB more. Default: if Bokeh is installed (pip install '.[report]')."
    )
    add.switch("interactive", None, interactive)
    watch = "Serve the page on this machine, and build it anew while the runs go on. Ctrl-C ends it."
    add.switch("watch", False, watch)
    port = "With --watch: the port of 127.0.0.1; 0: any that is free."
    add.whole("port", 8000, port, lowest=0, highest=65535)
    add.real("every", 10.0, "With --watch: seconds between two looks at the runs.", lowest=0.1)
    add.required("workdir")


def _prepare(add: Adder) -> None:
    add.text(
        "dataset",
        None,
        "Data set: photos, cifar10, cifar100, imagenet, voc07, folder:PATH, tfds:NAME or boxes:NAME.",
    )
    add.data_dir(DEFAULT_DATA_DIR)
    add.text("folder", None, "Folder of train/CLASS/* and test/CLASS/* images to convert; needs --name.")
    add.text("name", None, "With --folder: name of the new set, which is then read as tfds:NAME.")
    add.switch("check", False, "Only load --dataset and print what it holds.")
    add.whole("size", 32, "With --check: input side of the encoder.", lowest=8)


COMMANDS: dict[str, Callable[[Adder], None]] = {
    "pretrain": _pretrain,
    "probe": _probe,
    "finetune": _finetune,
    "study": _study,
    "analyse": _analyse,
    "stylize": _stylize,
    "sample": _sample,
    "export": _export,
    "status": _status,
    "report": _report,
    "prepare": _prepare,
}
"""The commands, in the order of their help."""


def define(command: str, flag_values: flags.FlagValues) -> None:
    """Adds a command's flags to the given values."""
    COMMANDS[command](Adder(flag_values))
