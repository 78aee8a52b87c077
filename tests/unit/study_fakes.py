"""Rows of two steps, a study of them, and stages that compute nothing, for tests of studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import SIDE

from ssl_single_image.experiments.study_settings import StudyConfig
from ssl_single_image.experiments.studying import driver, plan, state
from ssl_single_image.experiments.studying.driver import Driver

TINY: dict[str, Any] = {
    "backbone": "tiny",
    "crop.size": SIDE,
    "batch_size": 4,
    "log_every": 2,
    "eval_every": 0,
    "checkpoint_every": 2,
}
HEADS = {"epochs": 2, "batch_size": 12, "max_features": 64, "dataset": "photos"}
BEHIND = {
    "backbone": "tiny",
    "frozen_layers": 1,
    "crop.size": SIDE,
    "batch_size": 12,
    "steps": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
}


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A row of two steps of RotNet, or what `fields` say."""
    usual: dict[str, Any] = {"method": "RotNet", "images": "image B"}
    if "reference" not in fields:
        usual |= {"pretrain": "rotnet", "source": "b", "fields": TINY, "views": 32}
    return {"name": name, **usual, **fields}


def config(*rows: dict[str, Any], **fields: Any) -> StudyConfig:
    usual: dict[str, Any] = {
        "sources": {"b": "builtin:astronaut", "absent": ""},
        "probe": "photos",
        "probe_fields": HEADS,
        "finetune": "photos",
        "finetune_fields": BEHIND,
    }
    return StudyConfig(**{**usual, **fields}, rows=rows)


class Fakes:
    """Stands for the four stages: writes what marks them as complete, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda stage, name: None

    def pretrain(self, settings: Any, folder: Path, *, devices: int) -> None:
        self._note("pretrain", folder)
        (folder / "checkpoints" / str(settings.steps) / "metrics").mkdir(parents=True)

    def probe(self, settings: Any, references: list[str], folder: Path) -> None:
        self._note("probe", folder)
        layers = {"conv1": {"top1": 50.0, "interval": [49.0, 51.0]}}
        self._write(
            folder, "probe", {"results": [{"checkpoint": name, "layers": layers} for name in references]}
        )

    def finetune(self, settings: Any, reference: str, folder: Path, *, devices: int) -> None:
        self._note("finetune", folder)
        self._write(folder, "finetune", {"results": [{"accuracy": 60.0, "low": 59.0, "high": 61.0}]})

    def analyse(self, references: list[str], folder: Path, **settings: Any) -> None:
        self._note(f"analyse {' '.join(Path(name).name for name in references)}", folder)
        self._write(folder, "analyse", {})

    def _note(self, stage: str, folder: Path) -> None:
        self.before(stage, folder.name)
        self.calls.append((stage, folder.name))

    def _write(self, folder: Path, stage: str, value: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / state.RESULTS[stage]).write_text(json.dumps(value))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes()
    for stage in ("pretrain", "probe", "finetune", "analyse"):
        monkeypatch.setattr(driver, stage, getattr(made, stage))
    monkeypatch.setattr(
        state.checkpoint, "finished", lambda path: [int(one.name) for one in path.iterdir()]
    )  # no Orbax
    return made


def drive(place: Path, study: StudyConfig, *patterns: str) -> Driver:
    made = Driver(place, plan.units(study, patterns), plan.units(study), poll=0.05)
    made.run()
    return made


def record(place: Path, study: StudyConfig, name: str) -> state.Record:
    (unit,) = (unit for unit in plan.units(study) if unit.name == name)
    return state.read(place, unit)
