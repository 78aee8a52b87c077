"""Images with landmarks: the same named points in each, such as the eyes of faces. Sets of TFDS have them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ssl_single_image.datasets import tfds
from ssl_single_image.images import decode_image
from ssl_single_image.types import InputError

FEATURE = "landmarks"
"""The feature of a TFDS set that holds them: NAME_x and NAME_y of each, in pixels."""
EYES = ("lefteye", "righteye")
"""Names of the landmarks whose distance is the unit of errors on faces."""
FEWEST = 8
"""Images that a split needs."""
KNOWN = "tfds:celeb_a"


@dataclasses.dataclass(frozen=True)
class LandmarkSplit:
    """Images with their landmarks.

    Attributes:
      image: (n, S, S, 3) uint8.
      points: (n, K, 2) float32, (y, x) as shares of the image's side: 0 is its top or left edge and 1 the other one.
    """

    image: UInt8[np.ndarray, "n S S 3"]
    points: Float[np.ndarray, "n K 2"]

    def __len__(self) -> int:
        return len(self.image)

    def units(self, eyes: tuple[int, int] | None) -> Float[np.ndarray, " n"]:
        """What errors are divided by: the distance between two landmarks of each image, or its side."""
        if eyes is None:
            return np.ones(len(self))
        return np.linalg.norm(self.points[:, eyes[0]] - self.points[:, eyes[1]], axis=-1)


@dataclasses.dataclass(frozen=True)
class LandmarkSet:
    """A set of images with landmarks.

    Attributes:
      name: of the set.
      landmarks: names of the landmarks.
      train: images to learn from.
      test: images to measure on.
    """

    name: str
    landmarks: tuple[str, ...]
    train: LandmarkSplit
    test: LandmarkSplit

    @property
    def eyes(self) -> tuple[int, int] | None:
        """Which landmarks are the eyes; None for a set without them."""
        if not set(EYES) <= set(self.landmarks):
            return None
        left, right = (self.landmarks.index(eye) for eye in EYES)
        return left, right


def load(name: str, *, data_dir: str | None, size: int, train: int, test: int, seed: int) -> LandmarkSet:
    """Reads images with landmarks from a prepared set of TFDS.

    The largest central square of each image is resized to size x size. A landmark outside that square keeps its place,
    below 0 or above 1.

    Args:
      name: `tfds:NAME`.
      data_dir: folder that holds NAME/; None: TFDS's own.
      size: side of the images in pixels.
      train: how many training images, drawn at random; all if there are fewer.
      test: how many test images, likewise.
      seed: of the draws.

    Raises:
      InputError: no such set, one without landmarks, too few images, or a landmark outside its image.
    """
    kind, _, argument = name.partition(":")
    if kind != "tfds":
        raise InputError(
            f"data = {name!r}: has no landmarks; give photos, for warped photographs, or {KNOWN}"
        )
    builder = tfds.open_builder(argument, data_dir)
    landmarks = _names(name, builder.info.features)
    found = []
    for stream, (split, count) in enumerate(
        zip(tfds.splits(argument, builder.info), (train, test), strict=True)
    ):
        there = builder.info.splits[split].num_examples
        if min(count, there) < FEWEST:
            raise InputError(
                f"data set {name}: {there} {split} images; a regression of landmarks needs {FEWEST}"
            )
        rng = np.random.default_rng([seed, stream])
        chosen = np.sort(rng.permutation(there)[:count])
        found.append(_read(builder, f"{argument} {split}", split, chosen.tolist(), landmarks, size))
    return LandmarkSet(name, landmarks, *found)


def _names(name: str, features: Mapping[str, Any]) -> tuple[str, ...]:
    """The landmarks of a set.

    Raises:
      InputError: it has none.
    """
    points = (
        set(features[FEATURE].keys()) if FEATURE in features and hasattr(features[FEATURE], "keys") else set()
    )
    found = tuple(
        sorted(point[:-2] for point in points if point.endswith("_x") and f"{point[:-2]}_y" in points)
    )
    if not found or "image" not in features:
        raise InputError(
            f"data set {name}: has no landmarks (an `image`, and `{FEATURE}` with NAME_x and NAME_y are needed);"
            f" give photos, for warped photographs, or {KNOWN}"
        )
    return found


def _read(
    builder: Any, where: str, split: str, chosen: list[int], landmarks: tuple[str, ...], size: int
) -> LandmarkSplit:
    examples = tfds.undecoded(builder, split, "image").__getitems__(chosen)
    read = functools.partial(_example, landmarks=landmarks, size=size)
    pairs = [read(example, f"{where}, image {i}") for i, example in zip(chosen, examples, strict=True)]
    return LandmarkSplit(np.stack([image for image, _ in pairs]), np.stack([points for _, points in pairs]))


def _example(
    example: Mapping[str, Any], where: str, landmarks: tuple[str, ...], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels and the points of one example.

    Raises:
      InputError: a landmark outside the image.
    """
    pixels = decode_image(example["image"], where)
    height, width = pixels.shape[:2]
    given = example[FEATURE]
    points = np.array([[float(given[f"{name}_y"]), float(given[f"{name}_x"])] for name in landmarks])
    for name, (y, x) in zip(landmarks, points, strict=True):
        if not (0 <= y < height and 0 <= x < width):
            raise InputError(
                f"{where}: landmark {name} at ({y:g}, {x:g}) lies outside the image of {height} x {width} pixels"
            )
    side = min(height, width)
    top, left = (height - side) / 2, (width - side) / 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(image), ((points + 0.5 - [top, left]) / side).astype(np.float32)
