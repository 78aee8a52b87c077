"""Where commands work and what they read: folders of this machine, or `PROTOCOL://PATH` of any store that fsspec knows.

A folder in a store has a local stand-in, see `runs.mirror`. One job works on it at a time, which its lease in the store
shows: an object that the holder writes again and again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
from absl import logging

from ssl_single_image.errors import Halted
from ssl_single_image.parallel import distributed
from ssl_single_image.runs import workdir
from ssl_single_image.runs.checkpoint import CHECKPOINTS
from ssl_single_image.runs.mirror import LEASE, Keeper, Mirror

EVERY = 30.0
"""Seconds between two copies to a store."""
BEAT = 15.0
"""Seconds between two signs of life."""
SILENT = 4 * BEAT
"""Seconds without one after which a lease is taken over."""
STATE = re.compile(rf"(^|/){CHECKPOINTS}/\d+/state/")
"""Files of the states of checkpoints."""
STANDINS = Path("ssl_single_image", "remote")
"""The folder of stand-ins, in the user's cache folder."""


def is_remote(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is in a store: it begins with `PROTOCOL://`."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", str(folder)) is not None


def brought(folder: str | os.PathLike[str], *, must: bool = True) -> Path:
    """A folder to read from: that of this machine, or a copy of the one in a store, as it is now.

    The copy has no states of checkpoints, which are large, and which resuming alone needs.

    Args:
      folder: a path, in which `~` stands for the home folder, or `PROTOCOL://PATH`.
      must: whether a store that has nothing there is an error.

    Raises:
      InputError: the store can't be read, or nothing is there.
    """
    if not is_remote(folder):
        return Path(os.path.expanduser(folder))
    mirror = Mirror(str(folder), _standin(str(folder), "read"))
    with _alone(mirror.place):
        mirror.pull(lambda name: not STATE.search(name), must=must)
    return mirror.place


@contextlib.contextmanager
def working(folder: str | os.PathLike[str], *, every: float = EVERY) -> Iterator[Path]:
    """A folder to work in: that of this machine, or the stand-in of one in a store, which is copied there.

    It is copied every so often, and at the end, whatever the end is. Of several processes the first does so; each host
    has a stand-in of its own.

    Args:
      folder: as `brought` takes it; a store need not have it.
      every: seconds between two copies.

    Raises:
      InUse: another job works on it.
      InputError: the store can't be read.
      Halted: it can't be written, or another job has taken the folder over; what is new is in the stand-in alone.
    """
    if not is_remote(folder):
        yield Path(os.path.expanduser(folder))
        return
    mirror = Mirror(str(folder), _standin(str(folder), "work"))
    with contextlib.ExitStack() as stack:
        leases: list[_Lease] = []

        def take() -> None:
            leases.append(stack.enter_context(_leased(mirror)))
            with _alone(mirror.place):
                mirror.pull()
            mirror.sweep()

        distributed.first_decides(take)
        if not leases:
            with _alone(mirror.place):
                mirror.pull()
        distributed.first_decides(lambda: None)  # nobody writes before all have read
        logging.info("%s: worked on in %s", mirror.url, mirror.place)
        if leases:
            stack.callback(Keeper(mirror, leases[0].check, every).close)
        yield mirror.place


def _standin(url: str, use: str) -> Path:
    protocol, _, rest = url.partition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / STANDINS / use / protocol / Path(*parts)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process of this host at a time."""
    place.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place / ".pull"):
        yield


class _Lease:
    """The right to work on a folder of a store, kept by a thread that gives signs of life."""

    def __init__(self, mirror: Mirror):
        self._mirror, self._token = mirror, uuid.uuid4().hex
        self._since, self._beats = time.strftime("%Y-%m-%d %H:%M:%S"), 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)

    def take(self) -> None:
        """Raises:
        InUse: another job has it, and lives.
        """
        try:
            self._mirror.write(LEASE, self._content(), new=True)
        except FileExistsError:
            self._wait_for_silence()
            self._mirror.remove(LEASE)
            try:
                self._mirror.write(LEASE, self._content(), new=True)
            except FileExistsError:
                raise self._in_use() from None
        self._thread.start()

    def check(self) -> None:
        """Raises:
        Halted: another job has taken the folder over.
        """
        found = self._found()
        if found.get("token") != self._token:
            raise Halted(
                f"{self._mirror.url}: {_named(found)} has taken it over; what is new here is in"
                f" {self._mirror.place} alone",
                1,
            )

    def give_back(self) -> None:
        """Gives it back where the store answers; otherwise it runs out by itself."""
        self._end.set()
        self._thread.join()
        try:
            if self._found().get("token") == self._token:
                self._mirror.remove(LEASE)
        except Exception as error:  # what the job has to say is more important
            logging.warning("%s: the lease could not be given back (%s)", self._mirror.url, error)

    def _live(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self.check()
                self._beats += 1
                self._mirror.write(LEASE, self._content())
            except Halted:
                return
            except Exception as error:  # the store may be back at the next beat
                logging.vlog(1, "%s: no sign of life could be given (%s)", self._mirror.url, error)

    def _content(self) -> bytes:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": self._since}
        return json.dumps(me | {"token": self._token, "beats": self._beats}).encode()

    def _found(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._mirror.read(LEASE) or b"{}"))
        except ValueError:
            return {}

    def _wait_for_silence(self) -> None:
        """Returns when the holder counts as dead: its process on this host is gone, or it gave no sign of life."""
        first = self._found()
        if first.get("host") == socket.gethostname():
            if workdir.alive(first.get("pid")):
                raise self._in_use()
            return
        logging.warning(
            "%s: held by %s; waiting %d s for a sign of life", self._mirror.url, _named(first), SILENT
        )
        end = time.monotonic() + SILENT
        while time.monotonic() < end:
            time.sleep(min(1.0, BEAT))
            if self._found() not in ({}, first):
                raise self._in_use()

    def _in_use(self) -> workdir.InUse:
        told = _named(self._found())
        return workdir.InUse(f"{self._mirror.url}: is in use by {told}; wait for it or give another folder")


def _named(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"


@contextlib.contextmanager
def _leased(mirror: Mirror) -> Iterator[_Lease]:
    lease = _Lease(mirror)
    lease.take()
    try:
        yield lease
    finally:
        lease.give_back()
