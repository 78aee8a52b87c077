"""Reporting as a function: tables and figures of finished runs on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ssl_single_image.analysis import report as page
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.results import Page


def report(runs: Sequence[str | os.PathLike[str]], folder: str | Path) -> Page:
    """Writes one page about any mix of finished runs.

    Args:
      runs: workdirs of pretraining and of probes.
      folder: gets `index.html`, the tables as Markdown, CSV and JSON, and the figures.

    Raises:
      InputError: a folder is no workdir, or its run wrote nothing to show yet.
    """
    if not runs:
        raise InputError("no runs: give workdirs of pretraining and of probes")
    place = Path(os.path.expanduser(folder))
    page.build(place, [Path(os.path.expanduser(run)) for run in runs])
    return Page(place / "index.html")
