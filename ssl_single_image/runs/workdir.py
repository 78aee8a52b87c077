"""The folder of a run: the config that it belongs to, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import filelock
from absl import logging

from ssl_single_image.parallel import distributed
from ssl_single_image.runs import environment
from ssl_single_image.types import InputError

CONFIG = "config.json"
ENVIRONMENT = "environment"
"""What config.json holds beside the config: `environment.describe()`."""
LOCK, HOLDER = ".lock", ".holder.json"
"""The lock of a folder in use, and who holds it."""
LEASE = 60.0
"""Seconds without a sign of life after which a lock from another host is taken over."""


class InUse(InputError):  # noqa: N818 (it need not be an error: a driver goes on to other rows)
    """A folder is held by another process."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames, so that no reader ever sees half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def held(workdir: Path, claim: Callable[[], None] = lambda: None, *, wait: bool = True) -> Iterator[None]:
    """Holds `workdir`, which is made if need be, for this process: another one that wants it is refused.

    The lock is a file that its holder touches, so that it works on file systems of clusters. A lock of a dead process
    is taken over: on this host at once, on another one when it has not been touched for LEASE seconds. Of several
    processes of one run only the first holds it and calls `claim`; what it refuses, all refuse.

    Args:
      workdir: the folder.
      claim: called as soon as it is held, to find out whether it may be used.
      wait: whether to wait for a sign of life from a holder on another host; False: it is refused at once.

    Raises:
      InUse: another process holds it.
      InputError: it can't be made, or `claim` refuses.
    """
    with contextlib.ExitStack() as stack:

        def take() -> None:
            stack.enter_context(_lease(workdir, wait))
            claim()

        distributed.first_decides(take)
        yield


@contextlib.contextmanager
def _lease(workdir: Path, wait: bool) -> Iterator[None]:
    make(workdir)
    lease = filelock.SoftFileLease(workdir / LOCK, lease_duration=LEASE)
    try:
        lease.acquire(timeout=0)
    except filelock.Timeout:
        _wait_for(lease, workdir, 1.5 * LEASE if wait else 0.0)
    me = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    write_whole(workdir / HOLDER, json.dumps(me))
    try:
        yield
    finally:
        (workdir / HOLDER).unlink(missing_ok=True)
        lease.release()


def holder(workdir: Path) -> dict[str, Any] | None:
    """Who works on the folder: "host", "pid" and "since"; None where nobody does, or whoever did has died."""
    try:
        found = dict(json.loads((workdir / HOLDER).read_text()))
        touched = (workdir / LOCK).stat().st_mtime
    except (OSError, ValueError):
        return None
    if found.get("host") == socket.gethostname():
        return found if alive(found.get("pid")) else None
    return found if abs(time.time() - touched) < LEASE else None  # of the future is no sign of life


def alive(pid: Any) -> bool:
    """Whether this host has a process of this number."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, TypeError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _wait_for(lease: filelock.SoftFileLease, workdir: Path, seconds: float) -> None:
    """Gives a holder on another host the time to show that it lives.

    Raises:
      InUse: it does, or it is on this host.
    """
    try:
        holder = json.loads((workdir / HOLDER).read_text())
    except (OSError, ValueError):
        holder = {}
    told = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    refused = InUse(f"workdir {workdir}: is in use by {told}; wait for it or give another folder")
    if holder.get("host") == socket.gethostname() or not seconds:
        raise refused
    logging.warning("workdir %s: held by %s; waiting %d s for a sign of life", workdir, told, seconds)
    try:
        lease.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise refused from error


def make(folder: Path, what: str = "workdir") -> None:
    """Makes a folder, which messages call `what`, and those above it.

    Raises:
      InputError: a file is in the way, or the place can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied")
    except OSError as error:
        in_the_way = next((str(p) for p in [folder, *folder.parents] if p.exists() and not p.is_dir()), "")
        why = f"{in_the_way} is a file" if in_the_way else error.strerror or str(error)
        raise InputError(f"{what} {folder}: can't be written to: {why}") from error


def claim(
    workdir: Path,
    config: dict[str, Any],
    free: Iterable[str] = (),
    *,
    recorded: Mapping[str, Any] | None = None,
    results: bool = True,
    leavings: Iterable[str] = (),
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> None:
    """Makes `workdir` the folder of the run that `config` describes, or finds that it already is.

    `config.json` then holds the config, and beside it the environment of the newest call.

    Call it when the folder is `held`, and last, when all that can be wrong has been checked.

    Args:
      workdir: made if it is not there.
      config: JSON-able and nested.
      free: top-level keys that may differ, because they do not change the run's numbers.
      recorded: the config that the results are known to come from; None: what config.json says.
      results: whether the folder holds any; one of another config and without results is taken over.
      leavings: patterns of what an attempt without results leaves; removed when its folder is taken over.
      complete: gives a config of an earlier version the fields that it lacks, before it is compared.

    Raises:
      InputError: the folder holds a run of another config (the differing keys are named), or is no folder.
    """
    make(workdir)
    path = workdir / CONFIG
    before = (
        recorded
        if recorded is not None
        else read(workdir)
        if path.exists()
        else json.loads(json.dumps(config))
    )
    changed = differences(complete(before), json.loads(json.dumps(config)), [*free, ENVIRONMENT])
    if changed:
        if results:
            refuse(workdir, changed)
        logging.warning("workdir %s: replaces an attempt without results (%s)", workdir, _listed(changed))
        for old in [old for pattern in leavings for old in workdir.glob(pattern)]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_whole(path, json.dumps(config | {ENVIRONMENT: environment.describe()}, indent=2) + "\n")


def refuse(workdir: Path, changed: Mapping[str, tuple[Any, Any]]) -> NoReturn:
    """Refuses a folder whose run has another config.

    Raises:
      InputError: always; names the fields that differ.
    """
    raise InputError(f"workdir {workdir} holds a run of another config: {_listed(changed)}")


def _listed(changed: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} was {json.dumps(a)}, is {json.dumps(b)}" for name, (a, b) in changed.items())


def check_place(folder: Path, what: str = "workdir") -> None:
    """What `make` checks, without making anything.

    Raises:
      InputError: a file is in the way, or the place can't be written to.
    """
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    if not there.is_dir():
        raise InputError(f"{what} {folder}: can't be written to: {there} is a file")
    if not os.access(there, os.W_OK):
        raise InputError(f"{what} {folder}: can't be written to: permission denied")


def read(workdir: Path, name: str = CONFIG) -> dict[str, Any]:
    """The config of the run in `workdir`, which file `name` holds.

    Raises:
      InputError: there is none, or it can't be read.
    """
    try:
        config = json.loads((workdir / name).read_text())
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__}")
        return config
    except (OSError, ValueError) as error:
        raise InputError(f"workdir {workdir}: no readable {name} ({error})") from error


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Dotted field -> its values in two configs, where they differ; "absent" where one has no such field.

    Args:
      old: JSON-able and nested.
      new: likewise.
      free: top-level fields that are not compared.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted((old.keys() | new.keys()) - set(free)):
        before, after = old.get(key, "absent"), new.get(key, "absent")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= {f"{key}.{name}": pair for name, pair in differences(before, after).items()}
        elif before != after:
            found[key] = (before, after)
    return found
