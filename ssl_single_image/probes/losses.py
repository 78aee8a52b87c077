"""What heads are trained to lower, and what else is told of them in training, by the form of the labels."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int8, Int32

from ssl_single_image.datasets import labelling
from ssl_single_image.types import Metrics

Labels = Int32[Array, " B"] | Int8[Array, "B classes"]
"""Of one of the forms of `datasets.labelling`."""


def metrics(logits: Mapping[str, Float[Array, "B classes"]], label: Labels) -> Metrics:
    """What `one_class` or `several_classes` says of every layer as (sum, count); labels of -1 count nothing."""
    valid = labelling.is_image(label)
    count = valid.sum().astype(jnp.float32)
    result: Metrics = {}
    for layer, scores in logits.items():
        values = one_class(scores, label) if label.ndim == 1 else several_classes(scores, label)
        for name, value in values.items():
            result[f"{layer}/{name}"] = (jnp.where(valid, value.astype(scores.dtype), 0.0).sum(), count)
    return result


def one_class(scores: Float[Array, "B classes"], label: Int32[Array, " B"]) -> dict[str, Array]:
    """Of every image: "loss", the cross-entropy; whether its class is "top1" and "top5".

    With fewer than five classes, top-5 takes as many as there are.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, jnp.maximum(label, 0))
    _, ranked = lax.top_k(scores, min(5, scores.shape[-1]))
    hits = ranked == label[:, None]
    return {"loss": losses, "top1": hits[:, 0], "top5": hits.any(-1)}


def several_classes(scores: Float[Array, "B classes"], label: Int8[Array, "B classes"]) -> dict[str, Array]:
    """Of every image: "loss", the binary cross-entropy of each class, summed over those that are not ignored."""
    losses = optax.sigmoid_binary_cross_entropy(scores, (label == labelling.PRESENT).astype(scores.dtype))
    return {"loss": jnp.where(label == labelling.IGNORED, 0.0, losses).sum(-1)}
