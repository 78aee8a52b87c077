"""launch/tpu_pod.sh with stand-ins for gcloud and for the workers' command line."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launch_fakes import LAUNCH, found_first, program, wait_for

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="launch/ needs bash")

POD = ["--name=pod", "--zone", "us-east5-b"]
COMMAND = ["pretrain", "--config=a b", "it's", '"$HOME" *', "two\nlines", "", "--", "x"]
NOTES = """
import json, os, sys
json.dump([sys.argv[1:], os.environ.get("SSL_DISTRIBUTED"), os.getcwd()], open("noted.json", "w"))
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """The home folder of the one worker; gcloud notes what it is given and runs the command there as ssh would."""
    home = tmp_path / "home"
    gcloud = f"""
    printf '%s\\n' "${{@:1:$#-1}}" >>{tmp_path}/gcloud.log
    cd {home}
    last=${{@: -1}}
    exec bash -c "${{last#--command=}}"
    """
    program(tmp_path / "bin", "gcloud", gcloud)
    (home / "ssl_single_image").mkdir(parents=True)
    return home


def cli(home: Path, body: str) -> None:
    program(
        home / "ssl_single_image" / ".venv" / "bin",
        "ssl-single-image",
        body,
        sys.executable,
    )


def launch(home: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(LAUNCH / "tpu_pod.sh"), *words],
        env=found_first(home.parent / "bin", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_words_arrive_as_they_were_given(worker: Path) -> None:
    cli(worker, NOTES)
    process = launch(worker, *POD, "--project=mine", "--", *COMMAND)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    place = worker / "ssl_single_image"
    assert json.loads((place / "noted.json").read_text()) == [COMMAND, "auto", str(place)]
    called = (worker.parent / "gcloud.log").read_text().splitlines()
    assert called[:5] == ["compute", "tpus", "tpu-vm", "ssh", "pod"]
    assert called[5:] == ["--zone=us-east5-b", "--project=mine", "--worker=all", "--quiet"]


def test_another_folder_and_another_program(worker: Path) -> None:
    place = worker / "my clone"
    program(place, "run me", NOTES, sys.executable)
    process = launch(worker, *POD, "--dir", "my clone", "probe", SSL_SINGLE_IMAGE="./run me")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert json.loads((place / "noted.json").read_text())[0] == ["probe"]


@pytest.mark.parametrize("status", [2, 143])
def test_the_exit_status_is_passed_on(worker: Path, status: int) -> None:
    cli(worker, f"raise SystemExit({status})")
    process = launch(worker, *POD, "--", "pretrain")
    process.communicate(timeout=30)
    assert process.returncode == status


def test_a_dry_run_prints_the_command_and_runs_nothing(worker: Path) -> None:
    process = launch(worker, *POD, "--dry_run", "--", *COMMAND[:4])
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert not (worker.parent / "gcloud.log").exists()
    words = shlex.split(out)
    assert words[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]
    inner = shlex.split(words[-1].removeprefix("--command="))
    assert inner[:2] == ["cd", "ssl_single_image"]
    assert inner[-len(COMMAND[:4]) :] == COMMAND[:4]


SAVES = """
import signal, sys, time
received = []
signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
open("started", "w").close()
end = time.monotonic() + 30
while not received and time.monotonic() < end: time.sleep(.01)
time.sleep(.3)
open("saved", "w").write(str(received))
sys.exit(143)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_has_the_workers_save(worker: Path, number: signal.Signals) -> None:
    cli(worker, SAVES)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # bash can't trap what is ignored
    try:
        process = launch(worker, *POD, "--", "pretrain")
    finally:
        signal.signal(signal.SIGINT, before)
    place = worker / "ssl_single_image"
    wait_for([place / "started"])
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143
    assert (place / "saved").read_text() == f"[{int(signal.SIGTERM)}]"
    assert "save their state" in error


def test_stop_ends_what_another_call_began(worker: Path) -> None:
    cli(worker, SAVES)
    first = launch(worker, *POD, "--", "pretrain")
    place = worker / "ssl_single_image"
    wait_for([place / "started"])
    second = launch(worker, *POD, "--stop")
    _, error = second.communicate(timeout=30)
    assert second.returncode == 0, error
    first.communicate(timeout=30)
    assert first.returncode == 143
    assert (place / "saved").exists()


def test_stop_leaves_a_program_alone_that_has_got_the_number(worker: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (worker / "ssl_single_image" / ".tpu_pod.pid").write_text(f"{other.pid}\n")
        process = launch(worker, *POD, "--stop")
        process.communicate(timeout=30)
        assert process.returncode != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--zone=z", "--", "pretrain"], "--name: missing"),
        (["--name=n", "--", "pretrain"], "--zone: missing"),
        (POD, "no command"),
        ([*POD, "--workers=2", "--", "pretrain"], "--workers=2: no such option"),
        (["--zone=z", "--name"], "--name: needs a value"),
        ([*POD, "--stop", "--", "pretrain"], "--stop: takes no command"),
        ([*POD, "--dir=", "--", "pretrain"], "--dir: is empty"),
    ],
)
def test_wrong_usage(worker: Path, words: list[str], told: str) -> None:
    process = launch(worker, *words)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (worker.parent / "gcloud.log").exists()


def test_gcloud_is_not_there(worker: Path) -> None:
    (worker.parent / "bin" / "gcloud").unlink()
    bash = shutil.which("bash")
    process = subprocess.run(
        [str(bash), str(LAUNCH / "tpu_pod.sh"), *POD, "--", "pretrain"],
        env={"PATH": str(worker.parent / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "gcloud: not found" in process.stderr
