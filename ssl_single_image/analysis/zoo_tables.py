"""The encoders of the zoo as tables: those that one probe measured stand in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

EMPTY = "The zoo of this installation is empty.\n"
HEADER = ("encoder", "method", "network", "source", "crops")


def markdown(zoo: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a row for each encoder; `zoo` is what `experiments.zoo` returns."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in zoo.values():
        groups.setdefault(_caption(entry["probe"]), []).append(entry)
    return "\n".join(f"{caption}\n\n{_table(group)}\n" for caption, group in groups.items()) or EMPTY


def _caption(probe: Mapping[str, Any]) -> str:
    if not probe:
        return "Encoders that no probe has measured"
    gains = ", and in brackets points over the untrained network" if "gains" in probe else ""
    return f"{probe['setting']}; {probe['measure']}, %{gains}"


def _table(entries: Sequence[Mapping[str, Any]]) -> str:
    layers = list(dict.fromkeys(layer for entry in entries for layer in entry["probe"].get("layers", {})))
    rows = [
        [
            f"`{entry['reference']}`",
            entry["method"],
            entry["backbone"],
            str(entry["source"]).replace("|", "\\|"),
            f"{entry['crops']:,}",
            *(_cell(entry["probe"], layer) for layer in layers),
        ]
        for entry in entries
    ]
    align = ["left"] * (len(HEADER) - 1) + ["right"] * (1 + len(layers))
    return tabulate(rows, [*HEADER, *layers], tablefmt="pipe", colalign=align, disable_numparse=True)


def _cell(probe: Mapping[str, Any], layer: str) -> str:
    if layer not in probe.get("layers", {}):
        return ""
    gain = probe.get("gains", {}).get(layer)
    return f"{probe['layers'][layer]:.1f}" + (f" ({gain:+.1f})" if gain is not None else "")
