"""AlexNet in NumPy with weights in PyTorch's form: channels first, convolution as a sum over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2, 5)
BIG, SMALL = (96, 256, 384, 384, 256), (64, 192, 384, 256, 256)
"""Channels of DeepCluster's network, and of RotNet's and torchvision's."""
SOBEL = {
    "weight": np.array(
        [[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]], np.float32
    ),
    "grey": np.full((1, 3, 1, 1), 1 / 3, np.float32),
}

Arrays = dict[str, np.ndarray]


def convolve(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """(n, C, H, W) by (D, C, k, k) -> (n, D, h, w), in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,dcij->ndhw", windows, weight.astype(np.float64), optimize=True)


def pool(x: np.ndarray) -> np.ndarray:
    return sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2].max((-1, -2))


def draw(
    channels: Sequence[int],
    convs: Sequence[str],
    norms: Sequence[str] = (),
    *,
    inputs: int = 3,
    bias: bool = True,
    seed: int = 0,
) -> Arrays:
    """Weights with trained-looking values: biases, gains and statistics far from 0 and 1."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}
    for number, (name, outputs, side) in enumerate(zip(convs, channels, (11, 5, 3, 3, 3), strict=True)):
        fan = inputs * side**2
        found[f"{name}.weight"] = rng.normal(0, fan**-0.5, (outputs, inputs, side, side)).astype(np.float32)
        if bias:
            found[f"{name}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        if norms:
            prefix = norms[number]
            found[f"{prefix}.weight"] = rng.uniform(0.5, 1.5, outputs).astype(np.float32)
            found[f"{prefix}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)
            found[f"{prefix}.running_mean"] = rng.normal(0, 0.3, outputs).astype(np.float32)
            found[f"{prefix}.running_var"] = rng.uniform(0.3, 2, outputs).astype(np.float32)
            found[f"{prefix}.num_batches_tracked"] = np.array(1000)
        inputs = outputs
    return found


def activations(
    weights: Mapping[str, np.ndarray],
    convs: Sequence[str],
    norms: Sequence[str],
    x: np.ndarray,
    *,
    sobel: bool = False,
    epsilon: float = 1e-5,
) -> list[np.ndarray]:
    """After each ReLU, (n, C, h, w) float64, for normalised input (n, 3, H, W)."""
    if sobel:
        x = convolve(convolve(x, SOBEL["grey"], 1, 0), SOBEL["weight"], 1, 1)
    found = []
    for number, name in enumerate(convs):
        x = convolve(x, weights[f"{name}.weight"], STRIDES[number], PADDINGS[number])
        columns = lambda vector: np.asarray(vector, np.float64)[:, None, None]  # noqa: E731
        x = x + columns(weights.get(f"{name}.bias", 0 * weights[f"{name}.weight"][:, 0, 0, 0]))
        if norms:
            scale, bias, mean, var = (
                columns(weights[f"{norms[number]}.{part}"])
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = (x - mean) / np.sqrt(var + epsilon) * scale + bias
        x = np.maximum(x, 0)
        found.append(x)
        if number + 1 in POOLED:
            x = pool(x)
    return found
