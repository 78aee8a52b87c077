"""Labelled sets into TFDS array_record form: from TFDS's own recipes, or from a folder of images.

Only the `prepare` command imports this module; reading needs none of it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from ssl_single_image.datasets import folder
from ssl_single_image.datasets.tfds import data_folder, missing_set, versions
from ssl_single_image.images import read_image
from ssl_single_image.types import InputError

FILE_FORMAT = "array_record"


def prepare_tfds(name: str, data_dir: str | None) -> Path:
    """Downloads and converts a set that TFDS knows; does nothing if it is there already.

    Args:
      name: TFDS name, NAME or NAME/CONFIG.
      data_dir: see `tfds.data_folder`.

    Returns:
      The folder of the prepared version.

    Raises:
      InputError: TensorFlow, which TFDS's recipes need, is missing. Or TFDS knows no such set, files that have
        to be fetched by hand are not there, or the download failed.
    """
    missing = [lib for lib in ("tensorflow", "importlib_resources") if importlib.util.find_spec(lib) is None]
    if missing:
        raise InputError(
            f"preparing {name} needs {' and '.join(missing)}: pip install 'ssl-single-image[prepare]' "
            "(only this command does; reading the result doesn't)"
        )
    where = data_folder(data_dir)
    try:
        builder = tfds.builder(name, data_dir=where, file_format=FILE_FORMAT)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(missing_set(name, where)) from error
    except (ValueError, ImportError) as error:
        raise InputError(f"TFDS can't open {name}: {str(error).splitlines()[0]}") from error
    try:
        builder.download_and_prepare(file_format=FILE_FORMAT)
    except AssertionError as error:  # TFDS's way to say that files have to be fetched by hand
        steps = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or str(error)).split())
        raise InputError(
            f"{name} needs files fetched by hand in {where}/downloads/manual: {steps}"
        ) from error
    except Exception as error:  # every host fails in its own way
        raise InputError(f"{name} could not be downloaded or converted: {error}") from error
    return Path(builder.data_path)


def prepare_folder(path: str, name: str, data_dir: str | None) -> Path:
    """Converts PATH/train/CLASS/* and PATH/test/CLASS/* (or val), without TensorFlow; files are kept as they are.

    Raises:
      InputError: as `folder.load`, an unreadable image, a name that TFDS does not take, or a set of this name
        is there already.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise InputError(f"--name={name}: give lower-case letters, digits and underscores, a letter first")
    classes, splits = folder.open_records(path, None)
    where = data_folder(data_dir)
    if versions(where / name):
        raise InputError(f"{where / name} is there already; give another --name, or remove it")
    builder = _FolderBuilder(name, classes, splits, where)
    try:
        builder.download_and_prepare(file_format=FILE_FORMAT)
    except OSError as error:
        raise InputError(f"{where / name} could not be written: {error}") from error
    return Path(builder.data_path)


class _FolderBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Converted from a folder."}

    def __init__(
        self, name: str, classes: tuple[str, ...], splits: dict[str, folder.FolderRecords], data_dir: Path
    ) -> None:
        self.name = name
        self._classes = classes
        self._splits = splits
        # Said in the features, as for a set of one size: readers then leave its images as they are.
        paths = [path for records in splits.values() for path in records.paths]
        self._one_size = folder.one_size(paths) or (None, None)
        super().__init__(data_dir=data_dir, file_format=FILE_FORMAT)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(*self._one_size, 3)),
            "label": tfds.features.ClassLabel(names=self._classes),
        }
        # In the order of the folder, so that a probe of either sees the same images in the same order.
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(records) for split, records in self._splits.items()}

    def _generate_examples(self, records: folder.FolderRecords) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (path, label) in enumerate(zip(records.paths, records.labels, strict=True)):
            read_image(path)  # a damaged file is found now, not in the middle of a probe
            yield i, {"image": str(path), "label": label}
