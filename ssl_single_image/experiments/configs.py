"""Config files: found by name or path, run, checked, and turned into the settings of an experiment."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from ssl_single_image import models, objectives, probes
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import presets
from ssl_single_image.experiments.settings import FinetuneConfig, PretrainConfig
from ssl_single_image.experiments.study_settings import StudyConfig
from ssl_single_image.probes import ProbeConfig
from ssl_single_image.runs.workdir import ENVIRONMENT
from ssl_single_image.schema import Section, suggestion

STUDY_COMMAND = "study_command"
"""What the config.json of a study holds beside its config: the shell command that goes on with it."""
SCHEMAS: dict[str, type[Section]] = {
    "pretrain": PretrainConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
    "study": StudyConfig,
}
"""Kind of experiment -> its config."""
Finder = Callable[[str], Any]
CHOICES: dict[str, dict[str, tuple[str, Finder]]] = {
    "pretrain": {
        "backbone": ("backbone_options", models.find),
        "objective": ("objective_options", objectives.find),
    },
    "probe": {"kind": ("options", probes.find)},
    "finetune": {"backbone": ("backbone_options", models.find)},
    "study": {},
}
"""Kind of experiment -> fields that name something, where its options stand, and what finds it."""
MARKS = {"pretrain": "objective", "probe": "protocol", "finetune": "frozen_layers", "study": "rows"}
"""A field that only this kind of config has."""
RECORDED = {
    "pretrain": ("inputs", ENVIRONMENT),
    "probe": ("checkpoint", ENVIRONMENT),
    "finetune": ("checkpoint", "inputs", "row", "source", ENVIRONMENT),
    "study": (STUDY_COMMAND,),
}
"""What the config.json of a run holds beside its config."""


def folder(kind: str) -> Path:
    """Where the config files of a kind lie: beside the package in a clone, inside it where it was installed."""
    package = Path(__file__).parents[1]
    installed = package / "configs" / kind
    return installed if installed.is_dir() else package.parent / "configs" / kind


def names(kind: str) -> list[str]:
    """Names of the configs of a kind."""
    return sorted(path.stem for path in folder(kind).glob("*.py") if not path.stem.startswith("_"))


def load(kind: str, text: str, chosen: Mapping[str, str] | None = None) -> ml_collections.ConfigDict:
    """Reads a config with all its fields, not yet checked; `read` checks it.

    Args:
      kind: "pretrain", "probe", "finetune" or "study".
      text: `NAME[:ARGUMENT]`, one of `names`; `FILE.py[:ARGUMENT]`; or `FILE.json`, the record of a run.
      chosen: a field of CHOICES -> the name to put in place of the config's; its options get their defaults.

    Raises:
      InputError: there is no such file, it can't be run or read, or it is a config of another kind.
    """
    path, argument = _find(kind, text)
    config = _from_json(kind, path) if path.suffix == ".json" else _from_python(path, argument)
    _check_kind(kind, path, config)
    fields = (
        presets.pretraining("rotnet", "demo").to_dict() if kind == "pretrain" else SCHEMAS[kind]().to_config()
    )
    missing = sorted(fields.keys() - config.keys())
    if missing and path.suffix != ".json":
        raise InputError(
            f"config {path}: lacks {', '.join(missing)}; start from ssl_single_image.experiments.presets"
        )
    return _whole(kind, fields | config, chosen or {})


def recorded(kind: str, config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config of a run from its record, as `load` gives it from the record's file.

    Raises:
      InputError: a field that is unknown or has no legal value.
    """
    return _whole(kind, read(kind, config).to_config(), {})


def _whole(kind: str, config: dict[str, Any], chosen: Mapping[str, str]) -> ml_collections.ConfigDict:
    _complete(config, CHOICES[kind], chosen)
    return ml_collections.ConfigDict(presets.tuples(config))


def read(kind: str, config: Any) -> Any:
    """The settings in a config: a `PretrainConfig`, a `ProbeConfig`, a `FinetuneConfig` or a `StudyConfig`.

    Args:
      kind: "pretrain", "probe", "finetune" or "study".
      config: such settings, or a mapping of their fields, such as the `config` of a run.

    Raises:
      InputError: a field that is unknown or has no legal value.
    """
    schema = SCHEMAS[kind]
    if isinstance(config, ml_collections.ConfigDict):
        config = config.to_dict()
    if isinstance(config, Mapping):
        config = _without_record(kind, config)
        _check_kind(kind, None, config)
    return schema.from_value(config, f"{kind} config")


