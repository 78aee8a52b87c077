"""Two hosts, as network namespaces with addresses of their own: one is cut off in the middle of a step."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_cli

from ssl_single_image.parallel.distributed import LOST
from ssl_single_image.runs import checkpoint

NEVER = 10**6
SILENCE = 8
"""Seconds after which a host that says nothing counts as lost."""
PORT = 29417
NETNS = Path("/etc/netns")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Two hosts on one cable: 10.77.0.1 and 10.77.0.2, each of which finds its own name at its own address."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.names = [f"ssl{mark}{number}" for number in (0, 1)]
        self.cables = [f"c{mark}{number}" for number in (0, 1)]

    def connect(self) -> None:
        ip("link", "add", self.cables[0], "type", "veth", "peer", "name", self.cables[1])
        for number, (name, cable) in enumerate(zip(self.names, self.cables, strict=True), 1):
            ip("netns", "add", name)
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", cable)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", cable, "up")
            (NETNS / name).mkdir(parents=True)
            hosts = f"127.0.0.1 localhost\n10.77.0.{number} {os.uname().nodename}\n"
            (NETNS / name / "hosts").write_text(hosts)  # `ip netns exec` puts it over /etc/hosts

    def plug(self, state: str) -> None:
        """The second host's cable: "down" cuts it off."""
        ip("-n", self.names[1], "link", "set", self.cables[1], state)

    def remove(self) -> None:
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
            shutil.rmtree(NETNS / name, ignore_errors=True)

    @contextlib.contextmanager
    def running(self, workdir: Path, *overrides: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """`pretrain` on both; what they print goes to 0.txt and 1.txt beside the workdir."""
        command = run_cli.pretrain_command(workdir, *overrides)
        processes = []
        try:
            for number, name in enumerate(self.names):
                environment = run_cli.environment() | {
                    "SSL_NUM_PROCESSES": "2",
                    "SSL_PROCESS_ID": str(number),
                    "SSL_PEER_TIMEOUT": str(SILENCE),
                    "JAX_COORDINATOR_ADDRESS": f"10.77.0.1:{PORT}",
                }
                with (workdir.parent / f"{number}.txt").open("wb") as file:
                    words = ["ip", "netns", "exec", name, *command]
                    processes.append(
                        subprocess.Popen(words, cwd=run_cli.ROOT, env=environment, stdout=file, stderr=file)
                    )
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait(60)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        made.connect()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove()
        pytest.skip(f"no network namespaces here, they need root and iproute2 ({error})")
    yield made
    made.remove()


def told(folder: Path, number: int) -> str:
    return (folder / f"{number}.txt").read_text(errors="replace")


@pytest.mark.slow
def test_a_host_that_is_cut_off(hosts: Hosts, tmp_path: Path) -> None:
    """Both end in bounded time, each with one clear line; connected again, they resume and complete the run."""
    workdir = tmp_path / "run"
    forever = (f"--config.steps={NEVER}", "--config.checkpoint_every=5", "--config.log_every=5")
    with hosts.running(workdir, *forever) as processes:
        end = time.monotonic() + 300
        while not checkpoint.finished(workdir / "checkpoints"):
            assert time.monotonic() < end, told(tmp_path, 0) + told(tmp_path, 1)
            time.sleep(0.2)
        hosts.plug("down")
        cut = time.monotonic()
        statuses = [process.wait(12 * SILENCE) for process in processes]
        assert time.monotonic() - cut < 6 * SILENCE
    assert statuses == [1, 1], told(tmp_path, 0) + told(tmp_path, 1)
    assert [told(tmp_path, number).count(LOST) for number in (0, 1)] == [1, 1]
    step = checkpoint.finished(workdir / "checkpoints")[-1]

    hosts.plug("up")
    with hosts.running(workdir, f"--config.steps={step + 5}", "--config.checkpoint_every=5") as processes:
        statuses = [process.wait(300) for process in processes]
    assert statuses == [0, 0], told(tmp_path, 0) + told(tmp_path, 1)
    assert f"resumed from step {step}" in told(tmp_path, 0)
    assert checkpoint.finished(workdir / "checkpoints")[-1] == step + 5
