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
SHORTEST = 1e-6
"""Length below which an embedding is not made longer, so that one of zeros has a gradient."""

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
    layer. What it gives for one image is concatenated, (B, towers shared), and goes through another. With `average` the
    features are their mean over the map, (towers B, D).
    """

    towers: int
    shared: int
    hidden: int
    outputs: int
    average: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = flat(x, self.average)
        for number, features in enumerate((self.shared, self.hidden), 1):
            x = _dense(features, f"fc{number}", self.dtype, bias=False)(x)
            x = nn.relu(batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x))
            if number == 1:
                x = x.reshape(-1, self.towers * self.shared)
        return dense_top(self.outputs)(at_least_float32(x))


class EmbeddingHead(nn.Module):
    """Features (towers B, ...) -> embeddings (B, outputs) in float32 of length 1.

    With `hidden` a layer of so many units, batch norm and ReLU comes first. The embeddings of the `towers` views of an
    image, which lie behind each other, are concatenated and go through one more linear layer. `average` is as in
    `TowersHead`.
    """

    outputs: int
    hidden: int = 0
    towers: int = 1
    average: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = flat(x, self.average)
        if self.hidden:
            x = _dense(self.hidden, "fc1", self.dtype, bias=False)(x)
            x = nn.relu(batch_norm(train, self.axis_name, self.dtype, "bn1")(x))
        x = _dense(self.outputs, "embedding", self.dtype, bias=True)(x)
        if self.towers > 1:
            x = x.reshape(-1, self.towers * self.outputs)
            x = _dense(self.outputs, "together", self.dtype, bias=True)(x)
        x = at_least_float32(x)
        return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + SHORTEST**2)


def flat(x: jax.Array, average: bool) -> jax.Array:
    """Features (n, ...) -> (n, D): their mean over the map, or all of them."""
    return x.mean((1, 2)) if average and x.ndim == 4 else x.reshape(x.shape[0], -1)


class AverageHead(nn.Module):
    """The features' mean over the map, the intermediate "features", -> logits (B, outputs) in float32.

    `dropout` drops behind the mean, and needs a "dropout" key when training.
    """

    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mean = x.mean((1, 2))
        self.sow("intermediates", FEATURES, mean)
        if self.dropout:
            mean = nn.Dropout(self.dropout, deterministic=not train)(mean)
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


class PairNetwork(nn.Module):
    """A backbone that sees an image, and tiles of it, with a head for each.

    `apply` takes images (B, S, S, 3) and tiles (towers B, t, t, 3), and returns what both heads give. Variables are
    under "backbone", "head" and "tiles_head". Running statistics see the images last.
    """

    make_backbone: Callable[[], nn.Module]
    make_head: Callable[[], nn.Module]
    make_tiles_head: Callable[[], nn.Module]

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        self.head = self.make_head()
        self.tiles_head = self.make_tiles_head()

    def __call__(self, images: jax.Array, tiles: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        of_tiles = self.tiles_head(self.backbone(tiles, train=train)[0], train=train)
        return self.head(self.backbone(images, train=train)[0], train=train), of_tiles