def completed(kind: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config with the fields that today's has and it lacks, at their defaults: to be compared with today's.

    So a run that began before a field existed is resumed. What is stored beside the config stays. A config that is of
    another kind, or names what there is no more, is left as it is; comparing then tells.
    """
    if MARKS[kind] not in stored:
        return dict(stored)
    found = SCHEMAS[kind].completed(stored)
    try:
        _complete(found, CHOICES[kind], {})
    except InputError:
        return dict(stored)
    return found


def update(config: ml_collections.ConfigDict, fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A copy with some fields changed: `{"steps": 100, "crop.rotation": 0}` or `{"crop": {"rotation": 0}}`.

    Raises:
      InputError: the config has no such field.
    """
    config = config.copy_and_resolve_references()
    for name, value in _flat(fields, config):
        *outer, last = name.split(".")
        section = config
        for part in outer:
            section = section.get(part, {})
        if last not in section:
            raise InputError(f"{name}: no such field{suggestion(name, paths(config))}")
        with section.ignore_type():
            section[last] = presets.tuples(value)
    return config


def _flat(fields: Mapping[str, Any], config: Any) -> list[tuple[str, Any]]:
    """Dotted names and values; a mapping goes down where the config has a section."""
    found = []
    for name, value in fields.items():
        section = config.get(name) if isinstance(config, ml_collections.ConfigDict) else None
        if isinstance(value, Mapping) and isinstance(section, ml_collections.ConfigDict) and len(section):
            found += [(f"{name}.{inner}", each) for inner, each in _flat(value, section)]
        else:
            found.append((name, value))
    return found


def paths(config: ml_collections.ConfigDict, prefix: str = "") -> list[str]:
    """Dotted names of all fields of a config."""
    found = []
    for name, value in config.items():
        found.append(prefix + name)
        if isinstance(value, ml_collections.ConfigDict):
            found += paths(value, f"{prefix}{name}.")
    return found


def _find(kind: str, text: str) -> tuple[Path, str | None]:
    """The file that `text` means, and the argument after the colon."""
    text = os.path.expanduser(text)
    if Path(text).suffix in (".py", ".json"):
        return _existing(text), None
    before, colon, argument = text.partition(":")
    if Path(before).suffix == ".py":
        return _existing(before), argument if colon else None
    if "/" in before or before not in names(kind):
        raise InputError(
            f"config {before!r}: neither a file nor a {kind} config{suggestion(before, names(kind))}"
        )
    return folder(kind) / f"{before}.py", argument if colon else None


def _existing(text: str) -> Path:
    if not Path(text).is_file():
        raise InputError(f"config {text}: no such file")
    return Path(text)


def _from_json(kind: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"config {path}: can't be read as JSON ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"config {path}: holds no fields, but a {type(config).__name__}")
    return _without_record(kind, config)


def _without_record(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in RECORDED[kind]}


def _from_python(path: Path, argument: str | None) -> dict[str, Any]:
    get_config = _get_config(path)
    parameters = list(inspect.signature(get_config).parameters.values())
    wanted = [p for p in parameters if p.default is p.empty]
    if len(wanted) > 1 or (argument is not None and not parameters):
        raise InputError(f"config {path}: get_config must take one text, what follows the colon")
    arguments = [argument or ""] if argument is not None or wanted else []
    try:
        config = get_config(*arguments)
    except InputError:
        raise
    except Exception as error:  # a config file is the user's program
        raise InputError(f"config {path}: get_config raised {_told(error)}") from error
    if isinstance(config, ml_collections.ConfigDict):
        return config.to_dict()
    if isinstance(config, Mapping):
        return dict(config)
    raise InputError(f"config {path}: get_config returned {type(config).__name__}; expected a ConfigDict")


def _get_config(path: Path) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:  # a config file is the user's program
        raise InputError(f"config {path}: can't be run: {_told(error)}") from error
    if not callable(getattr(module, "get_config", None)):
        raise InputError(f"config {path}: has no function get_config")
    return module.get_config


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _check_kind(kind: str, path: Path | None, config: Mapping[str, Any]) -> None:
    if MARKS[kind] in config:
        return
    where = f"config {path}" if path else "the config"
    for other, mark in MARKS.items():
        if mark in config:
            raise InputError(
                f"{where}: is for {other}, not for {kind}; give one of {', '.join(names(kind))}, or a file like them"
            )
    if path:
        raise InputError(f"{where}: has no field {MARKS[kind]}; it is no config for {kind}")


def _complete(
    config: dict[str, Any], choices: Mapping[str, tuple[str, Finder]], chosen: Mapping[str, str]
) -> None:
    """Gives the config every option of what it chooses, such as its backbone.

    Another backbone than the config's begins with its own defaults. It keeps what the config had set itself, as far as
    it has such an option: a Sobel filter stays.
    """
    for name, (section, find) in choices.items():
        options = find(chosen.get(name, config[name])).options
        defaults = options().to_config()
        if not isinstance(config[section], Mapping):
            continue  # `read` refuses it
        given = {options.RENAMED.get(key, key): value for key, value in config[section].items()}
        if chosen.get(name, config[name]) != config[name]:
            before = find(config[name]).options().to_config()
            given = {
                key: value for key, value in given.items() if key in defaults and value != before.get(key)
            }
            config[name] = chosen[name]
        config[section] = defaults | given
