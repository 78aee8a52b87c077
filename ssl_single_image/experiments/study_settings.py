"""The config of a study: its rows, what they are trained on, and how each is measured."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any

from ssl_single_image.errors import InputError
from ssl_single_image.schema import OneOf, Section, Told, Within, pick

STAGES = ("pretrain", "probe", "finetune", "analyse", "robustness", "invariance")
"""What can be done for a row, in this order."""
TABLES = {
    "headline": "What a network learns, by method and images",
    "long": "Longer training, one image",
    "augmentation": "Augmentations, one image",
    "pixels": "How many pixels the image has",
    "synthetic": "Images that no camera took",
    "frozen": "Training behind two frozen layers",
}
"""Table -> its heading."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class RowSpec(Section):
    """A row of a study's tables.

    Attributes:
      name: no other row has it; small letters, digits, - and _. It is part of the names of folders.
      method: what tables call the way of training.
      images: what tables say it was trained on.
      tables: the tables that show the row.
      source: which of the study's sources it is trained on; "" for none.
      pretrain: a pretraining config by name; "" for an encoder that `reference` names.
      fields: fields of that config, by dotted name, in place of its own.
      views: images that pass through the encoder in training, before the budget scales it; 0: as the config says.
      reference: an encoder that needs no training. {source} and {seed} stand for the row's.
      encoders: names of the run's encoders that are measured; "" is the main one.
      untrained: for each of `encoders`, the row of the untrained network of its architecture; () where there is none.
      frozen: the name of the encoder whose first layers `finetune` freezes.
      seeds: how often it is trained, with seeds from 0 on.
      stages: what is measured of it.
      once: those of `stages` that are done for its first seed alone.
      compared: rows whose encoders `analyse` compares with this one; they are trained first.

    Raises:
      InputError: a bad name, neither or both of `pretrain` and `reference`, or an unknown table or stage.
    """

    TITLE = "rows"

    name: str
    method: str
    images: str = ""
    tables: Annotated[tuple[str, ...], OneOf(*TABLES)] = ("headline",)
    source: str = ""
    pretrain: str = ""
    fields: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    views: Annotated[int, Within(0)] = 0
    reference: str = ""
    encoders: tuple[str, ...] = ("",)
    untrained: tuple[str, ...] = ()
    frozen: str = ""
    seeds: Annotated[int, Within(1)] = 1
    stages: Annotated[tuple[str, ...], OneOf(*STAGES[1:])] = ("probe",)
    once: Annotated[tuple[str, ...], OneOf(*STAGES[1:])] = ("finetune", "analyse", "robustness", "invariance")
    compared: tuple[str, ...] = ()

    def check(self) -> None:
        if not NAME.fullmatch(self.name):
            raise InputError(f"rows: name {self.name!r} must be of small letters, digits, - and _")
        if bool(self.pretrain) == bool(self.reference):
            raise InputError(f"rows: {self.name} must have either pretrain or reference")
        if not isinstance(self.fields, Mapping):
            raise InputError(f"rows: fields of {self.name} must be a mapping, not {self.fields!r}")
        if self.untrained and len(self.untrained) != len(self.encoders):
            raise InputError(
                f"rows: {self.name} has {len(self.encoders)} encoders, so untrained must be as many rows"
            )
        if self.compared and "analyse" not in self.stages:
            raise InputError(
                f"rows: {self.name} is compared with others, but analyse is not among its stages"
            )


@dataclasses.dataclass(frozen=True)
class StudyConfig(Section):
    """The config of a study.

    Attributes:
      title: what the report calls it.
      sources: name -> image or images, as `pretrain` takes them. Rows of a source that is "" are left out.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      budget: scales the number of training steps of every row.
      probe: the config of all probes, by name.
      probe_fields: fields of it in place of its own.
      finetune: the config of all training behind frozen layers, by name.
      finetune_fields: fields of it in place of its own.
      analysis: settings of `analyse`.
      robustness_fields: fields of a robustness probe, in place of those of the config that `probe` names.
      invariance: settings of `analyse --what invariance`.
      rows: the rows, in the order in which they are done.
      claims: whether the rows are those of the paper, so that its conclusions are judged by them.

    Raises:
      InputError: a bad row, two rows of a name, or a row that is compared with one that there is not.
    """

    title: str = "What can be learnt from a single image"
    sources: Annotated[Any, Told("a mapping of names to images")] = dataclasses.field(default_factory=dict)
    data_dir: str = ""
    budget: Annotated[float, Within(0, ends="(]")] = 1.0
    probe: str = "cifar10"
    probe_fields: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    finetune: str = "cifar10"
    finetune_fields: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    analysis: Annotated[Any, Told("a mapping of settings")] = dataclasses.field(default_factory=dict)
    robustness_fields: Annotated[Any, Told("a mapping of fields")] = dataclasses.field(default_factory=dict)
    invariance: Annotated[Any, Told("a mapping of settings")] = dataclasses.field(default_factory=dict)
    rows: Annotated[Any, Told("rows")] = ()
    claims: bool = True

    def check(self) -> None:
        mappings = (
            "sources",
            "probe_fields",
            "finetune_fields",
            "analysis",
            "robustness_fields",
            "invariance",
        )
        for name in mappings:
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{name} = {getattr(self, name)!r}: must be a mapping")
        rows = tuple(RowSpec.from_value(row, "rows") for row in self.rows)
        object.__setattr__(self, "rows", rows)
        names = {row.name: row for row in rows}
        if len(names) < len(rows):
            raise InputError("rows: two rows have the same name")
        for row in rows:
            if row.source:
                pick(self.sources, row.source, f"rows: source of {row.name}")
            for other in row.compared:
                pick(names, other, f"rows: compared of {row.name}")
