"""`photos`: a stand-in labelled set that needs no download, cut from the built-in colour photographs.

A class is a photograph. The set shows whether features tell apart textures and colours of a handful of scenes,
and that the whole way from image to table works. It can't show how features generalise to unseen objects:
train and test crops come from different places of one photograph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from ssl_single_image.datasets.base import LabelledSet, MemorySplit
from ssl_single_image.images import builtin
from ssl_single_image.types import InputError

TRAIN_PER_CLASS = 480
TEST_PER_CLASS = 160

_GRID = 4  # blocks along each side of a photograph
_TEST_COLUMNS = (1, 3, 0, 2)  # of each row of blocks: one test block in every row and every column
_GAP = 0.04  # between blocks, as a fraction of the photograph's shorter side
_WINDOW = (0.1, 0.2)  # side of a crop, the same
_SCENES = {"motorcycle_left": "motorcycle", "motorcycle_right": "motorcycle"}  # two views of one scene


def load(argument: str, *, data_dir: str | None, size: int, exclude: Sequence[str]) -> LabelledSet:
    """Makes the set. The same arguments give the same images.

    Each photograph is divided into 4 x 4 blocks, with gaps of 4 % of its shorter side between them. Four blocks,
    one in each row and column, are for evaluation. Crops are square windows inside one block. Their side is
    log-uniform in 10 to 20 % of the photograph's shorter side, and they are scaled to `size` with antialiasing.
    Blocks take turns, and every class has 480 training and 160 test crops.

    Args:
      argument: must be empty.
      data_dir: not used.
      size: side of the crops in pixels.
      exclude: photographs to leave out (with or without `builtin:`), such as the one pretrained on.

    Raises:
      InputError: an argument was given, or fewer than two photographs are left.
    """
    if argument:
        raise InputError(f"data set photos:{argument}: photos takes nothing after its name")
    left_out = {_scene(name) for text in exclude for name in builtin.names_in(text) or (text,)}
    names = tuple(name for name in builtin.colour_photographs() if _scene(name) not in left_out)
    if len(names) < 2:
        raise InputError(
            f"data set photos: {len(names)} photographs left after those excluded; two are needed"
        )
    photographs = [builtin.load(name) for name in names]
    train = _split(photographs, TRAIN_PER_CLASS, size, test=False)
    return LabelledSet("photos", names, train, _split(photographs, TEST_PER_CLASS, size, test=True))


def _scene(name: str) -> str:
    return _SCENES.get(name, name)


def _split(photographs: Sequence[np.ndarray], per_class: int, size: int, *, test: bool) -> MemorySplit:
    crops = [
        crop
        for label, pixels in enumerate(photographs)
        for crop in _crops(pixels, per_class, size, np.random.default_rng([label, test]), test=test)
    ]
    label = np.repeat(np.arange(len(photographs), dtype=np.int32), per_class)
    return MemorySplit(np.stack(crops), label, np.full((len(crops), 2), size, np.int32))


def _crops(
    pixels: np.ndarray, count: int, size: int, rng: np.random.Generator, *, test: bool
) -> Iterator[np.ndarray]:
    image = Image.fromarray(pixels)
    for box in windows(pixels.shape[0], pixels.shape[1], count, rng, test=test):
        yield np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))


def windows(
    height: int, width: int, count: int, rng: np.random.Generator, *, test: bool
) -> Iterator[tuple[float, float, float, float]]:
    """Draws windows (left, top, right, bottom), in pixels, inside the test or the training blocks."""
    blocks = [
        (row, column)
        for row in range(_GRID)
        for column in range(_GRID)
        if (column == _TEST_COLUMNS[row]) == test
    ]
    shorter = min(height, width)
    gap = _GAP * shorter
    block_height, block_width = height / _GRID - gap, width / _GRID - gap
    low, high = _WINDOW
    for i in range(count):
        row, column = blocks[i % len(blocks)]
        u, v, w = rng.random(3)
        side = shorter * low * (high / low) ** u
        top = row * height / _GRID + gap / 2 + v * (block_height - side)
        left = column * width / _GRID + gap / 2 + w * (block_width - side)
        yield left, top, left + side, top + side
