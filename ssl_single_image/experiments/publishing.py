"""What an export tells of the run behind an encoder: nothing of the user's folders, and its own numbers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ssl_single_image.analysis import measured, tables
from ssl_single_image.errors import InputError
from ssl_single_image.images import builtin
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.foreign import own

_WORD = re.compile(r"(?:\w+:(?:[^/]*\bsource=)?)?")
"""Begins a reference or the name of a data set, as in `folder:PATH` and `kmeans:BACKBONE,source=PATH`."""


def without_folders(value: Any) -> Any:
    """A config in which names of files stand without their folders, which concern nobody else."""
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    return _without_folder(value) if isinstance(value, str) else value


def without_places(probe: Mapping[str, Any]) -> dict[str, Any]:
    """What `probe.json` holds, with the names of encoders and of the data set without their folders."""
    results = [{**result, "checkpoint": _without_folder(result["checkpoint"])} for result in probe["results"]]
    return {**probe, "dataset": _without_folder(probe["dataset"]), "results": results}


def statement(
    loaded: LoadedEncoder, config: Mapping[str, Any], licence: str, probe: Mapping[str, Any] | None, file: str
) -> dict[str, Any]:
    """What stands in the note of an export beside its config; an export of an export keeps what is not given anew.

    Args:
      loaded: the encoder.
      config: of its run, as it is published.
      licence: of the source image; "": that of a built-in photograph, where it is one.
      probe: what `probe.json` holds, or None.
      file: where the probe was read, for messages.

    Returns:
      Some of "encoder" (its name in a run that has several), "licence", and "probe": {"setting", "measure", "chance",
      "layers": {layer: percent}, "gains": {layer: points over the untrained network}}.

    Raises:
      InputError: the probe measured other encoders, or several that could be this one.
    """
    found = dict(loaded.meta.get(own.PUBLISHED, {}))
    named = re.search(r"#(\w+)$", loaded.name)
    if named and config:
        found["encoder"] = named[1]
    if known := licence or found.get("licence") or _known_licence(config):
        found["licence"] = known
    if probe is not None:
        found["probe"] = _summary(probe, _result_of(probe, loaded, file))
    return found


def _summary(probe: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    measure = measured.of(probe)
    gains = {layer: gain["points"] for layer, gain in result.get("gains", {}).items()}
    return {
        "setting": tables.setting(without_places(probe)),
        "measure": measured.name(probe),
        "chance": probe["chance"],
        "layers": {layer: values[measure.main] for layer, values in result["layers"].items()},
        **({"gains": gains} if gains else {}),
    }


def _result_of(probe: Mapping[str, Any], loaded: LoadedEncoder, file: str) -> Mapping[str, Any]:
    """The result of an encoder in a probe.

    Raises:
      InputError: no result is of this encoder's network and step, or several are and none has its name.
    """
    fitting = [result for result in probe["results"] if _fits(result, loaded)]
    if not fitting:
        there = ", ".join(f"{result['checkpoint']} at step {result['step']}" for result in probe["results"])
        what = f"{loaded.encoder.spec.backbone} at step {loaded.step}"
        raise InputError(f"probe {file}: measured no {what}; it has {there}")
    for same in (str, _bare):
        named = [result for result in fitting if same(result["checkpoint"]) == same(loaded.name)]
        if len(named) == 1:
            return named[0]
    if len(fitting) > 1:
        there = ", ".join(result["checkpoint"] for result in fitting)
        raise InputError(f"probe {file}: {loaded.name} may be any of {there}; name it as the probe does")
    return fitting[0]


def _fits(result: Mapping[str, Any], loaded: LoadedEncoder) -> bool:
    spec = loaded.encoder.spec
    stored = result.get("encoder")  # older probes have none
    options = stored.get("options") if isinstance(stored, Mapping) else spec.options
    return (result["backbone"], options, result["step"]) == (spec.backbone, spec.options, loaded.step)


def _bare(reference: str) -> str:
    """A reference without folders and without the step, which is compared as a number."""
    return re.sub(r"@(\d+|best)(?=#|$)", "", _without_folder(reference))


def _known_licence(config: Mapping[str, Any]) -> str:
    """What is known of the licence of built-in photographs; with their names where there are several."""
    names = builtin.names_in(str(config.get("source", "")))
    if not names or any(name not in builtin.PHOTOGRAPHS for name in names):
        return ""
    licences = [builtin.PHOTOGRAPHS[name].licence for name in names]
    if len(names) == 1:
        return licences[0]
    return "; ".join(f"{name}: {licence}" for name, licence in zip(names, licences, strict=True))


def _without_folder(text: str) -> str:
    word = _WORD.match(text)
    kept = word[0] if word else ""
    return kept + text.removeprefix(kept).rstrip("/").rpartition("/")[2]
