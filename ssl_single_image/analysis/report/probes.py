"""Tables of probes for the page: results that can be compared in one table, in groups, with what the paper has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ssl_single_image.analysis import (
    figures,
    history,
    measured,
    paper,
    probe_pages,
    robustness,
    robustness_figures,
    spreadsheet,
    tables,
)
from ssl_single_image.analysis.report import checks, classes, origins, plots, provenance, words
from ssl_single_image.analysis.report.context import Context, Workdir, uri

PROBE = "probe.json"
TEMPLATE = "probes.html"
MIME = {"md": "text/markdown", "csv": "text/csv", "json": "application/json"}


def read(one: Workdir) -> dict[str, Any]:
    """The results of a probe.

    Raises:
      InputError: `probe.json` can't be read.
    """
    return checks.read_probe(one.path / PROBE)


def show(context: Context, found: Sequence[tuple[Workdir, dict[str, Any]]]) -> dict[str, Any]:
    """The chapter of all probes: a section for each table, and the same numbers as files."""
    runs = [workdir for workdir in context.workdirs if workdir.objective]
    probes = [origins.annotate(probe, one.path, runs) for one, probe in found]
    merged = tables.merge(probes)
    sections = []
    for number, probe in enumerate(merged, 1):
        key = tables.key(probe)
        workdirs = [one for one, measured in found if tables.key(measured) == key]
        sections.append(_section(context, probe, number, workdirs) | {"name": _name(probe, merged)})
    contents = {
        "md": "\n".join(probe_pages.full_markdown(probe) for probe in merged),
        "csv": spreadsheet.to_csv(merged),
        "json": json.dumps(merged, indent=2) + "\n",
    }
    for suffix, content in contents.items():
        context.files[f"probes.{suffix}"] = content
    return {
        "heading": "Probes" if _several_kinds(merged) else tables.title(merged[0]),
        "apart": tables.apart(merged),
        "sections": sections,
        "downloads": [
            {"name": f"probes.{suffix}", "href": uri(content.encode(), MIME[suffix])}
            for suffix, content in contents.items()
        ],
    }


def _several_kinds(merged: Sequence[tables.Probe]) -> bool:
    return len({tables.title(probe) for probe in merged}) > 1


def _name(probe: tables.Probe, merged: Sequence[tables.Probe]) -> str:
    """What headings call a table: its data set, and its kind of probe where there are several."""
    kind = tables.title(probe)
    name = tables.named(probe)
    return f"{name}, {kind[:1].lower()}{kind[1:]}" if _several_kinds(merged) else name


def _section(
    context: Context, probe: tables.Probe, number: int, workdirs: Sequence[Workdir]
) -> dict[str, Any]:
    measure = measured.of(probe)
    metrics = measure.fields(probe["classes"])
    shown = [measured_table(one, metric) for one in tables.by_setting(probe) for metric in metrics]
    difference = tables.gains(probe)
    if difference is not None:
        shown.append(gain_table(difference))
    shown += [shift_table(one) for one in robustness.tables(probe, tables.layers(probe))]
    pictures = [
        context.picture(
            f"probe-{number}.png",
            figures.accuracy(probe),
            f"{measure.heading(measure.main)} of every checkpoint, layer by layer.",
            lambda: plots.accuracy(probe),
        )
    ]
    if drawn := history.picture(probe):
        caption = f"{measure.heading(measure.main)} against crops seen; bars are 95 % intervals."
        pictures.append(
            context.picture(f"history-{number}.png", drawn, caption, lambda: plots.by_crops(probe))
        )
    if drawn := robustness_figures.picture(probe):
        caption = "Top-1 accuracy of every layer after each shift."
        pictures.append(context.picture(f"robustness-{number}.png", drawn, caption))
    maps = [classes.heat(probe, result) for result in probe["results"]]
    return {
        "setting": tables.setting(probe),
        "words": words.summary(probe),
        "tables": shown,
        "pictures": pictures,
        "by_class": {"title": measure.by_class, "head": measure.of_class},
        "maps": [one for one in maps if one is not None],
        "provenance": [provenance.describe(context, one) for one in workdirs],
    }


def measured_table(probe: tables.Probe, metric: str) -> dict[str, Any]:
    """A table of what was measured: groups of rows, the best of each column marked, chance, and the paper's rows."""
    measure = measured.of(probe)
    main = metric == measure.main
    header, rows = tables.grid(probe, metric)
    best = {column: tables.best_rows(rows, column) for column in range(2, len(header))}
    halves = tables.half_widths(probe) if main else [[None] * len(header)] * len(rows)
    body = [
        [
            cell(value, number in best.get(column, ()), halves[number][column])
            for column, value in enumerate(row)
        ]
        for number, row in enumerate(rows)
    ]
    chance = ["chance", "", *[f"{probe['chance']:.1f}"] * (len(header) - 2)] if main else []
    caption = f"{measure.heading(metric)}, %{tables.widths(probe, metric)}{tables.shots(probe)}:"
    published = _published(probe, header[2:]) if main and not probe.get("shown") else None
    return {
        "header": header,
        "groups": _groups(probe, body),
        "chance": chance,
        "caption": caption,
        "paper": published,
    }


