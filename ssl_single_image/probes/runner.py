"""Runs a probe: every encoder on one labelled set, to what `probe.json` holds. It knows no kind by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ssl_single_image import probes
from ssl_single_image.datasets import base
from ssl_single_image.probes import linear, statistics
from ssl_single_image.probes.plan import ProbePlan

UNNAMED = ("dataset", "data_dir")
"""Fields of a probe's config that name the data: what the data are is recorded beside them."""


def run(plan: ProbePlan) -> dict[str, Any]:
    """Measures all layers of all encoders; the same numbers whenever it is called again.

    Returns:
      What `probe.json` holds. "chance" is the accuracy, in percent, of always naming the most frequent class of the
      test images: 100 / classes where they are balanced.

    Raises:
      InputError: an encoder's features, or a probe's loss, are not finite.
    """
    kind = probes.find(plan.config.kind)
    labels = np.zeros(len(plan.data.classes), np.int64)
    programs: dict[int, probes.Program] = {}
    results = []
    for loaded, setup in zip(plan.encoders, plan.setups, strict=True):
        if id(setup) not in programs:
            programs[id(setup)] = _program(kind, plan, setup)
        layers, labels = programs[id(setup)].run(loaded)
        spec = dataclasses.asdict(setup.encoder)
        results.append(
            {
                "checkpoint": loaded.name,
                "step": loaded.step,
                "backbone": spec["backbone"],
                "encoder": {name: list(v) if isinstance(v, tuple) else v for name, v in spec.items()},
                "layers": layers,
            }
        )
    return {
        "dataset": plan.data.name,
        "kind": plan.config.kind,
        "title": kind.title,
        "protocol": plan.config.protocol,
        "classes": len(plan.data.classes),
        "chance": 100 * float(labels.max()) / float(labels.sum()),
        "train_images": plan.train_images,
        "test_images": plan.test_images,
        "size": plan.setups[0].encoder.size,
        "test": plan.setups[0].test,
        "config": {name: value for name, value in plan.config.to_config().items() if name not in UNNAMED},
        "data": base.identity(plan.data),
        "results": results,
    }


def _program(kind: probes.Kind, plan: ProbePlan, setup: linear.Setup) -> probes.Program:
    """The kind's program, with the batch-norm statistics that the config asks for."""
    program = kind.make(plan, setup)
    if plan.config.statistics == "recomputed":
        return statistics.Recomputed(program, plan, setup)
    return program
