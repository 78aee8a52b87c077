"""The command that makes a run again, parsed back."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ssl_single_image.cli import common
from ssl_single_image.cli.probe import references
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import commands, configs, pretrain_config, probe_config

PRETRAINING: list[tuple[str, dict[str, Any]]] = [
    ("rotnet", {}),
    ("rotnet:preset=demo", {"source": "photos of a, b/*.jpg", "steps": 17, "crop.rotation": 0.0}),
    ("deepcluster", {"optimizer.boundaries": (0.5,), "optimizer.factors": (0.5,), "seed": 3}),
    ("bigan:preset=demo", {"objective_options.scores": ("xz",), "sync_batch_norm": False}),
    ("supervised:preset=imagenet224,dataset=imagenet", {"data_dir": "/data/it's mine"}),
    ("rotnet", {"backbone": "nin", "dtype": "float32"}),
]
PROBES: list[tuple[str, dict[str, Any]]] = [
    ("cifar10", {"seeds": 3, "layers": ("conv1", "conv3")}),
    ("photos", {"kind": "ridge", "train_images": 1000}),
    ("imagenet:pooling=deepcluster", {}),
    ("folder", {"dataset": "folder:a, b"}),
]


def written(folder: Path, config: Any, **record: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_config() | {"environment": {}} | record))
    return folder


def parsed(command: str) -> Any:
    program, name, *words = shlex.split(command)
    assert program == "ssl-single-image"
    return common.parse(name, name, [name, *words])


@pytest.mark.parametrize(("name", "fields"), PRETRAINING)
def test_the_command_of_a_run_gives_its_config(tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    config = configs.read("pretrain", pretrain_config(name, **fields))
    folder = written(tmp_path / "a run", config, inputs=[])
    args = parsed(commands.again(folder))
    assert configs.read("pretrain", args.config).to_config() == config.to_config()
    assert args.workdir == str(folder)


@pytest.mark.parametrize(("name", "fields"), PROBES)
def test_the_command_of_a_probe_gives_its_config_and_its_checkpoints(
    tmp_path: Path, name: str, fields: dict[str, Any]
) -> None:
    config = configs.read("probe", probe_config(name, **fields))
    names = ["runs/a@best#discriminator", "random:alexnet32,slope=0.1@2", "runs/b, c"]
    folder = written(tmp_path / "p", config, checkpoint=names)
    args = parsed(commands.again(folder))
    assert configs.read("probe", args.config).to_config() == config.to_config()
    assert references(args.checkpoint) == names


def test_the_command_is_short_where_the_run_is_near_a_preset(tmp_path: Path) -> None:
    config = configs.read("pretrain", pretrain_config("rotnet", preset="demo", image="cat.jpg", steps=7))
    command = commands.again(written(tmp_path / "r", config))
    words = {"--config=rotnet:preset=demo", "--config.source=cat.jpg", "--config.steps=7"}
    assert set(shlex.split(command)[2:-1]) == words


def test_fields_that_no_flag_can_give_are_read_from_the_run(tmp_path: Path) -> None:
    config = configs.read("probe", probe_config("cifar10", pooling={"conv1": (2, 2, 0)}))
    folder = written(tmp_path / "p", config, checkpoint=["runs/a"])
    command = commands.again(folder)
    assert f"--config={folder / 'config.json'}" in command
    assert configs.read("probe", parsed(command).config).to_config() == config.to_config()


def test_a_record_that_is_no_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"objective": "rotnet", "backbone": "none", "objective_options": {}}'
    )
    with pytest.raises(InputError, match="none"):
        commands.again(tmp_path)
