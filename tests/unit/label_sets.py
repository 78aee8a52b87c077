"""Small made sets with several labels an image, in TFDS's form, and the same as a labelled set in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ssl_single_image.datasets import LabelledSet, MemorySplit, labelling

SIDE = 16
CLASSES = ("red", "green", "blue", "none")


def example(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, list[int], list[int]]:
    """Noise in a random tint, brighter in the channels of its classes: pixels, labels, and those that are certain.

    One image in eight has its last class by a difficult object alone, which is hardly to be seen. No image is of the
    last class.
    """
    present = np.flatnonzero(rng.random(3) < 0.4)
    doubtful = bool(len(present)) and rng.random() < 0.25
    certain = present[:-1] if doubtful else present
    pixels = rng.normal(90, 35, (side, side, 3)) + rng.normal(0, 14, 3)
    pixels[..., certain] += 28
    return pixels.clip(0, 255).astype(np.uint8), present.tolist(), certain.tolist()


def in_memory(train: int = 200, test: int = 100) -> LabelledSet:
    """`example`s as a labelled set."""

    def split(count: int, seed: int) -> MemorySplit:
        rng = np.random.default_rng(seed)
        found = [example(rng) for _ in range(count)]
        label = np.stack([labelling.targets(len(CLASSES), *labels) for _, *labels in found])
        image = np.stack([pixels for pixels, *_ in found])
        return MemorySplit(image, label, np.full((count, 2), SIDE, np.int32))

    form = labelling.Form(len(CLASSES))
    return LabelledSet("tints", CLASSES, split(train, 0), split(test, 1), form)


def write(
    folder: Path,
    name: str,
    splits: dict[str, int],
    *,
    config: str = "",
    labels: tuple[str, ...] = ("labels", "labels_no_difficult"),
) -> None:
    """Writes `example`s as the TFDS set `name` or `name/config`.

    Args:
      folder: the data_dir.
      name: of the set.
      splits: how many images each has, from seeds of 0, 1, ...
      config: of the set, "" for none.
      labels: features with sets of classes, the second without difficult ones; "label" has the first class instead.
    """

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self) -> tfds.core.DatasetInfo:
            one = tfds.features.ClassLabel(names=CLASSES)
            kinds = {key: one if key == "label" else tfds.features.Sequence(one) for key in labels}
            objects = tfds.features.Sequence({"label": one, "is_difficult": np.bool_})
            features = {"image": tfds.features.Image(), "objects": objects, **kinds}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                split: self._generate_examples(seed, count)
                for seed, (split, count) in enumerate(splits.items())
            }

        def _generate_examples(self, seed: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            rng = np.random.default_rng(seed)
            for number in range(count):
                pixels, present, certain = example(rng)
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, "png")
                given: dict[str, Any] = dict(
                    zip([key for key in labels if key != "label"], (present, certain), strict=False)
                )
                if "label" in labels:
                    given["label"] = present[0] if present else 3
                yield number, {"image": out.getvalue(), "objects": [], **given}

    Made.name = name
    builder = Made(data_dir=folder, file_format="array_record", **({"config": config} if config else {}))
    builder.download_and_prepare(file_format="array_record")
