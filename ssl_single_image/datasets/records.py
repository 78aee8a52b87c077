"""Encoded images with labels -> a split: decoded once into memory where they fit, else streamed by grain."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssl_single_image.datasets import labelling
from ssl_single_image.datasets.base import MemorySplit, Order, Split, numpy_batch
from ssl_single_image.types import Batch, InputError

MEMORY_LIMIT = 3 << 29
"""Bytes of decoded images up to which a split is held in memory: CIFAR takes 0.15 GB, this is 1.6 GB."""

_LONGEST = 1.5  # longer side to shorter side; what is longer is cut off on both ends
_CHUNK = 256  # images that a thread decodes at a time into memory
_PIECE = 16  # of a batch: what a thread reads at a time; single reads cost three times as much
Label = int | np.ndarray
"""The number of the class, or a multi-label target (classes,) int8."""
_Placed = tuple[np.ndarray, tuple[int, int], Label]  # canvas, (height, width), label


class Records(Protocol):
    """Random access to encoded images; safe to use from several threads."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Sequence[tuple[np.ndarray, Label]]:
        """Decodes images: [(pixels (H, W, 3) uint8, label)].

        Raises:
          InputError: an image can't be decoded, or has no label; names it.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an image is brought onto its canvas.

    Attributes:
      side: M, of the square canvas, in pixels.
      shorter: what the shorter side is scaled to; None: images are left alone.
    """

    side: int
    shorter: int | None

    @classmethod
    def choose(cls, size: int, one_size: tuple[int, int] | None) -> Layout:
        """The layout for an encoder of input side `size`.

        Args:
          size: in pixels.
          one_size: (height, width) that all images have; None: they differ.

        Images of one size are left alone if their longer side is no more than 1.5 round(size 8/7). Others are
        scaled to a shorter side of round(size 8/7), and their longer side is cut on both ends to 1.5 times that.
        """
        shorter = round(size * 8 / 7)
        side = int(shorter * _LONGEST)
        if one_size is not None and max(one_size) <= side:
            return cls(max(one_size), None)
        return cls(side, shorter)

    def place(self, pixels: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels (H, W, 3) uint8 -> canvas (M, M, 3) uint8 with the image top left, and its (height, width)."""
        if self.shorter is not None:
            pixels = self._scale(pixels, self.shorter)
        height, width = pixels.shape[:2]
        if (height, width) == (self.side, self.side):
            return pixels, (height, width)
        canvas = np.zeros((self.side, self.side, 3), np.uint8)
        canvas[:height, :width] = pixels
        return canvas, (height, width)

    def _scale(self, pixels: np.ndarray, shorter: int) -> np.ndarray:
        """Antialiased bilinear scaling, as the published test pipeline does (torchvision's Resize)."""
        sides = np.array(pixels.shape[:2])
        scale = shorter / sides.min()
        kept = np.minimum(sides, self.side / scale)
        height, width = (min(max(round(side * scale), shorter), self.side) for side in kept)
        top, left = (sides - kept) / 2
        box = (left, top, left + kept[1], top + kept[0])
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box)
        return np.asarray(image)


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """A split that is decoded as it is read, by grain's threads; Pillow decodes outside the interpreter's lock.

    Random access makes `start` exact and free: no image before it is read. No worker processes: they cost
    seconds to start.
    """

    records: Records
    layout: Layout
    labels: labelling.Form = labelling.ONE

    def __len__(self) -> int:
        return len(self.records)

    def batches(
        self, batch_size: int, *, seed: int | None = None, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        return self._stream(Order(len(self), batch_size, seed, shard), start)

    def _stream(self, order: Order, start: int) -> Iterator[Batch]:
        import grain  # takes a second, and small sets don't need it

        pieces = -(-order.local // _PIECE)  # of each batch

        def read(number: int) -> list[_Placed] | InputError:
            batch, piece = divmod(number, pieces)
            try:
                return self._load(order.batch(batch)[piece * _PIECE : (piece + 1) * _PIECE].tolist())
            except (
                InputError
            ) as error:  # handed on as a value: grain adds paragraphs to what is raised under it
                return error

        end = sys.maxsize if order.batches is None else order.batches * pieces
        options = grain.ReadOptions(num_threads=16, prefetch_buffer_size=max(16, 2 * pieces))
        numbers = grain.MapDataset.range(min(start * pieces, end), end)
        stream = iter(numbers.map(read).to_iter_dataset(options))
        try:
            for _ in order.numbers(start):
                yield self._stack(_joined(itertools.islice(stream, pieces)))
        finally:
            stream.close()

    def decoded(self, what: str) -> MemorySplit:
        """The same split held in memory; `what` labels the progress bar."""
        count, side = len(self), self.layout.side
        image = np.empty((count, side, side, 3), np.uint8)
        label = self.labels.blank(count)
        extent = np.empty((count, 2), np.int32)

        def fill(indices: range) -> int:
            for i, placed in zip(indices, self._load(indices), strict=True):
                image[i], extent[i], label[i] = placed
            return len(indices)

        chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            tqdm(total=count, desc=what, unit="image", leave=False, disable=None) as progress,
        ):
            for done in pool.map(fill, chunks):
                progress.update(done)
        return MemorySplit(image, label, extent)

    def _load(self, indices: Sequence[int]) -> list[_Placed]:
        return [(*self.layout.place(pixels), label) for pixels, label in self.records.read(indices)]

    def _stack(self, images: Sequence[_Placed]) -> Batch:
        side = self.layout.side
        image = np.array([image for image, _, _ in images], np.uint8).reshape(-1, side, side, 3)
        extent = np.array([extent for _, extent, _ in images], np.int32).reshape(-1, 2)
        label = self.labels.blank(len(images))
        for i, (*_, one) in enumerate(images):
            label[i] = one
        return numpy_batch(image, label, extent)


def _joined(pieces: Iterable[list[_Placed] | InputError]) -> list[_Placed]:
    images: list[_Placed] = []
    for piece in pieces:
        if isinstance(piece, InputError):
            raise piece
        images += piece
    return images


def open_split(records: Records, layout: Layout, what: str, labels: labelling.Form = labelling.ONE) -> Split:
    """Decodes a split into memory if it takes no more than `MEMORY_LIMIT` there, else streams it.

    Args:
      records: the images.
      layout: how they are brought onto their canvas.
      what: heads the progress bar.
      labels: the form of the records' labels.

    Raises:
      InputError: as `Records.read`, at once or, if streamed, from the batches.
    """
    split = StreamedSplit(records, layout, labels)
    return split.decoded(what) if len(records) * 3 * layout.side**2 <= MEMORY_LIMIT else split
