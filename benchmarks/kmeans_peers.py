"""k-means on given points by this package, faiss or scikit-learn, each in a process of its own.

`python benchmarks/kmeans_peers.py CONTENDER FOLDER K ITERATIONS`, see `common.Worker`; run by `kmeans.py`. Points are
read from FOLDER/points.npy; the centroids of run i are left in FOLDER/CONTENDER_i.npy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np

Run = Callable[[int], np.ndarray]
OURS = "ours"


def ours(x: np.ndarray, k: int, iterations: int, dtype: str = "float32") -> Run:
    import jax

    from ssl_single_image import clustering

    points = jax.device_put(x)
    run = jax.jit(lambda x, key: clustering.kmeans(x, key, k, iterations=iterations, dtype=dtype))

    def work(seed: int) -> np.ndarray:
        result = jax.block_until_ready(run(points, jax.random.key(seed)))
        return np.asarray(result.centroids)

    return work


def faiss(x: np.ndarray, k: int, iterations: int) -> Run:
    import faiss

    faiss.omp_set_num_threads(os.cpu_count() or 1)

    def work(seed: int) -> np.ndarray:
        # Or it would cluster a sample.
        kmeans = faiss.Kmeans(x.shape[1], k, niter=iterations, max_points_per_centroid=len(x), seed=seed + 1)
        kmeans.train(x)
        kmeans.index.search(x, 1)
        return kmeans.centroids

    return work


def scikit_learn(x: np.ndarray, k: int, iterations: int) -> Run:
    from sklearn.cluster import KMeans

    def work(seed: int) -> np.ndarray:
        kmeans = KMeans(k, init="random", n_init=1, max_iter=iterations, tol=0, random_state=seed)
        return kmeans.fit(x).cluster_centers_

    return work


CONTENDERS: dict[str, Callable[[np.ndarray, int, int], Run]] = {
    OURS: ours,
    "ours in bfloat16": lambda x, k, iterations: ours(x, k, iterations, "bfloat16"),
    "faiss": faiss,
    "scikit-learn": scikit_learn,
}


def main() -> None:
    contender, folder, k, iterations = sys.argv[1:]
    run = CONTENDERS[contender](np.load(Path(folder) / "points.npy"), int(k), int(iterations))

    def work(number: int) -> int:
        np.save(Path(folder) / f"{contender}_{number}.npy", run(number))
        return 1

    common.serve(work)


if __name__ == "__main__":
    main()
