"""Reporting as a function: tables and figures of finished runs on one page, written once or kept up to date."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from absl import logging

from ssl_single_image.analysis import report as pages
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import commands
from ssl_single_image.experiments.results import Page
from ssl_single_image.runs import places
from ssl_single_image.runs.checkpoint import CHECKPOINTS

HOST = "127.0.0.1"
"""The only address that a watched report is served on."""
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names by which a browser may ask for it: no page of another site is answered."""
PORT = 8000
EVERY = 10.0
"""Seconds between two looks at the runs."""


def report(
    runs: Sequence[str | os.PathLike[str]], folder: str | Path, *, interactive: bool | None = None
) -> Page:
    """Writes one page about any mix of finished runs.

    Args:
      runs: workdirs of pretraining, of probes, and of other commands that leave tables and pictures.
      folder: gets `index.html`, which needs no other file, the tables as Markdown, CSV and JSON, and the figures.
      interactive: whether plots answer the mouse, which adds 1.3 MB to the page; None: where Bokeh is installed.

    Raises:
      InputError: a folder is no workdir, its run wrote nothing to show yet, or a file of it is damaged.
    """
    _some(runs)
    with places.working(folder) as place:
        paths = [places.brought(run) for run in runs]
        pages.build(place, paths, command=commands.again, interactive=interactive)
        return Page(place / pages.PAGE)


def watch(
    runs: Sequence[str | os.PathLike[str]],
    folder: str | Path,
    *,
    port: int = PORT,
    every: float = EVERY,
    interactive: bool | None = None,
    started: Callable[[str], None] = print,
) -> None:
    """Serves the report on this machine alone, and builds it anew whenever a run has written something.

    It ends with KeyboardInterrupt. A workdir that can't be shown yet is told on the page. When it has ended, the page
    stays in the folder.

    Args:
      runs: as for `report`; they need not have begun.
      folder: likewise.
      port: of 127.0.0.1; 0: any that is free.
      every: seconds between two looks at the runs.
      interactive: as for `report`.
      started: is called once with the address, when the first page is there.

    Raises:
      InputError: the port is in use, or the first page can't be built.
    """
    _some(runs)
    if stores := [str(one) for one in (*runs, folder) if places.is_remote(one)]:
        raise InputError(f"{stores[0]}: can't be watched in a store; give copies of it on this machine")
    place, *paths = (Path(os.path.expanduser(one)) for one in (folder, *runs))
    build = functools.partial(
        pages.build, place, paths, command=commands.again, interactive=interactive, refresh=every
    )
    before = _state(paths)
    build()
    with _served(place / pages.PAGE, port) as server, _interrupts() as heard:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started(f"http://{HOST}:{server.server_address[1]}/")
        while not heard:
            time.sleep(every)
            now = _state(paths)
            if now != before:
                before = now if _built(build) else before
    raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C was pressed.

    KeyboardInterrupt alone can be lost: Python drops what is raised while it frees an object, in the middle of a build.
    """
    heard: list[int] = []

    def note(number: int, frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # which hears of no signal
        yield heard
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _built(build: Callable[[], None]) -> bool:
    """Builds the page; what can't be read, because it is being written, is tried again later."""
    try:
        build()
    except InputError as error:
        logging.warning("the page stays as it was: %s", error)
        return False
    return True


def _some(runs: Sequence[str | os.PathLike[str]]) -> None:
    if not runs:
        raise InputError("no runs: give workdirs of pretraining and of probes")


def _state(runs: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """What changes when a run has something new to show: name of a file -> its time and size."""
    found = {}
    for run in runs:
        for folder in (run, run / CHECKPOINTS):
            for path in folder.glob("[!.]*"):
                try:
                    told = path.stat()
                except OSError:  # removed meanwhile, as old checkpoints are
                    continue
                found[str(path)] = (told.st_mtime_ns, told.st_size)
    return found


def _served(page: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of one page and its version.

    Raises:
      InputError: the port can't be used.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path).path
            if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in LOCAL:
                self.send_error(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
            elif asked in ("/", f"/{page.name}"):
                self._answer(page.read_bytes(), "text/html; charset=utf-8")
            elif asked == "/version":
                self._answer(str(page.stat().st_mtime_ns).encode(), "text/plain")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _answer(self, content: bytes, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """The page asks every few seconds; nobody wants to read that."""

    try:
        return http.server.ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--port {port}: can't be served on ({error}); give another, or 0 for any that is free"
        ) from error
