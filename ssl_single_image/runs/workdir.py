"""The folder of a run: the config that it belongs to, and files that are written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from ssl_single_image.types import InputError

CONFIG = "config.json"


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames, so that no reader ever sees half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def claim(workdir: Path, config: dict[str, Any], free: Iterable[str] = ()) -> None:
    """Makes `workdir` the folder of the run that `config` describes, or checks that it already is.

    Of several processes only the first looks and writes.

    Args:
      workdir: made if it is not there.
      config: JSON-able and nested.
      free: top-level keys that may differ, because they do not change the run's numbers.

    Raises:
      InputError: the folder holds a run of another config (the differing keys are named), or is no folder.
    """
    if jax.process_index() != 0:
        return
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"workdir {workdir}: is a file")
    path = workdir / CONFIG
    if path.exists():
        changed = differences(read(workdir), json.loads(json.dumps(config)), set(free))
        if changed:
            listed = "; ".join(
                f"{name} was {json.dumps(a)}, is {json.dumps(b)}" for name, (a, b) in changed.items()
            )
            raise InputError(f"workdir {workdir} holds a run of another config: {listed}")
    workdir.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(config, indent=2) + "\n")


def read(workdir: Path) -> dict[str, Any]:
    """The config of the run in `workdir`.

    Raises:
      InputError: there is none, or it can't be read.
    """
    try:
        return json.loads((workdir / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"workdir {workdir}: no readable {CONFIG} ({error})") from error


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Dotted field -> its values in two configs, where they differ; "absent" where one has no such field.

    Args:
      old: JSON-able and nested.
      new: likewise.
      free: top-level fields that are not compared.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted((old.keys() | new.keys()) - set(free)):
        before, after = old.get(key, "absent"), new.get(key, "absent")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= {f"{key}.{name}": pair for name, pair in differences(before, after).items()}
        elif before != after:
            found[key] = (before, after)
    return found
