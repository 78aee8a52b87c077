"""Probe results as tables: which results share one, and Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ssl_single_image.analysis import measured
from ssl_single_image.objectives import exemplars
from ssl_single_image.runs import workdir

Probe = Mapping[str, Any]
"""What `probe.json` holds."""

HALF = "half of the 95 % interval"
GAINS = "gain over the untrained network of the same encoder spec, points of"
"""Begins the caption of such a table; the measure follows."""
RECIPE = (
    "kind",
    "protocol",
    "test",
    "size",
    "classes",
    "train_images",
    "test_images",
    "chance",
    "config",
    "data",
)
"""What must agree for results to stand in one table: all of the probe's config, the classes and the images."""
ADDED = {"statistics": "running", "options": {}, "shift": "", "severity": 0, "retrain": False}
"""Fields of a probe's config that older files lack, with the value that their probes had."""
CHOSEN = ("layers", "seeds")
"""Fields that say which numbers there are and how often they were measured, and not what they mean."""
ORIGIN = "origin"
"""Key of a result in a report's own probes.json: which of the report's runs it is of."""


def reference_cell(reference: str) -> str:
    """A reference as a cell of a Markdown table; of a detector that was adapted to a network, it says so."""
    bar = "\\|"  # a bare one would end the cell
    adapted = reference.partition(":")[0] in exemplars.ADAPTED
    return f"`{reference.replace('|', bar)}`{' (adapted)' if adapted else ''}"


def layers(probe: Probe) -> list[str]:
    """All layers of all results, in the order of depth."""
    names = {layer: None for result in probe["results"] for layer in result["layers"]}
    return sorted(names, key=lambda name: (len(name), name))


def setting(probe: Probe) -> str:
    """What a table needs beside it: data set, kind of probe, protocol, test images, chance; one line."""
    kind = title(probe)
    recomputed = probe.get("config", {}).get("statistics") == "recomputed"
    missing = measured.left_out(probe)
    return (
        f"{named(probe)}: {kind[:1].lower()}{kind[1:]}, {probe['protocol']} protocol,"
        f"{' batch-norm statistics recomputed on training images,' if recomputed else ''}"
        f" {probe['test_images']:,} test {probe.get('examples', 'images')}, chance level {probe['chance']:.1f} %"
        f"{f', without classes that no test image has ({listed(missing)})' if missing else ''}"
    )


def named(probe: Probe) -> str:
    """The data set, and how its test images are shifted: "cifar10, test images after occlusion 3"."""
    config = probe.get("config", {})
    if not config.get("shift") or not config.get("severity"):
        return str(probe["dataset"])
    which = "images" if config.get("retrain") else "test images"
    return f"{probe['dataset']}, {which} after {config['shift']} {config['severity']}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence; of many the first, and how many there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def title(probe: Probe) -> str:
    """What headings call probes of this kind: the name that the kind gave them, else one made from `kind`."""
    named = probe.get("title") or f"{str(probe.get('kind', 'linear')).replace('_', ' ')} probes"
    return f"{named[:1].upper()}{named[1:]}"


def grid(probe: Probe, metric: str = "") -> tuple[list[str], list[list[str | float | None]]]:
    """Header and rows, one result each: checkpoint, step, then `metric` of every layer (None: no such layer).

    "" is the main field of the probe's measure, here and below.
    """
    columns, metric = layers(probe), metric or measured.of(probe).main
    rows = [
        [result["checkpoint"], result["step"], *(result["layers"].get(c, {}).get(metric) for c in columns)]
        for result in probe["results"]
    ]
    return ["checkpoint", "step", *columns], rows


def markdown(probe: Probe, metric: str = "") -> str:
    """A Markdown table, the best of each layer in bold, with its setting above and chance as the last row."""
    measure = measured.of(probe)
    main = metric in ("", measure.main)
    header, rows = grid(probe, metric)
    show = _signed if probe.get("gains") else _percent
    text: list[list[str]] = [
        [reference_cell(str(row[0])), f"{row[1]:,}", *map(show, row[2:])] for row in rows
    ]
    halves = half_widths(probe) if main else []
    for column in range(2, len(header)):
        for row in best_rows(rows, column):
            text[row][column] = f"**{text[row][column]}**"
        for row, half in enumerate(halves):
            text[row][column] += "" if half[column] is None else f" ±{half[column]:.1f}"
    if main and not probe.get("gains"):
        text.append(["chance", "", *[f"{probe['chance']:.1f}"] * (len(header) - 2)])
    align = ["left", *["right"] * (len(header) - 1)]
    table = tabulate(text, header, tablefmt="pipe", colalign=align, disable_numparse=True)
    named = measure.names[metric or measure.main]
    caption = f"{GAINS} {named}" if probe.get("gains") else f"{named}, %"
    return f"{setting(probe)}; {caption}{widths(probe, metric)}{shots(probe)}\n\n{table}\n"


def widths(probe: Probe, metric: str = "") -> str:
    """What stands behind ± in a table, for its caption; "" where no intervals are known."""
    main = metric in ("", measured.of(probe).main)
    known = main and any(value is not None for row in half_widths(probe) for value in row)
    return f" ± {HALF}" if known else ""


def half_widths(probe: Probe) -> list[list[float | None]]:
    """Half of each 95 % interval of `grid`, in its rows and columns; None where none is known."""
    columns = layers(probe)
    return [
        [None, None, *(half_width(result["layers"].get(column, {})) for column in columns)]
        for result in probe["results"]
    ]


