"""Residual networks and EfficientNet-B0 in PyTorch, with torchvision's names, for benchmarks and tests.

`stem` is "imagenet" as in torchvision, or "small" for 32-px images, as in `ssl_single_image.models`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""EfficientNet-B0's blocks, kernel, stride, expansion and output channels of each stage."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions, around which a shortcut leads."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)))))
        return nn.functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, outputs: int, stem: str = "imagenet") -> None:
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(3, 64, *((7, 2, 3) if large else (3, 1, 1)), bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs = 64
        for stage in range(4):
            width = 64 << stage
            blocks = Residual(inputs, width, 2 if stage else 1), Residual(width, width, 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = width
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(nn.functional.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def normed(
    inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1, swish: bool = True
) -> Any:
    """Convolution, batch norm and, with `swish`, that."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.SiLU(inplace=True)] if swish else []))


class Weighting(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, units, 1)
        self.fc2 = nn.Conv2d(units, channels, 1)

    def forward(self, x: Any) -> Any:
        hidden = nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(hidden))


class Block(nn.Module):
    """EfficientNet's; `dropped` is how often it is left out for an image in training."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dropped: float
    ) -> None:
        super().__init__()
        inside = expansion * inputs
        self.block = nn.Sequential(
            *([normed(inputs, inside, 1, 1)] if expansion > 1 else []),
            normed(inside, inside, kernel, stride, groups=inside),
            Weighting(inside, inputs // 4),
            normed(inside, outputs, 1, 1, swish=False),
        )
        self.adds = stride == 1 and inputs == outputs
        self.dropped = dropped

    def forward(self, x: Any) -> Any:
        y = self.block(x)
        if not self.adds:
            return y
        if self.training and self.dropped:
            kept = torch.empty(len(y), 1, 1, 1, dtype=y.dtype).bernoulli_(1 - self.dropped)
            y = y * (kept / (1 - self.dropped))
        return x + y


class EfficientNetB0(nn.Module):
    def __init__(
        self, outputs: int, stem: str = "imagenet", drop_path: float = 0.2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        features, inputs, number = [normed(3, 32, 3, 2 if stem == "imagenet" else 1)], 32, 0
        total = sum(stage[0] for stage in STAGES)
        for blocks, kernel, stride, expansion, leaving in STAGES:
            parts = []
            for place in range(blocks):
                how = kernel, 1 if place else stride, expansion, drop_path * number / total
                parts.append(Block(inputs, leaving, *how))
                inputs, number = leaving, number + 1
            features.append(nn.Sequential(*parts))
        self.features = nn.Sequential(*features, normed(inputs, 1280, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, outputs))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).mean((2, 3)))
