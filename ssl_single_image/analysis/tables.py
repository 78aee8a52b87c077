"""Probe results as tables: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ssl_single_image.runs import workdir

Probe = Mapping[str, Any]
"""What `probe.json` holds."""

NAMES = {"top1": "top-1", "top5": "top-5"}
GAINS = "gain over the untrained network of the same encoder spec, points of top-1 accuracy"
RECIPE = ("kind", "protocol", "test", "size", "train_images", "test_images", "chance", "config", "data")
"""What must agree for results to stand in one table: all of the probe's config, and the images."""
ADDED = {"statistics": "running"}
"""Fields of a probe's config that older files lack, with the value that their probes had."""


def layers(probe: Probe) -> list[str]:
    """All layers of all results, in the order of depth."""
    names = {layer: None for result in probe["results"] for layer in result["layers"]}
    return sorted(names, key=lambda name: (len(name), name))


def setting(probe: Probe) -> str:
    """What a table needs beside it: data set, kind of probe, protocol, test images, chance; one line."""
    kind = title(probe)
    recomputed = probe.get("config", {}).get("statistics") == "recomputed"
    return (
        f"{probe['dataset']}: {kind[:1].lower()}{kind[1:]}, {probe['protocol']} protocol,"
        f"{' batch-norm statistics recomputed on training images,' if recomputed else ''}"
        f" {probe['test_images']:,} test images, chance level {probe['chance']:.1f} %"
    )


def title(probe: Probe) -> str:
    """What headings call probes of this kind: the name that the kind gave them, else one made from `kind`."""
    named = probe.get("title") or f"{str(probe.get('kind', 'linear')).replace('_', ' ')} probes"
    return f"{named[:1].upper()}{named[1:]}"


def grid(probe: Probe, metric: str = "top1") -> tuple[list[str], list[list[str | float | None]]]:
    """Header and rows, one result each: checkpoint, step, then `metric` of every layer (None: no such layer)."""
    columns = layers(probe)
    rows = [
        [result["checkpoint"], result["step"], *(result["layers"].get(c, {}).get(metric) for c in columns)]
        for result in probe["results"]
    ]
    return ["checkpoint", "step", *columns], rows


def markdown(probe: Probe, metric: str = "top1") -> str:
    """A Markdown table, the best of each layer in bold, with its setting above and chance as the last row."""
    header, rows = grid(probe, metric)
    show = _signed if probe.get("gains") else _percent
    text: list[list[str]] = [[_code(str(row[0])), f"{row[1]:,}", *map(show, row[2:])] for row in rows]
    for column in range(2, len(header)):
        for row in best_rows(rows, column):
            text[row][column] = f"**{text[row][column]}**"
    if metric == "top1" and not probe.get("gains"):
        text.append(["chance", "", *[f"{probe['chance']:.1f}"] * (len(header) - 2)])
    align = ["left", *["right"] * (len(header) - 1)]
    table = tabulate(text, header, tablefmt="pipe", colalign=align, disable_numparse=True)
    caption = GAINS if probe.get("gains") else f"{NAMES[metric]} accuracy, %"
    return f"{setting(probe)}; {caption}\n\n{table}\n"


def full_markdown(probe: Probe) -> str:
    """The tables of top-1 and, where there are more than five classes, of top-5 accuracy."""
    metrics = ["top1", "top5"] if probe["classes"] > 5 and not probe.get("gains") else ["top1"]
    return "\n".join(markdown(probe, metric) for metric in metrics)


def best_rows(rows: Sequence[Sequence[Any]], column: int) -> list[int]:
    """Rows whose value equals the column's best as printed; none where there is nothing to choose from."""
    values = [None if row[column] is None else round(row[column], 1) for row in rows]
    known = [value for value in values if value is not None]
    return [i for i, value in enumerate(values) if len(known) > 1 and value == max(known)]


def to_csv(probes: Iterable[Probe]) -> str:
    """One line a layer of a result."""
    names = ["dataset", "protocol", "test_images", "chance", "checkpoint", "step", "layer"]
    names += ["features", "top1", "top5"]
    columns = [*names, "kind"]  # at the end, where it moves no column of before
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for probe in probes:
        shared = {name: probe[name] for name in names[:4]} | {"kind": probe.get("kind", "linear")}
        for result in probe["results"]:
            for layer, values in result["layers"].items():
                one = {"checkpoint": result["checkpoint"], "step": result["step"], "layer": layer}
                writer.writerow({**shared, **one, **{name: values[name] for name in names[7:]}})
    return out.getvalue()


def merge(probes: Iterable[Probe]) -> list[dict[str, Any]]:
    """Joins the results that can be compared, see RECIPE.

    A result that occurs twice, number for number, is kept once.
    """
    merged: dict[str, dict[str, Any]] = {}
    for probe in probes:
        key = json.dumps([probe["dataset"] if "data" not in probe else "", recipe(probe)], sort_keys=True)
        into = merged.setdefault(key, {**probe, "results": []})
        into["results"] += [result for result in probe["results"] if result not in into["results"]]
    return list(merged.values())


def recipe(probe: Probe) -> dict[str, Any]:
    """All that decides the numbers of a probe but the encoders: what must agree for a comparison."""
    whole = {name: probe.get(name) for name in RECIPE}
    if whole["config"]:
        whole["config"] = ADDED | whole["config"]
    return whole


def apart(merged: Sequence[Probe]) -> list[str]:
    """Why each of several tables is not one with the first: the fields in which their probes differ, a line a table."""
    lines = []
    for number, probe in enumerate(merged[1:], 2):
        changed = workdir.differences(recipe(merged[0]), recipe(probe))
        told = {_told(name, *pair): None for name, pair in changed.items()}
        lines.append(f"Table {number} stands apart from table 1: {'; '.join(told)}.")
    return lines


def gains(probe: Probe) -> dict[str, Any] | None:
    """Top-1 of every trained result less that of the untrained network of the same encoder spec, in points.

    With several untrained networks of a spec (several seeds), their mean is taken.

    Returns:
      In the form of a probe, or None where there is nothing to compare.
    """
    results = []
    for result in probe["results"]:
        untrained = [
            other["layers"]
            for other in probe["results"]
            if is_random(other) and _spec(other) == _spec(result)
        ]
        if untrained and not is_random(result):
            shared = [name for name in result["layers"] if all(name in layers for layers in untrained)]
            difference = {
                name: result["layers"][name]["top1"]
                - sum(u[name]["top1"] for u in untrained) / len(untrained)
                for name in shared
            }
            results.append(
                {**result, "layers": {name: {"top1": value} for name, value in difference.items()}}
            )
    return {**probe, "gains": True, "results": results} if results else None


def is_random(result: Mapping[str, Any]) -> bool:
    """Whether a result is that of an untrained network."""
    return result["checkpoint"].startswith("random:")


def _spec(result: Mapping[str, Any]) -> Any:
    """The whole encoder spec of a result; of results written before it was recorded, the backbone's name."""
    return result.get("encoder", result["backbone"])


def _told(name: str, old: Any, new: Any) -> str:
    """A difference in words; of the images it is enough that they are others."""
    if name.startswith("data.") or name in ("chance", "test_images", "train_images"):
        return "its images are others"
    return f"{name.removeprefix('config.')} is {new} instead of {old}"


def _signed(value: Any) -> str:
    return "" if value is None else f"{value:+.1f}"


def _percent(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"


def _code(text: str) -> str:
    bar = "\\|"  # a bare one would end the cell
    return f"`{text.replace('|', bar)}`"
