"""Figures of the paper's linear probes, to stand beside measured ones.

They are top-1 accuracies in percent of Asano, Rupprecht and Vedaldi, "A critical analysis of self-supervision, or what
we can learn from a single image" (ICLR 2020, arXiv 1904.13132): the tables of linear probes on ImageNet (AlexNet, ten
crops) and on CIFAR. All of them are transcriptions. Those of status TRANSCRIBED were not checked against the paper;
those of status SEEN stand in another publication too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

TRANSCRIBED = "paper?"
SEEN = "seen elsewhere"
NOTE = (
    "Rows marked [paper?] are transcriptions of the paper's tables that nobody verified. Rows marked [seen elsewhere]"
    " agree with another publication. The paper's networks, images and training budgets differ from those of the runs"
    " above, so only the shape over layers can be compared."
)
SOURCE = "Asano, Rupprecht, Vedaldi: A critical analysis of self-supervision (ICLR 2020, arXiv 1904.13132)"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table of the paper.

    Attributes:
      method: what the network was trained by.
      images: what it was trained on.
      top1: percent, from conv1 on.
      status: TRANSCRIBED or SEEN.
    """

    method: str
    images: str
    top1: tuple[float, ...]
    status: str = TRANSCRIBED


IMAGENET = (
    Row("random", "none", (11.6, 17.1, 16.9, 16.3, 14.1), SEEN),
    Row("k-means initialisation", "1.28 million images", (17.5, 23.0, 24.5, 23.2, 20.6), SEEN),
    Row("supervised", "1.28 million images", (19.3, 36.3, 44.2, 48.3, 50.5), SEEN),
    Row("BiGAN", "one image (A)", (20.4, 30.9, 33.4, 28.4, 16.0)),
    Row("BiGAN", "one image (B)", (20.5, 30.4, 31.6, 27.0, 16.8)),
    Row("BiGAN", "10 images", (16.2, 16.5, 16.5, 13.1, 7.5)),
    Row("BiGAN", "1,000 images", (16.1, 17.7, 18.3, 17.6, 13.5)),
    Row("BiGAN", "1.28 million images", (17.7, 24.5, 31.0, 29.9, 28.0), SEEN),
    Row("RotNet", "one image (A)", (19.9, 30.2, 30.6, 27.6, 21.9)),
    Row("RotNet", "one image (B)", (17.8, 27.6, 27.9, 25.4, 20.2)),
    Row("RotNet", "10 images", (19.6, 30.7, 32.6, 28.9, 22.6)),
    Row("RotNet", "1,000 images", (21.0, 33.6, 36.5, 34.0, 29.4)),
    Row("RotNet", "1.28 million images", (18.8, 31.7, 38.7, 38.2, 36.5)),
    Row("DeepCluster", "one image (A)", (20.7, 31.5, 32.5, 28.5, 21.0)),
    Row("DeepCluster", "one image (B)", (19.7, 30.1, 31.6, 28.5, 20.4)),
    Row("DeepCluster", "10 images", (18.5, 29.0, 31.1, 28.2, 21.9)),
    Row("DeepCluster", "1,000 images", (19.5, 29.8, 33.0, 31.7, 26.8)),
    Row("DeepCluster", "1.28 million images", (18.0, 32.5, 39.2, 37.2, 30.6)),
)
CIFAR10 = (
    Row("random", "none", (57.8, 55.5, 54.2, 47.3)),
    Row("supervised", "whole set", (66.5, 70.1, 72.4, 75.9)),
    Row("RotNet", "whole set", (64.4, 65.6, 65.6, 59.1)),
    Row("GAN", "whole set", (67.7, 73.0, 72.5, 69.2)),
    Row("GAN", "one image", (68.1, 72.3, 70.8, 63.5)),
)
CIFAR100 = (
    Row("random", "none", (30.9, 29.8, 28.6, 24.1)),
    Row("supervised", "whole set", (38.7, 43.6, 44.4, 46.5)),
    Row("RotNet", "whole set", (36.0, 35.9, 34.2, 25.8)),
    Row("GAN", "whole set", (39.6, 46.0, 45.1, 39.9)),
    Row("GAN", "one image", (39.9, 46.9, 44.5, 38.8)),
)
TABLES: dict[str, tuple[Row, ...]] = {
    "imagenet": IMAGENET,
    "tfds:imagenet2012": IMAGENET,
    "cifar10": CIFAR10,
    "tfds:cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "tfds:cifar100": CIFAR100,
}
"""Name of a labelled set -> what the paper measured on it."""


def beside(probe: Mapping[str, Any], layers: Sequence[str]) -> tuple[Row, ...]:
    """The paper's rows for a table of linear probes; () where it has none of this data set and these layers.

    Args:
      probe: what `probe.json` holds.
      layers: of the table; the paper's layers must be among them.
    """
    rows = TABLES.get(probe["dataset"], ())
    if probe.get("kind", "linear") != "linear" or not rows:
        return ()
    return rows if set(names(rows)) <= set(layers) else ()


def names(rows: Sequence[Row]) -> list[str]:
    """The layers of rows: conv1, conv2, ..."""
    return [f"conv{number}" for number in range(1, 1 + len(rows[0].top1))]
