"""Crops of a virtual data set as files, to train on the same images elsewhere.

Crops are written shard by shard, and a shard appears under its name only when it is whole: whatever ends an export, the
same call continues with the first shard that is missing. Crop i is the one that training with the same seed sees.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ssl_single_image import augment, images
from ssl_single_image.analysis import grids
from ssl_single_image.errors import Halted, disk_is_full
from ssl_single_image.experiments.layouts import ENCODINGS, Layout
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.runs import progress, signals

_PIXELS_AT_ONCE = 1 << 22
_SHARDS_IN_FLIGHT = 2
_SECONDS_BETWEEN_LINES = 10
"""In a log, where no bar moves."""


def export(atlas: images.Atlas, spec: augment.CropSpec, seed: int, count: int, layout: Layout) -> None:
    """Writes those of the crops 0..count-1 that are not there yet; the layout's root exists.

    Raises:
      Halted: a signal, or no space; says how to continue.
    """
    layout.adopt()
    shards = range(-(-count // layout.shard))
    missing = [i for i in shards if layout.length(i) != len(_crops(i, count, layout))]
    left = sum(len(_crops(i, count, layout)) for i in missing)
    render = _renderer(atlas, spec, seed)
    encode = functools.partial(_encode, encoding=layout.encoding)
    with (
        signals.stop_on_signal() as stop,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.progress_bar(count, count - left, "crops") as bar,
    ):
        told = time.monotonic()
        pending: deque[tuple[int, list[Future[bytes]]]] = deque()

        def store() -> None:
            nonlocal told
            number, futures = pending.popleft()
            layout.write(number, number * layout.shard, [future.result() for future in futures])
            bar.update(len(futures))
            if time.monotonic() - told > _SECONDS_BETWEEN_LINES or bar.n == count:
                progress.show(bar, {})
                told = time.monotonic()

        try:
            for number in missing:
                futures = []
                for crops in render(_crops(number, count, layout), bar):
                    if stop.number is not None:
                        raise Halted(_go_on(f"stopped after {int(bar.n):,} crops"), 128 + stop.number)
                    futures += [pool.submit(encode, crop) for crop in crops]
                pending.append((number, futures))
                if len(pending) == _SHARDS_IN_FLIGHT:
                    store()
            while pending:
                store()
            layout.finish()
        except OSError as error:
            why = "the disk is full" if disk_is_full(error) else str(error)
            raise Halted(_go_on(f"{why}: {int(bar.n):,} crops are written"), 1) from error


def _go_on(what: str) -> str:
    return f"{what}; the same command continues from there"


def _crops(number: int, count: int, layout: Layout) -> range:
    return range(number * layout.shard, min((number + 1) * layout.shard, count))


def _renderer(
    atlas: images.Atlas, spec: augment.CropSpec, seed: int
) -> Callable[[range, progress.tqdm], Iterator[np.ndarray]]:
    """A function from a range of crops to batches (b, S, S, 3) uint8, in order. Its first call compiles."""
    at_once = max(1, _PIXELS_AT_ONCE // spec.size**2)

    @jax.jit
    def draw(atlas: images.Atlas, first: jax.Array) -> jax.Array:
        indices = first + jnp.arange(at_once, dtype=jnp.uint32)
        return augment.render_crops(atlas, crops_key(seed), indices, spec)

    drawn = False

    def batches(crops: range, bar: progress.tqdm) -> Iterator[np.ndarray]:
        nonlocal drawn
        for first in crops[::at_once]:
            with contextlib.nullcontext() if drawn else progress.waiting("compiling", bar, done="compiled"):
                batch = jax.block_until_ready(draw(atlas, jnp.uint32(first)))
            drawn = True
            yield grids.to_bytes(np.asarray(batch[: crops.stop - first], np.float32))

    return batches


def _encode(pixels: np.ndarray, encoding: str) -> bytes:
    form, options = ENCODINGS[encoding]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()
