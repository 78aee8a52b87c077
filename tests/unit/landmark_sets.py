"""A small made set of images with landmarks, in the form that TFDS gives CelebA."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

NAMES = ("lefteye", "righteye", "nose")
HEIGHT, WIDTH = 40, 32


def example(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, int]]:
    """Grey noise with a coloured square about each landmark."""
    pixels = rng.integers(100, 140, (HEIGHT, WIDTH, 3), np.uint8)
    y, x = rng.integers(10, 16), rng.integers(6, 12)
    points = {"lefteye": (y, x), "righteye": (y, x + 12), "nose": (y + 10, x + 6)}
    for colour, (row, column) in enumerate(points.values()):
        pixels[row - 2 : row + 3, column - 2 : column + 3] = np.eye(3, dtype=np.uint8)[colour] * 255
    flat = {
        f"{name}_{axis}": int(value)
        for name, at in points.items()
        for axis, value in zip("yx", at, strict=True)
    }
    return pixels, flat


def write(
    folder: Path, name: str, counts: dict[str, int], *, landmarks: bool = True, outside: bool = False
) -> None:
    """Writes `example`s as the TFDS set `name`.

    Args:
      folder: the data_dir.
      name: of the set.
      counts: how many images each split has, from seeds of 0, 1, ...
      landmarks: False: the images have classes instead.
      outside: the first nose of each split lies below its image.
    """

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            points = {f"{point}_{axis}": np.int64 for point in NAMES for axis in "xy"}
            given = {"landmarks": points} if landmarks else {"label": tfds.features.ClassLabel(num_classes=2)}
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(), **given})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                split: self._generate_examples(seed, count)
                for seed, (split, count) in enumerate(counts.items())
            }

        def _generate_examples(self, seed: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            rng = np.random.default_rng(seed)
            for number in range(count):
                pixels, points = example(rng)
                if outside and number == 0:
                    points["nose_y"] = HEIGHT
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, "png")
                given = {"landmarks": points} if landmarks else {"label": number % 2}
                yield number, {"image": out.getvalue(), **given}

    Made.name = name
    Made(data_dir=folder, file_format="array_record").download_and_prepare(file_format="array_record")
