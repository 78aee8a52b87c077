"""CIFAR, ImageNet, VOC and any other image set in TFDS array_record form, read without TensorFlow.

Prepared sets are opened from their files alone: the code that made them is not imported.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_single_image.datasets import tfds_labels
from ssl_single_image.datasets.base import LabelledSet, Split
from ssl_single_image.datasets.records import Label, Layout, Records, open_split
from ssl_single_image.images import decode_image
from ssl_single_image.types import InputError

TEST_SPLITS = ("test", "validation")
PUBLISHED_SPLITS = {
    "imagenet2012": ("train", "validation"),
    "voc/2007": ("train+validation", "test"),
    "voc/2012": ("train", "validation"),
}
"""Set -> its training and test images, where they are not `train` and the first of TEST_SPLITS.

The `test` of ImageNet and of VOC 2012 has no labels. Classifiers for VOC 2007 are trained on both of its first splits.
"""
TRAINED_ON = {"cifar10_corrupted": "cifar10"}
"""Set of test images alone -> the set whose training images and names of classes it is measured with."""
DIVIDED = {"coil100": 0.25}
"""Set without a test split -> the share of its images, drawn by a fixed seed, that are for the test."""
_FEATURES = "features.json"


@dataclasses.dataclass(frozen=True)
class TfdsRecords:
    """A TFDS data source that leaves images encoded, see `records.Records`.

    Attributes:
      name: of the set and the split, for errors.
      source: `tfds.core.DataSource` of dicts.
      image: key of the image's bytes.
      labels: reads the label of an example.
    """

    name: str
    source: Any
    image: str
    labels: tfds_labels.Labels

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, Label]]:
        examples = self.source.__getitems__(list(indices))
        return [self._decode(example, i) for example, i in zip(examples, indices, strict=True)]

    def _decode(self, example: dict[str, Any], index: int) -> tuple[np.ndarray, Label]:
        where = f"{self.name}, image {index}"
        return decode_image(example[self.image], where), self.labels.read(example, where)


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of other records, in an order of their own; see `records.Records`.

    Attributes:
      whole: the others.
      rows: (N,) integers, which of them.
    """

    whole: Records
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int]) -> Sequence[tuple[np.ndarray, Label]]:
        return self.whole.read(self.rows[list(indices)].tolist())


def load(
    argument: str,
    *,
    data_dir: str | None,
    size: int,
    exclude: Sequence[str],
    multi_label: bool | None = False,
    validation: bool = False,
) -> LabelledSet:
    """Opens a prepared set.

    Args:
      argument: TFDS name, NAME or NAME/CONFIG.
      data_dir: folder that holds NAME/; None: TFDS's own (TFDS_DATA_DIR, or ~/tensorflow_datasets).
      size: see `records.Layout.choose`.
      exclude: not used: built-in photographs are not in such sets.
      multi_label: see `tfds_labels.find`.
      validation: whether the last tenth of the training images is what is measured on, in place of the test images,
        and the others are what is learnt from.

    Raises:
      InputError: unknown, not prepared, prepared in another file format, no test split, or not a set of
        images with labels of the wanted form.
    """
    builder = open_builder(argument, data_dir)
    name = builder.info.name
    if name in TRAINED_ON and validation:
        raise InputError(
            f"data set validation:{argument}: has no training images; divide validation:{TRAINED_ON[name]}"
        )
    labels = tfds_labels.find(argument, builder.info.features, multi_label)
    image = image_key(argument, builder.info.features)
    height, width, _ = builder.info.features[image].shape
    layout = Layout.choose(size, (height, width) if height and width else None)

    def open_one(split: str, rows: np.ndarray | None = None) -> Split:
        what = f"{argument} {split}"
        records: Records = TfdsRecords(what, undecoded(builder, split, image), image, labels)
        if rows is not None:
            records = Part(records, rows)
        return open_split(records, layout, what, labels.form)

    if name in TRAINED_ON:
        return _trained_elsewhere(argument, open_one("test"), labels, data_dir, size)
    if name in DIVIDED:
        both = _divided(builder.info.splits["train"].num_examples, DIVIDED[name], validation)
        train_part, test_part = (open_one("train", rows) for rows in both)
        return LabelledSet(argument, labels.classes, train_part, test_part, labels.form)
    train, test = splits(argument, builder.info)
    if validation:
        train, test = ("+".join(f"{part}[{most}]" for part in train.split("+")) for most in (":90%", "90%:"))
    return LabelledSet(argument, labels.classes, open_one(train), open_one(test), labels.form)


