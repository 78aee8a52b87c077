"""Clustering on the device: PCA, k-means, and how well two clusterings agree.

All functions are pure and run inside `jax.jit`. Given the mapped axis, they also run inside `jax.pmap`, where each
replica holds its part of the points. n devices give one device's answer up to rounding.
"""

from __future__ import annotations

from ssl_single_image.clustering.agreement import nmi
from ssl_single_image.clustering.kmeans import DTYPES, KMeans, kmeans, repair_empty
from ssl_single_image.clustering.pca import PCA, fit_pca, l2_normalise, project
from ssl_single_image.clustering.seeding import SEEDINGS

__all__ = [
    "DTYPES",
    "PCA",
    "SEEDINGS",
    "KMeans",
    "fit_pca",
    "kmeans",
    "l2_normalise",
    "nmi",
    "project",
    "repair_empty",
]
