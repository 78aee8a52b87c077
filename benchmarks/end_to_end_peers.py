"""From one photograph to trained views: the published way in PyTorch, and ours, each in a process of its own.

`python benchmarks/end_to_end_peers.py CONTENDER NETWORK CROPS BATCH FOLDER`, see `common.Worker`; run by
`end_to_end.py`. A piece of work is CROPS crops, each trained on once in its four rotations. The published way writes
the crops to FOLDER as JPEG files first, and notes in FOLDER/parts.jsonl how long that and the training took.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import train_step_peers as steps
from PIL import Image, ImageEnhance

PHOTOGRAPH = "builtin:coffee"
"""What `train_step_peers.ours` trains on."""
PARTS = "parts.jsonl"
AREA, ASPECT, ANGLE, JITTER, HUE = (1 / 500, 1.0), 3 / 4, 30.0, 0.4, 0.1
MODES = {
    "eager": (False, False),
    "channels_last": (True, False),
    "compile": (False, True),
    "compile_channels_last": (True, True),
}
"""PyTorch's ways -> channels last, compiled."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def authors_crop(image: Image.Image, size: int, draw: random.Random) -> Image.Image:
    """One crop by the chain of the paper's public generator, without the flip, which it leaves to the training.

    Steps that follow each other are one call where the pixels are the same: the random square and the random crop in
    it are one box, and of the rotated frame only its middle is computed.
    """
    frame = math.floor(math.sqrt(2) * size)
    scaled = image.resize((frame, frame), Image.Resampling.BICUBIC, box=_box(image.size, draw))
    crop = scaled.transform(
        (size, size), Image.Transform.AFFINE, _affine(frame, size, draw), Image.Resampling.BILINEAR
    )
    return _jittered(crop, draw) if draw.random() < 0.5 else crop


def _box(extent: tuple[int, int], draw: random.Random) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random crop of a random square of half the shorter side."""
    side = min(extent) // 2
    left, top = (draw.randint(0, whole - side) for whole in extent)
    while True:
        area = draw.uniform(*AREA) * side * side
        aspect = math.exp(draw.uniform(math.log(ASPECT), -math.log(ASPECT)))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= side and 0 < height <= side:
            break
    left, top = left + draw.randint(0, side - width), top + draw.randint(0, side - height)
    return left, top, left + width, top + height


def _affine(frame: int, size: int, draw: random.Random) -> tuple[float, ...]:
    """Pillow's coefficients, from a pixel of the crop to one of the frame: a rotation and a shear about the middle."""
    angle, shear = (math.radians(draw.uniform(-ANGLE, ANGLE)) for _ in range(2))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    back = np.linalg.inv(turn @ [[1, -math.tan(shear)], [0, 1]])
    offset = frame / 2 - back @ np.full(2, size / 2)
    return (*back[0], offset[0], *back[1], offset[1])


def _jittered(crop: Image.Image, draw: random.Random) -> Image.Image:
    """Brightness, contrast, saturation and hue, in random order."""
    enhance: list[Any] = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
    draw.shuffle(enhance)
    for kind in enhance:
        if kind is not None:
            crop = kind(crop).enhance(draw.uniform(1 - JITTER, 1 + JITTER))
            continue
        hue, *others = crop.convert("HSV").split()
        turn = round(255 * draw.uniform(-HUE, HUE))
        hue = hue.point([(value + turn) % 256 for value in range(256)])
        crop = Image.merge("HSV", (hue, *others)).convert("RGB")
    return crop


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jpg"


_source: list[Image.Image] = []
"""In a process of the generator: the photograph, which is sent to it once."""


def keep_source(pixels: np.ndarray) -> None:
    """Begins a process of the generator."""
    _source[:] = [Image.fromarray(pixels)]


def write_crops(size: int, numbers: range, seed: int, folder: Path) -> None:
    """What a process of the generator does, after `keep_source`."""
    draw = random.Random(f"{seed}, {numbers}")
    for number in numbers:
        authors_crop(_source[0], size, draw).save(_file(folder, number), "jpeg")


class Crops:
    """The folder as a data set: uint8 tensors (3, S, S), half of them flipped."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        import torch

        with Image.open(_file(self.folder, number)) as image:
            pixels = np.array(image)
        flipped = pixels[:, ::-1] if random.random() < 0.5 else pixels
        return torch.from_numpy(np.ascontiguousarray(flipped.transpose(2, 0, 1)))


def trainer(network: str, *, channels_last: bool, compiled: bool) -> Callable[[Any], None]:
    """PyTorch's RotNet step on a batch of `Crops`."""
    import torch
    from torch.nn import functional as F

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = steps.torch_network(network).to(memory_format=layout).train()
    optimiser = torch.optim.SGD(
        model.parameters(), steps.RATE, steps.MOMENTUM, weight_decay=steps.DECAY, nesterov=True
    )
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def loss(crops: Any) -> Any:
        seen = (crops.float() - mean) / std
        views = torch.cat([torch.rot90(seen, turns, (2, 3)) for turns in range(4)])
        labels = torch.arange(4).repeat_interleave(len(crops))
        return F.cross_entropy(model(views.contiguous(memory_format=layout)), labels)

    compute = torch.compile(loss, dynamic=False) if compiled else loss

    def step(crops: Any) -> None:
        optimiser.zero_grad(set_to_none=True)
        compute(crops).backward()
        optimiser.step()

    return step


def published(mode: str, network: str, crops: int, batch: int, folder: Path, loaders: int) -> steps.Step:
    """Crops to files by as many processes as there are cores, then one epoch over the files."""
    from torch.utils.data import DataLoader

    from ssl_single_image import images

    channels_last, compiled = MODES[mode]
    pixels, size = images.load_source(PHOTOGRAPH)[0].pixels, steps.SIDES[network]
    pool = multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0)), keep_source, (pixels,))
    parts = [range(first, min(first + 16, crops)) for first in range(0, crops, 16)]
    step = trainer(network, channels_last=channels_last, compiled=compiled)
    data: Any = Crops(folder, crops)  # a map-style data set by its methods, without PyTorch's base class
    batches = DataLoader(
        data, batch, shuffle=True, drop_last=True, num_workers=loaders, persistent_workers=loaders > 0
    )

    def work(number: int) -> int:
        start = time.perf_counter()
        pool.starmap(write_crops, [(size, part, number, folder) for part in parts], chunksize=1)
        written = time.perf_counter()
        for crops_of_a_step in batches:
            step(crops_of_a_step)
        seconds = {"write": written - start, "train": time.perf_counter() - written}
        with (folder / PARTS).open("a") as out:
            out.write(json.dumps(seconds) + "\n")
        return 4 * len(batches) * batch

    return work


def ours(network: str, crops: int, batch: int) -> steps.Step:
    """The package's step, which renders its crops, as often as the same number of crops needs."""
    step = steps.ours(network, batch)
    return lambda number: sum(step(number) for _ in range(crops // batch))


def main() -> None:
    contender, network, crops, batch, folder, loaders = sys.argv[1:]
    if contender == "ours":
        common.serve(ours(network, int(crops), int(batch)))
    else:
        common.serve(published(contender, network, int(crops), int(batch), Path(folder), int(loaders)))


if __name__ == "__main__":
    main()
