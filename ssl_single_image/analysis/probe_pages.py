"""All tables of a probe's results on one page: accuracies, groups of test examples, and shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ssl_single_image.analysis import measured, robustness, tables


def full_markdown(probe: tables.Probe) -> str:
    """The tables of all fields of the measure: of top-5 accuracy only where there are more than five classes."""
    metrics = [""] if probe.get("gains") else measured.of(probe).fields(probe["classes"])
    found = [tables.markdown(one, metric) for one in tables.by_setting(probe) for metric in metrics]
    if not probe.get("gains"):
        found += groups(probe)
    return "\n".join(filter(None, [*found, robustness.markdown(probe, tables.layers(probe))]))


def groups(probe: tables.Probe) -> list[str]:
    """A Markdown table for each result whose test examples come in groups, one group a row."""
    names, measure = tables.layers(probe), measured.of(probe)
    return [
        f"{tables.reference_cell(str(result['checkpoint']))}: {measure.names[measure.main]} by group of test"
        f" {probe.get('examples', 'images')}, %{tables.widths(probe)}\n\n{_grouped(result, names, measure.main)}\n"
        for result in probe["results"]
        if any("groups" in values for values in result["layers"].values())
    ]


def _grouped(result: Mapping[str, Any], names: Sequence[str], main: str) -> str:
    cells: dict[str, list[str]] = {}
    for layer in names:
        for group, values in result["layers"].get(layer, {}).get("groups", {}).items():
            row = cells.setdefault(group, [group, f"{values['examples']:,}"])
            row.append(f"{values[main]:.1f} ±{tables.half_width(values):.1f}")
    align = ["left", *["right"] * (len(names) + 1)]
    header = ["group", "how many", *names]
    return tabulate(list(cells.values()), header, tablefmt="pipe", colalign=align, disable_numparse=True)
