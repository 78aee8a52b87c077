"""The numbers of an analysis as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

Analysis = Mapping[str, Any]
"""What `analysis.json` holds."""


def ranks_csv(result: Analysis) -> str:
    """One line a layer of an encoder: "checkpoint", "step", "layer", "features", "rankme", "effective_rank"."""
    rows = [
        {"checkpoint": encoder["checkpoint"], "step": encoder["step"], "layer": layer, **values}
        for encoder in result["encoders"]
        for layer, values in encoder["layers"].items()
    ]
    return csv_text(("checkpoint", "step", "layer", "features", "rankme", "effective_rank"), rows)


def similarity_csv(result: Analysis) -> str:
    """One line a pair of layers: "checkpoint_a", "layer_a", "checkpoint_b", "layer_b", "cka" (empty: undefined)."""
    rows = [
        {"checkpoint_a": p["a"], "layer_a": a, "checkpoint_b": p["b"], "layer_b": b, "cka": value}
        for p in result["cka"]
        for a, values in zip(p["layers_a"], p["values"], strict=True)
        for b, value in zip(p["layers_b"], values, strict=True)
    ]
    return csv_text(("checkpoint_a", "layer_a", "checkpoint_b", "layer_b", "cka"), rows)


def neighbours_csv(result: Analysis) -> str:
    """One line a neighbour: "checkpoint", "layer", "query", "place" (1 is the nearest), "image", "cosine"."""
    rows = [
        {"checkpoint": encoder["checkpoint"], "layer": layer, "query": query, "place": place, **neighbour}
        for encoder in result["encoders"]
        for layer, found in encoder["nearest"].items()
        for query, neighbours in zip(result["nearest"]["queries"], found, strict=True)
        for place, neighbour in enumerate(neighbours, 1)
    ]
    return csv_text(("checkpoint", "layer", "query", "place", "image", "cosine"), rows)


def markdown(result: Analysis, pictures: Iterable[str] = ()) -> str:
    """The ranks as tables, and the pictures by their file names.

    Each encoder has the number that names of files go by.
    """
    size = result["grid"]
    numbered = [
        [number, f"`{encoder['checkpoint']}`", f"{encoder['step']:,}"]
        for number, encoder in enumerate(result["encoders"], 1)
    ]
    parts = [
        "# Layers of encoders",
        f"Features of {result['images']:,} images of {result['data']}, averaged over at most {size} x {size} bins.",
        tabulate(numbered, ["number", "checkpoint", "step"], tablefmt="pipe", disable_numparse=True),
        "RankMe (uncentred), at most about the number of images:",
        _ranks_table(result, "rankme"),
        "Effective rank of the covariance:",
        _ranks_table(result, "effective_rank"),
        *(f"![{name}]({name})" for name in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def _ranks_table(result: Analysis, key: str) -> str:
    layers = list(dict.fromkeys(layer for encoder in result["encoders"] for layer in encoder["layers"]))
    rows = [
        [f"`{e['checkpoint']}`", *(f"{e['layers'][l][key]:.1f}" if l in e["layers"] else "" for l in layers)]  # noqa: E741
        for e in result["encoders"]
    ]
    align = ["left", *["right"] * len(layers)]
    return tabulate(rows, ["checkpoint", *layers], tablefmt="pipe", colalign=align, disable_numparse=True)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a CSV file with a line of names; what a row lacks is empty there."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
