"""launch/local.sh on a stand-in for the command line: environment, statuses, signals. All launchers: their syntax."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch_fakes import LAUNCH, wait_for

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="launch/ needs bash")


def command(folder: Path, body: str) -> dict[str, str]:
    """An environment in which the launcher runs `body` (Python; `me` is the process's number) as the CLI."""
    script = folder / "cli"
    header = f"#!{sys.executable}\nimport os, signal, sys, time\nme = int(os.environ['SSL_PROCESS_ID'])\n"
    script.write_text(header + body)
    script.chmod(0o755)
    return {**os.environ, "SSL_SINGLE_IMAGE": str(script), "SSL_KILL_AFTER": "1"}


def launch(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(LAUNCH / "local.sh"), *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """SIGINT as in a terminal: bash can't trap it where the tests themselves were begun with it ignored (nohup, &)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_environment_and_arguments(tmp_path: Path) -> None:
    body = (
        "count, address = os.environ['SSL_NUM_PROCESSES'], os.environ['JAX_COORDINATOR_ADDRESS']\n"
        "sys.stdout.write(f'{me} {count} {address} {sys.argv[1:]}\\n')\n"  # print may write in pieces
    )
    process = launch(command(tmp_path, body), "3", "--", "probe", "--config=a b", "--", "x")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = sorted(out.splitlines(), key=lambda line: line.split("] ")[-1])
    address = lines[0].split()[2]
    host, port = address.split(":")
    assert host == "127.0.0.1"
    assert 1024 <= int(port) < 65536
    words = "['probe', '--config=a b', '--', 'x']"
    assert lines == [
        f"0 3 {address} {words}",
        f"[1] 1 3 {address} {words}",
        f"[2] 2 3 {address} {words}",
    ]


def test_one_failure_stops_the_rest(tmp_path: Path) -> None:
    body = (
        f"open(f'{tmp_path}/{{me}}', 'w').close()\n"
        f"while not os.path.exists('{tmp_path}/0') or not os.path.exists('{tmp_path}/1'): time.sleep(.01)\n"
        "if me == 1: sys.exit(7)\n"
        "time.sleep(60)\n"
    )
    begin = time.monotonic()
    process = launch(command(tmp_path, body), "2", "--", "pretrain")
    process.communicate(timeout=30)
    assert process.returncode == 7
    assert time.monotonic() - begin < 20


def test_a_process_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open(f'{tmp_path}/{{me}}', 'w').close()\n"
        f"while not os.path.exists('{tmp_path}/0') or not os.path.exists('{tmp_path}/1'): time.sleep(.01)\n"
        "if me == 0: sys.exit(3)\n"
        "time.sleep(60)\n"
    )
    begin = time.monotonic()
    process = launch(command(tmp_path, body), "2", "--", "pretrain")
    process.communicate(timeout=40)
    assert process.returncode == 3
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_arrive_once_and_saving_is_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    body = (
        "received = []\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda n, frame: received.append(n))\n"
        f"open(f'{tmp_path}/{{me}}', 'w').close()\n"
        "while not received: time.sleep(.01)\n"
        "time.sleep(.2 + 2 * me)\n"  # the second is still saving when the first is done, longer than SSL_KILL_AFTER
        f"open(f'{tmp_path}/saved{{me}}', 'w').write(repr([int(n) for n in received]))\n"
        "sys.exit(128 + received[0])\n"
    )
    process = launch(command(tmp_path, body), "2", "--", "pretrain")
    wait_for([tmp_path / "0", tmp_path / "1"])
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert [(tmp_path / f"saved{i}").read_text() for i in (0, 1)] == [f"[{int(number)}]"] * 2


@pytest.mark.parametrize("words", [(), ("2",), ("0", "--", "x"), ("two", "--", "x")])
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    process = launch(command(tmp_path, ""), *words)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err.startswith("usage:")


@pytest.mark.parametrize("path", [*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")], ids=lambda path: path.name)
def test_syntax(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
