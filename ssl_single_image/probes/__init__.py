"""Probes measure what each layer of a frozen encoder knows. A new kind is one file and one line in `registry.KINDS`."""

from __future__ import annotations

from ssl_single_image.probes.config import ProbeConfig
from ssl_single_image.probes.kinds import Answers, Kind, Program
from ssl_single_image.probes.plan import ProbePlan, input_size, make_plan
from ssl_single_image.probes.registry import KINDS, find

__all__ = [
    "KINDS",
    "Answers",
    "Kind",
    "ProbeConfig",
    "ProbePlan",
    "Program",
    "find",
    "input_size",
    "make_plan",
]
