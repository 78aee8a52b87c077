"""Seconds that a report of many workdirs takes, and the size of its page.

Half of the workdirs are pretraining runs with a checkpoint, curves and samples; half are probes of one data set, each
of three runs and an untrained network. They are made in a temporary folder first, which is not timed. The program is
started and compiled before. `python benchmarks/report.py --json`; there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import jax.numpy as jnp
import numpy as np
from PIL import Image

import ssl_single_image as ssi
from ssl_single_image.experiments import configs
from ssl_single_image.runs import environment
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import State

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
SHA256 = "0123456789abcdef" * 4
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LINES = 54
"""Lines in a run's metrics."""
LAST_STEP = 2700


def make_run(folder: Path, number: int, objective: str = "rotnet", images: int = 1) -> Path:
    """A pretraining run as `pretrain` leaves it; its encoder is untrained."""
    settings = configs.read(
        "pretrain", ssi.pretrain_config(objective, image="builtin:astronaut", seed=number)
    )
    record = {"name": "builtin:astronaut", "shape": [512, 512, 3], "sha256": SHA256}
    config = settings.resolved().to_config() | {"inputs": [record] * images}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config | {"environment": environment.describe()}))
    rng = np.random.default_rng(number)
    lines = [
        {
            "step": 50 * (i + 1),
            "train/loss": 1.4 * 0.98**i + 0.05 * rng.random(),
            "train/accuracy": 1 - 0.7 * 0.98**i,
            "train/learning_rate": 0.05 * (1 - i / LINES),
            **(
                {"eval/loss": 1.4 * 0.98**i + 0.1, "eval/accuracy": 0.9 - 0.6 * 0.98**i} if i % 6 == 5 else {}
            ),
        }
        for i in range(LINES)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    clocks = [
        {"step": line["step"], "seconds": 3 * line["step"], "views_per_second": 1200.0} for line in lines
    ]
    (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in clocks))
    Image.fromarray(rng.integers(0, 256, (240, 320, 3), np.uint8)).resize((640, 480)).save(
        folder / "samples.png"
    )
    encoder = ssi.load_encoder(f"random:{settings.backbone}@{number}").encoder
    store = CheckpointStore(folder)
    store.save(State(jnp.int32(LAST_STEP), {}, {}, {}, {}), encoder, config, {"eval/loss": 1.2})
    store.close()
    return folder


def make_probe(folder: Path, checkpoints: list[str], seed: int = 0, **changes: Any) -> Path:
    """A probe as `probe` leaves it, of invented numbers; the first checkpoint should be an untrained network."""
    rng = np.random.default_rng(seed)
    results = [_result(name, rng) for name in checkpoints]
    classes = changes.pop("classes", CLASSES)
    probe = {
        "dataset": "cifar10",
        "kind": "linear",
        "title": "linear probes",
        "protocol": "cached",
        "classes": len(classes),
        "chance": 10.0,
        "train_images": 50_000,
        "test_images": 10_000,
        "size": 32,
        "test": "centre",
        "data": {"classes": list(classes)},
        "results": results,
    }
    folder.mkdir(parents=True)
    config = configs.read("probe", ssi.probe_config("cifar10", seed=seed)).to_config()
    record = config | {"checkpoint": checkpoints, "environment": environment.describe()}
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "probe.json").write_text(json.dumps(probe | changes))
    (folder / "timings.jsonl").write_text('{"seconds": 321.0}\n')
    return folder


def _result(checkpoint: str, rng: np.random.Generator) -> dict[str, Any]:
    trained = not checkpoint.startswith("random:")
    base = np.array([57.8, 55.5, 54.2, 47.3, 42.0])
    gain = np.array([-0.3, 3.2, 6.0, 5.1, -1.5]) + rng.normal(0, 0.4, 5) if trained else np.zeros(5)
    layers = {
        layer: {
            "top1": float(top1),
            "top5": float(min(99.0, top1 + 35)),
            "features": 3072,
            "interval": [float(top1 - 1), float(top1 + 1)],
            "per_class": [float(x) for x in np.clip(rng.normal(top1, 12, len(CLASSES)), 0, 100)],
        }
        for layer, top1 in zip(LAYERS, base + gain, strict=True)
    }
    at = checkpoint.rpartition("@")[2]
    step = 0 if not trained else int(at) if at.isdecimal() else LAST_STEP
    result: dict[str, Any] = {"checkpoint": checkpoint, "step": step, "backbone": "alexnet32"}
    result |= {"encoder": {"backbone": "alexnet32", "options": {}, "size": 32}, "layers": layers}
    if trained:
        points = dict(zip(LAYERS, map(float, gain), strict=True))
        result["gains"] = {
            layer: {"points": value, "interval": [value - 1, value + 1]} for layer, value in points.items()
        }
        result["crops"] = 32 * step
    return result


def make_workdirs(place: Path, count: int) -> list[Path]:
    """Half runs, half probes of three runs each."""
    runs = [make_run(place / "runs" / "rotnet-0", 0)]
    for number in range(1, count - count // 2):  # the checkpoint is copied: making it is not what is timed
        runs.append(place / "runs" / f"rotnet-{number}")
        shutil.copytree(runs[0], runs[-1])
    probes = []
    for number in range(count // 2):
        chosen = [str(runs[(number + i) % len(runs)]) for i in range(3)]
        names = [f"random:alexnet32@{number}", *dict.fromkeys(chosen)]
        probes.append(make_probe(place / "probes" / f"cifar10-{number}", names, seed=number))
    return [*runs, *probes]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdirs", type=int, default=50, help="how many, half of them probes")


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row: seconds of a report."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        workdirs = make_workdirs(place, args.workdirs)
        ssi.report(workdirs[:1], place / "first")  # imports and fonts
        seconds = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            page = ssi.report(workdirs, place / "report")
            seconds.append(time.perf_counter() - start)
        size = Path(page).stat().st_size / 2**20
    ours = statistics.median(seconds)
    case = f"report of {args.workdirs} workdirs"
    return [
        {"case": case, "peer": "", "ours": ours, "theirs": None, "ratio": None, "unit": "s", "page_mib": size}
    ]


def main() -> None:
    args = common.parse(__doc__, add_flags)
    common.report(measure(args), args.json)


if __name__ == "__main__":
    main()
