"""Residual networks in NumPy, with weights in PyTorch's form and torchvision's names.

Written from He et al. 2016, table 1, with the stride in the 3 x 3 convolution of a bottleneck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reference.numpy_alexnet import Arrays, convolve

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def draw(name: str, *, stem: int = 7, classes: int = 1000, seed: int = 0) -> Arrays:
    """Weights with trained-looking values: gains and statistics far from 0 and 1.

    `stem` is the side of conv1's kernel.
    """
    rng = np.random.default_rng(seed)
    found: Arrays = {}

    def add(conv: str, norm: str, inputs: int, outputs: int, side: int) -> None:
        spread = np.float32((inputs * side**2) ** -0.5)
        found[f"{conv}.weight"] = rng.standard_normal((outputs, inputs, side, side), np.float32) * spread
        found[f"{norm}.weight"] = rng.uniform(0.5, 1.5, outputs).astype(np.float32)
        found[f"{norm}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        found[f"{norm}.running_mean"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        found[f"{norm}.running_var"] = rng.uniform(0.3, 2, outputs).astype(np.float32)
        found[f"{norm}.num_batches_tracked"] = np.array(1000)

    add("conv1", "bn1", 3, 64, stem)
    inputs = 64
    for stage, count in enumerate(BLOCKS[name]):
        width = 64 * 2**stage
        outputs = width if name == "resnet18" else 4 * width
        sides, widths = (
            ((3, 3), (width, width)) if name == "resnet18" else ((1, 3, 1), (width, width, outputs))
        )
        for number in range(count):
            prefix, entering = f"layer{stage + 1}.{number}", inputs
            for i, (side, leaving) in enumerate(zip(sides, widths, strict=True), 1):
                add(f"{prefix}.conv{i}", f"{prefix}.bn{i}", entering, leaving, side)
                entering = leaving
            if inputs != outputs:
                add(f"{prefix}.downsample.0", f"{prefix}.downsample.1", inputs, outputs, 1)
            inputs = outputs
    found["fc.weight"] = np.zeros((classes, inputs), np.float32)
    found["fc.bias"] = np.zeros(classes, np.float32)
    return found


def _normed(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    scale, shift, mean, var = (
        np.asarray(weights[f"{name}.{part}"], np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def _block(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray, stride: int) -> np.ndarray:
    convs = [number for number in (1, 2, 3) if f"{name}.conv{number}.weight" in weights]
    y = x
    for number in convs:
        weight = weights[f"{name}.conv{number}.weight"]
        strided = number == (1 if len(convs) == 2 else 2)
        y = convolve(y, weight, stride if strided else 1, weight.shape[-1] // 2)
        y = _normed(weights, f"{name}.bn{number}", y)
        if number < convs[-1]:
            y = np.maximum(y, 0)
    if f"{name}.downsample.0.weight" in weights:
        x = _normed(
            weights, f"{name}.downsample.1", convolve(x, weights[f"{name}.downsample.0.weight"], stride, 0)
        )
    return np.maximum(x + y, 0)


def activations(name: str, weights: Mapping[str, np.ndarray], x: np.ndarray) -> Sequence[np.ndarray]:
    """After the stem's ReLU and after each stage, (n, C, h, w) float64, for normalised input (n, 3, H, W)."""
    stem = weights["conv1.weight"]
    large = stem.shape[-1] == 7
    x = convolve(x, stem, 2 if large else 1, stem.shape[-1] // 2)
    x = np.maximum(_normed(weights, "bn1", x), 0)
    found = [x]
    if large:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2].max((-1, -2))
    for stage, count in enumerate(BLOCKS[name], 1):
        for number in range(count):
            x = _block(weights, f"layer{stage}.{number}", x, 2 if stage > 1 and number == 0 else 1)
        found.append(x)
    return found
