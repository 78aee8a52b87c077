"""Listing as a function: the pretrained encoders that come with the package."""

from __future__ import annotations

from typing import Any

from ssl_single_image.experiments.results import Zoo
from ssl_single_image.runs import zoo as folder


def zoo() -> Zoo:
    """The pretrained encoders that come with the package; `load_encoder("zoo:NAME")` gives one.

    Returns:
      Name -> "reference", "method", "backbone", "options", "source", "licence", "step", "crops" (seen while it was
      trained), "bytes" (of its file) and "probe": what a probe of its layers measured, {} if none did. It shows itself
      as a table.

    Raises:
      InputError: a file of the zoo is damaged.
    """
    return Zoo({name: _entry(name) for name in folder.names()})


def _entry(name: str) -> dict[str, Any]:
    note = folder.note(name)
    config, published = note.config, note.published
    return {
        "reference": folder.PREFIX + name,
        "method": config.get("objective", ""),
        "backbone": note.spec.backbone,
        "options": dict(note.spec.options),
        "source": config.get("source") or config.get("dataset", ""),
        "licence": published.get("licence", ""),
        "step": note.step,
        "crops": note.step * int(config.get("batch_size", 0)),
        "bytes": folder.file(name).stat().st_size,
        "probe": dict(published.get("probe", {})),
    }
