"""What a study found: lines from the results of its units, tables, claims and the report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import claims, study_figures, study_lines
from ssl_single_image.analysis.report.study import FIGURE, STUDY
from ssl_single_image.analysis.study_lines import Line
from ssl_single_image.experiments.reporting import report
from ssl_single_image.experiments.results import Page
from ssl_single_image.experiments.study_settings import TABLES, RowSpec, StudyConfig
from ssl_single_image.experiments.studying import beyond, state
from ssl_single_image.experiments.studying.gathering import gather
from ssl_single_image.experiments.studying.plan import Unit
from ssl_single_image.runs import checkpoint, workdir

PAGE, CLAIMS, CSV, REPORT = "study.md", "claims.md", "lines.csv", "report"
SHOWN = "headline"
"""The table whose rows' training the report shows; those of others would make it too large to send."""


def write(place: Path, study: StudyConfig, every: Sequence[Unit], command: str) -> None:
    """Writes `study.json`, `study.md`, `lines.csv`, a Markdown file for each table, the figure, and `claims.md`.

    A study that judges no conclusions has no `claims.md`.

    Args:
      place: the study's folder.
      study: its config.
      every: all its units.
      command: the shell command of the study, to which --rows is added.
    """
    lines, verdicts = gather(place, every), []
    if lines and study.claims:
        verdicts = claims.judge(lines)
    by_table = {name: [line for line in lines if name in line.tables] for name in TABLES}
    by_table["frozen"] = [line for line in by_table["frozen"] if line.finetuned is not None]
    by_table = {name: found for name, found in by_table.items() if found}
    for_rows = _command(command)
    files: dict[str, str | bytes] = {
        f"{name}.md": f"# {TABLES[name]}\n\n{setting(study)}\n\n{study_lines.markdown(found)}"
        for name, found in by_table.items()
    }
    further = beyond.tables(place, every)
    sections = []
    for table in further:
        said = f"# {table.heading}\n\n{table.reading}\n\n{study_lines.markdown(table.lines, lowest=table.lowest)}"
        files[f"{table.name}.md"] = said
        sections.append(f"#{said}")
    files[CSV] = study_lines.to_csv(lines)
    if study.claims:
        files[CLAIMS] = (
            f"# What the paper concludes, judged\n\n{setting(study)}\n\n{claims.markdown(verdicts, for_rows)}"
        )
    if SHOWN in by_table and any(line.layers for line in by_table[SHOWN]):
        files[FIGURE] = study_figures.headline(by_table[SHOWN])
    value = _json(place, study, every, by_table, verdicts, for_rows)
    value["tables"] += [
        _plain(table.heading, *study_lines.table(table.lines)) | {"reading": table.reading}
        for table in further
    ]
    page = _page(study, by_table, verdicts, value["rows"], command, pictured=FIGURE in files)
    files[PAGE] = "\n\n".join(part.rstrip() for part in [*page, *sections]) + "\n"
    files[STUDY] = json.dumps(value, indent=2, allow_nan=False) + "\n"
    for name, content in files.items():
        workdir.write_whole(place / name, content)


def setting(study: StudyConfig) -> str:
    """What all tables have beside them, in words."""
    budget = "" if study.budget == 1 else f" Every training has {study.budget:g} of its planned steps."
    return (
        "Accuracy in percent of linear classifiers on frozen layers, on the test images of the labelled set. The last"
        " checkpoint of each row is measured. Within a table, a method has seen equally many crops in all of its rows;"
        f" methods differ, as the columns say. {study_lines.HALF}{budget}"
    )


def _json(
    place: Path,
    study: StudyConfig,
    every: Sequence[Unit],
    by_table: Mapping[str, Sequence[Line]],
    verdicts: Sequence[claims.Verdict],
    command: Callable[[Sequence[str]], str],
) -> dict[str, Any]:
    return {
        "title": study.title,
        "setting": setting(study),
        "budget": study.budget,
        "claims": [
            {
                "text": one.claim.text,
                "rule": one.claim.rule,
                "verdict": one.verdict,
                "table": _plain(one.claim.name, *claims.table(one)),
                "command": command(one.claim.rows),
            }
            for one in verdicts
        ],
        "tables": [_plain(TABLES[name], *study_lines.table(found)) for name, found in by_table.items()],
        "rows": _plain("Rows", *progress(place, every)),
    }


def _plain(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"title": title, "header": list(header), "rows": [list(row) for row in rows]}


def progress(place: Path, every: Sequence[Unit]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the units: how far they are, what they took, and why they failed."""
    rows = []
    for unit in every:
        record = state.read(place, unit)
        took = [
            f"{record.seconds[stage]:,.0f}" if stage in record.seconds else ""
            for stage in ("pretrain", "probe")
        ]
        took.append(f"{record.seconds['finetune']:,.0f}" if "finetune" in record.seconds else "")
        rows.append([unit.name, record.state, f"{unit.crops:,}", f"{unit.views:,}", *took, record.reason])
    return ["row", "state", "crops", "views", "training, s", "probe, s", "fine-tuning, s", "reason"], rows


def _page(
    study: StudyConfig,
    by_table: Mapping[str, Sequence[Line]],
    verdicts: Sequence[claims.Verdict],
    rows: Mapping[str, Any],
    command: str,
    *,
    pictured: bool,
) -> list[str]:
    """Parts of `study.md`: the figure, the conclusions in a list, and all tables."""
    done = sum(row[1] == state.DONE for row in rows["rows"])
    parts = [
        f"# {study.title}",
        f"```bash\n{command}\n```",
        f"{done} of {len(rows['rows'])} rows are done. {setting(study)}",
    ]
    if pictured:
        parts.append(f"![Accuracy of every layer by method; bars are the intervals of the table]({FIGURE})")
    if study.claims:
        said = [f"- {one.claim.text} **{one.verdict[:1].upper()}{one.verdict[1:]}.**" for one in verdicts]
        parts += [
            "## What the paper concludes, and what was found",
            "\n".join(said),
            f"The evidence is in [{CLAIMS}]({CLAIMS}).",
        ]
    parts += [f"## {TABLES[name]}\n\n{study_lines.markdown(found)}" for name, found in by_table.items()]
    return parts


def _command(base: str) -> Callable[[Sequence[str]], str]:
    """Rows -> the study's command for them alone."""
    return lambda rows: f"{base} --rows={shlex.quote(','.join(rows))}"


def page(place: Path, every: Sequence[Unit]) -> Page:
    """Writes `report/index.html` on all that is done."""
    folders = [place]
    for unit in every:
        record = state.read(place, unit)
        folders += [unit.folder(place, stage) for stage in unit.measured if stage in record.recipes]
        run = unit.folder(place, "pretrain")
        # Where small files alone were kept, there are no checkpoints, and the run has nothing to show.
        saved = checkpoint.finished(run / checkpoint.CHECKPOINTS)
        if record.state == state.DONE and saved and unit.seed == 0 and _shown(unit.row):
            folders.append(run)
    return report(folders, place / REPORT)


def _shown(row: RowSpec) -> bool:
    return SHOWN in row.tables
