"""EfficientNet-B0 in NumPy, with weights in PyTorch's form and torchvision's names.

Written from Tan and Le 2019, table 1, and Sandler et al. 2018, figure 3; squeeze-and-excitation from Hu et al. 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reference.numpy_alexnet import Arrays, convolve

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride, expansion and output channels of each stage."""
PROBED = (0, 2, 4, 10, 15)


def draw(classes: int = 1000, seed: int = 0) -> Arrays:
    """Weights with trained-looking values: gains and statistics far from 0 and 1."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}

    def conv(name: str, inputs: int, outputs: int, side: int) -> None:
        spread = np.float32((inputs * side**2) ** -0.5)
        found[f"{name}.weight"] = rng.standard_normal((outputs, inputs, side, side), np.float32) * spread

    def normed(name: str, inputs: int, outputs: int, side: int) -> None:
        conv(f"{name}.0", inputs, outputs, side)
        found[f"{name}.1.weight"] = rng.uniform(0.8, 1.8, outputs).astype(np.float32)
        found[f"{name}.1.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        found[f"{name}.1.running_mean"] = rng.normal(0, 0.1, outputs).astype(np.float32)
        found[f"{name}.1.running_var"] = rng.uniform(0.4, 1.2, outputs).astype(np.float32)
        found[f"{name}.1.num_batches_tracked"] = np.array(1000)

    normed("features.0", 3, 32, 3)
    inputs = 32
    for stage, (blocks, side, _, expansion, outputs) in enumerate(STAGES, 1):
        for number in range(blocks):
            name, inside, at = f"features.{stage}.{number}.block", expansion * inputs, 0
            if expansion > 1:
                normed(f"{name}.0", inputs, inside, 1)
                at = 1
            normed(f"{name}.{at}", 1, inside, side)
            for part, (entering, leaving) in enumerate(((inside, inputs // 4), (inputs // 4, inside)), 1):
                conv(f"{name}.{at + 1}.fc{part}", entering, leaving, 1)
                found[f"{name}.{at + 1}.fc{part}.bias"] = rng.normal(0, 0.5, leaving).astype(np.float32)
            normed(f"{name}.{at + 2}", inside, outputs, 1)
            inputs = outputs
    normed("features.8", inputs, 1280, 1)
    found["classifier.1.weight"] = np.zeros((classes, 1280), np.float32)
    found["classifier.1.bias"] = np.zeros(classes, np.float32)
    return found


def depthwise(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """(n, C, H, W) by (C, 1, k, k) -> (n, C, h, w), in float64, padded by k // 2."""
    border = weight.shape[-1] // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (border, border), (border, border)))
    windows = sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,cij->nchw", windows, weight[:, 0].astype(np.float64))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2


def swish(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def _normed(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray, epsilon: float) -> np.ndarray:
    scale, shift, mean, var = (
        np.asarray(weights[f"{name}.{part}"], np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + epsilon) * scale + shift


def block(
    weights: Mapping[str, np.ndarray], name: str, x: np.ndarray, stride: int, epsilon: float = 1e-5
) -> np.ndarray:
    """One block, (n, C, H, W) -> (n, D, h, w), with its running statistics."""

    def conv(at: int, y: np.ndarray) -> np.ndarray:
        return _normed(
            weights, f"{name}.{at}.1", convolve(y, weights[f"{name}.{at}.0.weight"], 1, 0), epsilon
        )

    def dense(part: str, y: np.ndarray) -> np.ndarray:
        return y @ weights[f"{name}.{part}.weight"][:, :, 0, 0].T + weights[f"{name}.{part}.bias"]

    at, y = 0, x
    if f"{name}.3.0.weight" in weights:
        at, y = 1, swish(conv(0, x))
    y = depthwise(y, weights[f"{name}.{at}.0.weight"], stride)
    y = swish(_normed(weights, f"{name}.{at}.1", y, epsilon))
    hidden = swish(dense(f"{at + 1}.fc1", y.mean((2, 3))))
    y = y * sigmoid(dense(f"{at + 1}.fc2", hidden))[:, :, None, None]
    y = conv(at + 2, y)
    return x + y if x.shape == y.shape else y


def activations(
    weights: Mapping[str, np.ndarray], x: np.ndarray, *, stride: int = 2, epsilon: float = 1e-5
) -> Sequence[np.ndarray]:
    """Of the probed blocks and of the last convolution, (n, C, h, w) float64, for normalised input (n, 3, H, W).

    `stride` is the first convolution's.
    """
    x = convolve(x, weights["features.0.0.weight"], stride, 1)
    x = swish(_normed(weights, "features.0.1", x, epsilon))
    found, total = [], 0
    for stage, (blocks, _, step, _, _) in enumerate(STAGES, 1):
        for number in range(blocks):
            x = block(weights, f"features.{stage}.{number}.block", x, 1 if number else step, epsilon)
            if total in PROBED:
                found.append(x)
            total += 1
    top = convolve(x, weights["features.8.0.weight"], 1, 0)
    return [*found, swish(_normed(weights, "features.8.1", top, epsilon))]
