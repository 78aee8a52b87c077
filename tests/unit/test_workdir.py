"""Whose run a folder holds."""

import re
import subprocess
import sys
from pathlib import Path

import filelock
import jax
import pytest

import ssl_single_image
from ssl_single_image.runs import environment, workdir
from ssl_single_image.types import InputError

CONFIG = {"steps": 10, "crop": {"size": 32, "blur_sigma": (0.1, 2.0)}, "keep": 3}


def test_config_json_says_what_computed_the_run_which_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir.claim(tmp_path, CONFIG)
    told = workdir.read(tmp_path)[workdir.ENVIRONMENT]
    assert told["version"] == ssl_single_image.__version__
    assert told["packages"]["jax"] == jax.__version__
    assert (told["backend"], told["devices"], told["processes"]) == ("cpu", jax.device_count(), 1)
    assert told["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", told["commit"])
    assert told["processor"]
    monkeypatch.setattr(environment, "describe", lambda: told | {"device": "another"})
    workdir.claim(tmp_path, CONFIG)
    assert workdir.read(tmp_path)[workdir.ENVIRONMENT]["device"] == "another"


def test_claim_is_repeatable(tmp_path):
    workdir.claim(tmp_path / "a" / "run", CONFIG)
    workdir.claim(tmp_path / "a" / "run", CONFIG)
    assert workdir.read(tmp_path / "a" / "run")["crop"]["size"] == 32


def test_another_config_is_refused_by_the_keys_that_differ(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    other = CONFIG | {"crop": {"size": 64, "blur_sigma": (0.1, 2.0)}, "keep": 5}
    with pytest.raises(InputError, match=r"crop\.size was 32, is 64") as error:
        workdir.claim(tmp_path, other, free=("keep",))
    assert "keep" not in str(error.value)
    assert workdir.read(tmp_path) == workdir.read(tmp_path) | {"keep": 3}


def test_free_keys_may_change(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    workdir.claim(tmp_path, CONFIG | {"keep": 5}, free=("keep",))
    assert workdir.read(tmp_path)["keep"] == 5


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file"):
        workdir.claim(tmp_path / "run", CONFIG)


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        workdir.claim(tmp_path, CONFIG)


HOLD = """
import sys, time
from pathlib import Path
from ssl_single_image.runs import workdir
with workdir.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_use_is_refused_and_a_dead_holder_is_replaced(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match=rf"is in use by process {other.pid} on .* since 20"),
            workdir.held(tmp_path),
        ):
            pass
        other.kill()
    with workdir.held(tmp_path):
        assert (tmp_path / workdir.HOLDER).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_holder_on_another_host_is_given_time_and_then_replaced(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(workdir, "LEASE", 0.3)
    lease = filelock.SoftFileLease(tmp_path / workdir.LOCK, lease_duration=0.3, heartbeat_interval=0.29)
    lease.acquire()
    (tmp_path / workdir.HOLDER).write_text('{"host": "elsewhere", "pid": 7, "since": "2026-01-01 00:00:00"}')
    refused = pytest.raises(InputError, match="in use by process 7 on elsewhere since 2026-01-01")
    with caplog.at_level("WARNING"), refused, workdir.held(tmp_path):
        pass
    assert "waiting" in caplog.text
    lease._stop_heartbeat()  # the other host is gone
    with workdir.held(tmp_path):
        pass


def test_an_attempt_without_results_is_replaced_and_its_leavings_go(tmp_path, caplog):
    workdir.claim(tmp_path, CONFIG)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("kept")
    with caplog.at_level("WARNING"):
        workdir.claim(tmp_path, CONFIG | {"steps": 20}, results=False, leavings=("metrics.jsonl",))
    assert "replaces an attempt without results (steps was 10, is 20)" in caplog.text
    assert workdir.read(tmp_path)["steps"] == 20
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "mine.txt"}


def test_what_the_results_were_made_with_counts_and_not_the_file(tmp_path):
    with pytest.raises(InputError, match="steps was 10, is 20"):
        workdir.claim(tmp_path, CONFIG | {"steps": 20}, recorded=CONFIG)


@pytest.mark.parametrize("place", ["file/run", "file"])
def test_a_file_in_the_way_is_named(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{tmp_path}/file is a file"), workdir.held(tmp_path / place):
        pass


def test_a_place_that_can_not_be_written_to_is_named():
    with (
        pytest.raises(InputError, match="workdir /proc/run: can't be written to"),
        workdir.held(Path("/proc/run")),
    ):
        pass
