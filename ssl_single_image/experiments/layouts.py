"""Layouts of exported crops on disk: a folder of images, a TFDS data set, or one array_record file."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from ssl_single_image import augment
from ssl_single_image.errors import InputError, disk_is_full
from ssl_single_image.runs import workdir

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
}
"""Encoding -> (Pillow's name, its options)."""
ALIASES = {"jpg": "jpeg"}
"""Another name of an encoding -> its name here."""

_FOLDER_SHARD, _RECORD_SHARD = 1000, 10_000
_SHARDS = "crops-train.array_record-*-of-*"


class Layout(Protocol):
    """Where crops go: in shards of `shard` crops, under `root` while they are written."""

    @property
    def root(self) -> Path: ...

    @property
    def shard(self) -> int: ...

    @property
    def encoding(self) -> str: ...

    @property
    def record(self) -> Path:
        """The file that says which crops these are; it outlasts the export."""
        ...

    def holds(self) -> bool:
        """Whether any crop is there, of this export or another."""
        ...

    def adopt(self) -> None:
        """Called first, in a claimed root: gives what an export of fewer crops left its place in this one."""
        ...

    def length(self, number: int) -> int:
        """How many crops a shard holds; 0 where it is not there. A shard is whole or not there."""
        ...

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        """Writes a shard whose first crop is `first`, in place of a shorter one."""
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

    @property
    def record(self) -> Path:
        return self.root / workdir.CONFIG

    def path(self, number: int) -> Path:
        return self.root / f"{number:04d}"

    def holds(self) -> bool:
        return any(self.root.glob("[0-9]*"))

    def adopt(self) -> None:
        pass

    def length(self, number: int) -> int:
        return len(os.listdir(self.path(number))) if self.path(number).is_dir() else 0

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        unfinished = self.root / f".{number:04d}.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for i, content in enumerate(encoded, first):
            (unfinished / f"{i:08d}.{self.encoding}").write_bytes(content)
        shutil.rmtree(self.path(number), ignore_errors=True)
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
    def record(self) -> Path:
        return self.root / workdir.CONFIG

    @property
    def _features(self) -> tfds.features.FeaturesDict:
        image = tfds.features.Image(shape=(self.size, self.size, 3), encoding_format=self.encoding)
        return tfds.features.FeaturesDict({"image": image, "index": tfds.features.Scalar(np.int64)})

    def path(self, number: int) -> Path:
        shards = -(-self.count // self.shard)
        return self.root / f"crops-train.array_record-{number:05d}-of-{shards:05d}"

    def holds(self) -> bool:
        return any(self.root.glob(_SHARDS))

    def adopt(self) -> None:
        """Names of shards tell their number, and the metadata tell their lengths: both change with the count."""
        for name in ("dataset_info.json", "features.json"):
            (self.root / name).unlink(missing_ok=True)
        for path in self.root.glob(_SHARDS):
            path.replace(self.path(int(path.name.split("-")[2])))

    def length(self, number: int) -> int:
        return _records_in(self.path(number))

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
    count: int

    @property
    def shard(self) -> int:
        return _RECORD_SHARD

    @property
    def root(self) -> Path:
        return self.file.with_name(f"{self.file.name}.parts")

    @property
    def record(self) -> Path:
        return self.file.with_name(f"{self.file.name}.json")

    def path(self, number: int) -> Path:
        return self.root / f"{number:05d}"

    def holds(self) -> bool:
        return self.file.exists() or any(self.root.glob("[0-9]*"))

    def adopt(self) -> None:
        """The root does not outlast the export, and its record is to."""
        workdir.write_whole(self.record, (self.root / workdir.CONFIG).read_bytes())

    def length(self, number: int) -> int:
        """Of the part, or what the file of an earlier export has of it."""
        return _records_in(self.path(number)) or len(self._in_file(number))

    def _in_file(self, number: int) -> range:
        return range(number * self.shard, min((number + 1) * self.shard, _records_in(self.file)))

    def write(self, number: int, first: int, encoded: list[bytes]) -> None:
        del first
        _write_records(self.path(number), encoded)

    def finish(self) -> None:
        if _records_in(self.file) != self.count:
            _write_records(self.file, self._joined())
        shutil.rmtree(self.root)

    def _joined(self) -> Iterator[bytes]:
        for number in range(-(-self.count // self.shard)):
            part = self.path(number)
            yield from (
                _read_records(part) if part.exists() else _read_records(self.file, self._in_file(number))
            )


def _write_records(path: Path, records: Iterable[bytes]) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        writer = array_record_module.ArrayRecordWriter(str(unfinished), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
    except RuntimeError as error:  # the library has no other type, and gives the cause as text alone
        number = errno.ENOSPC if disk_is_full(error) else errno.EIO
        raise OSError(number, str(error), str(path)) from error
    unfinished.replace(path)


def _records_in(path: Path) -> int:
    if not path.exists():
        return 0
    reader = _reader(path)
    count: int = reader.num_records()
    reader.close()
    return count


def _read_records(path: Path, indices: Iterable[int] | None = None) -> Iterator[bytes]:
    reader = _reader(path)
    for i in range(reader.num_records()) if indices is None else indices:
        yield reader.read([i])[0]
    reader.close()


def _reader(path: Path) -> array_record_module.ArrayRecordReader:
    try:
        return array_record_module.ArrayRecordReader(str(path))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: is damaged, or no array_record file; delete it") from error


def choose(target: Path, form: str, spec: augment.CropSpec, count: int) -> Layout:
    """The layout that a target and a format ask for.

    Raises:
      InputError: no such format; a target that some other program wrote.
    """
    if target.suffix == ".array_record":
        layout = RecordFile(target, "png", count)
        if target.exists() and not layout.record.exists():
            raise InputError(
                f"{target}: is there already, and {layout.record.name} is not; give another name"
            )
        return layout
    if target.is_file():
        raise InputError(f"{target}: is there already; give another name")
    if form == "array_record":
        return Records(target, "png", spec.size, count)
    form = ALIASES.get(form, form)
    if form not in ENCODINGS:
        raise InputError(f"format = {form!r}: must be one of {', '.join([*ENCODINGS, 'array_record'])}")
    return Folder(target, form)
