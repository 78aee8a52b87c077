"""Lloyd's algorithm and normalised mutual information as textbooks have them, in NumPy."""

import numpy as np


def squared_distances(x, centroids):
    return np.square(x[:, None].astype(np.float64) - centroids[None]).sum(-1)


def lloyd(x, centroids, iterations):
    """The textbook's loop; leaves empty clusters where they are."""
    history = []
    for step in range(iterations + 1):
        distances = squared_distances(x, centroids)
        labels = distances.argmin(1)
        history.append(distances.min(1).mean())
        if step < iterations:
            filled = np.bincount(labels, minlength=len(centroids)) > 0
            means = [x[labels == j].mean(0, dtype=np.float64) for j in np.flatnonzero(filled)]
            centroids = centroids.astype(np.float64)
            centroids[filled] = means
    return centroids, labels, np.array(history)


def nmi(a, b):
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    rows, columns = joint.sum(1), joint.sum(0)
    entropy = [-(p[p > 0] * np.log(p[p > 0])).sum() for p in (rows, columns)]
    information = (joint[joint > 0] * np.log((joint / np.outer(rows, columns).clip(1e-30))[joint > 0])).sum()
    return 2 * information / sum(entropy)


def mixture(n, dims, centres, spread, seed=0, dtype=np.float32):
    """Points around centres of unit variance."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(centres, dims))
    return (means[rng.integers(0, centres, n)] + spread * rng.normal(size=(n, dims))).astype(dtype)
