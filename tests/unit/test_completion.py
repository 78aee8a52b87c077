"""Whether a folder holds the finished run of a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs
from ssl_single_image.experiments.completion import complete
from ssl_single_image.runs import checkpoint


def settings(kind: str, name: str, **fields: Any) -> Any:
    config = configs.load(kind, name)
    return configs.read(kind, configs.update(config, fields))


def trained(folder: Path, config: Any, *steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with checkpoints of these steps, whose notes say that `config` made them."""
    record = json.loads(json.dumps(config.resolved().to_config() | {"inputs": []}))
    monkeypatch.setattr(checkpoint, "read_meta", lambda place: {"config": record})
    for step in steps:
        (folder / checkpoint.CHECKPOINTS / str(step)).mkdir(parents=True)


def write(folder: Path, **files: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_a_run_is_complete_with_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("pretrain", "rotnet:preset=demo,image=builtin:coffee", steps=20)
    assert not complete("pretrain", config, tmp_path)
    trained(tmp_path, config, 10, monkeypatch=monkeypatch)
    assert not complete("pretrain", config, tmp_path)
    trained(tmp_path, config, 20, monkeypatch=monkeypatch)
    assert complete("pretrain", config, tmp_path)
    assert complete("pretrain", config.replace(log_every=7), tmp_path)
    assert not complete("pretrain", config.replace(steps=30), tmp_path)  # it is made longer


def test_a_run_of_another_config_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("pretrain", "rotnet:preset=demo,image=builtin:coffee", steps=20)
    trained(tmp_path, config, 20, monkeypatch=monkeypatch)
    with pytest.raises(InputError, match="another config: seed was 0, is 1"):
        complete("pretrain", config.replace(seed=1), tmp_path)


def test_no_backend_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that looks must leave accelerators to those that train; a dtype of "auto" is that of the run."""
    config = settings("pretrain", "rotnet:preset=demo,image=builtin:coffee", steps=20, dtype="auto")
    trained(tmp_path, config.replace(dtype="bfloat16"), 20, monkeypatch=monkeypatch)

    def refuse() -> str:
        raise AssertionError("a backend was asked for")

    monkeypatch.setattr(jax, "default_backend", refuse)
    assert complete("pretrain", config, tmp_path)
    with pytest.raises(InputError, match="dtype was"):
        complete("pretrain", config.replace(dtype="float32"), tmp_path)


def test_a_probe_is_complete_with_its_results(tmp_path: Path) -> None:
    config, names = settings("probe", "photos"), ["random:alexnet32"]
    record = config.to_config() | {"checkpoint": names}
    write(tmp_path, config=record)
    assert not complete("probe", config, tmp_path, names)
    write(tmp_path, probe={"results": []})
    assert complete("probe", config, tmp_path, names)
    assert complete("probe", config.replace(data_dir="elsewhere"), tmp_path, names)
    with pytest.raises(InputError, match="checkpoint was"):
        complete("probe", config, tmp_path, ["random:nin"])


def test_finetuning_is_complete_when_all_references_have_results(tmp_path: Path) -> None:
    config = settings("finetune", "photos", steps=5)
    write(tmp_path, config=config.to_config() | {"checkpoint": ["none"], "inputs": []})
    assert not complete("finetune", config, tmp_path, ["none"])
    written = {"results": [{"checkpoint": "none"}], "config": config.to_config()}
    write(tmp_path, finetune=written)
    assert complete("finetune", config, tmp_path, ["none"])
    assert not complete("finetune", config, tmp_path, ["none", "random:alexnet32"])
    assert not complete("finetune", config.replace(steps=9), tmp_path, ["none"])
    with pytest.raises(InputError, match="seed was 0, is 3"):
        complete("finetune", config.replace(seed=3), tmp_path, ["none"])
