"""Two hosts without a common disk work on one run in a store, and go on with it on machines that have never seen it."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import run_cli


@pytest.mark.slow
def test_two_hosts_without_a_common_disk(tmp_path):
    """Each has a cache folder of its own; all they share is the store, which is a folder behind `local://`."""
    program = Path(sys.executable).with_name("ssl-single-image")
    host = tmp_path / "host.sh"
    host.write_text(
        f'#!/bin/bash\nexport XDG_CACHE_HOME={tmp_path}/host$SSL_PROCESS_ID\nexec {program} "$@"\n'
    )
    host.chmod(0o755)
    store, url = tmp_path / "store" / "run", f"local://{tmp_path}/store/run"
    for steps in (2, 3):
        words = run_cli.pretrain_command(
            Path("unused"), f"--config.steps={steps}", "--config.checkpoint_every=1"
        )
        words = ["pretrain", *[word for word in words[3:] if "--workdir" not in word], f"--workdir={url}"]
        done = run_cli.run(["bash", "launch/local.sh", "2", "--", *words], SSL_SINGLE_IMAGE=str(host))
        assert done.returncode == 0, done.stderr
        for number in (0, 1):
            shutil.rmtree(tmp_path / f"host{number}")
    assert done.stderr.count("resumed from step 2") == 1
    assert [json.loads(line)["step"] for line in (store / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]
    assert (store / "checkpoints" / "3" / "encoder").is_dir()
    assert not (store / ".lease.json").exists()
    told = run_cli.run(
        [str(program), "status", url], XDG_CACHE_HOME=str(tmp_path / "reader"), SSL_PROCESS_ID="0"
    )
    assert "complete" in told.stdout, told.stderr
    assert "3 of 3 steps" in told.stdout
