"""What a run does when its newest checkpoint is damaged: it goes on from the newest whole one."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from ssl_single_image.runs.checkpoint import CHECKPOINTS, finished, verify
from ssl_single_image.types import InputError

DAMAGED = "damaged"
"""Folder of a workdir that gets checkpoints which can't be read."""


def set_aside(workdir: Path) -> list[int]:
    """Moves damaged checkpoints that are newer than the newest whole one out of the way, and says so.

    Call it when the folder is held, before anything is read from it. Nothing is deleted.

    Returns:
      The steps of those that were moved, the newest first.

    Raises:
      InputError: there are checkpoints, and none of them is whole.
    """
    place = workdir / CHECKPOINTS
    broken: dict[int, InputError] = {}
    steps = finished(place)
    for step in reversed(steps):
        try:
            verify(place / str(step))
            break
        except InputError as error:
            broken[step] = error
    if not broken:
        return []
    if len(broken) == len(steps):
        raise InputError(f"{broken[steps[-1]]}; no older one is whole: begin anew in another workdir")
    for step, reason in broken.items():
        target = _free(workdir / DAMAGED / str(step))
        target.parent.mkdir(exist_ok=True)
        (place / str(step)).rename(target)
        logging.warning("%s; it is now in %s", reason, target)
    logging.warning("the run goes on from step %d", steps[-len(broken) - 1])
    return list(broken)


def _free(path: Path) -> Path:
    """The path, or one with a number behind it that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
