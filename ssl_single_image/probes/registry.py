"""The kinds of probe there are."""

from __future__ import annotations

from ssl_single_image.probes import fewshot, knn, linear_runs, ridge, robustness
from ssl_single_image.probes.kinds import Kind
from ssl_single_image.schema import pick

KINDS: dict[str, Kind] = {
    "linear": linear_runs.KIND,
    "ridge": ridge.KIND,
    "knn": knn.KIND,
    "fewshot": fewshot.KIND,
    "robustness": robustness.KIND,
}


def find(name: str) -> Kind:
    """The kind of probe of a name.

    Raises:
      InputError: there is none of this name.
    """
    return pick(KINDS, name, "kind")
