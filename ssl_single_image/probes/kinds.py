"""What a kind of probe is: a program that measures the layers of one encoder after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ssl_single_image.runs import LoadedEncoder


class Measured(NamedTuple):
    """What a probe found.

    Attributes:
      layers: layer -> name -> number; "top1" and "top5" in percent, and "features".
      label_counts: (classes,) int64, how many test images there are of each class.
    """

    layers: dict[str, dict[str, float]]
    label_counts: np.ndarray


class Program(Protocol):
    """A probe of encoders of one spec; what it compiles serves all of them."""

    def run(self, loaded: LoadedEncoder) -> Measured:
        """Measures one encoder.

        Raises:
          InputError: its features, or the probe's loss, are not finite.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of probe.

    Attributes:
      make: (plan, setup) -> the program for encoders of the setup's spec.
      title: what headings call probes of this kind, a plural; `probe.json` records it.
    """

    make: Callable[[Any, Any], Program]
    title: str
