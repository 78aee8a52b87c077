"""Every field says what it means, and `--print_config` and `--help` show it, as wide as the terminal is."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from ssl_single_image import models, objectives
from ssl_single_image.cli import common, listing
from ssl_single_image.experiments import configs
from ssl_single_image.schema import Section, describe, meanings


def sections(base: type[Section] = Section) -> set[type[Section]]:
    """All that the package defines; importing `configs` has imported their modules."""
    found = {base} if base.__module__.startswith("ssl_single_image.") and base is not Section else set()
    return found.union(*(sections(each) for each in base.__subclasses__()))


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        common.run(words[0], list(words))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def rows(text: str) -> dict[str, str]:
    """Field -> its row, with the lines that were wrapped joined again."""
    found: dict[str, str] = {}
    for line in text.split("---\n", 1)[1].splitlines():
        if line[:1].strip():
            name = line.split()[0]
            found[name] = ""
        found[name] = " ".join([*found[name].split(), *line.split()])
    return found


def test_every_field_is_documented() -> None:
    known = sections()
    assert {configs.SCHEMAS["pretrain"], configs.SCHEMAS["probe"]} <= known
    assert {entry.options for entry in objectives.OBJECTIVES.values()} <= known
    assert {backbone.options for backbone in models.BACKBONES.values()} <= known
    for section in known:
        documented = meanings(section)
        fields = set(inspect.signature(section).parameters)
        assert documented.keys() == fields, section
        assert all(documented.values()), section


def test_what_a_field_takes_is_told() -> None:
    told = {
        field.name: field.legal for field in describe(configs.read("probe", configs.load("probe", "cifar10")))
    }
    assert told["optimizer.momentum"] == "a number in [0, 1)"
    assert told["optimizer.factors"] == "any number of values, each a number in (0, 1]"
    assert told["test"] == "one of centre, ten_crop"
    assert "tfds:NAME" in told["dataset"]


def test_print_config_shows_every_field_with_the_changes_and_needs_no_workdir(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = ["--config.objective=deepcluster", "--config.crop.rotation=7", "--config.source=my cat.png"]
    assert call("pretrain", "--config=rotnet:preset=demo", "--print_config", *changes) == 0
    shown = rows(capsys.readouterr().out)
    paths = configs.paths(configs.load("pretrain", "rotnet", {"objective": "deepcluster"}))
    sections = {path.rpartition(".")[0] for path in paths}
    assert shown.keys() == set(paths) - sections
    assert shown["crop.rotation"].startswith("crop.rotation 7.0 degrees; the angle")
    assert shown["backbone_options.sobel"].startswith("backbone_options.sobel False replaces the colour")
    assert shown["backbone_options.first_norm"].startswith("backbone_options.first_norm True whether")
    assert shown["crop.rotation"].endswith("Legal: a number in [0, 180]")
    assert "my cat.png" in shown["source"]
    assert "Legal: one of bigan, deepcluster" in shown["objective"]
    assert shown["dtype"].split()[1] in ("float32", "bfloat16")  # not "auto": what a run would compute in


def test_print_config_of_a_probe_needs_no_checkpoint_and_takes_its_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("probe", "--config=cifar10", "--print_config", "--data_dir=/data") == 0
    assert rows(capsys.readouterr().out)["data_dir"].startswith("data_dir /data ")


def test_print_config_refuses_what_a_run_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pretrain", "--config=rotnet", "--print_config", "--config.steps=0") == 2
    assert "steps = 0: must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "config"), [("pretrain", "rotnet"), ("probe", "cifar10"), ("finetune", "cifar10")]
)
def test_a_run_still_needs_its_flags(command: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, f"--config={config}") == 2
    assert "workdir" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [70, 120])
def test_tables_are_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    config = configs.read("pretrain", configs.load("pretrain", "deepcluster"))
    for text in (listing.whole(config), listing.short(config)):
        assert columns - 12 < max(map(len, text.splitlines())) <= columns


def test_help_lists_the_fields_of_the_config_that_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pretrain", "--help") == 0
    assert "Fields of --config=rotnet" in capsys.readouterr().out
    assert call("pretrain", "--config=bigan:preset=demo", "--help") == 0
    text = capsys.readouterr().out
    assert rows(text)["objective_options.spectral_norm"].split()[1] == "True"
    assert rows(text)["steps"] == "steps 100 optimisation steps in all"
    assert rows(text)["crop.min_area"].endswith("(of the initial crop's, where that is on)")


@pytest.mark.parametrize("command", ["finetune", "pretrain", "probe"])
def test_help_shows_the_flags_before_it_reads_a_config(command: str) -> None:
    """Where nothing heavy can be imported, all flags are on the screen before the command fails."""
    code = (
        "import sys\nsys.modules.update(jax=None, numpy=None)\n"
        f"from ssl_single_image.cli import main\nmain.main(['x', '{command}', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--workdir" in done.stdout
    assert "--[no]print_config" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "--config=rotnet", "--wrokdir=x"], "--wrokdir: no such flag; did you mean workdir?"),
        (["pretrain", "--config=rotnet", "--batch_size=4"], "did you mean config.batch_size?"),
        (["sample", "--cuont=4", "--image=a.png"], "--cuont: no such flag; did you mean count?"),
        (["report", "--zzzzz=4"], "--zzzzz: no such flag; --help lists them"),
    ],
)
def test_a_mistyped_flag_is_told_what_it_resembles(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == 2
    assert message in capsys.readouterr().err
