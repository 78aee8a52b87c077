"""`hybrid`: a scattering transform in place of the first layers of a network (Oyallon et al. 2018)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.errors import InputError
from ssl_single_image.models import scattering
from ssl_single_image.models.backbone import Backbone, Taps, Trunk
from ssl_single_image.models.chains import CHAINS
from ssl_single_image.models.layers import ConvSpec, ConvTrunk, batch_norm, sides_after
from ssl_single_image.ops.pooling import max_pool
from ssl_single_image.schema import Section, Told, Within


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of a hybrid network.

    Attributes:
      J: octaves of the scattering transform.
      L: its orientations.
      rest: the backbone whose later layers follow.
      rest_options: the options of that backbone; those left out keep their defaults.
      start: the first of its layers that is kept: 3 replaces conv1 and conv2.
    """

    TITLE = "backbone_options"

    J: Annotated[int, Within(1, 5)] = 2
    L: Annotated[int, Within(1, 16)] = 8
    rest: Annotated[str, Told(f"one of {', '.join(CHAINS)}")] = "alexnet32"
    rest_options: Any = dataclasses.field(default_factory=dict)
    start: Annotated[int, Within(2)] = 3

    def check(self) -> None:
        if self.rest not in CHAINS:
            raise InputError(
                f"{self.path('rest')} = {self.rest!r}: must be one of {', '.join(CHAINS)}, whose layers are a chain"
            )
        chain = CHAINS[self.rest]
        options = chain.options.from_value(self.rest_options, self.path("rest_options"))
        object.__setattr__(self, "rest_options", options)
        layers = len(chain.build(options).layers)
        if self.start > layers:
            raise InputError(
                f"{self.path('start')} = {self.start}: must be at most {layers}, the layers of {self.rest}"
            )


class Front(Trunk):
    """Scattering, batch norm without affine parameters and, where the next layer wants a smaller map, max-pool 3/2."""

    options: scattering.Options
    replaced: Sequence[ConvSpec]
    """The layers that it stands for: it gives a map of the same side."""
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        side = sides_after(self.replaced, x.shape[1])[-1]
        y, taps = scattering.Scattering(self.options, self.dtype, name="scattering")(x, train=train)
        y = batch_norm(train, self.axis_name, self.dtype, "bn0", affine=False)(y)
        found = y.shape[1]
        if found == side:
            return y, taps
        if (found - 3) // 2 + 1 != side:
            raise InputError(
                f"backbone hybrid: the scattering map of {found} x {found} can't replace a map of {side} x {side},"
                " nor be pooled to it; choose another J or start"
            )
        return max_pool(y, 3, 2), taps


def build(options: Options, **shared: Any) -> ConvTrunk:
    """The layers of `rest` from `start` on, behind a `Front`.

    At 32 pixels and J = 2 the transform gives 8 x 8 x 243, the side that conv3 of `alexnet32` takes. At 224 pixels
    and J = 3 it gives 28 x 28 x 651, pooled to 13 x 13 for conv3 of `alexnet`.
    """
    trunk = CHAINS[options.rest].build(options.rest_options, **shared)
    assert isinstance(trunk, ConvTrunk)
    known = {name: shared[name] for name in ("axis_name", "dtype") if name in shared}
    front = functools.partial(
        Front,
        scattering.Options(options.J, options.L),
        trunk.layers[: options.start - 1],
        **known,
        name="front",
    )
    return dataclasses.replace(trunk, front=front, start=options.start)


def head(outputs: int, options: Options, **shared: Any) -> nn.Module:
    """That of the rest."""
    return CHAINS[options.rest].head(outputs, options.rest_options, **shared)


BACKBONE = Backbone(build, head, input_size=32, smallest=8, parameters=973_888, options=Options)
