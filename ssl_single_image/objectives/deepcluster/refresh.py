"""DeepCluster's refresh between epochs: the features of all crops are whitened and clustered into new labels."""

from __future__ import annotations

import dataclasses
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Integer

from ssl_single_image import augment, clustering, keys, models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.deepcluster.assignment import from_labels
from ssl_single_image.parallel import replicas
from ssl_single_image.schema import OneOf, Section, Within
from ssl_single_image.types import Metrics, PyTree, State

_TOP = tuple(map(jax.tree_util.DictKey, ("head", "top")))


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of DeepCluster; the defaults are the published system.

    Attributes:
      clusters: k, the number of clusters.
      features: what is clustered: "head", the last hidden layer before its ReLU, or "trunk", the flattened
        output of the convolutions.
      components: number of whitened dimensions that PCA keeps.
      floor: least variance that whitening divides by, relative to the largest.
      pca_crops: crops that PCA is fitted on; 0 or more than there are: all.
      iterations: number of iterations of k-means.
      seeding: how k-means draws its first centroids: "random" or "plusplus".
      reassign: epochs from one refresh to the next.
      view_min_area: smallest area of a training view, as a fraction of its crop's.
      view_jitter: whether the colour jitter of the crop is drawn for each training view anew, and crops that are
        clustered have none; the published system gives each crop one jitter for good.

    Raises:
      InputError: a value out of range.
    """

    TITLE = "objective_options"

    clusters: Annotated[int, Within(2)] = 10_000
    features: Annotated[str, OneOf("head", "trunk")] = "head"
    components: Annotated[int, Within(1)] = 256
    floor: Annotated[float, Within(0, 1, "(]")] = 1e-5
    pca_crops: Annotated[int, Within(0)] = 65_536
    iterations: Annotated[int, Within(1)] = 20
    seeding: Annotated[str, OneOf(*clustering.SEEDINGS)] = "random"
    reassign: Annotated[int, Within(1)] = 1
    view_min_area: Annotated[float, Within(0, 1, "(]")] = 0.08
    view_jitter: bool = False


def refresh(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> tuple[State, Metrics]:
    """Clusters the d crops again, and initialises the top layer and its optimiser state again.

    The features of all crops (running statistics, no augmentation of the crop) are whitened by PCA, scaled to unit
    length and clustered by k-means. The replicas share the crops.

    Let D be the number of features, C that of components, m that of crops PCA is fitted on, and n that of replicas.
    Each replica holds about 4 (m D + d C) / n + 4 (6 D^2 + 6 k C + 10 d) bytes. The network, a batch and a block of
    distances come on top. The published 224-px setting needs 2.9 GB on one device: D = 4096, C = 256, d = 1,281,167,
    k = 10,000, m = 65,536.

    The metrics are "nmi", "empty", "inertia" and quantiles of the clusters' sizes. "nmi" compares the new assignment
    with the last; the first time it compares with blocks of indices, which gives chance. "empty" counts empty clusters.
    "inertia" is the mean squared distance to the centroid.
    """
    options = options_of(setup)
    pca_key, cluster_key, top_key = jax.random.split(key, 3)
    points, inside = _points(setup, state, pca_key, atlas, axis_name)
    found = clustering.kmeans(
        points,
        cluster_key,
        options.clusters,
        iterations=options.iterations,
        seeding=options.seeding,
        weights=inside,
        axis_name=axis_name,
    )
    new = from_labels(found.labels, found.distances * inside, setup.crops, options.clusters, axis_name)
    sizes, one = new.sizes.astype(jnp.float32), jnp.float32(1)
    metrics: Metrics = {
        "nmi": (clustering.nmi(state.extras.labels(), new.labels()), one),
        "empty": ((sizes == 0).sum().astype(jnp.float32), one),
        "inertia": (found.inertia[-1], one),
    }
    for name, part in (("min", 0.0), ("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("max", 1.0)):
        metrics[f"size_{name}"] = (jnp.quantile(sizes, part), one)
    return restart_top(setup, state, top_key).replace(extras=new), metrics


def features(
    setup: common.Setup, state: State, atlas: Atlas, indices: Integer[Array, " B"]
) -> Float[Array, "B D"]:
    """(B, D) float32, what is clustered, of crops (B,) of the data set, by running statistics."""
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, stored(setup))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return _extract(setup, variables, setup.normalise(setup.widened(crops)))


def restart_top(setup: common.Setup, state: State, key: jax.Array) -> State:
    """Initialises the top layer and its part of the optimiser's state again."""
    head = state.params["head"]
    fan_in, outputs = head["top"]["kernel"].shape
    fresh = models.dense_top(outputs).init(key, jnp.zeros((1, fan_in)))["params"]
    is_top = jax.tree_util.tree_map_with_path(lambda path, _: path[: len(_TOP)] == _TOP, state.params)
    opt_state = optax.tree.map_params(
        setup.optimizer,
        lambda leaf, forgotten: jnp.zeros_like(leaf) if forgotten else leaf,
        state.opt_state,
        is_top,
    )
    params = state.params | {"head": head | {"top": fresh}}
    return state.replace(params=params, opt_state=opt_state)


