"""How filters are made of exemplar patches: each rule is a function from a `Layer` to `Filters`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_single_image.objectives.exemplars import correlation, svm, windows
from ssl_single_image.objectives.exemplars.windows import Windows, contrast_normalised
from ssl_single_image.schema import OneOf, Section, Within

RIDGE = 0.01
"""Added to the covariance of whitened patches, in units of its mean eigenvalue (Hariharan, Malik and Ramanan 2012)."""


@dataclasses.dataclass(frozen=True)
class Settings(Section):
    """What all rules take.

    Attributes:
      layers: how many of the first layers get filters; the network has these alone.
      crops: the recipe whose scales the windows have, and by whose crops responses are scaled: paper or authors.
    """

    layers: Annotated[int, Within(1)] = 2
    crops: Annotated[str, OneOf("paper", "authors")] = "paper"


@dataclasses.dataclass(frozen=True)
class SvmSettings(Settings):
    """What all SVMs take.

    Attributes:
      C: cost of a point within the margin.
      positive_weight: how many times the one positive counts.
    """

    C: Annotated[float, Within(0, ends="()")] = 0.01
    positive_weight: Annotated[float, Within(0, 1000, "(]")] = 50.0


@dataclasses.dataclass(frozen=True)
class ExemplarSettings(SvmSettings):
    """What exemplar SVMs take.

    Attributes:
      bias: "moments": all responses have mean .1, as with k-means; "svm": the threshold is that of the SVM.
    """

    bias: Annotated[str, OneOf("moments", "svm")] = "moments"


@dataclasses.dataclass(frozen=True)
class CorrelationSettings(SvmSettings):
    """What max-margin correlation filters take.

    Attributes:
      alpha: share of the SVM's own penalty |h|^2; the rest is that of the correlation filter, and 1 is an SVM.
    """

    alpha: Annotated[float, Within(0, 1, "(]")] = 1e-3


class Layer(NamedTuple):
    """What filters of a layer are made from.

    Attributes:
      windows: of what enters the layer.
      chosen: (K,) rows of the exemplars among them.
      key: of what else is random.
      settings: of the rule.
    """

    windows: Windows
    chosen: Int[np.ndarray, " K"]
    key: Key[Array, ""]
    settings: Settings


class Filters(NamedTuple):
    """Filters of unit length.

    Attributes:
      kernel: (k, k, C, K).
      bias: (K,) of the scores of contrast-normalised windows, None for a rule without.
      rounds: most rounds of mining of any SVM, 0 for a rule without.
      violation: the worst of any SVM, see `svm.Fit`.
    """

    kernel: Float[Array, "k k C K"]
    bias: Float[Array, " K"] | None = None
    rounds: int = 0
    violation: float = 0.0


Make = Callable[[Layer], Filters]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
      make: makes the filters.
      told: what filters it makes, for model cards.
      settings: a section with what it takes.
    """

    make: Make
    told: str
    settings: type[Settings] = Settings


def exemplar_svm(layer: Layer) -> Filters:
    """An SVM for each exemplar against the patches that hardly overlap it (Malisiewicz et al. 2011)."""
    x = contrast_normalised(layer.windows.central)
    fitted = _fit(x, layer, windows.negatives(layer.windows.at, layer.chosen))
    return _unit(jnp.reshape(fitted.weight, (-1, *x.shape[1:])), fitted)


def correlation_filter(layer: Layer) -> Filters:
    """The same in windows whitened by frequency, twice as wide; what is learnt is cropped to the kernel.

    The bias is that of the whole filter, and has no meaning for the part that is left.
    """
    assert isinstance(layer.settings, CorrelationSettings)
    x = contrast_normalised(layer.windows.values)
    root = jax.jit(correlation.whitening)(x, layer.settings.alpha)
    whitened = jax.jit(correlation.apply)(root, x)
    fitted = _fit(whitened, layer, windows.negatives(layer.windows.wide, layer.chosen))
    inner = slice(layer.windows.margin, x.shape[1] - layer.windows.margin)
    found = _unit(correlation.filters(root, fitted.weight)[:, inner, inner], fitted)
    return found._replace(bias=None)


def raw(layer: Layer) -> Filters:
    """The contrast-normalised exemplars themselves."""
    return _unit(contrast_normalised(layer.windows.central)[layer.chosen])


def whitened(layer: Layer) -> Filters:
    """S^-1 (x - m), with mean m and covariance S of all patches: an exemplar SVM in closed form, nearly."""
    x = contrast_normalised(layer.windows.central)
    flat = x.reshape(len(x), -1)
    centred = flat - flat.mean(0)[None]
    covariance = centred.T @ centred / len(flat)
    ridge = RIDGE * jnp.trace(covariance) / len(covariance)
    solved = jnp.linalg.solve(covariance + ridge * jnp.eye(len(covariance)), centred[layer.chosen].T)
    return _unit(solved.T.reshape(-1, *x.shape[1:]))


def gaussian(layer: Layer) -> Filters:
    """Standard normal numbers, which know of the patches nothing but their shape."""
    return _unit(jax.random.normal(layer.key, (len(layer.chosen), *layer.windows.central.shape[1:])))


RULES: dict[str, Rule] = {
    "esvm": Rule(exemplar_svm, "adapted exemplar SVMs", ExemplarSettings),
    "mmcf": Rule(correlation_filter, "adapted max-margin correlation filters", CorrelationSettings),
    "raw": Rule(raw, "patches as they are"),
    "whitened": Rule(whitened, "whitened patches"),
    "gaussian": Rule(gaussian, "Gaussian noise"),
}
ADAPTED = ("esvm", "mmcf")
"""Rules that adapt a published detector, and are no detectors any more."""


def _fit(x: jax.Array, layer: Layer, negative: Bool[np.ndarray, "K n"]) -> svm.Fit:
    assert isinstance(layer.settings, SvmSettings)
    cost, weight = layer.settings.C, layer.settings.positive_weight
    flat = x.reshape(len(x), -1)
    solve = jax.jit(functools.partial(svm.fit, cost=cost, positive_weight=weight))
    return solve(flat, jnp.asarray(layer.chosen), jnp.asarray(negative))


def _unit(filters: Float[Array, "K k k C"], fitted: svm.Fit | None = None) -> Filters:
    """Filters at length 1; scores keep their sign, because biases are divided as well."""
    length = jnp.sqrt((filters**2).sum((1, 2, 3)))
    length = jnp.where(length > 0, length, 1)
    kernel = jnp.transpose(filters / length[:, None, None, None], (1, 2, 3, 0))
    if fitted is None:
        return Filters(kernel)
    return Filters(kernel, fitted.bias / length, int(fitted.rounds.max()), float(fitted.violation.max()))
