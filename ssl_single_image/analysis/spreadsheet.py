"""Probe results as CSV, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ssl_single_image.analysis import measured
from ssl_single_image.analysis.tables import Probe, by_setting


def to_csv(probes: Iterable[Probe]) -> str:
    """One line a layer of a result; every measure has columns of its own, for its intervals too."""
    shared_names = ["dataset", "protocol", "test_images", "chance"]
    columns = [
        *shared_names,
        "checkpoint",
        "step",
        "layer",
        "features",
        "top1",
        "top5",
        "kind",
        "low",
        "high",
    ]
    columns += ["setting", "measure", "mAP", "mAP11", "mAP_low", "mAP_high"]  # new ones at the end
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for one in (each for probe in probes for each in by_setting(probe)):
        measure, ends = measured.of(one), ("low", "high")
        shared = {name: one[name] for name in shared_names} | {"kind": one.get("kind", "linear")}
        shared |= {"setting": one.get("shown", ""), "measure": measured.name(one)}
        if measure.main != "top1":
            ends = (f"{measure.main}_low", f"{measure.main}_high")
        for result in one["results"]:
            for layer, values in result["layers"].items():
                row = {"checkpoint": result["checkpoint"], "step": result["step"], "layer": layer}
                row |= dict(zip(ends, values.get("interval", ()), strict=False))
                row |= {name: values[name] for name in ("features", measure.main, measure.second)}
                writer.writerow({**shared, **row})
    return out.getvalue()
