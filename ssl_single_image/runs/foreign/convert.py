"""Weights from a file's tensors to an encoder's variables and back: order of axes, biases, statistics.

PyTorch keeps a convolution's kernel as (out, in, rows, columns), this package as (rows, columns, in, out).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ssl_single_image import models
from ssl_single_image.errors import InputError
from ssl_single_image.runs.foreign.layouts import NORM, Block, Layout
from ssl_single_image.runs.foreign.matching import Match, front_names, variables
from ssl_single_image.runs.foreign.tensors import Tensor
from ssl_single_image.types import EncoderSpec, EncoderVariables

DERIVATIVE = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)
FRONT: tuple[np.ndarray, ...] = (
    np.full((1, 3, 1, 1), 1 / 3),
    np.zeros(1),
    np.stack([DERIVATIVE, DERIVATIVE.T])[:, None],
    np.zeros(2),
)
"""The fixed filters of the Sobel front of `models.layers`: grey, its bias, derivatives, their biases."""

Arrays = dict[str, np.ndarray]


class _Reader:
    """The tensors of a file as finite float32 arrays."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str):
        self._tensors, self.where = tensors, where

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __call__(self, name: str) -> np.ndarray:
        values = self._tensors[name].read()
        if values.dtype != np.float32:
            raise InputError(f"{self.where}: {name} holds {self._tensors[name].dtype}, expected floats")
        if not np.isfinite(values).all():
            raise InputError(f"{self.where}: {name} has NaN or infinite values, or values beyond float32")
        return values


def from_file(found: Match, tensors: Mapping[str, Tensor], spec: EncoderSpec, where: str) -> EncoderVariables:
    """The encoder that a file holds.

    Args:
      found: a layout that fits the file.
      tensors: of the file, by plain name.
      spec: of the encoder.
      where: what errors begin with.

    Raises:
      InputError: values that are no finite floats, a negative variance, or another Sobel front.
    """
    read, layout = _Reader(tensors, where), found.layout
    ours = variables(spec.backbone, spec.options)
    _check_front(read, layout)
    flat: Arrays = {}
    for block in layout.blocks:
        flat |= _block(block, read, ours.keys(), found.normed, layout.epsilon)
    assert {name: value.shape for name, value in flat.items()} == ours
    statistics = {f"{block.norm}.{name}" for block in layout.blocks for name in ("mean", "var")}
    params, stats = (
        {name: jnp.asarray(flat[name]) for name in ours if (name in statistics) == wanted}
        for wanted in (False, True)
    )
    return EncoderVariables(
        spec, traverse_util.unflatten_dict(params, sep="."), traverse_util.unflatten_dict(stats, sep=".")
    )


def _block(block: Block, read: _Reader, ours: Collection[str], normed: bool, epsilon: float) -> Arrays:
    flat: Arrays = {}
    carried = np.zeros(1, np.float32)  # the convolution's bias, where this package's convolution has none
    if block.conv:
        flat[f"{block.conv}.kernel"] = read(f"{block.their_conv}.weight").transpose(2, 3, 1, 0)
        name, outputs = f"{block.their_conv}.bias", flat[f"{block.conv}.kernel"].shape[-1]
        bias = read(name) if name in read else np.zeros(outputs, np.float32)
        if f"{block.conv}.bias" in ours:
            flat[f"{block.conv}.bias"] = bias
        else:
            carried = bias
    if block.norm and (normed or not block.conv):
        norm = {
            name: read(f"{block.their_norm}.{theirs}")
            for theirs, name in NORM.items()
            if f"{block.norm}.{name}" in ours  # one without gains and shifts has statistics alone
        }
        if (norm["var"] < 0).any():
            raise InputError(f"{read.where}: {block.their_norm}.running_var has negative values")
        # (x + b) - mean = x - (mean - b): the same network without the bias.
        norm["mean"] = norm["mean"] - carried
        if epsilon != models.EPSILON:  # what is under the root stays the same
            norm["var"] = norm["var"] + np.float32(epsilon - models.EPSILON)
        flat |= {f"{block.norm}.{name}": value for name, value in norm.items()}
    elif block.norm:
        # A network without batch norm: one of mean 0, variance 1 - epsilon, scale 1 and bias b adds b and does nothing
        # else, exactly, for 1 - epsilon + epsilon is 1 in float32 too.
        one, zero = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
        folded = {"scale": one, "bias": zero + carried, "mean": zero, "var": one - np.float32(models.EPSILON)}
        flat |= {f"{block.norm}.{name}": value for name, value in folded.items()}
    return flat


def _check_front(read: _Reader, layout: Layout) -> None:
    """Compares the Sobel front in a file with the one that this package computes."""
    for name, expected in zip(front_names(layout), FRONT, strict=False):
        if name in read and not np.allclose(read(name), expected, atol=1e-6):
            raise InputError(
                f"{read.where}: {name} is not DeepCluster's Sobel front, the only one that there is here"
            )


def to_file(encoder: EncoderVariables) -> Arrays:
    """The tensors of an encoder's own export, float32, in PyTorch's names and orders."""
    found: Arrays = {}
    theirs = {ours: name for name, ours in NORM.items()}
    for tree in (encoder.params, encoder.batch_stats):
        for name, leaf in traverse_util.flatten_dict(tree, sep=".").items():
            module, _, last = name.rpartition(".")
            value = np.asarray(leaf, np.float32)
            if last == "kernel":
                found[f"{module}.weight"] = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
            else:
                found[f"{module}.{theirs[last]}"] = value
    return dict(sorted(found.items()))
