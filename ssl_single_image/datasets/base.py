"""The type of a labelled set, the order of its batches, and a split that is held in memory.

Not here: where images come from (a module each) and how those too many for memory are read (`records.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import numpy as np

from ssl_single_image.datasets import labelling
from ssl_single_image.types import Batch, InputError


class Split(Protocol):
    """The training or the test images of a labelled set."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batches(
        self, batch_size: int, *, seed: int | None = None, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Batches of NumPy arrays: image (B, M, M, 3) uint8, label of the set's form, extent (B, 2) int32.

        Args:
          batch_size: of the global batch, over all shards.
          seed: None: one pass in order, the last batch may be short. Otherwise endless, a new permutation
            each epoch, whole batches only (what is left over at the end of an epoch is not used in it).
          start: batches to skip at the beginning; the later ones are the same as without skipping.
          shard: (i, n): the i-th of n equal slices of each batch. Of a last, short batch shard i has what
            lies in its slice, possibly nothing; every shard yields the same number of batches.

        Raises:
          InputError: batch_size isn't a multiple of n, or exceeds the split where a seed is given.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """A data set with classes.

    Attributes:
      name: as `datasets.load` was given it.
      classes: name of each label.
      train: images to learn from.
      test: images to measure on.
      labels: whether an image has one class or several.
      boxed: whether examples are objects: batches have a box of each, and the label is that of the object.
      groups: name -> (N,) bool, test examples that are measured by themselves too.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    labels: labelling.Form = labelling.ONE
    boxed: bool = False
    groups: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Order:
    """Which images make up a shard's part of each batch, for any batch without those before it; see `Split.batches`."""

    count: int
    batch_size: int
    seed: int | None
    shard: tuple[int, int]

    def __post_init__(self) -> None:
        index, shards = self.shard
        if self.batch_size < 1 or self.batch_size % shards or not 0 <= index < shards:
            raise InputError(f"batch_size {self.batch_size} can't be split evenly over {shards} processes")
        if self.seed is not None and self.batch_size > self.count:
            raise InputError(f"batch_size {self.batch_size} is more than the {self.count} training images")

    @property
    def local(self) -> int:
        """Images of a whole batch that are this shard's."""
        return self.batch_size // self.shard[1]

    @property
    def batches(self) -> int | None:
        """Batches in all; None: no end."""
        return -(-self.count // self.batch_size) if self.seed is None else None

    def batch(self, number: int) -> np.ndarray:
        """Indices of the shard's images in batch `number`, int64."""
        first = self.shard[0] * self.local
        if self.seed is None:
            begin = number * self.batch_size + first
            end = min(begin + self.local, (number + 1) * self.batch_size, self.count)
            return np.arange(begin, max(begin, end))
        epoch, place = divmod(number, self.count // self.batch_size)
        begin = place * self.batch_size + first
        return _permutation(self.seed, epoch, self.count)[begin : begin + self.local]

    def numbers(self, start: int) -> Iterator[int]:
        """Batch numbers from `start` on."""
        return itertools.count(start) if self.batches is None else iter(range(start, self.batches))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


@dataclasses.dataclass(frozen=True)
class MemorySplit:
    """A split that is held decoded.

    Attributes:
      image: (N, M, M, 3) uint8.
      label: (N,) int32, or (N, classes) int8 of a multi-label set.
      extent: (N, 2) int32.
    """

    image: np.ndarray
    label: np.ndarray
    extent: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def batches(
        self, batch_size: int, *, seed: int | None = None, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        order = Order(len(self), batch_size, seed, shard)
        return (self._take(order.batch(number)) for number in order.numbers(start))

    def _take(self, indices: np.ndarray) -> Batch:
        return numpy_batch(self.image[indices], self.label[indices], self.extent[indices])


SAMPLED = 256
"""Images of a split that its identity is computed from."""


def identity(labelled: LabelledSet) -> dict[str, Any]:
    """What tells a labelled set from another of its name, JSON-able: classes, counts, and a hash of some images.

    The first images of each split are hashed as they are decoded, with their labels.
    """
    splits = {"train": labelled.train, "test": labelled.test}
    return {"classes": list(labelled.classes)} | {
        name: {"images": len(split), "sha256": _digest(split)} for name, split in splits.items()
    }


def _digest(split: Split) -> str:
    batch = next(split.batches(min(SAMPLED, len(split))))
    digest = hashlib.sha256()
    for part in (batch.image, batch.label, batch.extent, *(() if batch.box is None else (batch.box,))):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def padded(batch: Batch, count: int, size: int) -> Batch:
    """The first `count` examples of a batch of NumPy arrays, then black images labelled -1 up to `size`.

    Steps are compiled for one batch size, so a short batch is filled up; images labelled -1 are not counted.
    """
    image = np.zeros((size, *batch.image.shape[1:]), np.uint8)
    label = np.full((size, *batch.label.shape[1:]), labelling.PADDING, batch.label.dtype)
    extent = np.full((size, 2), batch.image.shape[1], np.int32)
    image[:count], label[:count], extent[:count] = (
        x[:count] for x in (batch.image, batch.label, batch.extent)
    )
    whole = numpy_batch(image, label, extent)
    if batch.box is None:
        return whole
    box: Any = np.tile(np.array([0, 0, 1, 1], np.float32), (size, 1))
    box[:count] = batch.box[:count]
    return dataclasses.replace(whole, box=box)


def numpy_batch(image: np.ndarray, label: np.ndarray, extent: np.ndarray) -> Batch:
    """A `Batch` of NumPy arrays: its fields say `jax.Array`, for which they may stand."""
    return Batch(cast(Any, image), cast(Any, label), cast(Any, extent))
