"""The command that makes a run again, from the config.json in its folder."""

from __future__ import annotations

import csv
import functools
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, presets
from ssl_single_image.runs import workdir

PROGRAM = "ssl-single-image"
ARGUMENTS = {
    "pretrain": ("", *(f":preset={name}" for name in presets.PRESETS)),
    "probe": ("", ":pooling=deepcluster", ":protocol=published"),
}
"""Kind of experiment -> arguments that a config may take; those that it does not take are passed over."""


def again(folder: Path) -> str:
    """The shell command that makes the run of a workdir again, in a folder of the same name.

    It names the config that is nearest to that of the run, and every field that differs. Where fields can't be given as
    flags, it names the run's config.json instead. The parsed command has the run's config, field by field.

    Args:
      folder: a workdir of `pretrain` or `probe`.

    Raises:
      InputError: its config.json can't be read, or is no config of today.
    """
    record = workdir.read(folder)
    kind = "pretrain" if configs.MARKS["pretrain"] in record else "probe"
    path = folder / workdir.CONFIG
    words = [PROGRAM, kind, *(_config(kind, configs.load(kind, str(path))) or [f"--config={path}"])]
    if kind == "probe":
        words.append(f"--checkpoint={_listed(record.get('checkpoint', ()))}")
    return shlex.join([*words, f"--workdir={folder}"])


def pretraining(config: Mapping[str, Any], folder: str) -> str:
    """The shell command that trains with a config, such as that of an encoder's run, into a folder.

    Returns:
      "" where it is no config of pretraining, or one that flags can't give.
    """
    if configs.MARKS["pretrain"] not in config:
        return ""
    try:
        words = _config("pretrain", configs.recorded("pretrain", config))
    except InputError:  # of another version, or in a file from elsewhere
        return ""
    return shlex.join([PROGRAM, "pretrain", *words, f"--workdir={folder}"]) if words else ""


def _config(kind: str, wanted: ml_collections.ConfigDict) -> list[str]:
    """`--config=NAME` and the fields that differ; none where those don't tell all."""
    chosen = tuple((field, wanted[field]) for field in configs.CHOICES[kind])
    found = [
        (text, fields)
        for text, base in _bases(kind, chosen)
        if (fields := _differences(base, wanted)) is not None and _same(kind, base, fields, wanted)
    ]
    if not found:
        return []
    text, fields = min(found, key=lambda pair: len(pair[1]))
    base = dict(_bases(kind, ()))[text]
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    selected = [f"--config.{field}={value}" for field, value in chosen if base[field] != value]
    return [f"--config={text}", *selected, *flags]


@functools.lru_cache(maxsize=64)
def _bases(
    kind: str, chosen: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, ml_collections.ConfigDict], ...]:
    """Configs by name with each of ARGUMENTS that they take, and with the run's backbone, objective or kind."""
    found = []
    for name in configs.names(kind):
        for argument in ARGUMENTS[kind]:
            try:
                found.append((name + argument, configs.load(kind, name + argument, dict(chosen))))
            except InputError:  # it takes no such argument
                continue
    return tuple(found)


def _differences(base: ml_collections.ConfigDict, wanted: ml_collections.ConfigDict) -> dict[str, Any] | None:
    """Dotted name -> value of the run, where the base has another one; None where a flag can't say it."""
    changed = workdir.differences(base.to_dict(), wanted.to_dict())
    values = {name: value for name, (_, value) in changed.items()}
    if any(isinstance(value, Mapping) for value in values.values()) or _absent(base, values):
        return None
    return values


def _absent(base: ml_collections.ConfigDict, names: Iterable[str]) -> set[str]:
    return set(names) - set(configs.paths(base))


def _same(
    kind: str,
    base: ml_collections.ConfigDict,
    fields: Mapping[str, Any],
    wanted: ml_collections.ConfigDict,
) -> bool:
    """Whether the base with these fields is the run's config."""
    try:
        made = configs.read(kind, configs.update(base, fields))
    except InputError:
        return False
    return made.to_config() == configs.read(kind, wanted).to_config()


def _listed(names: Sequence[str]) -> str:
    """References as `--checkpoint` takes them: with commas between, and quotes around those that have one."""
    if isinstance(names, str):
        return names
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(names)
    return out.getvalue()
