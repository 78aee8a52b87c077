"""Two processes, joined by jax.distributed through launch/local.sh, give the run that one gives."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import run_cli

JOINED_STEPS = str(Path(__file__).with_name("joined_steps.py"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process computes."""
    file = tmp_path_factory.mktemp("joined") / "one.npz"
    one = run_cli.run([sys.executable, JOINED_STEPS, str(file)])
    assert one.returncode == 0, one.stderr
    return dict(np.load(file))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "names"), [(2, []), (4, ["deepcluster"])])
def test_processes_compute_what_one_does(alone, count, names, tmp_path):
    """Every objective, DeepCluster's assignment too, and every kind of probe, in float64."""
    command = ["bash", "launch/local.sh", str(count), "--", JOINED_STEPS, f"{tmp_path}/joined.npz", *names]
    joined = run_cli.run(command, SSL_SINGLE_IMAGE=sys.executable)
    assert joined.returncode == 0, joined.stderr
    found = dict(np.load(tmp_path / "joined.npz"))
    probes = {"cached", "published", "ridge", "knn", "fewshot"}
    assert alone.keys() > {"rotnet 2", "bigan 2", "deepcluster 3", "supervised 2"} | probes
    assert found.keys() == alone.keys() if not names else found.keys() > {"deepcluster 3"} | probes
    for name in found:
        want = alone[name]
        objective, _, step = name.rpartition(" ")
        before = alone.get(f"{objective} {int(step) - 1}") if step.isdecimal() and step != "0" else None
        scale = want if before is None or before.shape != want.shape else want - before
        assert np.linalg.norm(found[name] - want) <= 1e-9 * np.linalg.norm(scale), name


def test_a_run_of_two_processes(tmp_path):
    """The command: it starts like the run of one process, ends, saves, and is resumed."""
    overrides = ["--config.steps=2", "--config.checkpoint_every=1"]
    one = run_cli.run(run_cli.pretrain_command(tmp_path / "one", *overrides))
    assert one.returncode == 0, one.stderr
    # The launcher takes the words after the program: `pretrain --config ...`.
    words = run_cli.pretrain_command(tmp_path / "two", *overrides)[3:]
    command = ["bash", "launch/local.sh", "2", "--", "pretrain", *words]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    two = run_cli.run(command, SSL_SINGLE_IMAGE=program)
    assert two.returncode == 0, two.stderr
    want, got = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("one", "two")
    )
    # The first loss precedes any update and is continuous in what is rounded; of half the batch it is 1 % off.
    assert got["step"] == want["step"] == 1
    np.testing.assert_allclose(got["train/loss"], want["train/loss"], rtol=1e-4)
    assert (tmp_path / "two" / "checkpoints" / "2").is_dir()
    resumed = run_cli.run(command, SSL_SINGLE_IMAGE=program)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 2" in resumed.stderr
    refused = run_cli.run([*command, "--config.seed=1"], SSL_SINGLE_IMAGE=program, SSL_KILL_AFTER="100")
    assert refused.returncode == 2
    told = [line for line in (refused.stdout + refused.stderr).splitlines() if "seed was 0, is 1" in line]
    assert len(told) == 2  # one from each process
    assert "Traceback" not in refused.stdout + refused.stderr


STUDY = """
from ssl_single_image.experiments.presets import as_config_dict
from ssl_single_image.experiments.study_settings import StudyConfig

def get_config():
    fields = {"batch_size": 4, "log_every": 2, "eval_every": 0, "checkpoint_every": 2}
    row = {"method": "RotNet", "images": "image B", "pretrain": "rotnet", "source": "b", "fields": fields, "views": 32}
    heads = {"epochs": 2, "batch_size": 12, "max_features": 128, "layers": ("conv1", "conv2")}
    return as_config_dict(StudyConfig(
        title="two", sources={"b": "builtin:astronaut"}, probe="photos", probe_fields=heads,
        rows=tuple({"name": name, **row} for name in ("one", "two")),
    ))
"""


@pytest.mark.slow
def test_two_processes_share_a_study_and_go_on_with_it(tmp_path):
    """The launcher starts two drivers; each row is done by one of them, and again when its result is gone."""
    (tmp_path / "two.py").write_text(STUDY)
    words = ["study", f"--config={tmp_path}/two.py", f"--workdir={tmp_path}/study"]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    for _ in range(2):
        both = run_cli.run(["bash", "launch/local.sh", "2", "--", *words], SSL_SINGLE_IMAGE=program)
        assert both.returncode == 0, both.stderr
        records = {
            path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("study/rows/*/row.json")
        }
        assert {name: record["state"] for name, record in records.items()} == {
            "one-0": "done",
            "two-0": "done",
        }
        assert (tmp_path / "study" / "report" / "index.html").exists()
        shown = both.stdout + both.stderr
        assert shown.count("two-0: probe") == 1
        (tmp_path / "study" / "probe" / "two-0" / "probe.json").unlink()
    assert "one-0: pretrain" not in shown
    assert "two-0: pretrain" not in shown
