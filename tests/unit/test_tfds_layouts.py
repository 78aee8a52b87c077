"""Sets of TFDS whose splits or labels are not the usual ones, on small made copies of their layout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from probe_fakes import loaded, tiny_backbone  # noqa: F401

from ssl_single_image import datasets
from ssl_single_image.datasets import MemorySplit
from ssl_single_image.probes import ProbeConfig, make_plan, runner
from ssl_single_image.types import InputError

SIDE, CLASSES = 16, 4
NAMES = tuple(f"kind {number}" for number in range(CLASSES))


def pixels(split: str, number: int, channels: int) -> np.ndarray:
    """Noise around a level that tells the class, number % CLASSES."""
    rng = np.random.default_rng([len(split), number])
    level = 40 + 45 * (number % CLASSES)
    return (level + rng.integers(-20, 21, (SIDE, SIDE, channels))).astype(np.uint8)


def write(
    folder: Path,
    name: str,
    splits: dict[str, int],
    labels: dict[str, Any],
    *,
    config: str = "",
    channels: int = 3,
) -> None:
    """Writes a TFDS set; each of `labels` is a feature whose value is the image's number modulo its classes."""

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self) -> tfds.core.DatasetInfo:
            features = {"image": tfds.features.Image(shape=(SIDE, SIDE, channels)), **labels}
            if name == "smallnorb":
                features["image2"] = tfds.features.Image(shape=(SIDE, SIDE, channels))
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {split: self._generate_examples(split, count) for split, count in splits.items()}

        def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            for number in range(count):
                out = io.BytesIO()
                image = pixels(split, number, channels)
                Image.fromarray(image[..., 0] if channels == 1 else image).save(out, "png")
                given: dict[str, Any] = {key: number % kind.num_classes for key, kind in labels.items()}
                images = {key: out.getvalue() for key in self.info.features if key.startswith("image")}
                yield number, {**images, **given}

    Made.name = name
    builder = Made(data_dir=folder, file_format="array_record", **({"config": config} if config else {}))
    builder.download_and_prepare(file_format="array_record")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    kinds = tfds.features.ClassLabel(names=NAMES)
    write(folder, "cifar10", {"train": 40, "test": 20}, {"label": kinds})
    numbered = tfds.features.ClassLabel(num_classes=CLASSES)  # the corrupted set does not name its classes
    for config in ("brightness_1", "frost_5"):
        write(folder, "cifar10_corrupted", {"test": 24}, {"label": numbered}, config=config)
    labels = {
        "label_category": kinds,
        "instance": 10,
        "label_elevation": 9,
        "label_azimuth": 18,
        "label_lighting": 6,
    }
    norb = {
        k: tfds.features.ClassLabel(num_classes=v) if isinstance(v, int) else v for k, v in labels.items()
    }
    write(folder, "smallnorb", {"train": 36, "test": 24}, norb, channels=1)
    angles = tfds.features.ClassLabel(num_classes=12)
    write(folder, "coil100", {"train": 48}, {"angle_label": angles, "object_id": kinds})
    write(folder, "alone", {"test": 24}, {"label": kinds})
    return folder


def load(name: str, folder: Path) -> tuple[datasets.LabelledSet, MemorySplit, MemorySplit]:
    found = datasets.load(name, data_dir=str(folder), size=SIDE, multi_label=None)
    assert isinstance(found.train, MemorySplit)
    assert isinstance(found.test, MemorySplit)
    return found, found.train, found.test


def test_corrupted_images_are_measured_with_heads_of_the_set_they_come_from(data_dir: Path) -> None:
    found, train, test = load("tfds:cifar10_corrupted/brightness_1", data_dir)
    _, clean, _ = load("cifar10", data_dir)
    assert found.name == "tfds:cifar10_corrupted/brightness_1"
    assert found.classes == NAMES
    np.testing.assert_array_equal(train.image, clean.image)
    np.testing.assert_array_equal(test.image, [pixels("test", number, 3) for number in range(24)])
    np.testing.assert_array_equal(test.label, np.arange(24) % CLASSES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:cifar10_corrupted", r"^data set cifar10_corrupted has several configs in .*brightness_1"),
        ("validation:tfds:cifar10_corrupted/frost_5", r"has no training images; divide validation:cifar10$"),
        ("tfds:alone", r"^data set alone has the splits test; train and test are needed"),
    ],
)
def test_what_is_refused(data_dir: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(name, data_dir)
    assert "\n" not in str(caught.value)


def test_corrupted_images_need_the_set_that_is_learnt_from(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10_corrupted").symlink_to(data_dir / "cifar10_corrupted")
    with pytest.raises(InputError, match=r"^data set cifar10 is not in .*prepare --dataset tfds:cifar10"):
        load("tfds:cifar10_corrupted/frost_5", tmp_path)
    write(tmp_path, "cifar10", {"train": 8, "test": 8}, {"label": tfds.features.ClassLabel(num_classes=3)})
    with pytest.raises(
        InputError, match=r"^data set cifar10_corrupted/frost_5: has 4 classes, and cifar10, .* 3$"
    ):
        load("tfds:cifar10_corrupted/frost_5", tmp_path)


def test_small_norb_is_grey_and_classified_by_category(data_dir: Path) -> None:
    found, train, test = load("tfds:smallnorb", data_dir)
    assert found.classes == NAMES
    assert (len(train), len(test)) == (36, 24)
    np.testing.assert_array_equal(train.label, np.arange(36) % CLASSES)
    np.testing.assert_array_equal(train.image[..., [0]].repeat(3, -1), train.image)
    np.testing.assert_array_equal(train.image[3, ..., 0], pixels("train", 3, 1)[..., 0])


def test_coil_100_is_divided_by_a_fixed_seed(data_dir: Path) -> None:
    found, train, test = load("tfds:coil100", data_dir)
    assert found.classes == NAMES
    assert (len(train), len(test)) == (36, 12)
    everything = {one.tobytes() for one in (pixels("train", number, 3) for number in range(48))}
    parts = [{one.tobytes() for one in split.image} for split in (train, test)]
    assert parts[0] | parts[1] == everything
    assert not parts[0] & parts[1]
    order = np.random.default_rng(0).permutation(48)
    np.testing.assert_array_equal(test.label, np.sort(order[:12]) % CLASSES)
    _, inner, held = load("validation:tfds:coil100", data_dir)
    assert (len(inner), len(held)) == (33, 3)
    assert {one.tobytes() for one in (*inner.image, *held.image)} == parts[0]


@pytest.mark.parametrize("name", ["cifar10_corrupted/frost_5", "smallnorb", "coil100"])
def test_probes_take_them(data_dir: Path, name: str) -> None:
    data, *_ = load(f"tfds:{name}", data_dir)
    config = ProbeConfig.from_config(
        {"dataset": f"tfds:{name}", "kind": "ridge", "batch_size": 12, "max_features": 50}
    )
    probe = runner.run(make_plan([loaded()], data, config))
    assert probe["dataset"] == f"tfds:{name}"
    assert probe["results"][0]["layers"]["conv1"]["top1"] > 60
