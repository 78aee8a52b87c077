"""DeepCluster: classify crops by clusters of one's own features (Caron, Bojanowski, Joulin and Douze, ECCV 2018).

The data set is virtual: crop i is rendered from its index whenever it is needed. Only one int32 is stored for it, its
place in the list of crops by cluster.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from ssl_single_image import augment
from ssl_single_image.images import Atlas
from ssl_single_image.keys import Stream, stream
from ssl_single_image.objectives import common
from ssl_single_image.objectives.deepcluster.assignment import Clusters, blocks, uniform_sample
from ssl_single_image.objectives.deepcluster.refresh import feature_count, options_of, refresh, stored
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas
from ssl_single_image.types import InputError, Metrics, Objective, Pictures, Rows, State

SHOWN, GRID = 10, 12
"""Rows of each kind in the picture of clusters, and crops in a row."""


def make(setup: common.Setup) -> Objective:
    """k-way cross-entropy on clusters that a refresh finds between epochs. `inputs` is an Atlas.

    Raises:
      InputError: more clusters than crops, fewer crops than a batch, or more components than features.
    """
    options = options_of(setup)
    if options.clusters > setup.crops:
        raise InputError(
            f"objective_options.clusters = {options.clusters}: must be at most crops, which is {setup.crops}"
        )
    if setup.batch_size > setup.crops:
        raise InputError(f"batch_size = {setup.batch_size}: must be at most crops, which is {setup.crops}")
    features_count = feature_count(setup)
    if options.components > features_count:
        raise InputError(
            f"objective_options.components = {options.components}: must be at most {features_count},"
            " the length of a feature vector"
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
) -> tuple[Float[Array, "B S S 3"], Int32[Array, " B"]]:
    """This replica's crops of one step, (B, S, S, 3) in [0, 1], and their clusters (B,) int32."""
    every = epoch_steps(setup)
    epoch, first = state.step // every, state.step % every * setup.batch_size
    places = first.astype(jnp.uint32) + replicas.positions(setup.batch_size, axis_name)
    key = jax.random.fold_in(stream(setup.seed, Stream.ORDER), epoch)
    indices, labels = uniform_sample(state.extras, key, places)
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, stored(setup))
    return materialise(state.step >= 0, lambda x: x, crops), labels


def view_spec(setup: common.Setup) -> augment.CropSpec:
    """How a crop is seen in training: a random resized crop of it, with aspect 3/4 to 4/3, mirrored or not."""
    options = options_of(setup)
    return common.view_spec(
        setup,
        setup.encoder.size,
        options.view_min_area,
        hflip=setup.view_hflip,
        jitter=options.view_jitter,
    )


def update(
    setup: common.Setup,
    state: State,
    key: Key[Array, ""],
    crops: Float[Array, "B S S 3"],
    labels: Int32[Array, " B"],
    *,
    axis_name: str | None,
) -> tuple[State, Metrics]:
    """One optimisation step on this replica's crops (B, S, S, 3) in [0, 1] and their clusters (B,) int32."""
    view_key, dropout_key = jax.random.split(key)
    views = setup.normalise(
        common.views_of(setup, view_key, common.as_atlas(crops), view_spec(setup), axis_name)
    )
    network = setup.network(options_of(setup).clusters, axis_name)
    loss = common.classification_loss(
        network, state, views, labels, replicas.replica_key(dropout_key, axis_name)
    )
    return common.update(setup, state, loss, axis_name)


def measure(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> Metrics:
    """How well the network classifies whole crops by their clusters, with running statistics.

    The crops are those of the data set, drawn like an epoch's: no other crop has a cluster.
    """
    places = replicas.positions(setup.batch_size, axis_name)
    indices, labels = uniform_sample(state.extras, key, places)
    crops = augment.render_crops(atlas, common.crops_key(setup.seed), indices, stored(setup))
    network = setup.network(options_of(setup).clusters)
    logits = common.predict(network, state, setup.normalise(setup.widened(crops)))
    return replicas.total(common.classification_metrics(logits, labels), axis_name)


def draw(setup: common.Setup, state: State, key: jax.Array, atlas: Atlas) -> Pictures:
    """Crops of the clusters with the least spread and of others, one row each; no cluster twice, and no empty one.

    Both parts begin with the tightest. Clusters that fill a row come before those that don't, whose few crops are
    easily alike.
    """
    clusters: Clusters = state.extras
    count = options_of(setup).clusters
    tightest = min(SHOWN, count)
    others = min(SHOWN, count - tightest)
    empty = clusters.sizes == 0
    order = jnp.lexsort((clusters.spread, clusters.sizes < GRID, empty))
    rest = order[tightest:]
    drawn = jnp.argsort(jnp.where(empty[rest], jnp.inf, jax.random.uniform(key, rest.shape)))[:others]
    chosen = jnp.concatenate([order[:tightest], rest[jnp.sort(drawn)]])

    def row(cluster: jax.Array) -> jax.Array:
        size = jnp.maximum(clusters.sizes[cluster], 1).astype(jnp.uint32)
        numbers = augment.permute_index(key, jnp.arange(GRID, dtype=jnp.uint32) % size, size)
        indices = clusters.members[clusters.starts[cluster] + numbers.astype(jnp.int32)]
        return augment.render_crops(atlas, common.crops_key(setup.seed), indices, stored(setup))

    sizes, spread = clusters.sizes[chosen], clusters.spread[chosen]
    titles = ["cluster {}, {:,} crops, mean squared distance {:.2f}"] * (tightest + others)
    heading = (
        f"The {tightest} tightest of {count:,} clusters" if others else "The clusters, the tightest first"
    )
    titles[0] = f"{heading}\n{titles[0]}"
    if others:
        titles[tightest] = f"Others, drawn at random\n{titles[tightest]}"
    rows = Rows(
        tiles=tuple(jax.vmap(row)(chosen)),
        titles=tuple(titles),
        values=tuple(zip(chosen, sizes, spread, strict=True)),
        shown=tuple(jnp.minimum(sizes, GRID)),
    )
    return {"clusters": rows}
