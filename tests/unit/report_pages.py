"""What tests of the report share: workdirs made by hand, and a parser that checks the page as it reads it."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from PIL import Image
from probe_fakes import tiny_encoder
from test_tables import probe

from ssl_single_image.runs import environment
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import State

CONFIG = {"objective": "rotnet", "source": "builtin:<cat>", "backbone": "tiny", "steps": 20, "batch_size": 64}
VOID = ("meta", "img", "br", "hr", "input", "link")
"""Elements without an end."""


class Page(html.parser.HTMLParser):
    """Rows of tables, what is bold, words of sections, ids, and what pictures and links point to.

    Every element that begins must end, and in order.
    """

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.said: list[str] = []
        self.scripts: list[str] = []
        self.styles = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"{tag} has an attribute twice"
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("p", "li"):
            self.said.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "strong" in self.open:
            self.bold.append(data)
        if self.open and self.open[-1] in ("p", "li"):
            self.said[-1] += data
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        if self.open and self.open[-1] == "style":
            self.styles += data

    def pictures(self) -> list[str]:
        return [target for target in self.targets if target.startswith("data:image/")]


def make_probe(folder: Path, *results: dict, **changes: Any) -> Path:
    """A probe's workdir without a config; one that is there gets these results."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "probe.json").write_text(json.dumps(probe(*results, **changes)))
    return folder


def make_run(folder: Path, **changes: Any) -> Path:
    """A pretraining run of the tiny backbone, which must be registered."""
    folder.mkdir(parents=True)
    config = CONFIG | changes
    (folder / "config.json").write_text(json.dumps(config | {"environment": environment.describe()}))
    lines = [
        {"step": 10, "train/loss": 1.3, "train/accuracy": 0.4},
        {"step": 20, "train/loss": 1.1, "eval/loss": 1.2},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    # two processes, the second of which resumed
    clocks = [(10, 100.0), (20, 250.0), (20, 30.0), (30, 3500.0)]
    told = [{"step": s, "seconds": t, "views_per_second": 40 * s} for s, t in clocks]
    (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    for drawn in ("samples", "clusters"):
        Image.new("RGB", (8, 8)).save(folder / f"{drawn}.png")
    store = CheckpointStore(folder)
    store.save(State(jnp.int32(20), {}, {}, {}, {}), tiny_encoder(), config, {"eval/loss": 1.2})
    store.close()
    return folder


def with_gains(result: dict, **gains: tuple[float, float, float]) -> dict:
    """A result with gains: layer -> (points, low, high)."""
    told = {layer: {"points": g[0], "interval": list(g[1:])} for layer, g in gains.items()}
    return result | {"gains": told}