def _trained_elsewhere(
    argument: str, test: Split, labels: tfds_labels.Labels, data_dir: str | None, size: int
) -> LabelledSet:
    """A set of test images, with the training images of another one."""
    other = TRAINED_ON[argument.partition("/")[0]]
    base = load(other, data_dir=data_dir, size=size, exclude=())
    if len(labels.classes) != len(base.classes):
        raise InputError(
            f"data set {argument}: has {len(labels.classes)} classes, and {other}, which is learnt from,"
            f" {len(base.classes)}"
        )
    return LabelledSet(argument, base.classes, base.train, test, labels.form)


def _divided(count: int, share: float, validation: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a split to learn from and to measure on, both ascending; `validation` as for `load`."""
    order = np.random.default_rng(0).permutation(count)
    held = round(share * count)
    rest = order[held:]
    tenth = len(rest) // 10
    train, test = (rest[tenth:], rest[:tenth]) if validation else (rest, order[:held])
    return np.sort(train), np.sort(test)


def open_builder(argument: str, data_dir: str | None) -> Any:
    """The TFDS builder of a prepared set.

    Raises:
      InputError: as `find`; or the set is in another form of files.
    """
    import tensorflow_datasets as tfds  # takes a second

    builder = tfds.builder_from_directory(find(argument, data_dir))
    if builder.info.file_format.value != "array_record":
        raise InputError(
            f"data set {argument} in {builder.data_path} is in {builder.info.file_format.value} form; "
            f"prepare it again in another --data_dir: {prepare_command(argument, None)}"
        )
    return builder


def undecoded(builder: Any, split: str, image: str) -> Any:
    """A split as a `tfds.core.DataSource` of dicts, in which the feature `image` is left encoded."""
    import tensorflow_datasets as tfds

    return builder.as_data_source(split, decoders={image: tfds.decode.SkipDecoding()})


def splits(argument: str, info: Any) -> tuple[str, str]:
    """The splits to learn from and to measure on.

    Raises:
      InputError: one of them isn't there.
    """
    name = info.full_name.rpartition("/")[0]  # without the version
    found = next((split for split in TEST_SPLITS if split in info.splits), "test")
    train, test = PUBLISHED_SPLITS.get(name, ("train", found))
    if any(part not in info.splits for part in (*train.split("+"), test)):
        wanted = f"{train.replace('+', ', ')} and {test}"
        raise InputError(f"data set {argument} has the splits {', '.join(info.splits)}; {wanted} are needed")
    return train, test


def data_folder(data_dir: str | None) -> Path:
    """The folder where sets are looked for and prepared."""
    return Path(os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))


def find(argument: str, data_dir: str | None) -> Path:
    """The folder of a prepared set's newest version.

    Raises:
      InputError: it isn't there, or has several configs of which none was named.
    """
    folder = data_folder(data_dir)
    if not argument:
        raise InputError("data set tfds: give a name, as tfds:NAME")
    places = versions(folder / argument)
    if not places:
        raise InputError(missing_set(argument, folder))
    holders = {place.parent for place in places}
    if len(holders) > 1:
        names = sorted(str(holder.relative_to(folder)) for holder in holders)
        raise InputError(f"data set {argument} has several configs in {folder}; name one: {', '.join(names)}")
    return max(places, key=_version)


def versions(folder: Path) -> list[Path]:
    """Folders of prepared versions under NAME/ or NAME/CONFIG/, those left half-written aside."""
    found = [path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(depth + _FEATURES)]
    return [place for place in found if not place.name.startswith("incomplete.")]


def prepare_command(argument: str, data_dir: Path | None) -> str:
    """What to type to get a set."""
    where = "DIR" if data_dir is None else str(data_dir)
    return f"ssl-single-image prepare --dataset tfds:{argument} --data_dir {where}"


def _version(place: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in place.name.split("."))


def missing_set(argument: str, folder: Path) -> str:
    """The message for a set that is not in `folder`: what is wrong, and what to do."""
    import tensorflow_datasets as tfds

    name = argument.split("/")[0]
    known = set(tfds.list_builders(with_community_datasets=False))
    if name in known:
        return (
            f"data set {argument} is not in {folder}; get it with `{prepare_command(argument, folder)}`, "
            f"or give the folder that holds {name}/ as --data_dir"
        )
    here = {path.name for path in folder.glob("*") if path.is_dir()}
    near = difflib.get_close_matches(name, sorted(known | here), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"data set {argument} is not in {folder}, and TFDS knows no such set{hint}"


def image_key(argument: str, features: Any) -> str:
    """The feature that is the image: "image", or the only one.

    Raises:
      InputError: there is none, or several and none of that name.
    """
    import tensorflow_datasets as tfds

    names = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if "image" not in names and len(names) != 1:
        raise InputError(f"data set {argument}: {len(names)} image features; one is needed")
    return "image" if "image" in names else names[0]
