"""The numbers of a regression of landmarks as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tabulate import tabulate

from ssl_single_image.analysis.invariance.tables import Table
from ssl_single_image.analysis.layer_tables import csv_text

Result = Mapping[str, Any]
"""What `landmarks.json` holds."""


def names(result: Result) -> list[str]:
    """What was measured: the hypercolumn, and layers alone."""
    return list(dict.fromkeys(layer for encoder in result["encoders"] for layer in encoder["layers"]))


def tables(result: Result) -> list[Table]:
    """The errors, and what they are below those of untrained networks."""
    columns = names(result)
    errors = [
        [f"`{e['checkpoint']}`", *(_error(e["layers"][x]) if x in e["layers"] else "" for x in columns)]
        for e in result["encoders"]
    ]
    errors.append(["the mean of the training landmarks", *[f"{result['mean']:.2f}"] * len(columns)])
    found = [
        Table(
            f"Mean error in percent of the {result['unit']}, lower is better:",
            ["checkpoint", *columns],
            errors,
        )
    ]
    gains = [
        [f"`{e['checkpoint']}`", *(_gain(e["gains"][x]) if x in e["gains"] else "" for x in columns)]
        for e in result["encoders"]
        if "gains" in e
    ]
    if gains:
        title = "By how many points the error is below that of an untrained network, and the 95 % interval:"
        found.append(Table(title, ["checkpoint", *columns], gains))
    return found


def markdown(result: Result, pictures: Iterable[str] = ()) -> str:
    """The tables, and the pictures by their file names; each encoder has the number that names of files go by."""
    head = (
        f"{len(result['landmarks'])} landmarks in pictures of {result['source']}: {result['images']:,} to learn from,"
        f" {result['test_images']:,} to measure on, {result['size']} x {result['size']} pixels."
        f" Regressors on frozen features, {result['steps']:,} steps."
    )
    numbered = [
        [str(i), f"`{e['checkpoint']}`", f"{e['step']:,}"] for i, e in enumerate(result["encoders"], 1)
    ]
    parts = ["# Landmarks", head, _pipe(["number", "checkpoint", "step"], numbered)]
    for table in tables(result):
        parts += [table.title, _pipe(table.header, table.rows)]
    return "\n\n".join([*parts, *(f"![{name}]({name})" for name in pictures)]) + "\n"


def csv_of(result: Result) -> str:
    """One line a layer of an encoder: "error" and its interval "low", "high", in percent, and the "gain" in points."""
    rows = []
    for encoder in result["encoders"]:
        for layer, one in encoder["layers"].items():
            gain = encoder.get("gains", {}).get(layer, {}).get("points", "")
            low, high = one["interval"]
            row = {"checkpoint": encoder["checkpoint"], "step": encoder["step"], "layer": layer}
            rows.append(row | {"error": one["error"], "low": low, "high": high, "gain": gain})
    return csv_text(("checkpoint", "step", "layer", "error", "low", "high", "gain"), rows)


def _error(one: Mapping[str, Any]) -> str:
    return f"{one['error']:.2f}"


def _gain(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['points']:.2f} ({low:.2f} to {high:.2f})"


def _pipe(header: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
