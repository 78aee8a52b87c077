"""What a study does: its rows and seeds as units of work, each with the settings of all that is done for it."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, finetuning, pretraining, probing
from ssl_single_image.experiments.settings import FinetuneConfig, PretrainConfig
from ssl_single_image.experiments.study_settings import RowSpec, StudyConfig
from ssl_single_image.probes import ProbeConfig
from ssl_single_image.schema import suggestion

FREE = {
    "pretrain": frozenset(pretraining.FREE) - {"steps"},
    "probe": frozenset(probing.FREE),
    "finetune": frozenset(finetuning.FREE) - {"steps"},
    "robustness": frozenset(probing.FREE),
}
"""Stage -> fields of its config that do not change the numbers."""
KIND = {"robustness": "probe"}
"""Stage -> the kind of its config, where that has another name."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """A row with a seed: what one driver does at a time.

    Attributes:
      study: the study's config.
      row: the row.
      seed: of its pretraining.
    """

    study: StudyConfig
    row: RowSpec
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.seed}"

    @property
    def measured(self) -> tuple[str, ...]:
        """What is done with its encoders, in order."""
        row = self.row
        return tuple(stage for stage in row.stages if self.seed == 0 or stage not in row.once)

    def folder(self, place: Path, stage: str) -> Path:
        """The workdir of a stage, in the study's folder."""
        return place / stage / self.name

    @property
    def pretraining(self) -> PretrainConfig:
        """What it is trained by.

        Raises:
          InputError: no such config or field, or a value out of range; names the row.
        """
        return self._trained[0]

    @functools.cached_property
    def _trained(self) -> tuple[PretrainConfig, int]:
        """What it is trained by, and how many images a step gives to the encoder."""
        row = self.row
        try:
            own = {"source": self.study.sources[row.source]} if row.source else {}
            settings: PretrainConfig = self._read(
                "pretrain", row.pretrain, {**row.fields, "seed": self.seed, **own}
            )
            settings = settings.resolved()
            classes = 2 if settings.entry.labelled else 0
            views = settings.batch_size * settings.entry.make(settings.setup(classes)).views
            steps = row.views / views if row.views else settings.steps
            return settings.replace(steps=max(1, round(steps * self.study.budget)), keep=1), views
        except InputError as error:
            raise InputError(f"row {row.name}: {error}") from error

    def _read(self, kind: str, name: str, fields: Mapping[str, Any]) -> Any:
        """The settings of a config by name, with fields in place of its own."""
        chosen = {field: fields[field] for field in configs.CHOICES[kind] if field in fields}
        config = configs.update(configs.load(kind, name, chosen), fields)
        if self.study.data_dir:
            config = configs.update(config, {"data_dir": self.study.data_dir})
        return configs.read(kind, config)

    @property
    def crops(self) -> int:
        """Crops, or labelled images, that training sees; 0 without training."""
        return self.pretraining.steps * self.pretraining.batch_size if self.row.pretrain else 0

    @property
    def views(self) -> int:
        """Images that pass through the encoder in training; 0 without training."""
        return self.pretraining.steps * self._trained[1] if self.row.pretrain else 0

    @functools.cached_property
    def probing(self) -> ProbeConfig:
        """How it is probed."""
        settings: ProbeConfig = self._read("probe", self.study.probe, self.study.probe_fields)
        return settings

    @functools.cached_property
    def robustness(self) -> ProbeConfig:
        """How its classifiers are tested on shifted images."""
        fields = {**self.study.robustness_fields, "kind": "robustness"}
        settings: ProbeConfig = self._read("probe", self.study.probe, fields)
        return settings

    @functools.cached_property
    def finetuning(self) -> FinetuneConfig:
        """How a network is trained behind its first layers."""
        settings: FinetuneConfig = self._read(
            "finetune", self.study.finetune, self.study.finetune_fields
        ).resolved()
        return settings.replace(steps=max(1, round(settings.steps * self.study.budget)))

    def references(self, place: Path) -> list[str]:
        """The encoders that are measured, as `load_encoder` takes them."""
        return [self._reference(place, encoder) for encoder in self.row.encoders]

    def frozen_from(self, place: Path) -> str:
        """The encoder whose first layers are frozen."""
        return self._reference(place, self.row.frozen)

    def _reference(self, place: Path, encoder: str) -> str:
        if not self.row.pretrain:
            source = self.study.sources.get(self.row.source, "")
            return self.row.reference.format(source=source, seed=self.seed)
        run = str(self.folder(place, "pretrain"))
        return f"{run}#{encoder}" if encoder else run

    def recipe(self, stage: str) -> dict[str, Any]:
        """All that decides what a stage finds, JSON-able: of its own config, and of the training before it."""
        kept: dict[str, Any] = {}
        if self.row.pretrain:
            kept["pretrain"] = _without(self.pretraining.to_config(), FREE["pretrain"])
        else:
            kept["reference"] = self.references(Path())[0]
        if stage == "probe":
            kept |= {
                "probe": _without(self.probing.to_config(), FREE["probe"]),
                "encoders": list(self.row.encoders),
            }
        elif stage == "finetune":
            kept |= {
                "finetune": _without(self.finetuning.to_config(), FREE["finetune"]),
                "frozen": self.row.frozen,
            }
        elif stage == "robustness":
            kept |= {
                "robustness": _without(self.robustness.to_config(), FREE["robustness"]),
                "encoders": list(self.row.encoders),
                "untrained": list(self.row.untrained),
            }
        elif stage == "invariance":
            kept |= {"invariance": dict(self.study.invariance), "encoders": list(self.row.encoders)}
        elif stage == "analyse":
            kept |= {"analyse": dict(self.study.analysis), "compared": list(self.row.compared)}
        return kept


def units(study: StudyConfig, patterns: Sequence[str] = ()) -> list[Unit]:
    """The units of a study's rows, seeds last: the first seed of every row comes before any second one.

    Args:
      study: the study.
      patterns: of names of rows or units, such as "rotnet-*"; (): all. Rows whose source is "" are left out.

    Raises:
      InputError: no row has such a name, or the study has no rows.
    """
    if not study.rows:
        raise InputError("rows: the study has none")
    depth = max(row.seeds for row in study.rows)
    found = [Unit(study, row, seed) for seed in range(depth) for row in study.rows if seed < row.seeds]
    for pattern in patterns:
        if not any(_matches(unit, pattern) for unit in found):
            names = [row.name for row in study.rows]
            raise InputError(f"--rows={pattern}: matches no row{suggestion(pattern, names)}")
    chosen = [unit for unit in found if not patterns or any(_matches(unit, pattern) for pattern in patterns)]
    return [unit for unit in chosen if not missing_source(unit)]


def left_out(study: StudyConfig) -> list[str]:
    """Names of rows that are left out because their source is ""."""
    return [row.name for row in study.rows if missing_source(Unit(study, row, 0))]


def missing_source(unit: Unit) -> bool:
    """Whether a unit needs a source that the study was not given."""
    return bool(unit.row.source) and not unit.study.sources[unit.row.source]


def first_of(row: str, found: Sequence[Unit]) -> Unit | None:
    """The unit of a row's first seed."""
    return next((unit for unit in found if unit.row.name == row and unit.seed == 0), None)


def _matches(unit: Unit, pattern: str) -> bool:
    return fnmatch.fnmatchcase(unit.row.name, pattern) or fnmatch.fnmatchcase(unit.name, pattern)


def _without(config: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}
