"""Arrays too large for a copy on every device: each holds its share of their rows, and keeps it between calls."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax

Part = TypeVar("Part")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shards(Generic[Part]):
    """What the devices of this process hold.

    A compiled step with `split_inputs` takes it in place of inputs that are split at each call. A state may have some
    too: there it holds all rows (N, ...) until `parallel.divide` deals them out.

    Attributes:
      parts: the share of a device, (n, ...); over several devices they are stacked, (devices here, n, ...). A
        compiled function sees the share of its own.
    """

    parts: Part
