"""What a kind of probe is: a program that classifies test images by each layer of one encoder after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int8, Int32, UInt8

from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.schema import Section

BEYOND = 5
"""The place of a true class that is not among the first five."""


class Answers(NamedTuple):
    """What the classifiers on one encoder answered to every test image.

    Attributes:
      given: setting -> layer -> (repeats, N, ...), see `answer`. A kind without settings has the setting "" alone.
      features: layer -> features that its classifier was given.
      label: (N,) int32, or (N, classes) int8 where images have several classes.
      chosen: layer -> name -> number, what a kind chose by itself, such as a penalty.
    """

    given: Mapping[str, Mapping[str, np.ndarray]]
    features: Mapping[str, int]
    label: np.ndarray
    chosen: Mapping[str, Mapping[str, float]] = {}


class Program(Protocol):
    """A probe of encoders of one spec; what it compiles serves all of them."""

    def run(self, loaded: LoadedEncoder) -> Answers:
        """Measures one encoder.

        Raises:
          InputError: its features, or the probe's loss, are not finite.
        """
        ...

    def memory(self, loaded: LoadedEncoder) -> int:
        """Bytes that one device would hold at most, as XLA plans it; the programs are compiled for that."""
        ...


@dataclasses.dataclass(frozen=True)
class NoOptions(Section):
    """A kind without options of its own."""

    TITLE = "options"


def _nothing(*_: Any) -> None:
    """Neither refuses nor changes anything."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of probe.

    Attributes:
      make: (plan, setup) -> the program for encoders of the setup's spec.
      title: what headings call probes of this kind, a plural; `probe.json` records it.
      options: the section of the config's `options`.
      max_features: of a layer, where the config asks for no number.
      seeded: whether `seeds` repeats it; a kind that is not has no seed, or draws of its own.
      published: whether it has the published protocol.
      multi_label: whether it can classify images that have several classes.
      setting: what a setting is, for tables: "labels a class". "": the kind has one only.
      check: refuses a plan that the kind can't carry out, by InputError.
      finish: (plan, results of `probe.json`, answers) -> None; changes what the kind says of layers in another way than
        others.
    """

    make: Callable[[Any, Any], Program]
    title: str
    options: type[Section] = NoOptions
    max_features: int = 3072
    seeded: bool = True
    published: bool = False
    multi_label: bool = False
    setting: str = ""
    check: Callable[[Any], None] = _nothing
    finish: Callable[[Any, Any, Any], None] = _nothing


def places(scores: Float[Array, "B classes"], label: Int32[Array, " B"]) -> UInt8[Array, " B"]:
    """The place of the true class among the five with the highest scores, from 0; else BEYOND.

    Of equal scores the class with the lower number comes first. A label of -1 is at no place.
    """
    _, ranked = lax.top_k(scores, min(BEYOND, scores.shape[-1]))
    hits = ranked == label[:, None]
    return jnp.where(hits.any(-1), hits.argmax(-1), BEYOND).astype(jnp.uint8)


def answer(
    scores: Float[Array, "B classes"], label: Int32[Array, " B"] | Int8[Array, "B classes"]
) -> UInt8[Array, " B"] | Float[Array, "B classes"]:
    """What a measure needs of scores: `places`, or the scores themselves where images have several classes."""
    return places(scores, label) if label.ndim == 1 else scores


def all_answers(scores: Mapping[str, Float[Array, "B classes"]], label: jax.Array) -> dict[str, jax.Array]:
    """`answer` of every layer."""
    return {layer: answer(each, label) for layer, each in scores.items()}