def half_width(values: Mapping[str, Any]) -> float | None:
    """Half of a layer's interval: of the wider one, where it was measured over repeats as well as over images."""
    ends = [values[name] for name in ("interval", "over_repeats") if values.get(name)]
    return max((high - low) / 2 for low, high in ends) if ends else None


def shots(probe: Probe) -> str:
    """Which setting a table shows, for a caption; "" for a kind that has one only."""
    return f", {probe['shown']} {probe['setting']}" if probe.get("shown") else ""


def by_setting(probe: Probe) -> list[Probe]:
    """One probe for each setting of a kind that has several, such as numbers of labels."""
    found = {
        name: None
        for result in probe["results"]
        for values in result["layers"].values()
        for name in values.get("settings", {})
    }
    return [_in_setting(probe, name) for name in found] or [probe]


def _in_setting(probe: Probe, name: str) -> Probe:
    results = [
        {
            **result,
            "layers": {
                layer: {"features": values.get("features"), **values["settings"][name]}
                for layer, values in result["layers"].items()
                if name in values.get("settings", {})
            },
        }
        for result in probe["results"]
    ]
    return {**probe, "shown": name, "results": results}


def best_rows(rows: Sequence[Sequence[Any]], column: int) -> list[int]:
    """Rows whose value equals the column's best as printed; none where there is nothing to choose from."""
    values = [None if row[column] is None else round(row[column], 1) for row in rows]
    known = [value for value in values if value is not None]
    return [i for i, value in enumerate(values) if len(known) > 1 and value == max(known)]


def merge(probes: Iterable[Probe]) -> list[dict[str, Any]]:
    """Joins the results that can be compared, see RECIPE.

    A result that occurs twice, number for number, is kept once.
    """
    merged: dict[str, dict[str, Any]] = {}
    for probe in probes:
        into = merged.setdefault(key(probe), {**probe, "results": []})
        known = [_measured(result) for result in into["results"]]
        into["results"] += [result for result in probe["results"] if _measured(result) not in known]
    return list(merged.values())


def _measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what the report added to it."""
    return {name: value for name, value in result.items() if name != ORIGIN}


def key(probe: Probe) -> str:
    """What two probes must agree in to stand in one table: `recipe`, and the set's name where no hash is known."""
    return json.dumps([probe["dataset"] if "data" not in probe else "", recipe(probe)], sort_keys=True)


def recipe(probe: Probe) -> dict[str, Any]:
    """All that decides the numbers of a probe but the encoders: what must agree for a comparison."""
    whole = {name: probe.get(name) for name in RECIPE}
    if whole["config"]:
        config = ADDED | whole["config"]
        whole["config"] = {name: value for name, value in config.items() if name not in CHOSEN}
    return whole | {"measure": measured.name(probe)}


def apart(merged: Sequence[Probe]) -> list[str]:
    """Why each of several tables is not one with the first: the fields in which their probes differ, a line a table."""
    lines = []
    for number, probe in enumerate(merged[1:], 2):
        changed = workdir.differences(recipe(merged[0]), recipe(probe))
        if "kind" in changed:  # the options of another kind are others by nature
            changed = {name: pair for name, pair in changed.items() if not name.startswith("config.options")}
        told = {_told(name, *pair): None for name, pair in changed.items()}
        lines.append(f"Table {number} stands apart from table 1: {'; '.join(told)}.")
    return lines


def gains(probe: Probe) -> dict[str, Any] | None:
    """The measure of every trained result less that of the untrained network of the same encoder spec, in points.

    With several untrained networks of a spec (several seeds), their mean is taken. A result that was measured beside
    its untrained network brings its gains with it, with intervals that are paired by image.

    Returns:
      In the form of a probe, or None where there is nothing to compare.
    """
    results = []
    for result in probe["results"]:
        difference = {} if is_random(result) else _paired_gains(probe, result) or _gains(probe, result)
        if difference:
            results.append({**result, "layers": difference})
    return {**probe, "gains": True, "results": results} if results else None


def _paired_gains(probe: Probe, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    main = measured.of(probe).main
    return {
        layer: {main: gain["points"], "interval": gain["interval"]}
        for layer, gain in result.get("gains", {}).items()
    }


def _gains(probe: Probe, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    untrained, main = untrained_of(probe, result), measured.of(probe).main
    if not untrained:
        return {}
    return {
        layer: {main: values[main] - sum(other[layer][main] for other in untrained) / len(untrained)}
        for layer, values in result["layers"].items()
        if all(layer in other for other in untrained)
    }


def untrained_of(probe: Probe, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers of the untrained networks of a result's encoder spec."""
    return [
        other["layers"] for other in probe["results"] if is_random(other) and _spec(other) == _spec(result)
    ]


def is_random(result: Mapping[str, Any]) -> bool:
    """Whether a result is that of an untrained network."""
    return result["checkpoint"].startswith("random:")


def _spec(result: Mapping[str, Any]) -> Any:
    """The whole encoder spec of a result; of results written before it was recorded, the backbone's name."""
    return result.get("encoder", result["backbone"])


def _told(name: str, old: Any, new: Any) -> str:
    """A difference in words; of the images it is enough that they are others."""
    if name == "classes" or name.startswith("data.classes"):
        return "its classes are others"
    if name.startswith("data") or name in ("chance", "test_images", "train_images"):
        return "its images are others"
    return f"{name.removeprefix('config.')} is {new} instead of {old}"


def _signed(value: Any) -> str:
    return "" if value is None else f"{value:+.1f}"


def _percent(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"
