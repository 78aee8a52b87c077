"""Objects in given boxes, as a labelled set: an example is an image with one box in it, and the class of that object.

It stands in for detection, which needs proposals of regions. The boxes are the annotated ones, so nothing has to be
found. Results are no detection mAP and can't be compared with one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int8
from PIL import Image

from ssl_single_image.datasets import labelling, tfds
from ssl_single_image.datasets.base import LabelledSet, Order, Split
from ssl_single_image.datasets.records import Layout, open_split
from ssl_single_image.images import decode_image
from ssl_single_image.types import Batch, InputError

ONE, SEVERAL = "alone in its image", "beside others"
DIFFICULT, TRUNCATED, POSE = "is_difficult", "is_truncated", "pose"


@dataclasses.dataclass(frozen=True)
class Objects:
    """Annotated objects of a split that are not difficult, in the order of their images.

    Attributes:
      image: (N,) int64, the number of each object's image.
      box: (N, 4) float32 in [0, 1]: top, left, bottom and right as fractions of the image's sides.
      label: (N, classes) int8: PRESENT for the class of the object, ABSENT for the others.
      groups: name -> (N,) bool, which objects are of it.
    """

    image: np.ndarray
    box: Float[np.ndarray, "N 4"]
    label: Int8[np.ndarray, "N classes"]
    groups: Mapping[str, Bool[np.ndarray, " N"]]


@dataclasses.dataclass(frozen=True)
class BoxRecords:
    """The images of objects, squeezed to a square; see `records.Records`.

    Attributes:
      name: of the set and the split, for errors.
      source: `tfds.core.DataSource` of dicts with encoded images.
      image: key of the image's bytes.
      objects: of the split.
      size: side of the square in pixels.
    """

    name: str
    source: Any
    image: str
    objects: Objects
    size: int

    def __len__(self) -> int:
        return len(self.objects.image)

    def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        numbers = [int(self.objects.image[i]) for i in indices]
        examples = self.source.__getitems__(numbers)
        found = zip(examples, numbers, indices, strict=True)
        return [(self._squeezed(example, number), self.objects.label[i]) for example, number, i in found]

    def _squeezed(self, example: dict[str, Any], number: int) -> np.ndarray:
        """(size, size, 3) uint8; the whole image, whatever its aspect, as published for VOC."""
        pixels = decode_image(example[self.image], f"{self.name}, image {number}")
        image = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(image)


@dataclasses.dataclass(frozen=True)
class BoxSplit:
    """A split whose batches have a box for each image, see `base.Split`.

    Attributes:
      images: an image for each object, with its label.
      box: (N, 4) float32, see `Objects`.
    """

    images: Split
    box: Float[np.ndarray, "N 4"]

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, batch_size: int, *, seed: int | None = None, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """See `Split.batches`; "box" is (B, 4) float32."""
        order = Order(len(self), batch_size, seed, shard)
        batches = self.images.batches(batch_size, seed=seed, start=start, shard=shard)
        for number, batch in zip(order.numbers(start), batches, strict=False):  # may have no end
            box: Any = self.box[order.batch(number)]
            yield dataclasses.replace(batch, box=box)


def load(argument: str, *, data_dir: str | None, size: int, exclude: Sequence[str]) -> LabelledSet:
    """Opens the objects of a prepared set of TFDS.

    Args:
      argument: TFDS name, NAME or NAME/CONFIG, such as voc/2007.
      data_dir: see `tfds.load`.
      size: side in pixels that images are squeezed to.
      exclude: not used.

    Raises:
      InputError: as `tfds.load`; or the set has no boxes.
    """
    builder = tfds.open_builder(argument, data_dir)
    key, classes, poses = _annotation(argument, builder.info.features)
    image = tfds.image_key(argument, builder.info.features)

    def open_one(split: str) -> tuple[BoxSplit, Objects]:
        source = tfds.undecoded(builder, split, image)
        name = f"boxes:{argument} {split}"
        objects = read_objects(source, key, len(classes), poses, name)
        records = BoxRecords(name, source, image, objects, size)
        form = labelling.Form(len(classes))
        return BoxSplit(open_split(records, Layout(size, None), name, form), objects.box), objects

    (train, _), (test, measured) = (open_one(split) for split in tfds.splits(argument, builder.info))
    return LabelledSet(
        argument, classes, train, test, labelling.Form(len(classes)), boxed=True, groups=measured.groups
    )


def read_objects(source: Any, key: str, classes: int, poses: Sequence[str], where: str) -> Objects:
    """Reads the annotations of a split; its images stay encoded.

    Args:
      source: of examples.
      key: of the feature that has the objects.
      classes: how many there are.
      poses: names of the poses; () where the set has none.
      where: names the split in errors.

    Raises:
      InputError: there is no object, or a box is empty or not inside its image.
    """
    found: list[dict[str, Any]] = []
    for number in range(len(source)):
        kept = [one for one in _one_by_one(source[number][key]) if not one.get(DIFFICULT, False)]
        found += [{**one, "image": number, "alone": len(kept) == 1} for one in kept]
    if not found:
        raise InputError(f"data set {where}: has no objects")
    box = np.array([one["bbox"] for one in found], np.float32)
    (bad,) = np.nonzero(~((box[:, :2] >= 0) & (box[:, :2] < box[:, 2:]) & (box[:, 2:] <= 1)).all(1))
    if len(bad):
        raise InputError(
            f"data set {where}: image {found[bad[0]]['image']} has a box that is empty or reaches beyond the image"
        )
    label = np.full((len(found), classes), labelling.ABSENT, np.int8)
    label[np.arange(len(found)), [int(one["label"]) for one in found]] = labelling.PRESENT
    return Objects(np.array([one["image"] for one in found]), box, label, _groups(found, poses))


def _groups(found: Sequence[Mapping[str, Any]], poses: Sequence[str]) -> dict[str, Bool[np.ndarray, " N"]]:
    """What objects are told apart by; groups without any object are left out."""
    alone = np.array([one["alone"] for one in found])
    groups = {ONE: alone, SEVERAL: ~alone}
    if TRUNCATED in found[0]:
        cut = np.array([bool(one[TRUNCATED]) for one in found])
        groups |= {"whole": ~cut, "truncated": cut}
    for number, name in enumerate(poses):
        groups[f"pose: {name}"] = np.array([int(one[POSE]) == number for one in found])
    return {name: rows for name, rows in groups.items() if rows.any()}


def _one_by_one(objects: Any) -> list[dict[str, Any]]:
    """Annotations as a list of objects; TFDS gives a dict of columns."""
    if isinstance(objects, Mapping):
        return [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]
    return list(objects)


def _annotation(argument: str, features: Mapping[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The feature that has the objects, the names of their classes and those of their poses.

    Raises:
      InputError: there is none, or several.
    """
    from tensorflow_datasets import features as kinds  # takes a second

    columns = {
        key: dict(feature.feature.items())
        for key, feature in features.items()
        if isinstance(feature, kinds.Sequence) and isinstance(feature.feature, kinds.FeaturesDict)
    }
    keys = [
        key
        for key, inner in columns.items()
        if isinstance(inner.get("bbox"), kinds.BBoxFeature)
        and isinstance(inner.get("label"), kinds.ClassLabel)
    ]
    if len(keys) != 1:
        raise InputError(
            f"data set boxes:{argument}: {len(keys)} features with a box and a label for each object; one is needed"
        )
    inner = columns[keys[0]]
    poses = inner[POSE].names if isinstance(inner.get(POSE), kinds.ClassLabel) else ()
    return keys[0], tuple(inner["label"].names), tuple(poses)
