"""`--dry_run`: what is checked before a job waits in a queue, and that nothing is written."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from run_cli import call

from ssl_single_image import parallel
from ssl_single_image.experiments import analyses, analysing, preflight, pretrain_config
from ssl_single_image.experiments.pretraining import prepare
from ssl_single_image.runs import checkpoint, workdir
from ssl_single_image.types import InputError


def config(**fields: Any) -> Any:
    return pretrain_config("rotnet", preset="demo", image="builtin:coffee", batch_size=4, **fields)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is compiled: it needs 2 GB."""
    monkeypatch.setattr(parallel, "memory", lambda *_: 2 * 10**9)


def recorded(monkeypatch: pytest.MonkeyPatch, step: int, **fields: Any) -> None:
    """As if the folder held a run that is at a step."""
    record = prepare(config(**fields)).record
    monkeypatch.setattr(checkpoint, "recorded", lambda folder: (step, record))


def test_a_step_is_compiled_and_its_memory_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config=rotnet:preset=demo,image=builtin:coffee", "--config.batch_size=4", "--devices=1"]
    assert call(["pretrain", *words, f"--workdir={tmp_path / 'run'}", "--dry_run"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["objective"].startswith("rotnet, 200 steps, batch_size 4, 1 cpu device")
    assert told["inputs"] == "builtin:coffee"
    assert told["workdir"] == f"{tmp_path / 'run'} begins a run"
    gigabytes = float(told["memory"].split()[0])
    assert (
        0.02 < gigabytes < 2
    )  # parameters, gradients and momentum of 1.3 million, and activations of 16 views
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_run_that_is_there_is_resumed_or_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 50)
    assert preflight.pretrain(config(), tmp_path).found["workdir"].endswith("goes on from step 50")
    assert preflight.pretrain(config(steps=50), tmp_path).found["workdir"].endswith("is complete")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("fields", "message"), [({"seed": 1}, "seed was 0, is 1"), ({"steps": 40}, "is at step 50 already")]
)
def test_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    recorded(monkeypatch, 50)
    with pytest.raises(InputError, match=message):
        preflight.pretrain(config(**fields), tmp_path)


@pytest.mark.usefixtures("small")
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file"):
        preflight.pretrain(config(), tmp_path / "file" / "run")
    (tmp_path / workdir.LOCK).touch()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": "now"}
    (tmp_path / workdir.HOLDER).write_text(json.dumps(holder))
    with pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        preflight.pretrain(config(), tmp_path)


@pytest.mark.usefixtures("small")
def test_more_memory_than_a_device_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "memory_limit", lambda devices: 10**9)
    with pytest.raises(
        InputError, match=r"2\.0 GB are needed on each device, which has 1\.0 GB: give a smaller batch_size"
    ):
        preflight.pretrain(config(), tmp_path)
    monkeypatch.setattr(parallel, "memory_limit", lambda devices: None)
    assert preflight.pretrain(config(), tmp_path).found["memory"] == "2.00 GB on each device"


WORDS = {
    "probe": ["--config=photos", "--checkpoint=random:alexnet32"],
    "finetune": ["--config=photos", "--checkpoint=random:alexnet32,none", "--devices=1"],
    "analyse": ["--checkpoint=random:alexnet32", "--images=8"],
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", WORDS)
def test_every_long_command_says_what_it_would_do_and_writes_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made" / "later"
    assert call([command, *WORDS[command], f"--workdir={folder}", "--dry_run"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["encoders"].startswith("random:alexnet32")
    assert told["workdir"].startswith(f"{folder} begins")
    assert "photos" in (told.get("data") or told["images"])
    if command != "analyse":
        assert told["memory"].startswith("2.0")  # what was put in place of the step's, and shares of features
    if command == "finetune":
        assert told["encoders"] == "random:alexnet32, none"
        assert "MB each" in told["checkpoints"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize("fault", ["folder", "held", "checkpoint", "other"])
def test_every_long_command_refuses_what_it_would_refuse_later(
    command: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, folder = [*WORDS[command], "--dry_run"], tmp_path / "run"
    if fault == "folder":
        folder.touch()
    elif fault == "checkpoint":
        words[[word.startswith("--checkpoint") for word in words].index(True)] = "--checkpoint=nowhere"
    else:
        folder.mkdir()
    if fault == "held":
        (folder / workdir.LOCK).touch()
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": "now"}
        (folder / workdir.HOLDER).write_text(json.dumps(holder))
    if fault == "other":
        results = {"probe": "probe.json", "finetune": "finetune.json", "analyse": analysing.RESULT}
        (folder / results[command]).write_text('{"results": []}')
        kind: dict[str, Any] = {"analyse": {"command": analyses.COMMAND}, "finetune": {"frozen_layers": 1}}
        (folder / workdir.CONFIG).write_text(json.dumps({"seed": 77} | kind.get(command, {})))
    assert call([command, *words, f"--workdir={folder}"]) == 2
    told = capsys.readouterr().err
    expected = {
        "folder": f"{folder} is a file",
        "held": f"is in use by process {os.getpid()}",
        "checkpoint": "checkpoint nowhere: no checkpoints/ folder there",
        "other": "seed was 77, is 0",
    }[fault]
    assert expected in told
    assert "Traceback" not in told
