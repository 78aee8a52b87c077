"""Programs that show metrics: TensorBoard, Weights & Biases, MLflow. A new one is a class and a line in `SINKS`.

No run depends on them. One that fails is told of in a line and left out from then on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from absl import logging
from PIL import Image

from ssl_single_image.schema import pick
from ssl_single_image.types import InputError

IDS = "sinks.json"
"""File of a workdir: what the run is called in each program, so that a resumed run goes on there."""
EXPERIMENT = "ssl-single-image"
"""MLflow's experiment, if its own variable names no other."""


class Sink(Protocol):
    """Where metrics go as a run computes them."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics by name."""
        ...

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """A picture of a name that every step has."""
        ...

    def close(self) -> None:
        """Writes what is not written yet."""
        ...


class TensorBoard:
    """Event files in the workdir."""

    def __init__(self, workdir: Path, step: int, config: Mapping[str, Any]):
        del config
        # Not above: it imports PyTorch where that is installed, 180 MiB that no other part of a run needs.
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(workdir), purge_step=step + 1 if step else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        self._writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases. Its own variables say where it goes: WANDB_PROJECT, WANDB_MODE=offline and others."""

    def __init__(self, workdir: Path, step: int, config: Mapping[str, Any]):
        del step
        import wandb

        known = _known(workdir)
        name = known.get("wandb") or secrets.token_hex(4)
        self._run = wandb.init(
            id=name,
            resume="allow",
            name=workdir.name,
            dir=str(workdir),
            config=dict(config),
            reinit="finish_previous",
        )
        self._wandb = wandb
        _remember(workdir, known | {"wandb": name})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        self._run.log({name: self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow. Its own variables say where it goes: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.

    Plain files, such as MLFLOW_TRACKING_URI=file:mlruns, also need MLFLOW_ALLOW_FILE_STORE=true.
    """

    def __init__(self, workdir: Path, step: int, config: Mapping[str, Any]):
        del step
        import mlflow

        self._client = mlflow.MlflowClient()
        known = _known(workdir)
        self._run = known.get("mlflow", "")
        if not self._run:
            experiment = mlflow.set_experiment(
                os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            ).experiment_id
            self._run = self._client.create_run(experiment, run_name=workdir.name).info.run_id
            for name, value in _flat(config).items():
                self._client.log_param(self._run, name, str(value)[:500])
            _remember(workdir, known | {"mlflow": self._run})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        self._client.log_image(self._run, picture, artifact_file=f"{name}/{step}.png")

    def close(self) -> None:
        self._client.set_terminated(self._run)


SINKS: dict[str, Callable[[Path, int, Mapping[str, Any]], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}
"""Name -> what makes the sink of a workdir, given the step that the run is resumed at and its config."""
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
"""Sink -> the extra of this package that installs what it needs, for those that need one."""


def check(names: Sequence[str]) -> None:
    """Checks that sinks can be used.

    Raises:
      InputError: one is unknown, or its program is not installed.
    """
    for name in names:
        pick(SINKS, name, "sinks")
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise InputError(
                f"sinks: {name} is not installed; pip install 'ssl-single-image[{PACKAGES[name]}]'"
            )


class Guarded:
    """Some sinks as one. One that fails is left out from then on, and the run goes on.

    Args:
      names: of `SINKS`.
      workdir: the run's.
      step: that it is resumed at.
      config: JSON-able, the run's.
    """

    def __init__(self, names: Sequence[str], workdir: Path, step: int, config: Mapping[str, Any]):
        self._sinks: dict[str, Sink] = {}
        for name in names:
            with self._guard(name):
                self._sinks[name] = SINKS[name](workdir, step, config)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.scalars(step, values))

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.picture(step, name, picture))

    def close(self) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.close())

    def _each(self, act: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            with self._guard(name):
                act(sink)

    @contextlib.contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of programs that are not ours, and that no run depends on
            self._sinks.pop(name, None)
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            logging.warning("%s gets no more metrics of this run: %s", name, reason)


def _known(workdir: Path) -> dict[str, str]:
    try:
        return dict(json.loads((workdir / IDS).read_text()))
    except (OSError, ValueError):
        return {}


def _remember(workdir: Path, known: Mapping[str, str]) -> None:
    (workdir / IDS).write_text(json.dumps(known) + "\n")


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Dotted names of a nested mapping's values."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= (
            _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
        )
    return found
