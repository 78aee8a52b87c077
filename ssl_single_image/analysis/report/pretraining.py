"""A section on a pretraining run: what was trained, its curves, its filters, and what it drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_single_image.analysis import figures, filters
from ssl_single_image.analysis.report import plots, provenance
from ssl_single_image.analysis.report.context import Context, Workdir
from ssl_single_image.errors import InputError
from ssl_single_image.runs import LoadedEncoder, load_encoder
from ssl_single_image.runs.checkpoint import CHECKPOINTS
from ssl_single_image.runs.metrics import METRICS, read_metrics

DRAWN = {
    "samples": "Samples: crops as the network sees them, or what it generates.",
    "clusters": "Crops by cluster, the tightest first.",
    "puzzles": "Crops, and their tiles in the order in which the towers get them.",
}
"""Pictures in a pretraining's workdir -> captions."""
SUMMARY = ("objective", "source", "dataset", "backbone", "preset", "steps", "batch_size", "crops", "seed")
"""Fields of a run's config that its summary shows, where it has them."""
LAST = ("train/loss", "train/accuracy", "eval/loss", "eval/accuracy")
"""Metrics whose last values are shown."""


Rows = list[dict[str, float]]


def read(one: Workdir) -> tuple[Rows, LoadedEncoder]:
    """The metrics of a run, and the encoder of its newest checkpoint.

    Raises:
      InputError: it has none yet, or they can't be read.
    """
    for name in (METRICS, CHECKPOINTS):
        if not (one.path / name).exists():
            raise InputError(f"{one.path}: a pretraining run with no {name} yet; resume it first")
    return read_metrics(one.path / METRICS), load_encoder(str(one.path))


def show(context: Context, found: Sequence[tuple[Workdir, tuple[Rows, LoadedEncoder]]]) -> dict[str, Any]:
    """The chapter of all pretraining runs."""
    return {"heading": "Pretraining", "sections": [_section(context, one, *value) for one, value in found]}


def _section(context: Context, one: Workdir, rows: Rows, loaded: LoadedEncoder) -> dict[str, Any]:
    curves = figures.training_curves(rows)
    pictures = [
        context.picture(f"{one.name}-curves.png", curves, "Training curves.", lambda: plots.curves(rows))
    ]
    for kind, caption in DRAWN.items():
        path = one.path / f"{kind}.png"
        if path.exists():
            pictures.append(context.picture(f"{one.name}-{kind}.png", path.read_bytes(), caption))
    caption = f"The filters of conv1 at step {loaded.step:,}, each stretched to its full contrast."
    if "conv1" in loaded.encoder.params:
        shown = filters.png(filters.first_layer(loaded.encoder))
        pictures.append(context.picture(f"{one.name}-filters.png", shown, caption))
    told = provenance.describe(context, one)
    fields = [
        (key.replace("_", " "), one.config[key]) for key in SUMMARY if one.config.get(key) not in (None, "")
    ]
    fields += [("last checkpoint", f"step {loaded.step:,}"), *_last_values(rows), *told.pop("facts")]
    return {
        "name": one.name,
        "facts": [(label, _text(value)) for label, value in fields],
        "pictures": pictures,
        "provenance": [told | {"facts": []}],
    }


def _last_values(rows: Sequence[dict[str, float]]) -> list[tuple[str, float]]:
    last = {key: value for row in rows for key, value in row.items()}
    return [(f"last {name}", last[name]) for name in LAST if name in last]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
