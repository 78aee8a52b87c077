"""Data-dependent initialisation: the filters of every layer are clusters of the patches that enter it.

Krähenbühl, Doersch, Donahue and Darrell 2016, "Data-dependent initializations of convolutional neural networks".
Nothing is trained. Two things differ from their code: clusters come from full k-means instead of minibatches, and a
layer with more filters than values in a patch takes raw patches for the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Float64, Key

from ssl_single_image import augment, clustering, models
from ssl_single_image.errors import InputError
from ssl_single_image.images import Atlas
from ssl_single_image.keys import Stream, stream
from ssl_single_image.objectives import responses
from ssl_single_image.types import EncoderSpec, EncoderVariables

CROPS = 160
"""Crops that the initialisation sees; published: ten batches of 16."""
PLACES = 32
"""Patches that are taken from each crop, in every layer."""
ITERATIONS = 20
RIDGE, NOTHING = 1e-3, 1e-6
"""What is added to eigenvalues before they are divided by, and the least one that is; of sums over patches."""


def initialise(spec: EncoderSpec, atlas: Atlas, crop: augment.CropSpec, seed: int) -> EncoderVariables:
    """The encoder after its initialisation by crops of the images of an atlas.

    The layers are made one after the other, each from what the layers before it give. Responses of a layer have mean
    .1 and standard deviation 1 over the crops, before the ReLU. Where batch norm follows, it has the measured mean and
    variance as running statistics, gain 1 and shift .1; its convolution's bias, if there is one, stays 0. In inference
    mode it thereby does what the published initialisation does with the bias.

    Args:
      spec: of a backbone that is a chain of convolutions.
      atlas: the images.
      crop: how crops of `spec.size` pixels are drawn.
      seed: of the crops, the places of patches and the clustering.

    Raises:
      InputError: another kind of backbone.
    """
    trunk = models.chain(spec.backbone, spec.options)
    if trunk is None:
        raise InputError(
            f"backbone {spec.backbone}: k-means initialisation needs a chain of convolutions, such as alexnet32"
        )
    key = stream(seed, Stream.INIT)
    blank = models.untrained(spec, key)
    params, statistics = (jax.tree.map(np.asarray, part) for part in (blank.params, blank.batch_stats))
    variables = {"params": params, "batch_stats": statistics}
    x = responses.normalised_crops(spec, atlas, crop, seed, CROPS)
    for number, layer in enumerate(trunk.layers, 1):
        name = f"conv{number}"
        entering = responses.entering(trunk, name, variables, x)
        place_key, cluster_key = jax.random.split(jax.random.fold_in(key, number))
        patches = draw_patches(entering, layer, place_key)
        flat = filters(np.asarray(patches, np.float64), layer.features, cluster_key)
        kernel = flat.reshape(params[name]["kernel"].shape).astype(np.float32)
        variables = responses.put(variables, number, kernel, *responses.moments(layer, entering, kernel))
    return EncoderVariables(spec, variables["params"], variables["batch_stats"])


def draw_patches(
    x: Float[Array, "B H W C"], layer: models.ConvSpec, key: Key[Array, ""]
) -> Float[Array, "n D"]:
    """PLACES windows of a convolution from each image, flat in the order of its kernel: (B PLACES, k k C).

    Places are drawn uniformly, and the zeros of the padding are part of a window.
    """
    size, stride, pad = layer.kernel, layer.stride, layer.padding
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    counts = [(side - size) // stride + 1 for side in padded.shape[1:3]]
    shape = (len(x), PLACES)
    rows, columns = (
        stride * jax.random.randint(each, shape, 0, count)
        for each, count in zip(jax.random.split(key), counts, strict=True)
    )

    def cut(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (row, column, 0), (size, size, image.shape[-1]))

    windows = jax.vmap(jax.vmap(cut, (None, 0, 0)))(padded, rows, columns)
    return windows.reshape(len(x) * PLACES, -1)


def filters(
    patches: Float64[np.ndarray, "n D"], count: int, key: Key[Array, ""]
) -> Float64[np.ndarray, "D count"]:
    """Filters as columns, each scaled so that its responses to the patches have standard deviation 1.

    The first min(count, D) are centres of k-means of the whitened patches of unit length, taken back to the space of
    patches. The rest are patches less the mean of all. A filter that responds to nothing stays as it is.

    Args:
      patches: more than `count`.
      count: of filters.
      key: for k-means and for the choice of patches.
    """
    centred = patches - patches.mean(0)
    clusters = min(count, patches.shape[1])
    back = whitening(centred, clusters)
    cluster_key, raw_key = jax.random.split(key)
    points = clustering.l2_normalise(jnp.asarray(centred @ back, jnp.float32))
    centres = np.asarray(_clusterer(clusters)(points, cluster_key), np.float64)
    raw = jax.random.choice(raw_key, len(patches), (count - clusters,), replace=False)
    found = np.concatenate([back @ centres.T, centred[np.asarray(raw)].T], 1)
    std = (centred @ found).std(0)
    return found / np.where(std > 0, std, 1)


@functools.cache
def _clusterer(count: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Compiled once for layers of the same shape."""
    return jax.jit(lambda x, key: clustering.kmeans(x, key, count, iterations=ITERATIONS).centroids)


def whitening(centred: Float64[np.ndarray, "n D"], components: int) -> Float64[np.ndarray, "D components"]:
    """Eigenvectors of the patches' scatter (a sum over patches) as columns, each divided by the root of its eigenvalue.

    Those of the largest eigenvalues are taken. RIDGE is added to an eigenvalue; directions below NOTHING become 0.
    """
    last = centred.shape[1] - 1
    values, vectors = scipy.linalg.eigh(centred.T @ centred, subset_by_index=(last + 1 - components, last))
    scale = np.where(values >= NOTHING, 1 / np.sqrt(np.maximum(values, NOTHING) + RIDGE), 0.0)
    return vectors * scale
