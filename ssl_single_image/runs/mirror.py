"""A folder in an object store, and the local folder that stands in for it while a command works.

Runs append, rename and lock, none of which an object store can do. They do so in the stand-in, whose files are copied
to the store again and again. A manifest in the store lists what is whole there. It is written after the files that it
names, so whoever reads the store sees no half of a checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec
from absl import logging

from ssl_single_image.errors import Halted, InputError
from ssl_single_image.runs import workdir
from ssl_single_image.runs.checkpoint import CHECKPOINTS

MANIFEST, LEASE = ".mirror.json", ".lease.json"
"""Objects beside the files: what is there, and who works on it."""
EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
"""Protocol -> the extra of this package that brings it."""
TRIES = 4
"""Attempts at reading a store that changes meanwhile."""
PAUSE = 2.0
"""Seconds before the second attempt at the last copy; later ones wait longer."""
Manifest = dict[str, str]
"""Name of a file, with slashes -> SHA-256 of its content."""


class Mirror:
    """One folder of a store, and the local folder that stands in for it.

    Attributes:
      url: of the folder, `PROTOCOL://PATH`.
      place: the stand-in.
    """

    def __init__(self, url: str, place: Path):
        """
        Raises:
          InputError: the protocol is not known, or its package is not installed.
        """
        self.url, self.place = url.rstrip("/"), place
        protocol = self.url.partition("://")[0]
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            extra = EXTRAS.get(protocol)
            do = f"pip install 'ssl-single-image[{extra}]'" if extra else str(error)
            raise InputError(f"{url}: {protocol}:// needs a package that is not installed: {do}") from error
        except ValueError as error:
            raise InputError(f"{url}: {error}") from error
        self._known: Manifest = {}
        self._sums: dict[str, tuple[int, int, str]] = {}
        self._busy = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """The content of an object; None where there is none.

        Raises:
          InputError: the store can't be read.
        """
        try:
            return bytes(self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:  # each store has its own
            raise InputError(f"{self.url}: can't be read ({_reason(error)})") from error

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Writes an object at once; with `new` only where there is none.

        Raises:
          FileExistsError: there is one, and it was to be new.
        """
        path, mode = f"{self._root}/{name}", "create" if new else "overwrite"
        try:
            self._files.pipe_file(path, content, mode=mode)
        except FileNotFoundError:  # a file system with real folders
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content, mode=mode)

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    def pull(self, wanted: Callable[[str], bool] = lambda name: True, *, must: bool = False) -> None:
        """Makes the stand-in what the manifest lists: files that differ are fetched, others are deleted.

        Args:
          wanted: whether a file of this name is needed.
          must: whether an empty place is an error.

        Raises:
          InputError: the store can't be read, a file in it is damaged, or nothing is there and something must be.
        """
        for attempt in range(1, TRIES + 1):
            manifest = self._manifest()
            if manifest is None and must:
                raise InputError(
                    f"{self.url}: nothing there; expected a folder that this program has written"
                )
            try:
                self._fetch({name: sha for name, sha in (manifest or {}).items() if wanted(name)})
                self._known = manifest or {}
                return
            except FileNotFoundError as error:
                if attempt == TRIES:
                    raise InputError(
                        f"{self.url}: {error}; the folder changes too fast, or is damaged"
                    ) from error

    def sweep(self) -> None:
        """Removes objects that no manifest lists, which a push that was killed has left. Call it after `pull`."""
        kept = {f"{self._root}/{name}" for name in [*self._known, MANIFEST, LEASE]}
        self._files.invalidate_cache()
        try:
            stray = [path for path in self._files.find(self._root) if path not in kept]
        except FileNotFoundError:
            return
        for path in stray:
            self._files.rm_file(path)

    def push(self, allowed: Callable[[], None] = lambda: None) -> None:
        """Copies to the store what is new in the stand-in, then the manifest; then removes what is no longer listed.

        Args:
          allowed: called before the manifest is written; raises where it must not be.
        """
        with self._busy:
            there: Manifest = {}
            sent: set[str] = set()
            for files in _whole(self.place).values():
                try:
                    there |= {name: self._send(name, path, sent) for name, path in files.items()}
                except FileNotFoundError:  # an old checkpoint, removed meanwhile
                    continue
            allowed()
            if there != self._known:
                self.write(MANIFEST, json.dumps(there, indent=1, sort_keys=True).encode())
            stray = (self._known.keys() | sent) - there.keys()
            self._known = there
            for name in stray:
                self.remove(name)

    def _send(self, name: str, path: Path, sent: set[str]) -> str:
        """The checksum of a file, which is in the store now."""
        told = path.stat()
        size, changed, digest = self._sums.get(name, (-1, -1, ""))
        if (size, changed) == (told.st_size, told.st_mtime_ns) and self._known.get(name) == digest:
            return digest
        content = path.read_bytes()
        digest = _sha256(content)
        if self._known.get(name) != digest:
            self.write(name, content)
            sent.add(name)
        self._sums[name] = (told.st_size, told.st_mtime_ns, digest)
        return digest

    def _fetch(self, listed: Mapping[str, str]) -> None:
        for name, path in _files(self.place):
            if name not in listed:
                path.unlink(missing_ok=True)
        for name, digest in listed.items():
            path = self.place / name
            if path.is_file() and _sha256(path.read_bytes()) == digest:
                continue
            content = self.read(name)
            if content is None or _sha256(content) != digest:  # it has been replaced since
                raise FileNotFoundError(f"{name} is not what the manifest lists")
            path.parent.mkdir(parents=True, exist_ok=True)
            workdir.write_whole(path, content)
        _remove_empty(self.place)

    def _manifest(self) -> Manifest | None:
        content = self.read(MANIFEST)
        if content is None:
            return None
        try:
            found = json.loads(content)
            if not all(isinstance(sha, str) and _is_inside(name) for name, sha in found.items()):
                raise ValueError("it lists something else than files")
            return dict(found)
        except (ValueError, AttributeError) as error:
            raise InputError(f"{self.url}/{MANIFEST}: damaged ({error})") from error


