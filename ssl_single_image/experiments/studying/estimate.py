"""How long a study will take and how much disk: by its own clock where it has one, else by earlier measurements."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import images, keys
from ssl_single_image.augment import CropSpec
from ssl_single_image.experiments.settings import PretrainConfig
from ssl_single_image.experiments.studying import state
from ssl_single_image.experiments.studying.plan import Unit
from ssl_single_image.types import Batch, PyTree

VIEWS_A_SECOND = {
    ("rotnet", "alexnet32"): 350.0,
    ("deepcluster", "alexnet32"): 330.0,
    ("jigsaw", "alexnet32"): 1200.0,
    ("pirl", "alexnet32"): 700.0,
    ("simclr", "alexnet32"): 300.0,
    ("supervised", "alexnet32"): 450.0,
    ("bigan", "dcgan32"): 150.0,
    ("finetune", "alexnet32"): 450.0,
}
"""(objective, backbone) -> views a second with 32-px crops, rough: from how long whole runs took on two CPU cores."""
STAGE_SECONDS = {"probe": 80.0, "analyse": 60.0, "robustness": 1200.0, "invariance": 120.0}
"""Stage -> seconds an encoder on two CPU cores, for CIFAR-10 and `alexnet32`; rough likewise."""
MEASURED, ESTIMATED, UNKNOWN = "measured", "estimated", "unknown"


class Estimate(NamedTuple):
    """What a stage will take.

    Attributes:
      seconds: of work; None where nothing like it was ever measured.
      basis: MEASURED (in this study), ESTIMATED (from tables of this module) or UNKNOWN.
      disk: bytes that its checkpoints take.
    """

    seconds: float | None
    basis: str
    disk: int


class Estimator:
    """Estimates from the records of a study."""

    def __init__(self, place: Path, every: Sequence[Unit]):
        """
        Args:
          place: the study's folder.
          every: all its units, among which those that are done say how long things take here.
        """
        self._rates: dict[str, list[float]] = {}
        self._seconds: dict[str, list[float]] = {}
        for unit in every:
            if unit.row.pretrain and (rate := state.views_a_second(place, unit)):
                self._rates.setdefault(_likeness(unit.pretraining), []).append(rate)
            record = state.read(place, unit)
            for stage in record.recipes.keys() - {"pretrain"}:
                self._seconds.setdefault(f"{stage} {len(unit.row.encoders)}", []).append(
                    record.seconds[stage]
                )

    def of(self, unit: Unit, stage: str) -> Estimate:
        """What a stage of a unit takes, from its beginning."""
        if stage == "pretrain":
            settings = unit.pretraining
            disk = _state_bytes(_shape_of(settings)) * (settings.keep + 1)
            rates = self._rates.get(_likeness(settings), [])
            key = settings.objective, settings.backbone
            return Estimate(*_by_rate(unit.views, rates, key, settings.crop.size), disk)
        known = self._seconds.get(f"{stage} {len(unit.row.encoders)}", [])
        if known:
            return Estimate(statistics.median(known), MEASURED, 0)
        if stage == "finetune":
            plan = unit.finetuning
            views = plan.steps * plan.batch_size
            return Estimate(*_by_rate(views, [], ("finetune", plan.backbone), plan.crop.size), 0)
        return Estimate(STAGE_SECONDS[stage] * len(unit.row.encoders), ESTIMATED, 0)


def _by_rate(views: int, rates: Sequence[float], key: tuple[str, str], size: int) -> tuple[float | None, str]:
    if rates:
        return views / statistics.median(rates), MEASURED
    if key in VIEWS_A_SECOND and size == 32:
        return views / VIEWS_A_SECOND[key], ESTIMATED
    return None, UNKNOWN


def _likeness(settings: PretrainConfig) -> str:
    """What runs of about the same speed share."""
    config = settings.to_config()
    fields = ("objective", "objective_options", "backbone", "backbone_options", "batch_size", "dtype")
    return json.dumps([*(config[name] for name in fields), settings.crop.size], sort_keys=True)


def _shape_of(settings: PretrainConfig) -> PretrainConfig:
    """The settings with all that has no part in the state's size made equal, so that rows share one computation."""
    kept = (
        "objective",
        "objective_options",
        "backbone",
        "backbone_options",
        "optimizer",
        "batch_size",
        "crops",
    )
    config = settings.to_config()
    crop = CropSpec(settings.crop.size)
    return PretrainConfig(source="-", dataset="-", crop=crop, **{name: config[name] for name in kept})


@functools.lru_cache(maxsize=64)
def _state_bytes(settings: PretrainConfig) -> int:
    """Bytes of a run's state, without computing it."""
    labelled = settings.entry.labelled
    objective = settings.entry.make(settings.setup(2 if labelled else 0))
    side = 4 * settings.crop.size
    pixels = np.zeros((2, side, side, 3), np.uint8)
    example: PyTree = images.build_atlas([pixels[0]])
    if labelled:
        example = Batch(*map(jnp.asarray, (pixels, np.zeros(2, np.int32), np.full((2, 2), side, np.int32))))
    shapes = jax.eval_shape(objective.init, keys.unused(), example)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