def gain_table(difference: tables.Probe) -> dict[str, Any]:
    """A table of what `tables.gains` gives."""
    header, rows = tables.grid(difference)
    body = [
        [
            *map(cell, row[:2]),
            *(cell(value, half=half, signed=True) for value, half in zip(row[2:], halves[2:], strict=True)),
        ]
        for row, halves in zip(rows, tables.half_widths(difference), strict=True)
    ]
    measure = measured.of(difference)
    named = measure.names[measure.main]
    caption = f"{tables.GAINS.capitalize()} {named}{tables.widths(difference)}:"
    return {
        "header": header,
        "groups": _groups(difference, body),
        "chance": [],
        "caption": caption,
        "paper": None,
    }


def shift_table(table: robustness.Table) -> dict[str, Any]:
    """A table of robustness probes."""
    halves = table.halves or [[]] * len(table.rows)
    rows = [
        [cell(value, half=half) for value, half in zip_longest(row, [*[None] * table.names, *known])]
        for row, known in zip(table.rows, halves, strict=True)
    ]
    return {
        "header": list(table.header),
        "groups": [{"title": "", "rows": rows}],
        "chance": [],
        "caption": f"{table.caption[:1].upper()}{table.caption[1:]}:"
        if table.names > 1
        else f"{table.caption}:",
        "paper": None,
    }


def _groups(probe: tables.Probe, body: Sequence[Any]) -> list[dict[str, Any]]:
    grouped = origins.grouped(probe["results"])
    return [{"title": title, "rows": [body[place] for place in places]} for title, places in grouped.items()]


def _published(probe: tables.Probe, layers: Sequence[str]) -> dict[str, Any] | None:
    rows = paper.beside(probe, layers)
    if not rows:
        return None
    names = paper.names(rows)
    return {
        "header": ["method", "trained on", *names, "status"],
        "rows": [
            [row.method, row.images, *(f"{value:.1f}" for value in row.top1), f"[{row.status}]"]
            for row in rows
        ],
        "note": paper.NOTE,
        "source": paper.SOURCE,
    }


def cell(value: Any, best: bool = False, half: float | None = None, signed: bool = False) -> dict[str, Any]:
    """A cell of a table: its text, what it is sorted by, whether it is the best, half of its interval."""
    sort: Any = "" if value is None else value
    return {
        "text": _text(value, signed),
        "sort": sort,
        "best": best,
        "half": "" if half is None else f"±{half:.1f}",
    }


def _text(value: Any, signed: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, float) or signed:
        return f"{value:+.1f}" if signed else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
