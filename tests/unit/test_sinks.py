"""Programs that show metrics: what reaches them, what a resumed run does, and what happens when one fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ssl_single_image.runs import sinks
from ssl_single_image.runs.metrics import MetricsWriter
from ssl_single_image.types import InputError

PICTURE = Image.new("RGB", (4, 4), (9, 0, 0))


class Recording:
    """A sink that remembers, and fails when it is told a step of 3 or later."""

    def __init__(self, workdir: Path, step: int, config: Mapping[str, Any]):
        self.told: list[Any] = [step, config["seed"]]
        MADE.append(self)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step >= 3:
            raise ConnectionError("no route\nto host")
        self.told.append((step, dict(values)))

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        self.told.append((step, name, picture.size))

    def close(self) -> None:
        self.told.append("closed")


MADE: list[Recording] = []


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    MADE.clear()
    monkeypatch.setitem(sinks.SINKS, "recording", Recording)
    return MADE


def test_a_sink_gets_metrics_timings_and_pictures(tmp_path: Path, recording: list[Recording]) -> None:
    writer = MetricsWriter(tmp_path, 1, ("recording",), {"seed": 7})
    writer.write(2, {"train/loss": 0.5})
    writer.timings(2, {"seconds": 1.0})
    writer.pictures(2, {"look": PICTURE})
    writer.close()
    told = [1, 7, (2, {"train/loss": 0.5}), (2, {"seconds": 1.0}), (2, "look", (4, 4)), "closed"]
    assert recording[0].told == told


def test_a_sink_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, recording: list[Recording], caplog: pytest.LogCaptureFixture
) -> None:
    writer = MetricsWriter(tmp_path, 0, ("recording",), {"seed": 7})
    for step in (1, 2, 3, 4):
        writer.write(step, {"train/loss": 0.5})
    writer.close()
    assert [line for line in recording[0].told if isinstance(line, tuple)] == [
        (1, {"train/loss": 0.5}),
        (2, {"train/loss": 0.5}),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "recording gets no more metrics of this run: no route to host"
    ]
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_training_goes_on_where_tensorboard_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tensorboardX.SummaryWriter.__init__", refuse)
    writer = MetricsWriter(tmp_path, 0)
    writer.write(1, {"train/loss": 0.5})
    writer.close()
    assert "tensorboard gets no more metrics" in caplog.text
    assert (tmp_path / "metrics.jsonl").exists()


def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/ml")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "here")
    workdir = tmp_path / "run"
    workdir.mkdir()
    for step in (0, 1):
        writer = MetricsWriter(workdir, step, ("mlflow",), {"seed": 7, "crop": {"size": 32}})
        writer.write(step + 1, {"train/loss": 0.5 - step / 4})
        writer.close()
    (name,) = json.loads((workdir / sinks.IDS).read_text()).values()
    client = mlflow.MlflowClient(tracking_uri=f"file:{tmp_path}/ml")
    history = client.get_metric_history(name, "train/loss")
    assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 0.25)]
    assert client.get_run(name).data.params == {"seed": "7", "crop.size": "32"}


def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for step in (0, 1):
        writer = MetricsWriter(tmp_path, step, ("wandb",), {"seed": 7})
        writer.write(step + 1, {"train/loss": 0.5})
        writer.pictures(step + 1, {"look": PICTURE})
        writer.close()
    (name,) = json.loads((tmp_path / sinks.IDS).read_text()).values()
    files = list(tmp_path.glob(f"wandb/offline-run-*/run-{name}.wandb"))
    assert files
    assert all(file.stat().st_size > 0 for file in files)


@pytest.mark.parametrize(
    ("name", "message"), [("nope", "sinks"), ("wandb", r"wandb is not installed; pip install .*\[wandb\]")]
)
def test_what_cannot_be_used_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=message):
        sinks.check([name])