class Keeper:
    """Has a mirror pushed every so often, by a thread, and once more at the end."""

    def __init__(self, mirror: Mirror, allowed: Callable[[], None], every: float):
        """
        Args:
          mirror: what is pushed.
          allowed: see `Mirror.push`.
          every: seconds.
        """
        self._mirror, self._allowed, self._every = mirror, allowed, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._mirror.push(self._allowed)
            except Exception as error:  # the next time may succeed; at the end it must
                logging.warning(
                    "%s: could not be written (%s); trying again", self._mirror.url, _reason(error)
                )

    def close(self) -> None:
        """Pushes all there is.

        Raises:
          Halted: it can't be written; the stand-in has it.
        """
        self._end.set()
        self._thread.join()
        for attempt in range(1, TRIES + 1):
            try:
                return self._mirror.push(self._allowed)
            except Halted:
                raise
            except Exception as error:
                if attempt == TRIES:
                    raise Halted(
                        f"{self._mirror.url}: could not be written ({_reason(error)}); what is new is in"
                        f" {self._mirror.place} alone",
                        1,
                    ) from error
                time.sleep(PAUSE * attempt)


def _whole(place: Path) -> dict[str, dict[str, Path]]:
    """The files of a folder in groups that mean something only together: a checkpoint is one, any other file is one."""
    groups: dict[str, dict[str, Path]] = {}
    for name, path in _files(place):
        parts = name.split("/")
        at = parts.index(CHECKPOINTS) if CHECKPOINTS in parts[:-1] else len(parts)
        groups.setdefault("/".join(parts[: at + 2]), {})[name] = path
    return groups


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of all files that are whole: locks, and what is being written, are passed over."""
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not _passing(name)]
        for name in names:
            if not _passing(name):
                path = Path(folder) / name
                yield path.relative_to(place).as_posix(), path


def _passing(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp") or "orbax-checkpoint-tmp" in name


def _remove_empty(place: Path) -> None:
    """Removes folders without files, from below: one of a checkpoint would be taken for it."""
    for folder, _, _ in os.walk(place, topdown=False):
        try:
            if Path(folder) != place:
                Path(folder).rmdir()
        except OSError:  # it is not empty
            continue


def _is_inside(name: str) -> bool:
    """Whether a name stays in the folder."""
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
