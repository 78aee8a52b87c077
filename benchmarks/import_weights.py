"""Seconds to load an encoder from a file of weights of another program, against PyTorch's own loading of the file.

The file is a DeepCluster AlexNet with a head of 1,000 clusters, as `torch.save` writes it and in safetensors. Ours
gives an encoder that is ready to use. Peers give copies of the tensors of the trunk, by `torch.load(weights_only=True)`
with and without `mmap` and by `safetensors.torch.load_file`. `ours_first` is the first call, which also traces
the network. The file is in the page cache. `python benchmarks/import_weights.py --json`; peers need PyTorch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common
import numpy as np

from ssl_single_image.runs import load_encoder
from ssl_single_image.runs.foreign import safetensors_file, torch_writer

TRUNK = ((96, 2, 11), (256, 96, 5), (384, 256, 3), (384, 384, 3), (256, 384, 3))
"""Output channels, input channels and side of each convolution."""
WRITERS: dict[str, Callable[[Mapping[str, np.ndarray], Mapping[str, str]], bytes]] = {
    "pth": torch_writer.write,
    "safetensors": safetensors_file.write,
}


def weights(clusters: int) -> dict[str, np.ndarray]:
    """DeepCluster's checkpoint with random weights, by its names."""
    rng = np.random.default_rng(0)
    found = {}
    for number, (outputs, inputs, side) in zip((0, 4, 8, 11, 14), TRUNK, strict=True):
        found[f"features.{number}.weight"] = rng.normal(size=(outputs, inputs, side, side)).astype(np.float32)
        found[f"features.{number}.bias"] = np.zeros(outputs, np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"features.{number + 1}.{part}"] = np.ones(outputs, np.float32)
    for name, outputs, inputs in (
        ("classifier.1", 4096, 9216),
        ("classifier.4", 4096, 4096),
        ("top_layer", clusters, 4096),
    ):
        found[f"{name}.weight"] = np.ones((outputs, inputs), np.float32)
        found[f"{name}.bias"] = np.zeros(outputs, np.float32)
    return found


def peers(path: Path) -> dict[str, Callable[[], Any]]:
    """What else loads the file.

    Raises:
      ImportError: PyTorch is not installed.
    """
    import torch

    def trunk(state: Mapping[str, Any]) -> list[Any]:
        return [value.clone() for name, value in state.items() if name.startswith("features.")]

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return {"safetensors.torch": lambda: trunk(load_file(path))}

    def load(**how: Any) -> list[Any]:
        return trunk(torch.load(path, weights_only=True, **how)["state_dict"])

    return {"torch.load": load, "torch.load, mmap": lambda: load(mmap=True)}


def measure(path: Path, repeats: int) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each peer, and who could not start."""
    skipped = []
    ours = lambda: load_encoder(f"file:{path}").encoder.params  # noqa: E731
    start = time.perf_counter()
    ours()
    first = time.perf_counter() - start
    try:
        others = peers(path)
    except ImportError as error:
        others = {}
        skipped.append(f"{path.suffix[1:]}: {error}")
    seconds = common.interleave({"": ours, **others}, repeats)
    return [
        {
            "case": f"{path.suffix[1:]}, {path.stat().st_size / 1e6:.0f} MB",
            "peer": peer,
            "ours": seconds[""],
            "theirs": seconds[peer] if peer else None,
            "ratio": seconds[""] / seconds[peer] if peer else None,
            "unit": "s",
            "ours_first": first,
        }
        for peer in others or [""]
    ], skipped


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clusters", type=int, default=1000, help="outputs of the head, which make the file large"
    )


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    arrays = weights(args.clusters)
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in WRITERS.items():
            path = Path(folder) / f"net.{suffix}"
            path.write_bytes(write(arrays, {}))
            found, left = measure(path, args.repeats)
            rows, skipped = rows + found, skipped + left
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
