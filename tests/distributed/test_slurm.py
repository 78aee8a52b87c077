"""A real SLURM on this machine: a preempted job of two tasks is requeued, and ends as if nothing had happened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import run_cli

from ssl_single_image.runs import checkpoint

STEPS = ("--config.steps=120", "--config.checkpoint_every=10", "--config.log_every=1000000")
CONF = """
ClusterName=loopback
SlurmctldHost={name}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
NodeName={name} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which SLURM's commands reach a controller and a daemon of this test."""
    script = Path(__file__).with_name("slurm.sh")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    if done.returncode or os.getuid():
        why = "only root can start it" if os.getuid() else (done.stderr.strip() or "?").splitlines()[-1]
        pytest.skip(f"no SLURM here: {why}")
    place = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (place / name).mkdir()
    (place / "slurm.conf").write_text(CONF.format(name=socket.gethostname(), place=place))
    environment = run_cli.environment() | {
        "SLURM_CONF": str(place / "slurm.conf"),
        "SSL_SINGLE_IMAGE": str(Path(sys.executable).with_name("ssl-single-image")),
    }
    daemons = [
        subprocess.Popen([name, "-D"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in ("slurmctld", "slurmd")
    ]
    try:
        try:
            wait_until(lambda: " idle" in ask(environment, "sinfo", "--noheader", "--format=%P %t"), 60)
        except AssertionError:
            logs = [(place / f"{name}.log").read_text().splitlines()[-1:] for name in ("slurmctld", "slurmd")]
            pytest.skip(f"SLURM does not start here: {logs}")
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False)
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(60)


def ask(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout


def wait_until(condition: Callable[[], bool], seconds: float, output: Path | None = None) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, output.read_text() if output is not None and output.exists() else ""
        time.sleep(0.5)


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_completes(slurm: dict[str, str], tmp_path: Path) -> None:
    output, workdir = tmp_path / "output", tmp_path / "run"
    words = run_cli.pretrain_command(workdir, *STEPS)[3:]
    options = ["--ntasks-per-node=2", "--cpus-per-task=1", "--gres=none", "--time=10", f"--output={output}"]
    submit = ["sbatch", "--parsable", *options, "launch/slurm.sbatch", "pretrain", *words]
    done = subprocess.run(submit, cwd=run_cli.ROOT, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()

    def told(field: str) -> str:
        fields = ask(slurm, "scontrol", "--oneliner", "show", "job", job).split()
        return next((word.partition("=")[2] for word in fields if word.startswith(f"{field}=")), "")

    wait_until(lambda: bool(checkpoint.finished(workdir / "checkpoints")), 300, output)
    ask(slurm, "scancel", "--batch", "--signal=USR1", job)  # as five minutes before the time limit
    wait_until(lambda: told("Restarts") == "1", 60, output)
    wait_until(lambda: told("JobState") in ("COMPLETED", "FAILED"), 300, output)
    text = output.read_text()
    assert told("JobState") == "COMPLETED", text
    assert text.count("stopped by SIGTERM; the state of step") == 2
    assert text.count("resumed from step") == 2

    whole = run_cli.pretrain_command(tmp_path / "whole", *STEPS)[3:]
    other = run_cli.run(
        ["bash", "launch/local.sh", "2", "--", "pretrain", *whole], SSL_SINGLE_IMAGE=slurm["SSL_SINGLE_IMAGE"]
    )
    assert other.returncode == 0, other.stderr
    preempted, want = run_cli.parameters(workdir), run_cli.parameters(tmp_path / "whole")
    for name in want:
        np.testing.assert_array_equal(preempted[name], want[name], err_msg=name)
