"""Supervised classification: the upper end of the scale that probes compare with."""

from __future__ import annotations

import jax

from ssl_single_image import augment
from ssl_single_image.images import atlas_from_batch
from ssl_single_image.objectives import common
from ssl_single_image.parallel import replicas
from ssl_single_image.types import Batch, Metrics, Objective, State


def make(setup: common.Setup) -> Objective:
    """Cross-entropy on labelled images, one random view (`setup.crop`) each. `inputs` is a Batch.

    Evaluation takes the largest central square of each image, unaltered; a label of -1 marks padding.
    """

    def init(key: jax.Array, inputs: Batch) -> State:
        del inputs
        return common.init_state(setup, setup.network(setup.classes), key)

    def step(state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None) -> tuple[State, Metrics]:
        view_key, dropout_key = jax.random.split(key)
        keys = replicas.position_keys(view_key, setup.batch_size, axis_name)
        atlas = atlas_from_batch(inputs.image, inputs.extent)
        views = setup.normalise(setup.widened(augment.render_views(atlas, keys, setup.crop)))
        dropout_key = replicas.replica_key(dropout_key, axis_name)
        network = setup.network(setup.classes, axis_name)
        loss = common.classification_loss(network, state, views, inputs.label, dropout_key)
        return common.update(setup, state, loss, axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None) -> Metrics:
        del key
        atlas = atlas_from_batch(inputs.image, inputs.extent)
        views = setup.normalise(setup.widened(augment.render_centres(atlas, setup.encoder.size)))
        logits = common.predict(setup.network(setup.classes), state, views)
        return replicas.total(common.classification_metrics(logits, inputs.label), axis_name)

    return Objective(init, step, evaluate, lambda state: common.trunk(setup, state))
