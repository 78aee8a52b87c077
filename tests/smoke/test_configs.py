"""Every pretraining config runs two steps, end to end, in a process as a user starts it."""

import sys

import pytest
import run_cli

CASES = {
    "bigan": ["preset=demo", "preset=cifar32", "preset=imagenet224"],
    "deepcluster": ["preset=demo", "preset=cifar32", "preset=imagenet224"],
    "rotnet": ["preset=demo", "preset=cifar32", "preset=imagenet224"],
    "supervised": [
        "preset=demo,dataset=photos",
        "preset=cifar32,dataset=photos",
        "preset=imagenet224,dataset=photos",
    ],
}


def test_all_configs_are_covered():
    names = {path.stem for path in (run_cli.ROOT / "configs" / "pretrain").glob("*.py")}
    assert names == set(CASES)


@pytest.mark.parametrize(("name", "arg"), [(name, arg) for name, args in CASES.items() for arg in args])
def test_two_steps(tmp_path, name, arg):
    config = f"--config=configs/pretrain/{name}.py:{arg}"
    command = [sys.executable, "-m", "ssl_single_image.cli.pretrain", config, f"--workdir={tmp_path / 'run'}"]
    small = ["--config.steps=2", "--config.batch_size=2", "--config.eval_batches=1", "--config.log_every=1"]
    if name == "deepcluster":  # a refresh comes first, and sees every crop
        small += ["--config.crops=20", "--config.objective_options.clusters=4"]
    done = run_cli.run([*command, *small])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == (4 if name == "deepcluster" else 3)
