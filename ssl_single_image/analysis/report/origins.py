"""Which run a probed checkpoint is of, and how many source images that run had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import tables
from ssl_single_image.analysis.report.context import Workdir

ORIGIN = tables.ORIGIN
"""Key under which `annotate` puts {"run", "objective", "images", "labelled"}."""
UNTRAINED = "untrained networks"
BASELINES = "other baselines"
WITHOUT_RUN = {
    **dict.fromkeys(("kmeans", "esvm", "mmcf", "patches", "scattering"), BASELINES),
    "file": "weights from files",
}
"""First word of a reference to no run -> the heading of its group."""
OTHERS = "runs that are not in this report"


def annotate(probe: tables.Probe, folder: Path, runs: Sequence[Workdir]) -> dict[str, Any]:
    """A probe whose results say which of the runs they are of, where one is found.

    A checkpoint is named as the probe's command named it, relative to where that was called. So a run is that of a
    checkpoint if it lies there as seen from here, or from a folder above the probe's.
    """
    places = [Path(), folder.resolve(), *folder.resolve().parents]
    known = {run.path.resolve(): run for run in runs}
    results = []
    for result in probe["results"]:
        run = None if tables.is_random(result) else _run(result["checkpoint"], places, known)
        results.append({**result, ORIGIN: origin(run)} if run else result)
    return {**probe, "results": results}


def _run(checkpoint: str, places: Iterable[Path], known: Mapping[Path, Workdir]) -> Workdir | None:
    folder = Path(run_of(checkpoint)).expanduser()
    try:
        return next(
            (known[there] for place in places if (there := (place / folder).resolve()) in known), None
        )
    except (OSError, ValueError, RuntimeError):  # a name that can't be a folder's
        return None


def run_of(checkpoint: str) -> str:
    """The folder in a reference: without `#ENCODER` and `@STEP`."""
    before = checkpoint.partition("#")[0]
    folder, at, step = before.rpartition("@")
    return folder if at and (step.isdecimal() or step == "best") else before


def origin(run: Workdir) -> dict[str, Any]:
    """What is known of the images of a run: "images" counts source images or labelled ones, None if not recorded."""
    inputs = run.config.get("inputs")
    found: dict[str, Any] = {"run": run.name, "objective": run.objective, "images": None, "labelled": False}
    if isinstance(inputs, list) and inputs:
        first = inputs[0] if isinstance(inputs[0], Mapping) else {}
        counted = isinstance(first.get("images"), int)
        found["labelled"] = (
            counted and "sha256" not in first
        )  # a set without its labels has the hash of its pixels
        found["images"] = first["images"] if counted else len(inputs)
    return found


def images(result: Mapping[str, Any]) -> str:
    """What a result was learnt from, in words: "one image", "10 images"; "" if that is not known."""
    known = result.get(ORIGIN, {})
    count = known.get("images")
    if count is None:
        return ""
    labelled = "labelled " if known["labelled"] else ""
    return f"one {labelled}image" if count == 1 else f"{count:,} {labelled}images"


def group(result: Mapping[str, Any]) -> str:
    """The heading under which a result stands: its objective and its number of images, where they are known."""
    if tables.is_random(result):
        return UNTRAINED
    if ORIGIN not in result:
        return WITHOUT_RUN.get(result["checkpoint"].partition(":")[0], OTHERS)
    return ", ".join(filter(None, [result[ORIGIN]["objective"], images(result)]))


def grouped(results: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Heading -> places of its results.

    Untrained networks and other baselines come first, then runs by objective and number of images. Where no run is
    known there is one group, without a heading.
    """
    if not any(ORIGIN in result for result in results):
        return {"": list(range(len(results)))}

    def rank(number: int) -> tuple[Any, ...]:
        known = results[number].get(ORIGIN)
        if known is None:
            heading = group(results[number])
            return (2 if heading == OTHERS else 0, "" if heading == UNTRAINED else heading, 0)
        return (1, known["objective"], known["images"] or 0)

    found: dict[str, list[int]] = {}
    for number in sorted(range(len(results)), key=rank):
        found.setdefault(group(results[number]), []).append(number)
    return found
