"""Encoded images with labels -> a split: decoded once into memory where they fit, else streamed by grain."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssl_single_image.datasets.base import MemorySplit, Order, Split, numpy_batch
from ssl_single_image.types import Batch

MEMORY_LIMIT = 3 << 29
"""Bytes of decoded images up to which a split is held in memory: CIFAR takes 0.15 GB, this is 1.6 GB."""

_LONGEST = 1.5  # longer side to shorter side; what is longer is cut off on both ends
_CHUNK = 256
_Placed = tuple[np.ndarray, tuple[int, int], int]  # canvas, (height, width), label


class Records(Protocol):
    """Random access to encoded images; safe to use from several threads."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, int]]:
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

        Images of one size are left alone if their longer side is no more than 1.5 round(size 8/7); others
        get a shorter side of round(size 8/7), and are cut in the middle to 1.5 times that.
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

    def __len__(self) -> int:
        return len(self.records)

    def batches(
        self, batch_size: int, *, seed: int | None = None, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        return self._stream(Order(len(self), batch_size, seed, shard), start)

    def _stream(self, order: Order, start: int) -> Iterator[Batch]:
        import grain  # takes a second, and small sets don't need it

        positions = range(start * order.local, order.positions)
        images = (
            grain.MapDataset.range(positions.start, max(positions.start, positions.stop))
            .map(lambda position: self._load([order.at(position)])[0])
            .to_iter_dataset(grain.ReadOptions(num_threads=16, prefetch_buffer_size=max(16, 2 * order.local)))
        )
        stream = iter(images)
        try:
            for number in order.numbers(start):
                yield self._stack(list(itertools.islice(stream, len(order.batch(number)))))
        finally:
            stream.close()

    def decoded(self, what: str) -> MemorySplit:
        """The same split held in memory; `what` labels the progress bar."""
        starts = range(0, len(self), _CHUNK)
        parts = []
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            tqdm(total=len(self), desc=what, unit="image", leave=False, disable=None) as progress,
        ):
            for images in pool.map(self._load, (range(i, min(i + _CHUNK, len(self))) for i in starts)):
                parts.append(self._stack(images))
                progress.update(len(images))
        image, label, extent = (
            np.concatenate([np.asarray(getattr(part, name)) for part in parts])
            for name in ("image", "label", "extent")
        )
        return MemorySplit(image, label, extent)

    def _load(self, indices: Sequence[int]) -> list[_Placed]:
        return [(*self.layout.place(pixels), label) for pixels, label in self.records.read(indices)]

    def _stack(self, images: Sequence[_Placed]) -> Batch:
        side = self.layout.side
        image = np.array([image for image, _, _ in images], np.uint8).reshape(-1, side, side, 3)
        extent = np.array([extent for _, extent, _ in images], np.int32).reshape(-1, 2)
        return numpy_batch(image, np.array([label for *_, label in images], np.int32), extent)


def open_split(records: Records, layout: Layout, what: str) -> Split:
    """Decodes a split into memory if it takes no more than `MEMORY_LIMIT` there, else streams it.

    Raises:
      InputError: as `Records.read`, at once or, if streamed, from the batches.
    """
    split = StreamedSplit(records, layout)
    return split.decoded(what) if len(records) * 3 * layout.side**2 <= MEMORY_LIMIT else split
