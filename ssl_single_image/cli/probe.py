"""`probe`: linear classifiers on every layer of frozen encoders, all in one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags, logging

from ssl_single_image import datasets
from ssl_single_image.analysis import figures, tables
from ssl_single_image.cli import common
from ssl_single_image.images.builtin import PREFIX
from ssl_single_image.parallel import distributed
from ssl_single_image.training import load_encoder, probe_plan, probing, workdir
from ssl_single_image.training.checkpoint import LoadedEncoder
from ssl_single_image.types import InputError


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    if args.positional:
        raise InputError(f"{args.positional[0]!r}: probe takes flags only, such as --checkpoint=runs/rotnet")
    distributed.initialize()
    config = args.config.to_dict()
    config["data_dir"] = args.data_dir or config["data_dir"]
    references = _references(args.checkpoint)
    encoders = [load_encoder(reference) for reference in references]
    data = datasets.load(
        config["dataset"],
        data_dir=config["data_dir"] or None,
        size=probe_plan.input_size(encoders, config["size"]),
        exclude=pretrained_on(encoders),
    )
    plan = probe_plan.make_plan(encoders, data, config)
    folder = _free_of_pretraining(Path(args.workdir))
    workdir.claim(folder, {**config, "checkpoint": references}, free=("data_dir",))
    probe = probing.run(plan)
    if jax.process_index() == 0:
        write(folder, probe)
        print(tables.markdown(probe))
    logging.info("complete: %s", folder / "probe.md")


def pretrained_on(encoders: Iterable[LoadedEncoder]) -> list[str]:
    """Names of the built-in photographs that any of the encoders saw: nothing may be measured on them."""
    sources = [str(loaded.meta.get("config", {}).get("source", "")) for loaded in encoders]
    return sorted({source.removeprefix(PREFIX) for source in sources if source.startswith(PREFIX)})


def write(folder: Path, probe: dict[str, Any]) -> None:
    """Writes the results, each file whole or not at all; `probe.json`, which marks the probe as done, last."""
    workdir.write_whole(folder / "probe.md", "# Linear probes\n\n" + tables.full_markdown(probe))
    workdir.write_whole(folder / "probe.png", figures.accuracy(probe))
    workdir.write_whole(folder / "probe.json", json.dumps(probe, indent=2, allow_nan=False) + "\n")


def _free_of_pretraining(folder: Path) -> Path:
    if (folder / workdir.CONFIG).exists() and "objective" in workdir.read(folder):
        raise InputError(f"--workdir {folder}: holds a pretraining run; give the probe a folder of its own")
    return folder


def _references(given: Sequence[str]) -> list[str]:
    references = [reference.strip() for reference in given if reference.strip()]
    if not references:
        raise InputError("--checkpoint: give at least one workdir of pretrain, or random:BACKBONE")
    twice = {reference for reference in references if references.count(reference) > 1}
    if twice:
        raise InputError(f"--checkpoint: {', '.join(sorted(twice))} is given twice")
    return references


if __name__ == "__main__":
    common.run("probe", main)