def feature_count(setup: common.Setup) -> int:
    def describe() -> jax.Array:
        x = jnp.zeros((1, setup.encoder.size, setup.encoder.size, 3))
        network = setup.network(options_of(setup).clusters)
        _, made = network.init_with_output(keys.unused(), x, train=False, mutable=True)
        return _sown(setup, made["intermediates"])

    return jax.eval_shape(describe).size


def stored(setup: common.Setup) -> augment.CropSpec:
    """How the crops of the data set are made."""
    return setup.crop.replace(jitter_probability=0.0) if options_of(setup).view_jitter else setup.crop


def options_of(setup: common.Setup) -> Options:
    return setup.options or Options()


def _points(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """This replica's share of the crops as points for k-means (n, components), and which of them count (n,)."""
    options = options_of(setup)

    def describe(indices: jax.Array) -> jax.Array:
        return features(setup, state, atlas, indices)

    def reduce(pca: clustering.PCA, x: jax.Array) -> jax.Array:
        return clustering.l2_normalise(clustering.project(pca, x))

    def fit(x: jax.Array, inside: jax.Array) -> clustering.PCA:
        return clustering.fit_pca(
            x, options.components, weights=inside, floor=options.floor, axis_name=axis_name
        )

    places, inside = _share(setup, setup.crops, axis_name)
    if not 0 < options.pca_crops < setup.crops:
        x = lax.map(describe, places).reshape(len(inside), -1)
        return reduce(fit(x, inside), x), inside
    some, counted = _share(setup, options.pca_crops, axis_name)
    drawn = augment.permute_index(key, some, setup.crops)
    pca = fit(lax.map(describe, drawn).reshape(len(counted), -1), counted)
    points = lax.map(lambda indices: reduce(pca, describe(indices)), places)
    return points.reshape(len(inside), -1), inside


def _share(setup: common.Setup, count: int, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """This replica's share of [0, count): uint32 (batches, b), and (batches b,) float32 that is 0 for padding."""
    batch = setup.batch_size // replicas.count(axis_name)
    batches = -(-count // setup.batch_size)
    first = replicas.place(axis_name) * batches * batch
    places = first + jnp.arange(batches * batch)
    inside = (places < count).astype(jnp.float32)
    return jnp.minimum(places, count - 1).astype(jnp.uint32).reshape(batches, batch), inside


def _extract(setup: common.Setup, variables: PyTree, x: jax.Array) -> jax.Array:
    """(B, D) float32 of normalised x (B, S, S, 3)."""
    network = setup.network(options_of(setup).clusters)
    _, seen = network.apply(variables, x, train=False, mutable=["intermediates"])
    value = _sown(setup, seen["intermediates"])
    return value.reshape(len(x), -1).astype(np.promote_types(value.dtype, np.float32))


def _sown(setup: common.Setup, intermediates: PyTree) -> jax.Array:
    """What is clustered, among what a call of the network has put aside."""
    found = intermediates["head"] if options_of(setup).features == "head" else intermediates
    (value,) = found[models.FEATURES]
    return cast(jax.Array, value)
