"""Batch-norm statistics of a frozen encoder, computed again over images of the probe's training split.

The authors of BiGAN do so before each evaluation (code of Donahue et al. 2017). No label and no test image is used.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from ssl_single_image import augment, models, parallel
from ssl_single_image.datasets import labelling
from ssl_single_image.keys import unused
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import linear
from ssl_single_image.probes.kinds import Answers, Program
from ssl_single_image.probes.passes import one_pass, own_part, progress_bar
from ssl_single_image.probes.plan import ProbePlan
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import Batch, EncoderVariables, Metrics, PyTree, State

IMAGES = 5000
"""Training images that statistics are computed over; all, where there are fewer."""


class Recomputed:
    """A program of any kind for encoders of one spec, which gets each of them with recomputed statistics."""

    def __init__(self, program: Program, plan: ProbePlan, setup: linear.Setup):
        self._program, self._plan, self._setup = program, plan, setup
        self._step = parallel.compile_step(functools.partial(add, setup), split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Answers:
        return self._program.run(dataclasses.replace(loaded, encoder=self.encoder(loaded)))

    def memory(self, loaded: LoadedEncoder) -> int:
        return self._program.memory(loaded)  # more than statistics need: they keep no features

    def encoder(self, loaded: LoadedEncoder) -> EncoderVariables:
        """The encoder of `loaded` with recomputed statistics."""
        plan = self._plan
        images = min(IMAGES, plan.train_images)
        total = images * norms(loaded.encoder)
        with progress_bar(total, f"{loaded.name}: batch-norm statistics") as bar:

            def batches() -> Iterable[Batch]:
                for batch in one_pass(plan.data.train, self._setup.batch_size, images, plan.config.seed):
                    yield own_part(batch)
                    bar.update(int(labelling.is_image(batch.label).sum()))

            return recompute(loaded.encoder, batches, self._step)


def recompute(
    encoder: EncoderVariables, batches: Callable[[], Iterable[Batch]], step: parallel.CompiledStep
) -> EncoderVariables:
    """The encoder with the exact mean and variance of every batch norm's input over all images.

    They are what one batch of all images would give in training mode, whatever the size of the batches. Each pass over
    the images measures every layer under the statistics of the pass before. A layer's input depends on the
    statistics of earlier layers alone. After n passes the first n layers are therefore right, and the stored
    statistics have no influence. There are as many passes as layers.

    Args:
      encoder: one without batch norm is returned as it is.
      batches: gives the same images at each call, this process's part of each batch; those labelled -1 are padding.
      step: `add`, compiled.
    """
    if not norms(encoder):
        return encoder
    state = State(jnp.int32(0), **linear.variables(encoder), opt_state={}, extras={})
    for _ in range(norms(encoder)):
        state = state.replace(
            extras={"images": jnp.float32(0), "statistics": jax.tree.map(jnp.zeros_like, state.batch_stats)}
        )
        for batch in batches():
            state, _ = step(state, unused(), batch)
            jax.block_until_ready(state.step)
        state = state.replace(batch_stats=state.extras["statistics"])
    return dataclasses.replace(encoder, batch_stats=jax.device_get(state.batch_stats))


def norms(encoder: EncoderVariables) -> int:
    """How many batch norms an encoder has."""
    return len(jax.tree.leaves(encoder.batch_stats, is_leaf=_is_statistics))


def add(
    setup: linear.Setup, state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None
) -> tuple[State, Metrics]:
    """A Step (bind `setup`) that joins the central views of a batch to the moments seen so far.

    `extras` holds them: "images", how many there were, and "statistics", in the form of `batch_stats`. A pass starts
    with zeros.
    """
    del key
    spec = setup.encoder
    network = models.build_backbone(spec.backbone, spec.options, dtype=setup.dtype)
    views = linear.central_views(inputs, spec.size).astype(setup.dtype)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    entering = models.norm_inputs(network, variables, augment.normalise(views, spec.mean, spec.std))
    valid = labelling.is_image(inputs.label)
    count = replicas.total(valid.sum().astype(jnp.float32), axis_name)
    images = state.extras["images"] + count
    share = count / images

    def join(seen: PyTree, x: jax.Array) -> PyTree:
        new = _moments(x.astype(seen["mean"].dtype), valid, count, axis_name)
        shift = new["mean"] - seen["mean"]
        between = share * (1 - share) * shift**2
        return {
            "mean": seen["mean"] + share * shift,
            "var": (1 - share) * seen["var"] + share * new["var"] + between,
        }

    joined = jax.tree.map(join, state.extras["statistics"], entering, is_leaf=_is_statistics)
    return state.replace(step=state.step + 1, extras={"images": images, "statistics": joined}), {}


def _moments(x: jax.Array, valid: jax.Array, count: jax.Array, axis_name: str | None) -> PyTree:
    """Mean and (biased) variance of each channel of (B, h, w, C) over the valid images, in two passes."""

    def mean(x: jax.Array) -> jax.Array:
        by_image = jnp.where(valid[:, None], x.mean((1, 2)), 0)
        return replicas.total(by_image.sum(0), axis_name) / count.astype(x.dtype)

    centre = mean(x)
    return {"mean": centre, "var": mean((x - centre[None, None, None]) ** 2)}


def _is_statistics(node: PyTree) -> bool:
    return isinstance(node, dict) and "mean" in node
