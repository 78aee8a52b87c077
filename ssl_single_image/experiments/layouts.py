"""Layouts of exported crops on disk: a folder of images, a TFDS data set, or one array_record file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from ssl_single_image import augment
from ssl_single_image.errors import InputError

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
}
"""Encoding -> (Pillow's name, its options)."""
ALIASES = {"jpg": "jpeg"}
"""Another name of an encoding -> its name here."""

_FOLDER_SHARD, _RECORD_SHARD = 1000, 10_000


class Layout(Protocol):
    """Where crops go: in shards of `shard` crops, under `root` while they are written."""

    @property
    def root(self) -> Path: ...

    @property
    def shard(self) -> int: ...

    @property
    def encoding(self) -> str: ...

    def path(self, number: int) -> Path:
        """Of a shard; there if and only if the shard is whole."""
        ...

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        """Writes a shard whose first crop is `first`."""
        ...

    def finish(self) -> None:
        """Called when all shards are there."""
        ...


@dataclasses.dataclass(frozen=True)
class Folder:
    """DIR/0000/00000000.png, a thousand crops a folder: what image-folder readers take."""

    root: Path
    encoding: str

    @property
    def shard(self) -> int:
        return _FOLDER_SHARD

    def path(self, number: int) -> Path:
        return self.root / f"{number:04d}"

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        unfinished = self.root / f".{number:04d}.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for i, content in enumerate(encoded, first):
            (unfinished / f"{i:08d}.{self.encoding}").write_bytes(content)
        unfinished.replace(self.path(number))

    def finish(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Records:
    """Sharded array_record files of TFDS examples {"image", "index"}, with the metadata that TFDS reads."""

    root: Path
    encoding: str
    size: int
    count: int

    @property
    def shard(self) -> int:
        return _RECORD_SHARD

    @property
    def _features(self) -> tfds.features.FeaturesDict:
        image = tfds.features.Image(shape=(self.size, self.size, 3), encoding_format=self.encoding)
        return tfds.features.FeaturesDict({"image": image, "index": tfds.features.Scalar(np.int64)})

    def path(self, number: int) -> Path:
        shards = -(-self.count // self.shard)
        return self.root / f"crops-train.array_record-{number:05d}-of-{shards:05d}"

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        features = self._features
        serialiser = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
        examples = (
            serialiser.serialize_example(features.encode_example({"image": content, "index": i}))
            for i, content in enumerate(encoded, first)
        )
        _write_records(self.path(number), examples)

    def finish(self) -> None:
        template = tfds.core.ShardedFileTemplate(
            data_dir=self.root, dataset_name="crops", split="train", filetype_suffix="array_record"
        )
        numbers = range(-(-self.count // self.shard))
        split = tfds.core.SplitInfo(
            name="train",
            shard_lengths=[min(self.shard, self.count - i * self.shard) for i in numbers],
            num_bytes=sum(self.path(i).stat().st_size for i in numbers),
            filename_template=template,
        )
        tfds.folder_dataset.write_metadata(
            data_dir=str(self.root),
            features=self._features,
            split_infos=[split],
            filename_template=template,
            check_data=False,  # would need TensorFlow
        )


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """One array_record file whose records are the encoded crops in order; its parts lie beside it until it is whole."""

    file: Path
    encoding: str

    @property
    def shard(self) -> int:
        return _RECORD_SHARD

    @property
    def root(self) -> Path:
        return self.file.with_name(f"{self.file.name}.parts")

    def path(self, number: int) -> Path:
        return self.root / f"{number:05d}"

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        del first
        _write_records(self.path(number), encoded)

    def finish(self) -> None:
        parts = sorted(self.root.glob("[0-9]*"))
        _write_records(self.file, (record for part in parts for record in _read_records(part)))
        shutil.rmtree(self.root)


def _write_records(path: Path, records: Iterable[bytes]) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    writer = array_record_module.ArrayRecordWriter(str(unfinished), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    unfinished.replace(path)


def _read_records(path: Path) -> Iterator[bytes]:
    reader = array_record_module.ArrayRecordReader(str(path))
    for i in range(reader.num_records()):
        yield reader.read([i])[0]
    reader.close()


def choose(target: Path, form: str, spec: augment.CropSpec, count: int) -> Layout:
    """The layout that a target and a format ask for.

    Raises:
      InputError: no such format; a target that is a file.
    """
    if target.is_file():
        raise InputError(f"{target}: is there already; give another name")
    if target.suffix == ".array_record":
        return RecordFile(target, "png")
    if form == "array_record":
        return Records(target, "png", spec.size, count)
    form = ALIASES.get(form, form)
    if form not in ENCODINGS:
        raise InputError(f"format = {form!r}: must be one of {', '.join([*ENCODINGS, 'array_record'])}")
    return Folder(target, form)
