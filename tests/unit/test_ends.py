"""How commands end when something outside them fails: one line and a status, in processes as a shell starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ssl_single_image", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


PROCESSES = {"SSL_NUM_PROCESSES": "2", "SSL_PROCESS_ID": "1", "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "JAX_PLATFORMS=cuda: JAX finds no such devices here"),
        (PROCESSES | {"SSL_PROCESS_ID": "2"}, "SSL_PROCESS_ID=2: must be in [0, 2)"),
        (PROCESSES | {"JAX_COORDINATOR_ADDRESS": "here"}, "JAX_COORDINATOR_ADDRESS=here: must be HOST:PORT"),
        (PROCESSES | {"SSL_COORDINATOR_TIMEOUT": "1"}, "did not answer in 1 s"),
        (
            {"SSL_DISTRIBUTED": "auto", "SSL_PEER_TIMEOUT": "soon"},
            "SSL_PEER_TIMEOUT=soon: must be a whole number",
        ),
        ({"SSL_DISTRIBUTED": "auto", "SSL_PEER_TIMEOUT": "0"}, "SSL_PEER_TIMEOUT=0: must be a whole number"),
        (
            PROCESSES | {"SSL_PROCESS_ID": "0", "JAX_COORDINATOR_ADDRESS": "127.0.0.1:0"},
            "must be HOST:PORT",
        ),
        ({"SSL_DISTRIBUTED": "auto"}, "SSL_DISTRIBUTED=auto: no cluster was recognised here"),
    ],
)
def test_an_environment_that_is_wrong_is_named(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    done = command("pretrain", "--config=rotnet:preset=demo", f"--workdir={tmp_path / 'run'}", **environment)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_process_0_does_not_wait_for_ever(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    alone = PROCESSES | {
        "SSL_PROCESS_ID": "0",
        "JAX_COORDINATOR_ADDRESS": address,
        "SSL_COORDINATOR_TIMEOUT": "1",
    }
    done = command("pretrain", "--config=rotnet:preset=demo", f"--workdir={tmp_path / 'run'}", **alone)
    assert done.returncode == 2
    assert "process 0 of 2: waiting for 1 others to join" in done.stderr
    assert f"error: not all of the 2 processes joined {address} in 1 s" in done.stderr
    assert "stack trace" not in done.stderr


def test_a_pipe_that_closes_and_a_terminal_without_letters() -> None:
    words = f"{sys.executable} -m ssl_single_image sample --image builtin:list"
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{words} | true; echo ${{PIPESTATUS[0]}}; PYTHONIOENCODING=ascii {words} | tail -n 3",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    status, *lines = done.stdout.splitlines()
    assert int(status) in (0, 128 + signal.SIGPIPE)
    assert any("H\\xe4ggstr\\xf6m" in line for line in lines)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder in the way"])
def test_what_is_no_image_and_what_can_not_be_written(tmp_path: Path, kind: str) -> None:
    image, out = tmp_path / "a.png", tmp_path / "out.png"
    if kind == "pipe":
        os.mkfifo(image)
    elif kind == "device":
        image = Path("/dev/zero")
    else:
        image = Path("builtin:coffee")
        out.mkdir()
    done = command("sample", f"--image={image}", f"--out={out}", "--count=1", "--noalone")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert ("no regular file" in done.stderr) == (kind != "folder in the way")
