"""What stands on a trunk: the heads as published, and the network of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models.backbone import Taps
from ssl_single_image.models.layers import at_least_float32, batch_norm

FEATURES = "features"
"""What an intermediate is called."""

dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class FCHead(nn.Module):
    """Flattened features -> hidden fully connected layers -> logits (B, outputs) in float32.

    Each hidden layer is followed by ReLU. `batch_norm` puts batch norm before it, in place of a bias. `dropout`
    drops before each hidden layer, and needs a "dropout" key when training. The last hidden layer before its ReLU
    can be had as the intermediate "features".
    """

    hidden: Sequence[int]
    outputs: int
    batch_norm: bool = True
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for number, features in enumerate(self.hidden, 1):
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = _dense(features, f"fc{number}", self.dtype, bias=not self.batch_norm)(x)
            if self.batch_norm:
                x = batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x)
            if number == len(self.hidden):
                self.sow("intermediates", FEATURES, x)
            x = nn.relu(x)
        return dense_top(self.outputs)(at_least_float32(x))


class TowersHead(nn.Module):
    """Outputs of `towers` views of an image together -> logits (B, outputs) in float32.

    Features (towers B, ...) come view by view, those of one image behind each other. All go through one fully connected
    layer. What it gives for one image is concatenated, (B, towers shared), and goes through another.
    """

    towers: int
    shared: int
    hidden: int
    outputs: int
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for number, features in enumerate((self.shared, self.hidden), 1):
            x = _dense(features, f"fc{number}", self.dtype, bias=False)(x)
            x = nn.relu(batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x))
            if number == 1:
                x = x.reshape(-1, self.towers * self.shared)
        return dense_top(self.outputs)(at_least_float32(x))


class AverageHead(nn.Module):
    """The features' mean over the map, the intermediate "features", -> logits (B, outputs) in float32."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        mean = x.mean((1, 2))
        self.sow("intermediates", FEATURES, mean)
        return dense_top(self.outputs)(at_least_float32(mean))


def _dense(features: int, name: str, dtype: jnp.dtype, *, bias: bool) -> nn.Dense:
    return nn.Dense(features, use_bias=bias, kernel_init=dense_init, dtype=dtype, name=name)


def dense_top(outputs: int) -> nn.Dense:
    """The layer that gives the logits: float32, N(0, .01) weights, zero bias."""
    return nn.Dense(outputs, kernel_init=nn.initializers.normal(0.01), name="top")


class Network(nn.Module):
    """A backbone and a head: `apply` returns (logits, activations); variables are under "backbone" and "head".

    The backbone's output can be had as the intermediate "features".
    """

    make_backbone: Callable[[], nn.Module]
    make_head: Callable[[], nn.Module]

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        self.head = self.make_head()

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        features, taps = self.backbone(x, train=train)
        self.sow("intermediates", FEATURES, features)
        return self.head(features, train=train), taps
