"""`prepare`: downloads a labelled data set for probes, converts a folder into one, or checks one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from ssl_single_image.cli import common
from ssl_single_image.errors import InputError

if TYPE_CHECKING:
    from ssl_single_image import datasets


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    from ssl_single_image import datasets

    common.no_words(args, "prepare")
    if (args.dataset is None) == (args.folder is None):
        raise InputError("give either --dataset or --folder")
    if (args.folder is None) != (args.name is None):
        raise InputError("--folder and --name go together")
    if args.check:
        if args.folder is not None:
            raise InputError(
                f"--check is for --dataset; for a folder: --check --dataset folder:{args.folder}"
            )
        settings = {"data_dir": args.data_dir, "size": args.size}
        print(describe(datasets.load(args.dataset, **settings, multi_label=None, boxed=True)))
        return
    if args.folder is None:
        kind, argument = datasets.parse(args.dataset)
        if kind not in ("tfds", "boxes"):
            raise InputError(f"--dataset={args.dataset}: nothing to prepare; --check shows what it holds")
    from ssl_single_image.datasets import convert  # imports TFDS, which takes a second

    if args.folder is None:
        print(f"ready: {convert.prepare_tfds(argument, args.data_dir)}")
    else:
        print(f"ready: {convert.prepare_folder(args.folder, args.name, args.data_dir)}")
        print(f"use it as --config.dataset=tfds:{args.name}")


def describe(labelled: datasets.LabelledSet) -> str:
    """A few lines on what a labelled set holds."""
    batch = next(labelled.test.batches(1))
    side = batch.image.shape[1]
    names = ", ".join(labelled.classes[:10]) + (", ..." if len(labelled.classes) > 10 else "")
    what = "objects" if labelled.boxed else "images"
    return (
        f"{labelled.name}: {len(labelled.train):,} training and {len(labelled.test):,} test {what}, "
        f"decoded onto {side} x {side} pixels\n{len(labelled.classes)} classes: {names}"
    )


if __name__ == "__main__":
    common.run("prepare")
