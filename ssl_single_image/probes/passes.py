"""Passes over a split for any kind of probe: global batches of one size, each process's part of them, and progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import jax

from ssl_single_image.datasets import Split
from ssl_single_image.datasets.base import padded
from ssl_single_image.runs import progress
from ssl_single_image.types import Batch

T = TypeVar("T")


def one_pass(split: Split, batch_size: int, images: int, seed: int) -> Iterator[Batch]:
    """Global batches of `images` images, once each; the last is padded with labels of -1.

    All of the split comes in its order; a part of it is drawn at random, for a split may be sorted by class.

    Args:
      split: the images.
      batch_size: of every batch that comes.
      images: how many, at least 1 and at most those of the split.
      seed: of the draw.
    """
    whole = images == len(split)
    batches = split.batches(batch_size) if whole else split.batches(min(batch_size, images), seed=seed)
    left = images
    while left > 0:
        batch = next(batches)
        count = min(left, len(batch.label))
        left -= count
        yield padded(batch, count, batch_size)


def own_part(batch: T) -> T:
    """This process's slice of a global batch, or of a tree with one, as a step with `split_inputs` takes it."""
    processes, index = jax.process_count(), jax.process_index()
    part: T = jax.tree.map(
        lambda x: x[index * len(x) // processes : (index + 1) * len(x) // processes], batch
    )
    return part


def progress_bar(images: int, what: str) -> progress.tqdm:
    """A bar that counts images and is headed by `what`."""
    bar = progress.progress_bar(images, 0, "images")
    bar.set_description(what)
    return bar
