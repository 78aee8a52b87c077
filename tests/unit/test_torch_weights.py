"""Against PyTorch itself: networks that it saves, files that it loads, and the program of the model card.

Skipped where PyTorch is not installed. `test_foreign_files.py` and `test_foreign_layouts.py` check the same without it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_export_encoder import NETWORKS, encoder, pixels
from test_foreign_layouts import TOLERANCE, activations

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

SIDE = 63


def features(channels: Sequence[int], norm: bool, inputs: int) -> nn.Sequential:
    """AlexNet's convolutional part as PyTorch's users write it."""
    layers: list[nn.Module] = []
    for number, outputs in enumerate(channels):
        kernel, stride, padding = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))[number]
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, padding),
            *([nn.BatchNorm2d(outputs)] if norm else []),
        ]
        layers += [nn.ReLU(), *([nn.MaxPool2d(3, 2)] if number in (0, 1, 4) else [])]
        inputs = outputs
    return nn.Sequential(*layers)


class DeepCluster(nn.Module):
    """With the names of its checkpoints, and a Sobel front of fixed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.DataParallel(features((96, 256, 384, 384, 256), True, 2))
        grey, derivatives = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1)
        nn.init.constant_(grey.weight, 1 / 3)
        derivatives.weight.data[0, 0] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        derivatives.weight.data[1, 0] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
        for layer in (grey, derivatives):
            nn.init.zeros_(layer.bias)
        self.sobel = nn.Sequential(grey, derivatives)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 4)
        )
        self.top_layer = nn.Linear(4, 3)

    def chain(self) -> list[nn.Module]:
        return [*self.sobel, *self.features.module]


class RotNet(nn.Module):
    """Its blocks in a list, pooling among them."""

    def __init__(self) -> None:
        super().__init__()
        parts = list(features((64, 192, 384, 256, 256), True, 3))
        places = (slice(0, 3), 3, slice(4, 7), 7, slice(8, 11), slice(11, 14), slice(14, 17), 17)
        blocks = [nn.Sequential(*parts[at]) if isinstance(at, slice) else parts[at] for at in places]
        head = (
            nn.Sequential(nn.Flatten(), nn.Linear(9, 4, bias=False), nn.BatchNorm1d(4)),
            nn.Sequential(nn.Linear(4, 4)),
        )
        self._feature_blocks = nn.ModuleList([*blocks, *head])

    def chain(self) -> list[nn.Module]:
        return [
            m
            for block in self._feature_blocks[:8]
            for m in (block if isinstance(block, nn.Sequential) else [block])
        ]


class Torchvision(nn.Module):
    """Without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = features((64, 192, 384, 256, 256), False, 3)

    def chain(self) -> list[nn.Module]:
        return list(self.features)


NETS = {
    "deepcluster": (DeepCluster, "state_dict"),
    "rotnet": (RotNet, "network"),
    "torchvision": (Torchvision, ""),
}


def trained(kind: Any) -> Any:
    """With values as after training, in inference mode."""
    torch.manual_seed(0)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for vector, (low, high) in (
                (module.weight.data, (0.5, 1.5)),
                (module.bias.data, (-0.3, 0.3)),
                (module.running_mean, (-0.3, 0.3)),
                (module.running_var, (0.3, 2)),
            ):
                vector.uniform_(low, high)
    return network.eval()


def after_relu(chain: Sequence[nn.Module], x: np.ndarray) -> list[np.ndarray]:
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (models.MEAN, models.STD))
    y, found = (torch.tensor(x).permute(0, 3, 1, 2) - mean) / std, []
    with torch.no_grad():
        for module in chain:
            y = module(y)
            if isinstance(module, nn.ReLU):
                found.append(y.permute(0, 2, 3, 1).numpy())
    return found


def agree(found: dict[str, np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    for value, other in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(value, other, atol=TOLERANCE * np.abs(other).max(), rtol=0)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_a_saved_network_has_its_activations_here(tmp_path: Path, name: str, zipped: bool) -> None:
    kind, wrapper = NETS[name]
    network = trained(kind)
    state = network.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()
    content = {"epoch": 3, wrapper: state, "optimizer": optimizer} if wrapper else state
    torch.save(content, tmp_path / "net.pth.tar", _use_new_zipfile_serialization=zipped)
    loaded = ssi.load_encoder(f"file:{tmp_path / 'net.pth.tar'},size={SIDE}")
    assert loaded.meta["file"]["layout"] == name
    images = pixels(loaded.encoder.spec)
    agree(activations(loaded, images), after_relu(network.chain(), images))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("zipped", [True, False])
def test_other_types_are_read_to_the_bit(tmp_path: Path, dtype: str, zipped: bool) -> None:
    state = {
        name: value.to(getattr(torch, dtype)) for name, value in trained(Torchvision).state_dict().items()
    }
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    kernel = ssi.load_encoder(f"file:{tmp_path / 'net.pth'}").encoder.params["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, state["features.3.weight"].float().permute(2, 3, 1, 0).numpy())


def test_parameters_views_and_files_without_checksums(tmp_path: Path) -> None:
    state = dict(trained(Torchvision).named_parameters())
    whole = torch.arange(200.0)
    state["features.0.bias"] = whole[7:135:2]
    before = torch.serialization.get_crc32_options()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.serialization.set_crc32_options, before)
        torch.serialization.set_crc32_options(False)
        torch.save(state, tmp_path / "net.pth")
    norm = ssi.load_encoder(f"file:{tmp_path / 'net.pth'}").encoder.params["bn1"]
    np.testing.assert_array_equal(norm["bias"], np.arange(7, 135, 2))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_whole_module_is_refused_by_its_class(tmp_path: Path, zipped: bool) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"its pickle names torch\.nn\.modules\.container\.Sequential"):
        ssi.load_encoder(f"file:{tmp_path / 'net.pth'}")


@pytest.mark.parametrize("mapped", [False, True])
def test_torch_load_reads_what_is_exported(tmp_path: Path, mapped: bool) -> None:
    sent = encoder("alexnet32")
    path = ssi.export_encoder(sent, tmp_path / "net.pth")
    found = torch.load(path, weights_only=True, mmap=mapped)["state_dict"]
    kernel = found["conv3.weight"].permute(2, 3, 1, 0).numpy()
    np.testing.assert_array_equal(kernel, sent.encoder.params["conv3"]["kernel"])
    assert not found["conv3.weight"].requires_grad


def by_the_card(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Activations by the program in a model card, which looks for the weights in the current folder."""
    (program,) = re.findall(
        r"```python\n(import torch\n.*?)```", path.with_suffix(".md").read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(program, "card", "exec"), names)
    with torch.no_grad():
        found = names["encoder"](torch.tensor(images).permute(0, 3, 1, 2))
    return {layer: value.permute(0, 2, 3, 1).numpy() for layer, value in found.items()}


@pytest.mark.parametrize("backbone", NETWORKS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_program_of_the_card_gives_the_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, suffix: str
) -> None:
    sent = encoder(backbone)
    path = ssi.export_encoder(sent, tmp_path / f"net{suffix}")
    monkeypatch.chdir(tmp_path)
    images = pixels(sent.encoder.spec)
    theirs = by_the_card(path, images)
    assert list(theirs) == list(sent.layers)
    agree(activations(sent, images), list(theirs.values()))
