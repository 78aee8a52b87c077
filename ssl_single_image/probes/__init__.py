"""Probes measure what each layer of a frozen encoder knows. A new kind is one file and one line in KINDS."""

from __future__ import annotations

from ssl_single_image.probes import linear_runs
from ssl_single_image.probes.kinds import Kind, Measured, Program
from ssl_single_image.probes.plan import ProbeConfig, ProbePlan, input_size, make_plan
from ssl_single_image.schema import pick

__all__ = [
    "KINDS",
    "Kind",
    "Measured",
    "ProbeConfig",
    "ProbePlan",
    "Program",
    "find",
    "input_size",
    "make_plan",
]

KINDS: dict[str, Kind] = {"linear": Kind(linear_runs.make, "linear probes")}


def find(name: str) -> Kind:
    """The kind of probe of a name.

    Raises:
      InputError: there is none of this name.
    """
    return pick(KINDS, name, "kind")
