"""`folder:PATH`: a labelled set of image files, PATH/train/CLASS/* and PATH/test/CLASS/* (or val)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_single_image.datasets.base import LabelledSet
from ssl_single_image.datasets.records import Layout, open_split
from ssl_single_image.images import image_files, read_image
from ssl_single_image.types import InputError

TRAIN_NAMES = ("train",)
TEST_NAMES = ("test", "val", "validation")


@dataclasses.dataclass(frozen=True)
class FolderRecords:
    """Labelled image files, see `records.Records`."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, int]]:
        return [(read_image(self.paths[i]), self.labels[i]) for i in indices]


def load(argument: str, *, data_dir: str | None, size: int, exclude: Sequence[str]) -> LabelledSet:
    """Opens a folder; classes are its class folders' names, in order.

    Args:
      argument: the folder, with `~` for the home folder; a relative one is looked for in `data_dir` first.
      data_dir: see above.
      size: see `records.Layout.choose`.
      exclude: not used: built-in photographs are not in such sets.

    Raises:
      InputError: no such folder, no train or test folder in it, differing classes, a class without images,
        an unreadable image.
    """
    classes, splits = open_records(argument, data_dir)
    paths = [path for records in splits.values() for path in records.paths]
    layout = Layout.choose(size, one_size(paths))
    train, test = (
        open_split(records, layout, f"reading {argument}, {split}") for split, records in splits.items()
    )
    return LabelledSet(f"folder:{argument}", classes, train, test)


def open_records(argument: str, data_dir: str | None) -> tuple[tuple[str, ...], dict[str, FolderRecords]]:
    """Class names, and the image files under "train" and "test"; arguments and errors as `load`."""
    root = _find(argument, data_dir)
    classes, train = scan(_subfolder(root, TRAIN_NAMES))
    test_folder = _subfolder(root, TEST_NAMES)
    test_classes, test = scan(test_folder)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise InputError(f"{root}: classes in train and in {test_folder.name} differ: {', '.join(odd[:5])}")
    return classes, {"train": train, "test": test}


def scan(folder: Path) -> tuple[tuple[str, ...], FolderRecords]:
    """Class names and image files of FOLDER/CLASS/*; hidden files and files that are no images are left out.

    Raises:
      InputError: no class folders, or one without images.
    """
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")
    if not classes:
        raise InputError(f"{folder}: no class folders in it; images belong into {folder}/CLASS/")
    paths: list[Path] = []
    labels: list[int] = []
    for label, child in enumerate(classes):
        found = image_files(child)
        paths += found
        labels += [label] * len(found)
    return tuple(child.name for child in classes), FolderRecords(tuple(paths), tuple(labels))


def _find(argument: str, data_dir: str | None) -> Path:
    if not argument:
        raise InputError("data set folder: give the path, as folder:PATH")
    path = Path(os.path.expanduser(argument))
    places = [path] if data_dir is None else [Path(os.path.expanduser(data_dir)) / path, path]
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(str(place) for place in dict.fromkeys(places))
    raise InputError(f"data set folder:{argument}: no such folder (looked for {looked})")


def _subfolder(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise InputError(
        f"{root}: no folder {' or '.join(names)} in it; images belong into {root}/{names[0]}/CLASS/"
    )


def one_size(paths: Sequence[Path]) -> tuple[int, int] | None:
    """(height, width) in all the headers, or None; done at the first difference, so rarely a long read."""
    common = None
    for path in paths:
        try:
            with Image.open(path) as image:
                size = (image.height, image.width)
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise InputError(f"{path}: not an image that can be read: {error}") from error
        common = common or size
        if size != common:
            return None
    return common
