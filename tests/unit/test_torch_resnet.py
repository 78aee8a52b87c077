"""Residual networks against PyTorch itself; skipped where it is not installed, see `test_resnet.py` for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_foreign_layouts import activations, pixels
from test_torch_weights import agree, by_the_card, trained

import ssl_single_image as ssi
from ssl_single_image import models

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402


class Block(nn.Module):
    """Of two convolutions, or of three with four times as many features at its end."""

    def __init__(self, inputs: int, width: int, stride: int, deep: bool) -> None:
        super().__init__()
        sides = ((1, 1), (3, stride), (1, 1)) if deep else ((3, stride), (3, 1))
        entering = inputs
        for number, (side, step) in enumerate(sides, 1):
            outputs = 4 * width if number == 3 else width
            self.add_module(f"conv{number}", nn.Conv2d(entering, outputs, side, step, side // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            entering = outputs
        self.count = len(sides)
        self.downsample = None
        if inputs != entering:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, entering, 1, stride, bias=False), nn.BatchNorm2d(entering)
            )

    def forward(self, x: Any) -> Any:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = y if number == self.count else torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """With the names of torchvision's checkpoints."""

    def __init__(self, blocks: tuple[int, ...], deep: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            parts = []
            for number in range(count):
                parts.append(Block(inputs, 64 << stage, 2 if stage and not number else 1, deep))
                inputs = (4 if deep else 1) * (64 << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
        self.fc = nn.Linear(inputs, 1000)

    def layers(self, x: np.ndarray) -> list[np.ndarray]:
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (models.MEAN, models.STD))
        with torch.no_grad():
            y = torch.relu(self.bn1(self.conv1((torch.tensor(x).permute(0, 3, 1, 2) - mean) / std)))
            found = [y]
            y = nn.functional.max_pool2d(y, 3, 2, 1)
            for stage in range(1, 5):
                y = getattr(self, f"layer{stage}")(y)
                found.append(y)
        return [one.permute(0, 2, 3, 1).numpy() for one in found]


@pytest.mark.parametrize(
    ("name", "blocks", "deep"), [("resnet18", (2, 2, 2, 2), False), ("resnet50", (3, 4, 6, 3), True)]
)
def test_a_saved_network_has_its_activations_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, blocks: tuple[int, ...], deep: bool
) -> None:
    network = trained(lambda: ResNet(blocks, deep))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    loaded = ssi.load_encoder(f"file:{tmp_path / 'net.pth'},size=64")
    assert loaded.meta["file"]["layout"] == f"torchvision-{name}"
    assert loaded.encoder.spec.size == 64
    images = pixels(1, 64)
    found, wanted = activations(loaded, images), network.layers(images)
    agree(found, wanted)
    back = ssi.export_encoder(loaded, tmp_path / "back.pth")
    assert torch.load(back, weights_only=True)["state_dict"]["layer4_0.shortcut.weight"].shape[2:] == (1, 1)
    monkeypatch.chdir(tmp_path)
    theirs = by_the_card(back, images)
    assert list(theirs) == list(found)
    agree(theirs, wanted)


def test_the_card_of_a_small_stem_behind_a_sobel_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = ssi.load_encoder("random:resnet18,stem=small,sobel=true")
    path = ssi.export_encoder(sent, tmp_path / "net.safetensors")
    monkeypatch.chdir(tmp_path)
    images = pixels(1, 32)
    agree(activations(sent, images), list(by_the_card(path, images).values()))
