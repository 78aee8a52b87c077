"""Landmarks from frozen features: a small regressor on hypercolumns, after ContrastLandmark (Cheng et al. 2021).

A hypercolumn is the stack of several layers' maps at one place. A 1 x 1 convolution makes POINTS heat maps of it. The
soft-argmax of each heat map is a virtual point, and the landmarks are a linear function of the virtual points.

A 1 x 1 convolution and bilinear interpolation can change places, as both are linear. So each layer is convolved at its
own resolution, and the sum of the interpolated results is what the convolution of the hypercolumns would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from ssl_single_image.analysis.invariance import features
from ssl_single_image.analysis.invariance.variance import VARIES

SIDE = 48
"""Rows and columns of hypercolumns."""
POINTS = 50
SHARPNESS = 100.0
"""Heat maps are multiplied by it before the softmax."""
LEARNING_RATE = 1e-3
BATCH = 32
ENCODED = 32
"""Pictures that are encoded at a time."""
Maps = Mapping[str, Float[Array, "n h w C"]]
Params = dict[str, Any]


class Result(NamedTuple):
    """What a regressor gives for the test pictures.

    Attributes:
      points: (n, K, 2).
      loss: the mean squared distance in the last step of training.
    """

    points: Float[np.ndarray, "n K 2"]
    loss: float


def soft_argmax(heat: Float[Array, "n h w P"], sharpness: float = SHARPNESS) -> Float[Array, "n P 2"]:
    """The mean place of each map under the softmax of `sharpness` times its values: (y, x) in [0, 1]."""
    rows, columns = heat.shape[1:3]
    flat = jax.nn.softmax(sharpness * heat.reshape(len(heat), rows * columns, -1), axis=1)
    share = flat.reshape(heat.shape)
    y, x = ((jnp.arange(n, dtype=heat.dtype) + 0.5) / n for n in (rows, columns))
    precise = lax.Precision.HIGHEST
    return jnp.stack(
        [
            jnp.einsum("nhp,h->np", share.sum(2), y, precision=precise),
            jnp.einsum("nwp,w->np", share.sum(1), x, precision=precise),
        ],
        axis=-1,
    )


def predict(params: Params, maps: Maps) -> Float[Array, "n K 2"]:
    """The landmarks of pictures from their standardised maps."""
    heat = sum(
        jax.image.resize(heat_of, (len(heat_of), SIDE, SIDE, POINTS), "linear")
        for heat_of in (maps[layer] @ kernel for layer, kernel in params["heat"].items())
    )
    virtual = soft_argmax(heat).reshape(len(heat), 2 * POINTS)
    return (virtual @ params["linear"] + params["bias"][None]).reshape(len(virtual), -1, 2)


def initial(key: Key[Array, ""], channels: Mapping[str, int], mean: Float[np.ndarray, "K 2"]) -> Params:
    """Weights drawn as PyTorch draws them; the bias is chosen so that the centre of the picture gives the mean.

    Args:
      key: of the weights.
      channels: layer -> channels.
      mean: of the training landmarks.
    """
    heat_key, linear_key = jax.random.split(key)
    bound = 1 / math.sqrt(sum(channels.values()))
    keys = jax.random.split(heat_key, len(channels))
    heat = {
        layer: jax.random.uniform(keys[place], (count, POINTS), minval=-bound, maxval=bound)
        for place, (layer, count) in enumerate(channels.items())
    }
    wide = 1 / math.sqrt(2 * POINTS)
    linear = jax.random.uniform(linear_key, (2 * POINTS, mean.size), minval=-wide, maxval=wide)
    return {
        "heat": heat,
        "linear": linear,
        "bias": jnp.asarray(mean.ravel(), jnp.float32) - 0.5 * linear.sum(0),
    }


def standardised_maps(
    tapped: features.Tapped, pictures: Sequence[UInt8[np.ndarray, "n S S 3"]]
) -> list[dict[str, Float[Array, "n h w C"]]]:
    """The maps of each of several groups of pictures, scaled by the statistics of the first group.

    Each channel has mean 0 and variance 1 over the places of the first group, and stays 0 if it does not vary. Maps of
    more than SIDE rows are brought to SIDE.

    Args:
      tapped: the encoder; of its layers PIXELS is left out.
      pictures: S need not be the encoder's input side.

    Raises:
      InputError: features that are not finite.
    """
    found = [_encoded(tapped, group) for group in pictures]
    for layer, first in found[0].items():
        mean, std = first.mean((0, 1, 2), np.float64), first.std((0, 1, 2), np.float64)
        features.checked(tapped.loaded.name, layer, mean, std)
        scale = np.where(std > VARIES * np.abs(mean), 1 / np.maximum(std, np.finfo(float).tiny), 0)
        for group in found:  # in place: all the maps of a set take a gigabyte
            group[layer] -= mean.astype(np.float32)
            group[layer] *= scale.astype(np.float32)
    return [{layer: jnp.asarray(each) for layer, each in group.items()} for group in found]


def regress(
    key: Key[Array, ""],
    train: Maps,
    points: Float[np.ndarray, "n K 2"],
    test: Maps,
    *,
    steps: int,
    told: Callable[[], None] = lambda: None,
) -> Result:
    """Trains a regressor by Adam on the mean squared distance, and applies it.

    Args:
      key: of the weights and of the order of pictures.
      train: layer -> standardised maps of the training pictures.
      points: their landmarks.
      test: layer -> standardised maps of the test pictures.
      steps: of BATCH pictures each, or of all if there are fewer.
      told: called after each step.
    """
    channels = {layer: maps.shape[-1] for layer, maps in train.items()}
    scale = 1 / math.sqrt(sum(channels.values()))  # a hypercolumn's mean square norm is then 1
    init_key, order_key = jax.random.split(key)
    params = initial(init_key, channels, points.mean(0))
    optimizer = optax.adam(LEARNING_RATE)
    state = optimizer.init(params)
    target = jnp.asarray(points, jnp.float32)

    @jax.jit
    def step(params: Params, state: Any, maps: Maps, target: jax.Array, rows: jax.Array) -> Any:
        batch, aim = jax.tree.map(lambda x: scale * x[rows], maps), target[rows]

        def loss(params: Params) -> jax.Array:
            return jnp.square(predict(params, batch) - aim).sum(-1).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax counts steps in integers
            updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    value = jnp.zeros(())
    for rows in batches(order_key, len(points), min(BATCH, len(points)), steps):
        params, state, value = step(params, state, dict(train), target, rows)
        told()
    answer = jax.jit(lambda params, maps: predict(params, jax.tree.map(lambda x: scale * x, maps)))
    count = len(next(iter(test.values())))
    parts = [answer(params, {k: x[i : i + BATCH] for k, x in test.items()}) for i in range(0, count, BATCH)]
    return Result(np.concatenate([np.asarray(part) for part in parts]), float(value))


def batches(key: Key[Array, ""], count: int, batch: int, steps: int) -> Int[np.ndarray, "steps batch"]:
    """The pictures of each step: a new order each epoch, and whole batches only."""
    each = count // batch
    epochs = [
        np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), count))[: each * batch]
        for epoch in range(-(-steps // each))
    ]
    return np.concatenate(epochs).reshape(-1, batch)[:steps]


def _encoded(tapped: features.Tapped, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Layer -> maps; the last batch is filled up, so that one program does."""
    shrink = jax.jit(lambda maps: {layer: _at_most(x, SIDE) for layer, x in maps.items()})
    parts = []
    for start in range(0, len(pictures), ENCODED):
        at = np.minimum(np.arange(start, start + ENCODED), len(pictures) - 1)
        maps = tapped(pictures[at].astype(np.float32) / 255)
        parts.append(jax.device_get(shrink({x: maps[x] for x in tapped.layers if x != features.PIXELS})))
    return {layer: np.concatenate([part[layer] for part in parts])[: len(pictures)] for layer in parts[0]}


def _at_most(maps: jax.Array, side: int) -> jax.Array:
    rows, columns = (min(side, n) for n in maps.shape[1:3])
    return jax.image.resize(maps, (len(maps), rows, columns, maps.shape[-1]), "linear").astype(jnp.float32)


def errors(
    found: Float[np.ndarray, "n K 2"], truth: Float[np.ndarray, "n K 2"], units: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The mean distance of each picture's landmarks from the truth, as a share of a unit of its own."""
    return np.linalg.norm(found - truth, axis=-1).mean(1) / units
