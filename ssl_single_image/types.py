"""The types that all modules share: state, batches, metrics and the `Objective` contract.

No computation lives here, and nothing but JAX is imported, and jaxtyping for shapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jaxtyping import Array, Float, Int8, Int32, UInt8

from ssl_single_image.errors import Halted, InputError

__all__ = [
    "Batch",
    "EncoderSpec",
    "EncoderVariables",
    "Evaluate",
    "Halted",
    "InputError",
    "Metrics",
    "Objective",
    "Pictures",
    "PyTree",
    "Rows",
    "State",
    "Step",
]

PyTree = Any
Metrics = dict[str, tuple[jax.Array, jax.Array]]
"""Name -> (sum, count), both float32 scalars. The mean is taken once, where the metric is written."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of tiles to look at.

    Titles are texts known when the program is traced. What it computes for them goes into `values`, and the drawing
    formats it: `"cluster {}, {:,} crops"` with the row's two values.

    Attributes:
      tiles: (N, S, S, 3) float32 in [0, 1] each.
      titles: one a row, as for `str.format`; "" continues the row above. Lines before the last are headings above it.
      values: () numbers for each row's title; (): no title has any.
      shown: () integers, how many of each row's tiles there are to see; a row of 0 is left out. (): all of all rows.
    """

    tiles: tuple[jax.Array, ...]
    titles: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    values: tuple[tuple[jax.Array, ...], ...] = ()
    shown: tuple[jax.Array, ...] = ()


Pictures = dict[str, Rows]
"""Name of an image file -> what it shows."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Host-fed labelled images.

    Attributes:
      image: (B, M, M, 3) uint8 RGB; where images differ in size they lie in the top left corner.
      label: (B,) int32 in [0, classes); of a multi-label set (B, classes) int8, see `datasets.labelling`.
      extent: (B, 2) int32, the (height, width) in pixels that each image fills of its M x M canvas.
      box: (B, 4) float32 in [0, 1], where examples are objects: top, left, bottom and right as fractions of the canvas.
    """

    image: UInt8[Array, "B M M 3"]
    label: Int32[Array, " B"] | Int8[Array, "B classes"]
    extent: Int32[Array, "B 2"]
    box: Float[Array, "B 4"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that a run needs to be resumed; a checkpoint holds it.

    Attributes:
      step: () int32, optimisation steps taken.
      params: trainable variables.
      batch_stats: running statistics of batch normalisation.
      opt_state: state of the optax optimiser.
      extras: what an objective needs beyond these (assignments, a second network); {} for most.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    extras: PyTree

    def replace(self, **changes: Any) -> State:
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """How to rebuild an encoder and feed it; JSON-able, stored beside its variables.

    Attributes:
      backbone: name in the registry `ssl_single_image.models.BACKBONES`.
      options: every option of that backbone, by name.
      size: side of the square input, in pixels.
      mean: per-channel mean subtracted from RGB in [0, 1].
      std: per-channel standard deviation divided by afterwards.
    """

    backbone: str
    options: dict[str, Any]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class EncoderVariables:
    """What a probe loads: the convolutional trunk, without any head.

    `variables = {"params": params, "batch_stats": batch_stats}` belong to the network
    `models.build_backbone(spec.backbone, spec.options)`. Its `apply(variables, x, train=False)` gives
    `(output, activations)` for x (B, spec.size, spec.size, 3) float32, which is already normalised by `spec.mean` and
    `spec.std`. `runs.LoadedEncoder.features` does all of this.
    """

    spec: EncoderSpec
    params: PyTree
    batch_stats: PyTree


class Step(Protocol):
    """(state, key, inputs) -> (state, metrics). Pure: the same function under jit and pmap.

    `key` is already folded with the step number. `axis_name` is None under jit; under pmap it names the
    mapped axis, over which gradients, batch statistics and metrics are reduced.
    """

    def __call__(
        self, state: State, key: jax.Array, inputs: PyTree, *, axis_name: str | None
    ) -> tuple[State, Metrics]: ...


class Evaluate(Protocol):
    """(state, key, inputs) -> metrics; as `Step`, but changes nothing."""

    def __call__(self, state: State, key: jax.Array, inputs: PyTree, *, axis_name: str | None) -> Metrics: ...


class Objective(NamedTuple):
    """One way of pretraining, as pure functions. The training loop uses nothing else of it.

    Attributes:
      init: (key, inputs) -> State at step 0.
      step: one optimisation step.
      evaluate: metrics on held-out inputs.
      encoder: the trunk that probes load, taken from a state.
      encoders: further trunks by name, which `WORKDIR#NAME` loads.
      refresh: optional, what happens before each `refresh_every`-th step: as `Step`, but takes no optimisation step.
      refresh_every: steps between two refreshes; there is one before the first step.
      pictures: optional (state, key, inputs) -> what there is to look at, see `Pictures`.
      warning: optional (means of metrics: NAME of training, or "eval/NAME" of an evaluation) -> what is wrong with
        the run, "" if nothing is.
      best: the metric whose lowest value says which checkpoint is the best, for `WORKDIR@best`.
      views: how many images a step gives to the encoder for each crop (or labelled image) of the batch.
    """

    init: Callable[[jax.Array, PyTree], State]
    step: Step
    evaluate: Evaluate
    encoder: Callable[[State], EncoderVariables]
    encoders: Mapping[str, Callable[[State], EncoderVariables]] = {}
    refresh: Step | None = None
    refresh_every: int = 1
    pictures: Callable[[State, jax.Array, PyTree], Pictures] | None = None
    warning: Callable[[Mapping[str, float]], str] | None = None
    best: str = "eval/loss"
    views: int = 1
