"""Ways of pretraining, each one file with `make(setup) -> Objective`.

A new objective is one file and one line in OBJECTIVES.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ssl_single_image.objectives import bigan, deepcluster, rotnet, supervised
from ssl_single_image.objectives.common import Setup
from ssl_single_image.types import InputError, Objective

__all__ = ["OBJECTIVES", "Entry", "Setup"]


class Entry(NamedTuple):
    """How to make an objective.

    Attributes:
      make: from the settings.
      labelled: its inputs are labelled batches (else an atlas).
      options: a dataclass of the settings that only this objective has, checked when made.
    """

    make: Callable[[Setup], Objective]
    labelled: bool = False
    options: type | None = None

    def read_options(self, fields: Mapping[str, Any]) -> Any:
        """An instance of `options`, None where there are none.

        Raises:
          InputError: unknown name, or what `options` refuses.
        """
        known = [f.name for f in dataclasses.fields(self.options)] if self.options else []
        for name in fields:
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "this objective has none"
                raise InputError(f"config.objective_options: no option {name!r}; {has}")
        return self.options(**fields) if self.options else None


OBJECTIVES: dict[str, Entry] = {
    "bigan": Entry(bigan.make, options=bigan.Options),
    "deepcluster": Entry(deepcluster.make, options=deepcluster.Options),
    "rotnet": Entry(rotnet.make),
    "supervised": Entry(supervised.make, labelled=True),
}
