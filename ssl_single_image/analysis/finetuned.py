"""Results of training behind frozen layers: accuracies with their intervals, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from ssl_single_image.analysis import tables


def markdown(result: Mapping[str, Any]) -> str:
    """A Markdown table with its setting above, a row for each checkpoint; `result` is what `finetune.json` holds."""
    rows = [
        [
            tables.reference_cell(one["checkpoint"]),
            ", ".join(one["frozen"]) or "none",
            f"{one['accuracy']:.1f}",
            f"{one['low']:.1f} to {one['high']:.1f}",
        ]
        for one in result["results"]
    ]
    header = ["checkpoint", "frozen", "accuracy", "95 % interval"]
    align = ["left", "left", "right", "right"]
    table = tabulate(rows, header, tablefmt="pipe", colalign=align, disable_numparse=True)
    return f"{setting(result)}; test accuracy, %\n\n{table}\n"


def setting(result: Mapping[str, Any]) -> str:
    """What the table needs beside it, in one line."""
    return (
        f"{result['dataset']}: {result['config']['backbone']} trained on {result['train_images']:,} labelled images"
        f" for {result['config']['steps']:,} steps behind frozen layers, {result['test_images']:,} test images"
    )
