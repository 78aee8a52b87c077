"""DeepCluster: classify crops by clusters of one's own features (Caron, Bojanowski, Joulin and Douze, ECCV 2018).

The data set is virtual: crop i is rendered from its index whenever it is needed, and all that is stored of it is its
place among the crops listed by cluster, one int32.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ssl_single_image import augment, clustering, models
from ssl_single_image.images import Atlas, atlas_from_batch
from ssl_single_image.objectives import common
from ssl_single_image.objectives.assignment import Clusters, blocks, from_labels, uniform_sample
from ssl_single_image.types import InputError, Metrics, Objective, Pictures, PyTree, Rows, State

SOURCES = ("head", "trunk")
SHOWN, GRID = 10, 12
"""Rows of each kind in the picture of clusters, and crops in a row."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What only DeepCluster has; the published system is the default.

    Attributes:
      clusters: k.
      features: what is clustered: "head", the last hidden layer before its ReLU, or "trunk", the flattened
        output of the convolutions.
      components: to which PCA reduces it, whitened.
      floor: least variance that whitening divides by, relative to the largest.
      pca_crops: crops that PCA is fitted on; 0 or more than there are: all.
      iterations: of k-means.
      seeding: of k-means: "random" or "plusplus".
      reassign: epochs from one refresh to the next.
      view_min_area: smallest area of a training view, as a fraction of its crop's.

    Raises:
      InputError: a value out of range.
    """

    clusters: int = 10_000
    features: str = "head"
    components: int = 256
    floor: float = 1e-5
    pca_crops: int = 65_536
    iterations: int = 20
    seeding: str = "random"
    reassign: int = 1
    view_min_area: float = 0.08

    def __post_init__(self) -> None:
        for name, least in (
            ("clusters", 2),
            ("components", 1),
            ("iterations", 1),
            ("reassign", 1),
            ("pca_crops", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"config.objective_options.{name} {getattr(self, name)}: must be at least {least}"
                )
        for name, choices in (("features", SOURCES), ("seeding", clustering.SEEDINGS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"config.objective_options.{name} {getattr(self, name)!r}: expected {' or '.join(choices)}"
                )
        for name in ("floor", "view_min_area"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"config.objective_options.{name} {getattr(self, name)}: must be in (0, 1]")


def make(setup: common.Setup) -> Objective:
    """k-way cross-entropy on clusters that a refresh finds between epochs. `inputs` is an Atlas.

    Raises:
      InputError: more clusters than crops, fewer crops than a batch, or more components than features.
    """
    options = _options(setup)
    if options.clusters > setup.crops:
        raise InputError(
            f"config.objective_options.clusters {options.clusters}: more than config.crops {setup.crops}"
        )
    if setup.batch_size > setup.crops:
        raise InputError(f"config.batch_size {setup.batch_size}: more than config.crops {setup.crops}")
    features_count = _feature_count(setup)
    if options.components > features_count:
        raise InputError(
            f"config.objective_options.components {options.components}: the features have {features_count} values"
        )

    def init(key: jax.Array, inputs: Atlas) -> State:
        del inputs
        state = common.init_state(setup, setup.network(options.clusters), key)
        return state.replace(extras=blocks(setup.crops, options.clusters))

    def evaluate(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> Metrics:
        return measure(setup, state, key, inputs, axis_name)

    def step(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> tuple[State, Metrics]:
        crops, labels = training_crops(setup, state, inputs, axis_name)
        return update(setup, state, key, crops, labels, axis_name=axis_name)

    def refreshed(
        state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None
    ) -> tuple[State, Metrics]:
        return refresh(setup, state, key, inputs, axis_name)

    return Objective(
        init,
        step,
        evaluate,
        lambda state: common.trunk(setup, state),
        refresh=refreshed,
        refresh_every=options.reassign * epoch_steps(setup),
        pictures=lambda *args: draw(setup, *args),
    )


def epoch_steps(setup: common.Setup) -> int:
    """Steps of an epoch: the whole batches that d crops give."""
    return setup.crops // setup.batch_size


def training_crops(
    setup: common.Setup, state: State, atlas: Atlas, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """This replica's crops of one step, (B, S, S, 3) in [0, 1], and their clusters (B,) int32."""
    every = epoch_steps(setup)
    epoch, first = state.step // every, state.step % every * setup.batch_size
    places = first.astype(jnp.uint32) + common.positions(setup.batch_size, axis_name)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(setup.seed), common.ORDER), epoch)
    indices, labels = uniform_sample(state.extras, key, places)
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, setup.crop)
    return augment.stage(state.step >= 0, lambda x: x, crops), labels


def update(
    setup: common.Setup,
    state: State,
    key: jax.Array,
    crops: jax.Array,
    labels: jax.Array,
    *,
    axis_name: str | None,
) -> tuple[State, Metrics]:
    """One optimisation step on this replica's crops (B, S, S, 3) in [0, 1] and their clusters (B,) int32.

    Each crop is seen in one view, a random resized crop of it (area from `view_min_area`, aspect 3/4 to 4/3), mirrored
    with probability `setup.view_hflip`.
    """
    view_key, dropout_key = jax.random.split(key)
    keys = common.position_keys(view_key, setup.batch_size, axis_name)
    spec = augment.CropSpec(
        setup.encoder.size, min_area=_options(setup).view_min_area, aspect=0.75, hflip=setup.view_hflip
    )
    extent = jnp.full((len(crops), 2), crops.shape[1], jnp.int32)
    atlas = atlas_from_batch(jnp.rint(255 * crops).astype(jnp.uint8), extent)
    views = setup.normalise(augment.render_views(atlas, keys, spec))
    network = setup.network(_options(setup).clusters, axis_name)
    loss = common.classification_loss(
        network, state, views, labels, common.replica_key(dropout_key, axis_name)
    )
    return common.update(setup, state, loss, axis_name)


