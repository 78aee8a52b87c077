"""Whether a folder holds the finished run of a config, by its files alone: nothing is written and no device is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.experiments import configs, finetuning, pretraining, probing
from ssl_single_image.experiments.studying.state import RESULTS
from ssl_single_image.runs import checkpoint, workdir

AUTO = "auto"
"""A dtype that means another one on each backend, and is recorded as what it meant."""
SETTLED = {"pretrain": ("inputs",), "probe": (), "finetune": ("inputs", "checkpoint")}
"""What is recorded beside the config, and what may be added later."""
FREE = {"pretrain": pretraining.FREE, "probe": probing.FREE, "finetune": finetuning.FREE}


def complete(kind: str, config: Any, folder: Path, references: Sequence[str] = ()) -> bool:
    """Whether the command `kind` with this config has nothing left to do in `folder`.

    Args:
      kind: "pretrain", "probe" or "finetune".
      config: its config, as `configs.read` takes it.
      folder: its workdir, which need not be there.
      references: the encoders that are probed, or finetuned.

    Raises:
      InputError: a bad field, or a folder that holds a run of another config; the differing fields are named.
    """
    settings = configs.read(kind, config)
    names = probing.distinct(references) if kind != "pretrain" else []
    record = settings.to_config() | ({"checkpoint": names} if kind == "probe" else {})
    if kind == "pretrain":
        found = checkpoint.recorded(folder)
        if found is None:
            return False
        _compare(kind, folder, found[1], record)
        return settings.steps in checkpoint.finished(folder / checkpoint.CHECKPOINTS)
    result = folder / RESULTS[kind]
    if not result.exists():
        return False
    _compare(kind, folder, workdir.read(folder), record)
    if kind == "probe":
        return True
    written = workdir.read(folder, result.name)
    there = {row["checkpoint"] for row in written["results"]}
    return there >= set(names) and written["config"]["steps"] == settings.steps


def _compare(kind: str, folder: Path, before: dict[str, Any], record: dict[str, Any]) -> None:
    """Refuses a folder of another config.

    Raises:
      InputError: it is one.
    """
    free = [*FREE[kind], *SETTLED[kind], workdir.ENVIRONMENT]
    if record.get("dtype") == AUTO:
        free.append("dtype")
    now = json.loads(json.dumps(record))
    changed = workdir.differences(configs.completed(kind, before), now, free)
    if changed:
        workdir.refuse(folder, changed)
