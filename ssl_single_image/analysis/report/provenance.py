"""Where a result came from: the command, the config, versions and devices, source images, time."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Mapping
from typing import Any

from ssl_single_image.analysis.report.context import Context, Workdir
from ssl_single_image.runs import workdir as files
from ssl_single_image.runs.metrics import TIMINGS, read_metrics

RECORDED = (files.ENVIRONMENT, "inputs", "checkpoint")
"""What config.json holds beside the config itself."""
MOST_SOURCES = 12
"""Source images that are listed by name."""
HASH = 12
"""Digits of a hash or a commit that are shown; config.json has them all."""


def describe(context: Context, one: Workdir, again: bool = True) -> dict[str, Any]:
    """What a section shows of a workdir: "name", "command", "config" as JSON text, and "facts", pairs of words.

    Args:
      context: what knows the command.
      one: the workdir.
      again: whether the command that makes it again is looked for.
    """
    config = {name: value for name, value in one.config.items() if name not in RECORDED}
    return {
        "name": one.name,
        "command": context.command_of(one) if again else "",
        "config": json.dumps(config, indent=2) if config else "",
        "facts": [*sources(one.config), *duration(one), *environment(one.config)],
    }


def sources(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source images with their sizes and hashes, or the labelled set that a run learnt from."""
    found = config.get("inputs")
    if not isinstance(found, list):
        return []
    told = [_source(one) for one in found[:MOST_SOURCES] if isinstance(one, Mapping)]
    if len(found) > MOST_SOURCES:
        told.append(f"and {len(found) - MOST_SOURCES:,} more")
    return [("source image" if len(found) == 1 else "source images", "; ".join(told))] if told else []


def _source(one: Mapping[str, Any]) -> str:
    words = [str(one.get("name", "without a name"))]
    shape = one.get("shape")
    if isinstance(shape, list) and len(shape) == 3:
        words.append(f"{shape[1]} x {shape[0]} pixels")
    if isinstance(one.get("images"), int):
        words.append(
            f"{one['images']:,} images without labels"
            if one.get("sha256")
            else f"{one['images']:,} labelled images"
        )
    if one.get("sha256"):
        words.append(f"SHA-256 of its pixels {str(one['sha256'])[:HASH]}…")
    return ", ".join(words)


def duration(one: Workdir) -> list[tuple[str, str]]:
    """How long the run took, over all processes that resumed it, and how fast it was at its end."""
    path = one.path / TIMINGS
    if not path.exists():
        return []
    if "objective" not in one.config:  # a probe writes one line, without a step
        return _seconds_of_a_probe(path.read_text(errors="replace"))
    rows = read_metrics(path)
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    # the clock starts anew with each process
    ends = [a for a, b in itertools.pairwise([*seconds, 0.0]) if b < a]
    speeds = [row["views_per_second"] for row in rows if "views_per_second" in row]
    told = [("duration", _clock(sum(ends)))] if ends else []
    return told + ([("speed at the end", f"{speeds[-1]:,.0f} views/s")] if speeds else [])


def _seconds_of_a_probe(text: str) -> list[tuple[str, str]]:
    try:
        return [("duration", _clock(json.loads(text)["seconds"]))]
    except (ValueError, KeyError, TypeError, OverflowError):
        return []


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def environment(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions, commit, processor and devices that config.json records."""
    found: Any = config.get(files.ENVIRONMENT, {})
    try:
        devices = f"{found['devices']} {found['device']} device{'s' * (found['devices'] != 1)}"
        packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
        commit = str(found["commit"] or "unknown")
        version = f"version {found['version']}, commit {_short(commit)}"
        return [
            ("made by", f"ssl-single-image, {version}"),
            ("computed with", f"{packages}, Python {found['python']}"),
            ("computed on", f"{devices}, {found['processor']}"),
        ]
    except (KeyError, TypeError, AttributeError):  # of an earlier version
        return []


def _short(commit: str) -> str:
    """The beginning of a commit, and what says that files differed from it."""
    digits, dash, rest = commit.partition("-")
    return f"{digits[:HASH]}{dash}{rest}"
