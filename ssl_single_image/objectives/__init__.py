"""Ways of pretraining, each one file with `make(setup) -> Objective`.

A new objective is one file and one line in OBJECTIVES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ssl_single_image.objectives import rotnet, supervised
from ssl_single_image.objectives.common import Setup
from ssl_single_image.types import Objective

__all__ = ["OBJECTIVES", "Entry", "Setup"]


class Entry(NamedTuple):
    """How to make an objective, and whether its inputs are labelled batches (else an atlas)."""

    make: Callable[[Setup], Objective]
    labelled: bool = False


OBJECTIVES: dict[str, Entry] = {
    "rotnet": Entry(rotnet.make),
    "supervised": Entry(supervised.make, labelled=True),
}
