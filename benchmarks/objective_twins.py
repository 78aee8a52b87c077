"""Training steps of Jigsaw, SimCLR and PIRL in PyTorch, on `alexnet32` with the settings of the presets `cifar32`.

They are given what the package renders inside its step: stored tiles and views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Loss = Callable[[], Any]
TILES, TILE, SIDE, PUZZLES = 9, 12, 32, 64
DIMENSION, NEGATIVES, CROPS = 128, 4096, 12_800


def hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]


class Twin(nn.Module):
    """A trunk, with a loss on inputs that it holds."""

    def __init__(self, trunk: nn.Sequential, crops: int, layout: Any):
        super().__init__()
        self.trunk, self.crops, self.layout = nn.Sequential(trunk, nn.Flatten()), crops, layout

    def stored(self, count: int, side: int) -> Any:
        return torch.randn(count, 3, side, side).contiguous(memory_format=self.layout)


class Jigsaw(Twin):
    """64 permutations of nine tiles."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.towers = nn.Sequential(*hidden(128, 128))
        self.top = nn.Sequential(*hidden(TILES * 128, 512), nn.Linear(512, PUZZLES))
        self.x, self.labels = self.stored(TILES * self.crops, TILE), torch.randint(PUZZLES, (self.crops,))

    def forward(self) -> Any:
        together = self.towers(self.trunk(self.x)).reshape(self.crops, -1)
        return F.cross_entropy(self.top(together), self.labels)


class SimCLR(Twin):
    """NT-Xent of two views."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.head = nn.Sequential(*hidden(2048, 512), nn.Linear(512, DIMENSION))
        self.x = self.stored(2 * self.crops, SIDE)
        self.labels = torch.arange(2 * self.crops).roll(self.crops)

    def forward(self) -> Any:
        z = F.normalize(self.head(self.trunk(self.x)))
        logits = (z @ z.T / 0.5).fill_diagonal_(-1e9)
        return F.cross_entropy(logits, self.labels)


class PIRL(Twin):
    """InfoNCE of an image and of its tiles against a bank."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.image_head = nn.Linear(2048, DIMENSION)
        self.tile_head, self.together = nn.Linear(128, DIMENSION), nn.Linear(TILES * DIMENSION, DIMENSION)
        self.x, self.tiles = self.stored(self.crops, SIDE), self.stored(TILES * self.crops, TILE)
        self.bank = F.normalize(torch.randn(CROPS, DIMENSION))
        self.own, self.labels = torch.randperm(CROPS)[: self.crops], torch.zeros(self.crops, dtype=torch.long)

    def forward(self) -> Any:
        g = self.together(self.tile_head(self.trunk(self.tiles)).reshape(self.crops, -1))
        f = self.image_head(self.trunk(self.x))
        drawn = torch.randint(CROPS, (NEGATIVES,))
        positives, negatives = self.bank[self.own], self.bank[drawn]
        left_out = self.own[:, None] == drawn[None]
        losses = []
        for z in (F.normalize(f), F.normalize(g)):
            others = (z @ negatives.T).masked_fill(left_out, -1e9)
            logits = torch.cat([(z * positives).sum(1, keepdim=True), others], 1) / 0.1
            losses.append(F.cross_entropy(logits, self.labels))
        with torch.no_grad():
            self.bank[self.own] = F.normalize(0.5 * positives + 0.5 * F.normalize(f))
        return (losses[0] + losses[1]) / 2


TWINS: dict[str, type[Twin]] = {"jigsaw": Jigsaw, "simclr": SimCLR, "pirl": PIRL}
