"""Where metrics go: `metrics.jsonl`, `timings.jsonl`, and programs that show them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from ssl_single_image import images
from ssl_single_image.runs import sinks
from ssl_single_image.types import InputError, Metrics

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"


def add(total: Metrics | None, metrics: Metrics) -> Metrics:
    """Sums of (sum, count) pairs, left on the device."""
    return metrics if total is None else jax.tree.map(lambda a, b: a + b, total, metrics)


def means(metrics: Metrics, prefix: str) -> dict[str, float]:
    """{"prefix/name": sum / count}; waits for the device. NaN where nothing was counted."""
    host = jax.device_get(metrics)
    return {
        f"{prefix}/{name}": float(np.divide(*pair)) if pair[1] else math.nan for name, pair in host.items()
    }


class MetricsWriter:
    """Appends one JSON object a line, {"step": ..., "train/loss": ...}, and tells the run's sinks the same.

    When a run is resumed, lines beyond the resumed step are dropped first, so that the file equals that of an
    uninterrupted run. Only process 0 writes.

    Args:
      workdir: of the run.
      step: that it is resumed at; 0: it begins.
      shown: names of `sinks.SINKS`.
      config: JSON-able, the run's, for them.
    """

    def __init__(
        self,
        workdir: Path,
        step: int,
        shown: Sequence[str] = ("tensorboard",),
        config: Mapping[str, Any] = {},
    ):
        self._path = workdir / METRICS
        self._sinks: sinks.Guarded | None = None
        if jax.process_index() == 0:
            for path in (self._path, self._path.with_name(TIMINGS)):
                _drop_after(path, step)
            self._sinks = sinks.Guarded(shown, workdir, step, config)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """What the run computes: the same values whenever it is repeated or resumed."""
        self._append(self._path, step, values)

    def timings(self, step: int, values: Mapping[str, float]) -> None:
        """What the clock says; in a file of its own, for no two runs agree on it."""
        self._append(self._path.with_name(TIMINGS), step, values)

    def _append(self, path: Path, step: int, values: Mapping[str, float]) -> None:
        if self._sinks is None:
            return
        with path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self._sinks.scalars(step, values)

    def pictures(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        """Writes each to NAME.png beside the metrics, over the last one of the name, and tells the sinks."""
        if self._sinks is None:
            return
        for name, picture in pictures.items():
            images.save_image(picture, self._path.with_name(f"{name}.png"))
            self._sinks.picture(step, name, picture)

    def close(self) -> None:
        if self._sinks is not None:
            self._sinks.close()


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # the line on which a killed run stopped
            continue
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a file of metrics: "step", and KIND/NAME for each metric.

    Raises:
      InputError: there are none.
    """
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
            row["step"] + 0  # a number
        except (ValueError, KeyError, TypeError):  # the line on which a killed run stopped
            continue
        rows.append({name: value for name, value in row.items() if isinstance(value, int | float)})
    if not rows:
        raise InputError(f"{path}: no metrics in it yet; resume the run first")
    return rows
