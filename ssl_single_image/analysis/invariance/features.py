"""The activations that a measurement is of, beside the pixels themselves, which every layer is compared with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_single_image.errors import InputError
from ssl_single_image.ops.pooling import adaptive_pool
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.checkpoint import variables_of
from ssl_single_image.runs.encoders import activations
from ssl_single_image.types import EncoderSpec, EncoderVariables

PIXELS = "pixels"
"""Stands before the layers: the picture as it enters the network, in [0, 1]."""
SMALL = 64
"""Pixels up to which an input side is small."""
Maps = Mapping[str, Float[Array, "n h w C"]]


class Programs:
    """Compiles the trunk of each spec once, for all encoders of that spec and all that is measured of them."""

    def __init__(self) -> None:
        self._compiled: dict[str, Callable[..., Maps]] = {}

    def of(self, loaded: LoadedEncoder, layers: Sequence[str]) -> Tapped:
        """An encoder with the layers of it that are looked at; none: all.

        Raises:
          InputError: the encoder has no such layer.
        """
        spec = loaded.encoder.spec
        compiled = self._compiled.setdefault(repr(spec), jax.jit(functools.partial(_maps, spec)))
        return Tapped(loaded, (PIXELS, *loaded.chosen(layers)), compiled)


@dataclasses.dataclass(frozen=True)
class Tapped:
    """An encoder whose maps are read.

    Attributes:
      loaded: the encoder.
      layers: PIXELS, and the layers that are looked at, by depth.
      compiled: (variables, pictures) -> the maps of all layers.
    """

    loaded: LoadedEncoder
    layers: tuple[str, ...]
    compiled: Callable[..., Maps]

    @property
    def batch(self) -> int:
        """Pictures of the encoder's input side that are encoded at a time: their maps stay below a gigabyte."""
        return 256 if self.loaded.encoder.spec.size <= SMALL else 32

    def __call__(self, pictures: Float[Array | np.ndarray, "n H W 3"]) -> dict[str, Float[Array, "n h w C"]]:
        """Layer -> maps of pictures in [0, 1], of any side that the trunk takes; compiled for each shape."""
        maps = self.compiled(variables_of(self.loaded.encoder), pictures)
        return {layer: maps[layer] for layer in self.layers}

    def filled(self, pictures: Float[Array, "n S S 3"]) -> dict[str, Float[Array, "n h w C"]]:
        """The same by the program for whole batches: a smaller one is filled up, and the rest dropped."""
        count = len(pictures)
        padded = jnp.pad(pictures, ((0, -count % self.batch), (0, 0), (0, 0), (0, 0)))
        parts = [self(padded[i : i + self.batch]) for i in range(0, len(padded), self.batch)]
        return {layer: jnp.concatenate([part[layer] for part in parts])[:count] for layer in self.layers}


def pooled(maps: Maps, grid: int) -> dict[str, Float[Array, "n _"]]:
    """Maps averaged over at most grid x grid bins and flattened, float32."""
    found = {name: adaptive_pool(x, min(grid, *x.shape[1:3])) for name, x in maps.items()}
    return {name: x.reshape(len(x), -1).astype(jnp.float32) for name, x in found.items()}


def checked(name: str, layer: str, *values: np.ndarray) -> None:
    """Refuses values that are not finite.

    Raises:
      InputError: there is one; the message names the encoder and the layer.
    """
    if not all(np.isfinite(each).all() for each in values):
        raise InputError(f"checkpoint {name}: the features of {layer} are not finite")


def _maps(spec: EncoderSpec, variables: Any, pictures: jax.Array) -> Maps:
    encoder = EncoderVariables(spec, variables["params"], variables["batch_stats"])
    return {PIXELS: pictures, **activations(encoder, pictures)}
