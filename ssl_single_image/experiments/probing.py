"""Probing as a function: from checkpoints and a labelled set to a table of accuracies, layer by layer."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from ssl_single_image import datasets, probes
from ssl_single_image.analysis import figures, history, probe_pages, robustness_figures, tables
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, presets
from ssl_single_image.experiments.results import ProbeTable
from ssl_single_image.images import builtin
from ssl_single_image.parallel import distributed
from ssl_single_image.probes import runner
from ssl_single_image.runs import LoadedEncoder, expand, load_encoder, places, workdir
from ssl_single_image.runs.metrics import TIMINGS

HISTORY = "history.png"
ROBUSTNESS = "robustness.png"
FREE = ("data_dir",)
"""Config keys that do not change the numbers."""


def probe(config: Any, references: str | Sequence[str], folder: str | Path | None = None) -> ProbeTable:
    """Measures what every layer of frozen encoders knows about the classes of a labelled set.

    Args:
      config: a `ProbeConfig`, a mapping of its fields as `probe_config` gives, or a name: of a probe config ("cifar10",
        "photos"), or of a data set ("folder:PATH", "tfds:NAME"), which is probed by the cached protocol.
      references: encoders as `load_encoder` takes them, or `WORKDIR@all` for all checkpoints of a run. Always have an
        untrained one among them.
      folder: gets `probe.json`, `probe.md`, `probe.png` and `timings.jsonl`, `history.png` where several
        checkpoints of a run are probed, and `robustness.png` of robustness probes; None: nothing is written.

    Returns:
      The results, which show themselves as a table.

    Raises:
      InputError: a bad field, a checkpoint or data set that can't be read, or a folder that holds something else.
    """
    names, plan = prepare(config, references)
    if folder is None:
        return ProbeTable(runner.run(plan))
    record = plan.config.to_config() | {"checkpoint": names}
    with places.working(folder) as place, workdir.held(free_of_others(place), lambda: _claim(place, record)):
        start = time.perf_counter()
        with distributed.together():
            result = runner.run(plan)
        if jax.process_index() == 0:
            write(place, result)
            seconds = {"seconds": round(time.perf_counter() - start, 1)}
            workdir.write_whole(place / TIMINGS, json.dumps(seconds) + "\n")
            logging.info("complete: %s", f"{folder}/probe.md")
    return ProbeTable(result)


def prepare(config: Any, references: str | Sequence[str]) -> tuple[list[str], probes.ProbePlan]:
    """Reads the encoders, the labelled set and the config; the arguments are those of `probe`.

    Returns:
      The references in full, and the plan.

    Raises:
      InputError: as `probe`, but for the folder.
    """
    settings: probes.ProbeConfig = configs.read(
        "probe", _named(config) if isinstance(config, str) else config
    )
    names = distinct([references] if isinstance(references, str) else references)
    encoders = [load_encoder(name) for name in names]
    data = datasets.load(
        settings.dataset,
        data_dir=settings.data_dir or None,
        size=probes.input_size(encoders, settings.size),
        exclude=pretrained_on(encoders),
        multi_label=None,
        boxed=True,
    )
    return names, probes.make_plan(encoders, data, settings)


def _claim(folder: Path, record: dict[str, Any]) -> None:
    """Makes the folder that of this probe; one without results is taken over."""
    there = (folder / "probe.json").exists()
    complete = functools.partial(configs.completed, "probe")
    leavings = ("probe.*", HISTORY, ROBUSTNESS, TIMINGS)
    workdir.claim(folder, record, FREE, results=there, leavings=leavings, complete=complete)


def pretrained_on(encoders: Iterable[LoadedEncoder]) -> list[str]:
    """Names of the built-in photographs that any of the encoders saw: nothing may be measured on them."""
    sources = [str(loaded.meta.get("config", {}).get("source", "")) for loaded in encoders]
    return sorted({name for source in sources for name in builtin.names_in(source)})


def write(folder: Path, result: dict[str, Any]) -> None:
    """Writes the results, each file whole or not at all; `probe.json`, which marks the probe as done, last."""
    workdir.write_whole(
        folder / "probe.md", f"# {tables.title(result)}\n\n" + probe_pages.full_markdown(result)
    )
    workdir.write_whole(folder / "probe.png", figures.accuracy(result))
    if drawn := history.picture(result):
        workdir.write_whole(folder / HISTORY, drawn)
    if drawn := robustness_figures.picture(result):
        workdir.write_whole(folder / ROBUSTNESS, drawn)
    workdir.write_whole(folder / "probe.json", json.dumps(result, indent=2, allow_nan=False) + "\n")


def _named(text: str) -> Any:
    name = text.partition(":")[0]
    if name in datasets.KINDS and name not in configs.names("probe"):
        return presets.cached_probe(text)
    if text.startswith("folder:") and "=" not in text:
        return presets.cached_probe(text)
    return configs.load("probe", text)


def distinct(given: Sequence[str | os.PathLike[str]]) -> list[str]:
    """References to encoders as texts, "@all" in full.

    Raises:
      InputError: there is none, or one is given twice.
    """
    words = [str(name).strip() for name in given if str(name).strip()]
    names = [name for word in words for name in expand(word)]
    if not names:
        raise InputError("no checkpoint: give at least one workdir of pretraining, or random:BACKBONE")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"checkpoint {', '.join(sorted(twice))} is given twice")
    return names


def free_of_others(folder: Path) -> Path:
    """The folder.

    Raises:
      InputError: it holds something else than a probe.
    """
    held = workdir.read(folder) if (folder / workdir.CONFIG).exists() else {}
    if "objective" in held or "command" in held:
        what = "a pretraining run" if "objective" in held else f"what {held['command']} wrote"
        raise InputError(f"workdir {folder}: holds {what}; give the probe a folder of its own")
    return folder
