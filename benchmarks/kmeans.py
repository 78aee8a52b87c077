"""Seconds of k-means against faiss and scikit-learn, and the inertia that each ends with.

Contenders work in processes of their own, in interleaved rounds, on all cores and the same points, from other random
seed points in each round: 20 updates of the centroids and the final assignment. Inertia is the mean over rounds of the
mean squared distance, computed alike for all from their centroids. `python benchmarks/kmeans.py --json`; without faiss
or scikit-learn (`pip install faiss-cpu scikit-learn`) they are left out.

The points resemble whitened features of unit length, as DeepCluster has them: nearly isotropic, with weak clusters.
They are 3 k Gaussians whose means make up a third of the variance, scaled to the unit sphere.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from kmeans_peers import CONTENDERS, OURS

BETWEEN = 0.7
"""Deviation of the mixture's means, in each dimension; that of points around them is 1."""


def make_points(n: int, dims: int, k: int) -> np.ndarray:
    """(n, dims) float32 rows of unit length."""
    rng = np.random.default_rng(0)
    means = BETWEEN * rng.standard_normal((3 * k, dims), np.float32)
    x = means[rng.integers(0, len(means), n)] + rng.standard_normal((n, dims), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def inertia(x: np.ndarray, centroids: np.ndarray) -> float:
    """Mean squared distance of points of unit length to the nearest centroid."""
    lengths = np.square(centroids).sum(1)
    parts = np.array_split(x, -(-len(x) // 10_000))
    return sum(float((1 + lengths - 2 * part @ centroids.T).min(1).sum()) for part in parts) / len(x)


def measure(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each peer, and who could not start."""
    workers, skipped = {}, []
    x = make_points(args.points, args.dims, args.clusters)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "points.npy", x)
        for contender in CONTENDERS:
            try:
                workers[contender] = common.Worker(
                    ["kmeans_peers.py", contender, folder, str(args.clusters), str(args.iterations)]
                )
            except RuntimeError as error:
                skipped.append(f"{contender}: {error}")
        rates, peaks = common.compare(workers, args.repeats, seconds=1e-3)
        final = {name: np.mean([inertia(x, c) for c in results(Path(folder), name)]) for name in workers}
    case = f"n={args.points} d={args.dims} k={args.clusters}, {args.iterations} iterations"
    return [
        {
            "case": case,
            "peer": peer,
            "ours": 1 / rates[OURS],
            "theirs": 1 / rates[peer] if peer else None,
            "ratio": rates[OURS] / rates[peer] if peer else None,
            "unit": "s",
            "ours_inertia": final[OURS],
            "theirs_inertia": final[peer] if peer else None,
            "ours_peak_mib": peaks[OURS],
            "theirs_peak_mib": peaks.get(peer),
        }
        for peer in [name for name in workers if name != OURS] or [""]
    ], skipped


def results(folder: Path, contender: str) -> list[np.ndarray]:
    """The centroids of each timed round."""
    return [np.load(path) for path in folder.glob(f"{contender}_[!0]*.npy")]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=5)
    parser.add_argument("--points", type=int, default=100_000, help="n")
    parser.add_argument("--dims", type=int, default=256, help="d")
    parser.add_argument("--clusters", type=int, default=1000, help="k")
    parser.add_argument("--iterations", type=int, default=20, help="updates of the centroids")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    rows, skipped = measure(args)
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
