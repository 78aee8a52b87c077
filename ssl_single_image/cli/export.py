"""`sample --export`: crops of a virtual data set as files, to train on the same images elsewhere.

Crops are written shard by shard, and a shard appears under its name only when it is whole: whatever ends a run, the
same command goes on with the first shard that is missing. Crop i is the one that training with the same seed sees.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import io
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tqdm import tqdm

from ssl_single_image import augment, images
from ssl_single_image.analysis import grids
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.training import signals
from ssl_single_image.types import Halted, InputError

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
}
"""Encoding -> (Pillow's name, its options)."""

_FOLDER_SHARD, _RECORD_SHARD = 1000, 10_000
_PIXELS_AT_ONCE = 1 << 22
_SHARDS_IN_FLIGHT = 2


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


def export(atlas: images.Atlas, spec: augment.CropSpec, seed: int, count: int, layout: Layout) -> None:
    """Writes those of the crops 0..count-1 that are not there yet; the layout's root exists.

    Raises:
      Halted: a signal, or no space; says how to go on.
    """
    missing = [i for i in range(-(-count // layout.shard)) if not layout.path(i).exists()]
    left = sum(len(_crops(i, count, layout)) for i in missing)
    render = _renderer(atlas, spec, seed)
    encode = functools.partial(_encode, encoding=layout.encoding)
    with (
        signals.stop_on_signal() as stop,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=count, initial=count - left, unit="crop", unit_scale=True, dynamic_ncols=True) as progress,
    ):
        pending: deque[tuple[int, list[Future[bytes]]]] = deque()

        def store() -> None:
            number, futures = pending.popleft()
            layout.write(number, number * layout.shard, [future.result() for future in futures])
            progress.update(len(futures))

        try:
            for number in missing:
                futures = []
                for crops in render(_crops(number, count, layout)):
                    if stop.number is not None:
                        raise Halted(_go_on(f"stopped after {int(progress.n):,} crops"), 128 + stop.number)
                    futures += [pool.submit(encode, crop) for crop in crops]
                pending.append((number, futures))
                if len(pending) == _SHARDS_IN_FLIGHT:
                    store()
            while pending:
                store()
            layout.finish()
        except OSError as error:
            why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            raise Halted(_go_on(f"{why}: {int(progress.n):,} crops are written"), 1) from error


def _go_on(what: str) -> str:
    return f"{what}; the same command goes on from there"


def _crops(number: int, count: int, layout: Layout) -> range:
    return range(number * layout.shard, min((number + 1) * layout.shard, count))


def _renderer(
    atlas: images.Atlas, spec: augment.CropSpec, seed: int
) -> Callable[[range], Iterator[np.ndarray]]:
    """A function from a range of crops to batches (b, S, S, 3) uint8, in order."""
    at_once = max(1, _PIXELS_AT_ONCE // spec.size**2)

    @jax.jit
    def draw(atlas: images.Atlas, first: jax.Array) -> jax.Array:
        indices = first + jnp.arange(at_once, dtype=jnp.uint32)
        return augment.render_crops(atlas, crops_key(seed), indices, spec)

    def batches(crops: range) -> Iterator[np.ndarray]:
        for first in crops[::at_once]:
            batch = draw(atlas, jnp.uint32(first))
            yield grids.to_bytes(np.asarray(batch[: crops.stop - first], np.float32))

    return batches


def _encode(pixels: np.ndarray, encoding: str) -> bytes:
    form, options = ENCODINGS[encoding]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def choose_layout(target: Path, form: str, spec: augment.CropSpec, count: int) -> Layout:
    """The layout that `--export` and `--format` ask for.

    Raises:
      InputError: no such format; a target that is a file.
    """
    if target.is_file():
        raise InputError(f"--export={target}: is there already; give another name")
    if target.suffix == ".array_record":
        return RecordFile(target, "png")
    if form == "array_record":
        return Records(target, "png", spec.size, count)
    if form not in ENCODINGS:
        raise InputError(f"--format={form}: expected one of {', '.join([*ENCODINGS, 'array_record'])}")
    return Folder(target, form)
