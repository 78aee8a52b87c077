"""Accuracy against crops seen, of a run that was probed at several of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ssl_single_image.analysis import figures, tables
from ssl_single_image.analysis.colours import COLOURS

FEWEST = 3
"""Checkpoints of a run below which there is no curve to draw."""


def runs(probe: tables.Probe) -> dict[str, list[Mapping[str, Any]]]:
    """Run, with `#ENCODER` where one was named -> its results by crops seen; runs with FEWEST checkpoints at least."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in probe["results"]:
        folder, at, rest = result["checkpoint"].rpartition("@")
        if "crops" in result and at and not tables.is_random(result):
            encoder = rest.partition("#")[2]
            found.setdefault(f"{folder}#{encoder}" if encoder else folder, []).append(result)
    return {
        run: sorted(results, key=lambda result: result["crops"])
        for run, results in found.items()
        if len(results) >= FEWEST
    }


def picture(probe: tables.Probe) -> bytes | None:
    """A PNG with one panel a run and one line a layer; None where no run was probed often enough.

    Dotted lines are the untrained network of the same spec, where it was probed too.
    """
    found = runs(probe)
    return figures.png(_figure(probe, found)) if found else None


def _figure(probe: tables.Probe, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    figure = Figure(figsize=(7.2, 3.8 * len(found)), layout="constrained")
    for axes, (run, results) in zip(
        figure.subplots(len(found), squeeze=False)[:, 0], found.items(), strict=True
    ):
        untrained = tables.untrained_of(probe, results[0])
        for number, layer in enumerate(tables.layers({"results": results})):
            colour = COLOURS[number % len(COLOURS)]
            seen = [result for result in results if layer in result["layers"]]
            values = [result["layers"][layer]["top1"] for result in seen]
            half = [tables.half_width(result["layers"][layer]) or 0 for result in seen]
            axes.errorbar(
                [result["crops"] for result in seen],
                values,
                half,
                color=colour,
                marker=figures.MARKERS[number],
                markersize=5,
                capsize=2,
                elinewidth=1,
                label=layer,
            )
            if untrained:
                base = sum(other[layer]["top1"] for other in untrained) / len(untrained)
                axes.axhline(base, color=colour, linestyle=":", linewidth=1.2)
        axes.set_xlabel("crops seen")
        axes.set_ylabel("top-1 accuracy, %")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        dotted = "; dotted: untrained" if untrained else ""
        axes.set_title(f"{run} on {probe['dataset']}{dotted}", loc="left", fontsize=11)
        axes.legend(frameon=False, ncols=5, fontsize=9)
        figures.tidy(axes)
    return figure
