"""Every pretraining config runs two steps, end to end, by the command as a user gives it.

In this process, which spares starting a dozen others; `test_pretrain_cli` starts processes.
"""

import pytest
import run_cli

SHORT, LONG = "preset=demo", ("preset=cifar32", "preset=imagenet224")
"""`cifar32` has the networks of `demo`; `imagenet224` takes gigabytes to compile."""
CASES = {
    "bigan": "",
    "deepcluster": "",
    "jigsaw": "",
    "pirl": "",
    "rotnet": "",
    "simclr": "",
    "supervised": ",dataset=photos",
}


def test_all_configs_are_covered():
    names = {path.stem for path in (run_cli.ROOT / "configs" / "pretrain").glob("*.py")}
    assert names == set(CASES)


@pytest.mark.parametrize("preset", [SHORT, *(pytest.param(one, marks=pytest.mark.slow) for one in LONG)])
@pytest.mark.parametrize("name", CASES)
def test_two_steps(tmp_path, name, preset):
    config = f"--config=configs/pretrain/{name}.py:{preset}{CASES[name]}"
    command = ["pretrain", config, f"--workdir={tmp_path / 'run'}", "--devices=1"]
    small = ["--config.steps=2", "--config.batch_size=2", "--config.eval_batches=1", "--config.log_every=1"]
    small += ["--config.optimizer.learning_rate=1e-4"]  # by two images a step a run would diverge
    if name == "deepcluster":  # a refresh comes first, and sees every crop
        small += ["--config.crops=20", "--config.objective_options.clusters=4"]
    if name == "pirl" and "imagenet224" in preset:  # a bank of 20 MB instead of 700
        small += ["--config.crops=40000"]
    assert run_cli.call([*command, *small]) == 0
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == (4 if name == "deepcluster" else 3)
