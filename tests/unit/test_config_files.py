"""Config files and fields: where they are found, what completes them, and that what is wrong is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_collections
import pytest

from ssl_single_image import augment
from ssl_single_image.cli import common
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, presets, pretrain_config, probe_config
from ssl_single_image.experiments.settings import PretrainConfig

ROTNET = "rotnet:preset=demo,image=builtin:coffee"


def call(command: str, *words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        common.run(command, [command, *words])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, *words: str) -> str:
    """The one line that a command says before it exits with 2, having written nothing."""
    workdir = tmp_path / "never"
    extra = ["--checkpoint=random:alexnet32"] if command in ("finetune", "probe") else []
    assert call(command, *words, *extra, f"--workdir={workdir}") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    assert not workdir.exists()
    return lines[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"view_hflip": 3}, "view_hflip = 3.0: must be a number in [0, 1]"),
        ({"optimizer.momentum": 5}, "optimizer.momentum = 5.0: must be a number in [0, 1)"),
        ({"optimizer.weight_decay": -1}, "optimizer.weight_decay = -1.0: must be a number, at least 0"),
        ({"eval_batches": -3}, "eval_batches = -3: must be a whole number, at least 0"),
        ({"optimizer.schedule": "exponential", "optimizer.boundaries": "()"}, "optimizer.boundaries"),
        ({"objective": "supervised"}, "dataset = '': objective supervised learns from labels"),
        ({"crops": 2**33}, "crops = 8589934592: must be a whole number in [1, 4294967296)"),
        ({"seed": 10**20}, "seed = 100000000000000000000: must be a whole number in [0, 4294967296)"),
        ({"optimizer.learning_rate": "inf"}, "optimizer.learning_rate = inf: must be a number above 0"),
        ({"optimizer.learning_rate": "nan"}, "optimizer.learning_rate = nan: must be a number above 0"),
        ({"optimizer.name": "adam", "optimizer.b1": 2}, "optimizer.b1 = 2.0: must be a number in [0, 1)"),
        ({"optimizer.boundaries": "abc"}, "boundaries"),
        ({"backbone": "alexnet", "crop.size": 4}, "backbone alexnet: an input of 4 pixels is too small"),
        ({"backbone": "alexnet"}, "backbone alexnet: an input of 32 pixels is too small; it needs 63"),
        ({"backbone": "alexnets"}, "backbone = 'alexnets': unknown; did you mean alexnet"),
        ({"backbone_options.variant": "rotnet"}, "backbone_options.variant: the config has no such field"),
        ({"objective": "rotnets"}, "objective = 'rotnets': unknown; did you mean rotnet?"),
        ({"objective_options.clusters": 3}, "objective_options.clusters: the config has no such field"),
        ({"source": ""}, "source = '': objective rotnet needs an image"),
        ({"source": "nowhere.jpg"}, "nowhere.jpg"),
        ({"source": "builtin:nobody"}, "nobody"),
        ({"source": "builtin:coffee+coffee"}, "names coffee twice"),
        ({"source": "synthetic:fractal"}, "synthetic:fractal: has no seed"),
        ({"source": "unlabelled:nothing"}, "unknown data set 'nothing'"),
        ({"shrink": 0}, "shrink = 0: must be a whole number in [1, 65536)"),
        ({"shrink": 40}, "builtin:coffee (10 x 15 pixels): too small"),
        ({"stepz": 3}, "stepz: the config has no such field; did you mean steps"),
        ({"aspect": 3}, "did you mean crop.aspect"),
        ({"steps": 0}, "steps = 0: must be a whole number in [1, 2147483648)"),
        ({"steps": 10, "steps_per_call": 3}, "must be a multiple of steps_per_call, 3"),
        ({"crop.aspect": 2}, "crop.aspect = 2.0: must be a number in (0, 1]"),
        ({"dtype": "float16"}, "dtype = 'float16': must be one of auto, float32, bfloat16"),
        ({"dtype": "float64"}, "dtype = 'float64'"),
        ({"optimizer.schedule": "stairs"}, "optimizer.schedule = 'stairs': must be one of constant, step"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_a_field_out_of_range_is_named(tmp_path, capsys, overrides, message):
    words = [f"--config.{name}={value}" for name, value in overrides.items()]
    line = refused(tmp_path, capsys, "pretrain", f"--config={ROTNET}", *words)
    assert message in line
    assert "--" not in line.split("error:")[1]  # errors say nothing of the command line


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        ("pretrain", "cifar10", "neither a file nor a pretrain config; there are bigan, deepcluster"),
        ("pretrain", "configs/probe/cifar10.py", "is for probe, not for pretrain"),
        ("probe", "configs/pretrain/rotnet.py", "is for pretrain, not for probe"),
        ("pretrain", "rotnets", "did you mean rotnet?"),
        ("pretrain", "nowhere.py", "config nowhere.py: no such file"),
        ("pretrain", "rotnet:preset=small", "preset=small: expected one of demo, cifar32, imagenet224"),
        ("pretrain", "rotnet:size=3", "expected key=value with a key of preset, image"),
        ("probe", "photos:size=3", "expected key=value with a key of shift, severity, retrain"),
        ("finetune", "configs/probe/cifar10.py", "is for probe, not for finetune"),
        ("probe", "configs/finetune/cifar10.py", "is for finetune, not for probe"),
        ("finetune", "cifar10:preset=small", "preset=small: expected one of demo, cifar10"),
    ],
)
def test_a_config_that_is_none_is_named(tmp_path, capsys, command, text, message):
    assert message in refused(tmp_path, capsys, command, f"--config={text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no function get_config"),
        ("get_config = 3", "has no function get_config"),
        ("def get_config(): return {'objective': 'rotnet'}", "lacks backbone, backbone_options, batch_size"),
        ("def get_config(): return 1 / 0", "get_config raised ZeroDivisionError: division by zero"),
        ("def get_config(): return 3", "get_config returned int; expected a ConfigDict"),
        ("def get_config(a, b): return {}", "get_config must take one text"),
        ("def get_config(:", "can't be run: SyntaxError"),
        ("import nothing_of_the_name", "can't be run: ModuleNotFoundError"),
        ("def get_config(): return {}", "has no field objective; it is no config for pretrain"),
    ],
)
def test_a_broken_file_is_named(tmp_path, capsys, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    line = refused(tmp_path, capsys, "pretrain", f"--config={path}")
    assert message in line
    assert str(path) in line


def test_a_word_for_a_number_is_named(tmp_path, capsys):
    line = refused(tmp_path, capsys, "pretrain", f"--config={ROTNET}", "--config.steps=three")
    assert "--config.steps=three" in line


def test_a_missing_config_is_asked_for(tmp_path, capsys):
    assert "--config: missing; bigan" in refused(tmp_path, capsys, "pretrain")


@pytest.mark.parametrize("kind", ["pretrain", "probe", "finetune"])
def test_every_config_reads_by_name_and_by_path_as_the_same(kind):
    for name in configs.names(kind):
        argument = ":dataset=photos" if name == "supervised" else ":path=pets" if name == "folder" else ""
        by_name = configs.load(kind, f"{name}{argument}")
        by_path = configs.load(kind, f"{configs.folder(kind) / name}.py{argument}")
        assert configs.read(kind, by_name) == configs.read(kind, by_path)


@pytest.mark.parametrize("name", configs.names("pretrain"))
@pytest.mark.parametrize("preset", sorted(presets.PRESETS))
def test_presets_read_and_their_record_repeats_them(tmp_path, name, preset):
    config = configs.read("pretrain", pretrain_config(name, preset=preset))
    record = tmp_path / "config.json"
    record.write_text(json.dumps(config.to_config() | {"inputs": []}))
    assert configs.read("pretrain", configs.load("pretrain", str(record))) == config


def test_the_record_of_an_older_run_reads_with_todays_names(tmp_path):
    fields = configs.read("pretrain", pretrain_config("rotnet", preset="demo")).to_config()
    old = fields | {"backbone": "cifar32", "backbone_options": {}}
    del old["dataset"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(old))
    config = configs.read("pretrain", configs.load("pretrain", str(path)))
    assert config.backbone == "alexnet32"
    assert config.to_config() == fields


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"protocol": "cached"}'])
def test_json_that_is_no_config_is_refused(tmp_path, capsys, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert str(path) in refused(tmp_path, capsys, "pretrain", f"--config={path}")


def test_what_a_backbone_has_can_be_set_on_every_config():
    for name in configs.names("pretrain"):
        args = common.parse(
            name, "pretrain", ["x", f"--config={name}", "--config.backbone_options.sobel=True", "--workdir=w"]
        )
        assert args.config.backbone_options.sobel is True


def test_another_backbone_keeps_what_the_config_set_and_not_the_former_defaults():
    config = pretrain_config(
        "bigan", preset="cifar32", backbone="alexnet32"
    )  # that of the config is leaky by itself
    assert config.backbone_options.slope == 0.0
    assert pretrain_config("bigan", preset="cifar32", backbone="dcgan32").backbone_options.slope == 0.2
    assert pretrain_config("deepcluster", preset="imagenet224", backbone="nin").backbone_options.sobel is True


def test_choosing_a_backbone_or_an_objective_brings_its_options():
    words = ["--config=rotnet", "--config.backbone=alexnet", "--config.backbone_options.variant=bigan"]
    words += ["--config.objective=bigan", "--config.objective_options.latent=7", "--config.crop.size=112"]
    config = configs.read("pretrain", common.parse("x", "pretrain", ["x", *words, "--workdir=w"]).config)
    assert config.backbone_options.variant == "bigan"
    assert config.objective_options.latent == 7
    assert config.encoder.size == 112


def test_fields_can_be_changed_in_python():
    dotted: dict[str, Any] = {"optimizer.warmup": 0.5}
    config = pretrain_config("rotnet", image="a.png", steps=5, crop={"rotation": 0}, **dotted)
    read = configs.read("pretrain", config)
    assert (read.source, read.steps, read.crop.rotation, read.optimizer.warmup) == ("a.png", 5, 0.0, 0.5)
    assert read.crop.hflip == augment.CropSpec.preset("paper", 32).hflip
    with pytest.raises(InputError, match=r"crop.rotatoin: no such field; did you mean crop.rotation"):
        pretrain_config("rotnet", crop={"rotatoin": 0})
    with pytest.raises(InputError, match="is for pretrain, not for probe"):
        configs.read("probe", config)
    heads = probe_config("cifar10", optimizer={"learning_rate": 0.5}).optimizer
    assert heads.learning_rate == 0.5
    assert heads.boundaries == (0.5, 0.75)


def test_settings_can_be_made_without_a_file():
    config = PretrainConfig(source="a.png", steps=3)
    assert configs.read("pretrain", config) is config
    assert configs.read("pretrain", config.to_config()) == config
    assert configs.read("pretrain", ml_collections.ConfigDict(presets.tuples(config.to_config()))) == config
