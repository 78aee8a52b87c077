"""Builds a report: recognises the folders, fills the page, and writes it with its pictures and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis.report import kinds, page, plots
from ssl_single_image.analysis.report.context import Command, Context, Workdir
from ssl_single_image.errors import InputError
from ssl_single_image.runs import workdir

MANIFEST = ".files.json"
"""Which files a report wrote."""
PAGE = "index.html"
TITLE = "Self-supervision from a single image"


def build(
    folder: Path,
    runs: Sequence[Path],
    *,
    command: Command | None = None,
    interactive: bool | None = None,
    refresh: float = 0,
) -> None:
    """Writes the report on `runs` to `folder`: `index.html`, which needs no other file, and its tables and pictures.

    Args:
      folder: made if it is not there; must not be one of the runs.
      runs: workdirs, told apart by their files, see `kinds.KINDS`.
      command: gives the command that makes a workdir again; None: the page has none.
      interactive: whether plots answer the mouse, which adds 1.3 MB to the page; None: where Bokeh is installed.
      refresh: seconds after which the page asks its server for a newer one; 0: never. With it, a workdir that can't be
        shown yet is told on the page, and is no error.

    Raises:
      InputError: a folder is no workdir, one whose run wrote nothing to show yet, or one with a damaged file.
    """
    if (folder / workdir.CONFIG).exists() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"--workdir {folder}: holds a run or is a file; give the report a folder of its own")
    live = plots.installed() if interactive is None else interactive
    script = plots.script() if live else ""
    found, waiting = _read(runs, patient=refresh > 0)
    context = Context([one for _, one, _ in found], command, live)
    chapters = [
        {"id": name, "template": kind.template, **kind.show(context, of_kind)}
        for name, kind in kinds.KINDS.items()
        if (of_kind := [(one, value) for other, one, value in found if other == name])
    ]
    content = {
        "title": TITLE,
        "chapters": chapters,
        "waiting": waiting,
        "plots": context.plots,
        "script": script if context.plots else "",
        "refresh": refresh,
    }
    context.files[PAGE] = page.render(content)
    with workdir.held(folder):
        _remove_former(folder, context.files)
        context.files[MANIFEST] = json.dumps(sorted(context.files), indent=2) + "\n"
        for name, data in context.files.items():
            workdir.write_whole(folder / name, data)


def _read(runs: Sequence[Path], patient: bool) -> tuple[list[tuple[str, Workdir, Any]], list[str]]:
    """Kind, workdir and what is shown of it for each folder, and why the others can't be shown yet.

    Raises:
      InputError: one can't be shown, unless `patient`.
    """
    found, waiting = [], []
    for path, name in zip(runs, _names(runs), strict=True):
        try:
            one = kinds.open_workdir(path, name)
            kind = kinds.recognise(one)
            found.append((kind, one, kinds.KINDS[kind].read(one)))
        except InputError as error:
            if not patient:
                raise
            waiting.append(str(error))
    return found, waiting


def _remove_former(folder: Path, files: Mapping[str, Any]) -> None:
    """Removes what an earlier report in this folder wrote and this one does not."""
    try:
        former = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return
    for name in former if isinstance(former, list) else []:
        if isinstance(name, str) and Path(name).name == name and name not in files:
            (folder / name).unlink(missing_ok=True)


def _names(runs: Sequence[Path]) -> list[str]:
    """A short name for each run, fit for a file name: that of its folder, and of the one above where two have one."""
    short = [path.resolve().name or "run" for path in runs]
    names: list[str] = []
    for path, name in zip(runs, short, strict=True):
        if short.count(name) > 1:
            name = f"{path.resolve().parent.name}-{name}".lstrip("-")
        base = name
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names
