"""A report that is served and built anew when a workdir changes, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_pages import make_probe
from test_tables import result

from ssl_single_image.experiments import reporting

PATIENCE = 60
"""Seconds that anything may take on a busy machine."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_probe(tmp_path / "probes" / "watched", result("a", 50.0))


@pytest.fixture
def served(tmp_path: Path, run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address that it prints."""
    words = ["--watch", "--port=0", "--every=0.2", f"--workdir={tmp_path / 'report'}", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_single_image.cli.report", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"SSL_TUNE": "0"},
    )
    assert process.stdout
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def read(address: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_the_page_follows_the_run_and_a_signal_ends_it(
    served: tuple[subprocess.Popen[str], str], run: Path, tmp_path: Path
) -> None:
    process, address = served
    assert address.startswith("http://127.0.0.1:")
    before, page = read(address + "version"), read(address)
    assert "keepFresh" in page
    assert "50.0" in page
    assert "98.7" not in page
    make_probe(run, result("a", 98.7))
    end = time.monotonic() + PATIENCE
    while read(address + "version") == before and time.monotonic() < end:
        time.sleep(0.1)
    assert "98.7" in read(address)
    for path, headers in (("config.json", {}), ("", {"Host": "elsewhere.example"})):
        with pytest.raises(urllib.error.HTTPError) as refused:
            read(address + path, **headers)
        refused.value.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 128 + signal.SIGINT
    assert "98.7" in (tmp_path / "report" / "index.html").read_text()


def test_an_interrupt_that_is_lost_in_a_build_still_ends_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def build(folder: Path, *args: Any, **options: Any) -> None:
        assert len(built) < 2, "it goes on"
        folder.mkdir(exist_ok=True)
        (folder / "index.html").touch()
        if built:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            make_probe(run, result("a", 70.0))  # there would be something to build again
        built.append(folder)

    def started(address: str) -> None:
        make_probe(run, result("a", 60.0))

    monkeypatch.setattr("ssl_single_image.analysis.report.build", build)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        reporting.watch([run], tmp_path / "r", port=0, every=0.01, started=started)
    assert len(built) == 2
    assert signal.getsignal(signal.SIGINT) == before


def test_a_port_in_use_is_refused(
    served: tuple[subprocess.Popen[str], str], run: Path, tmp_path: Path
) -> None:
    from ssl_single_image.errors import InputError
    from ssl_single_image.experiments import reporting

    port = int(served[1].rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"--port {port}: can't be served on"):
        reporting.watch([run], tmp_path / "other", port=port)