def measure(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> Metrics:
    """How well clusters are told from whole crops by running statistics.

    The crops are those of the data set, drawn like an epoch's: no other crop has a cluster.
    """
    places = common.positions(setup.batch_size, axis_name)
    indices, labels = uniform_sample(state.extras, key, places)
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, setup.crop)
    network = setup.network(_options(setup).clusters)
    logits = common.predict(network, state, setup.normalise(crops))
    return common.reduce_metrics(common.classification_metrics(logits, labels), axis_name)


def refresh(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> tuple[State, Metrics]:
    """Clusters the d crops anew and starts the top layer, with its optimiser state, from scratch.

    Features of all crops as they are (running statistics) -> PCA, whitened -> unit length -> k-means. The replicas
    share the crops. With D features, C components, and m crops that PCA is fitted on, n replicas hold each about
    4 (m D + d C) / n + 4 (6 D^2 + 6 k C + 10 d) bytes beside the network, a batch and a block of distances: for the
    published 224-px setting (D = 4096, C = 256, d = 1,281,167, k = 10,000, m = 65,536) 2.9 GB on one device.

    Metrics: "nmi" of the new assignment with the last (the first time with blocks of indices: what chance gives),
    "empty" clusters, "inertia" (mean squared distance to the centroid), and quantiles of the clusters' sizes.
    """
    options = _options(setup)
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


def features(setup: common.Setup, state: State, atlas: Atlas, indices: jax.Array) -> jax.Array:
    """(B, D) float32, what is clustered, of crops (B,) of the data set, by running statistics."""
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, setup.crop)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return _extract(setup, variables, setup.normalise(crops))


def restart_top(setup: common.Setup, state: State, key: jax.Array) -> State:
    """Draws the top layer anew and forgets its part of the optimiser's state."""
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


def draw(setup: common.Setup, state: State, key: jax.Array, atlas: Atlas) -> Pictures:
    """Crops of the clusters with the least spread and of others, one row each.

    Clusters that fill a row come first among the tightest; those that don't repeat their crops.
    """
    clusters: Clusters = state.extras
    shown = min(SHOWN, _options(setup).clusters)
    large = clusters.sizes >= GRID
    tightest = jnp.argsort(jnp.where(large, clusters.spread, jnp.inf))[:shown]
    others = jnp.argsort(jnp.where(clusters.sizes > 0, jax.random.uniform(key, large.shape), jnp.inf))[:shown]

    def row(cluster: jax.Array) -> jax.Array:
        size = jnp.maximum(clusters.sizes[cluster], 1).astype(jnp.uint32)
        numbers = augment.permute_index(key, jnp.arange(GRID, dtype=jnp.uint32) % size, size)
        indices = clusters.members[clusters.starts[cluster] + numbers.astype(jnp.int32)]
        return augment.render_crops(atlas, common.crops_key(setup.seed), indices, setup.crop)

    rows = jax.vmap(row)(jnp.concatenate([tightest, others]))
    titles = ["" for _ in range(2 * shown)]
    titles[0] = f"the {shown} tightest clusters"
    titles[shown] = f"{shown} clusters at random"
    return {"clusters": Rows(tuple(rows), tuple(titles))}


_TOP = tuple(map(jax.tree_util.DictKey, ("head", "top")))


def _points(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """This replica's share of the crops as points for k-means (n, components), and which of them count (n,)."""
    options = _options(setup)

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
    replicas = 1 if axis_name is None else lax.axis_size(axis_name)
    batch = setup.batch_size // replicas
    batches = -(-count // setup.batch_size)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * batches * batch
    places = first + jnp.arange(batches * batch)
    inside = (places < count).astype(jnp.float32)
    return jnp.minimum(places, count - 1).astype(jnp.uint32).reshape(batches, batch), inside


def _extract(setup: common.Setup, variables: PyTree, x: jax.Array) -> jax.Array:
    """(B, D) float32 of normalised x (B, S, S, 3)."""
    options = _options(setup)
    network = setup.network(options.clusters)
    _, seen = network.apply(variables, x, train=False, mutable=["intermediates"])
    found = seen["intermediates"]
    (value,) = (found["head"] if options.features == "head" else found)[models.FEATURES]
    return value.reshape(len(x), -1).astype(jnp.float32)


def _feature_count(setup: common.Setup) -> int:
    def describe() -> jax.Array:
        x = jnp.zeros((1, setup.encoder.size, setup.encoder.size, 3))
        network = setup.network(_options(setup).clusters)
        return _extract(setup, network.init(jax.random.key(0), x, train=False), x)

    return jax.eval_shape(describe).shape[1]


def _options(setup: common.Setup) -> Options:
    return setup.options or Options()
