"""Ways of pretraining. Each is a file or a folder with `make(setup) -> Objective`.

A new objective is one file (or folder) and one line in OBJECTIVES.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ssl_single_image.augment import CropSpec
from ssl_single_image.objectives import bigan, deepcluster, jigsaw, pirl, rotnet, simclr, supervised
from ssl_single_image.objectives.common import Setup, own_input_size
from ssl_single_image.schema import Section, pick
from ssl_single_image.types import Objective

__all__ = ["OBJECTIVES", "Entry", "NoOptions", "Setup", "find"]


@dataclasses.dataclass(frozen=True)
class NoOptions(Section):
    """The options of an objective that has none."""

    TITLE = "objective_options"


def _whole_crop(crop: CropSpec, options: Any) -> int:
    del options
    return crop.size


@dataclasses.dataclass(frozen=True)
class Entry:
    """How to make an objective.

    Attributes:
      make: from the settings.
      labelled: its inputs are labelled batches (else an atlas).
      options: a `Section` with the objective's own settings and their defaults.
      input_size: (crop, options) -> side in pixels of what the encoder is given; the default is the whole crop.
    """

    make: Callable[[Setup], Objective]
    labelled: bool = False
    options: type[Section] = NoOptions
    input_size: Callable[[CropSpec, Any], int] = _whole_crop


OBJECTIVES: dict[str, Entry] = {
    "bigan": Entry(bigan.make, options=bigan.Options),
    "deepcluster": Entry(deepcluster.make, options=deepcluster.Options),
    "jigsaw": Entry(jigsaw.make, options=jigsaw.Options, input_size=own_input_size),
    "pirl": Entry(pirl.make, options=pirl.Options, input_size=own_input_size),
    "rotnet": Entry(rotnet.make),
    "simclr": Entry(simclr.make, options=simclr.Options, input_size=own_input_size),
    "supervised": Entry(supervised.make, labelled=True),
}


def find(name: str) -> Entry:
    """The objective of a name.

    Raises:
      InputError: there is none of this name.
    """
    return pick(OBJECTIVES, name, "objective")
