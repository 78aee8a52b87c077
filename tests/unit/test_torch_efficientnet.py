"""EfficientNet-B0 against PyTorch; skipped where it is not installed, see `test_efficientnet.py` for what is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from precision import widened
from test_foreign_layouts import activations, pixels
from test_torch_weights import agree, by_the_card, trained

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.runs.foreign.layouts import LAYOUTS

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import torch_networks  # noqa: E402

PROBED = ((1, 0), (2, 1), (3, 1), (5, 2), (7, 0))
"""Places in torchvision's stages of the blocks that are probed."""


def network(stem: str = "imagenet") -> Any:
    """Without dropout and stochastic depth."""
    return trained(lambda: torch_networks.EfficientNetB0(1000, stem, drop_path=0.0, dropout=0.0))


def layers(net: Any, x: np.ndarray) -> list[np.ndarray]:
    """Outputs of the probed blocks for RGB in [0, 1]."""
    found = []
    for stage, place in PROBED:
        net.features[stage][place].register_forward_hook(lambda *given: found.append(given[2]))
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (models.MEAN, models.STD))
    with torch.no_grad():
        net((torch.tensor(x).permute(0, 3, 1, 2) - mean) / std)
    return [one.permute(0, 2, 3, 1).numpy() for one in found]


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_a_saved_network_has_its_activations_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    net, side = network(stem), 64 if stem == "imagenet" else 32
    torch.save(net.state_dict(), tmp_path / "net.pth")
    loaded = ssi.load_encoder(f"file:{tmp_path / 'net.pth'},size={side},stem={stem}")
    assert loaded.meta["file"]["layout"] == "torchvision-efficientnet_b0"
    images = pixels(1, side)
    found, wanted = activations(loaded, images), layers(net, images)
    agree(found, wanted)
    back = ssi.export_encoder(loaded, tmp_path / "back.pth")
    stored = torch.load(back, weights_only=True)["state_dict"]
    assert stored["block03.depthwise.weight"].shape == (144, 1, 5, 5)
    monkeypatch.chdir(tmp_path)
    theirs = by_the_card(back, images)
    assert list(theirs) == list(found)
    agree(theirs, wanted)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("blocks", "layer", "channels"), [(4, "block04", 40), pytest.param(9, "", 1280, marks=pytest.mark.slow)]
)
def test_gradients_in_training_are_those_of_pytorch(
    tmp_path: Path, blocks: int, layer: str, channels: int
) -> None:
    """Of a random linear function of a layer with batch statistics; of the trunk's output, for every parameter."""
    net = network("small").train()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    loaded = ssi.load_encoder(f"file:{tmp_path / 'net.pth'},size=16,stem=small").encoder
    net.double()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 16, 16, 3))
    output = net.features[:blocks](torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert output.shape[-1] == channels
    direction = rng.normal(size=output.shape)
    (output * torch.tensor(direction)).sum().backward()

    trunk = models.build_backbone("efficientnet_b0", loaded.spec.options, dtype=jnp.float64)
    params, stats = widened(loaded.params), widened(loaded.batch_stats)

    @jax.jit
    def gradients(params: Any) -> Any:
        def loss(params: Any) -> Any:
            variables = {"params": params, "batch_stats": stats}
            (output, taps), _ = trunk.apply(variables, x, train=True, mutable=["batch_stats"])
            found = taps.get(layer, output)
            return (found * direction).sum(), found

        return jax.grad(loss, has_aux=True)(params)

    found, here = gradients(params)
    np.testing.assert_allclose(here, output.detach().numpy(), rtol=1e-6, atol=1e-8)
    named = net.features.named_parameters()
    compare(
        traverse_util.flatten_dict(found, sep="."),
        {
            f"features.{name}": np.zeros(part.shape) if part.grad is None else part.grad.numpy()
            for name, part in named
        },
    )


def compare(ours: dict[str, Any], theirs: dict[str, np.ndarray]) -> None:
    """Gradients of all parameters, by their names here and in torchvision's file."""
    seen, largest = 0, max(np.abs(part).max() for part in theirs.values())
    for block in LAYOUTS["torchvision-efficientnet_b0"].blocks:
        pairs = {f"{block.conv}.kernel": f"{block.their_conv}.weight"}
        if block.norm:
            pairs |= {f"{block.norm}.scale": f"{block.their_norm}.weight"}
            pairs |= {f"{block.norm}.bias": f"{block.their_norm}.bias"}
        else:
            pairs |= {f"{block.conv}.bias": f"{block.their_conv}.bias"}
        for mine, other in pairs.items():
            wanted = theirs[other].transpose(2, 3, 1, 0) if theirs[other].ndim == 4 else theirs[other]
            # A shift that the next batch norm takes out again has a gradient of 0.
            tolerance = 1e-4 * np.abs(wanted).max() + 1e-12 * largest
            np.testing.assert_allclose(ours[mine], wanted, rtol=0, atol=tolerance, err_msg=mine)
            seen += 1
    assert seen == len(ours)
