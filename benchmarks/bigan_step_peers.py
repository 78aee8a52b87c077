"""One BiGAN training step, ours and PyTorch's, each in a process of its own.

`python benchmarks/bigan_step_peers.py CONTENDER CROPS`, see `common.Worker`; run by `bigan_step.py`. The networks are
those of a strided encoder with narrow 4 x 4 generator and discriminator on 32-px crops. Both make the same three
updates from one forward pass. Ours renders its crops inside the step; PyTorch is given a batch of stored ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import common

LATENT, WIDTH, KERNEL, SIDE, SLOPE = 64, 32, 4, 32, 0.2
RATE, FASTER, BETAS = 2e-4, 2.0, (0.5, 0.999)
OPTIONS = {"discriminator": "joint", "kernel": KERNEL, "width": WIDTH, "latent": LATENT}
"""What differs from the preset `cifar32`, beside the kernels of the encoder."""


def ours(crops: int) -> Callable[[int], int]:
    """This package's step under jit, crops rendered inside."""
    import jax

    from ssl_single_image import images
    from ssl_single_image.experiments import configs, pretrain_config
    from ssl_single_image.objectives import OBJECTIVES
    from ssl_single_image.parallel import compile_step

    fields: dict[str, Any] = {"objective_options": OPTIONS, "backbone_options": {"kernel": KERNEL}}
    config = configs.read(
        "pretrain",
        pretrain_config("bigan", preset="cifar32", image="builtin:coffee", batch_size=crops, **fields),
    )
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = OBJECTIVES["bigan"].make(config.setup())
    step = compile_step(objective.step, split_inputs=False)
    key = jax.random.key(0)
    state = jax.jit(objective.init)(key, atlas)

    def work(_: int) -> int:
        nonlocal state
        state, metrics = step(state, key, atlas)
        jax.block_until_ready(metrics)
        return crops

    return work


def encoder() -> Any:
    """Four strided convolutions, the first with a bias in place of batch norm, and normalised codes."""
    from torch import nn

    layers: list[Any] = []
    channels = 3
    for number in range(4):
        features = 64 << number
        layers.append(nn.Conv2d(channels, features, KERNEL, 2, 1, bias=number == 0))
        layers += [nn.BatchNorm2d(features)] * (number > 0) + [nn.LeakyReLU(SLOPE)]
        channels = features
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(4 * channels, LATENT), nn.BatchNorm1d(LATENT, affine=False)
    )


def generator() -> Any:
    """z -> 4 x 4 pixels, doubled three times; z is a bias for the channels of each hidden layer."""
    import torch
    from torch import nn

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [4 * WIDTH, 2 * WIDTH, WIDTH]
            self.start = nn.Linear(LATENT, 16 * widths[0], bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(width) for width in widths])
            pairs = zip(widths, [*widths[1:], 3], strict=True)
            self.ups = nn.ModuleList([nn.ConvTranspose2d(a, b, KERNEL, 2, 1, bias=b == 3) for a, b in pairs])
            self.codes = nn.ModuleList([nn.Linear(LATENT, width, bias=False) for width in widths[1:]])

        def forward(self, z: Any) -> Any:
            x = self.start(z).reshape(len(z), -1, 4, 4)
            for number, (norm, up) in enumerate(zip(self.norms, self.ups, strict=True)):
                if number:
                    x = x + self.codes[number - 1](z)[:, :, None, None]
                x = up(torch.relu(norm(x)))
            return 2 * torch.sigmoid(x) - 1

    return Generator()


def discriminator() -> Any:
    """Three strided convolutions, z as a bias from the second on, all with spectral norm."""
    from torch import nn
    from torch.nn import functional as F
    from torch.nn.utils.parametrizations import spectral_norm

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [WIDTH << number for number in range(3)]
            pairs = zip([3, *widths], widths, strict=False)
            self.convs = nn.ModuleList(
                [spectral_norm(nn.Conv2d(a, b, KERNEL, 2, 1, bias=a == 3)) for a, b in pairs]
            )
            self.codes = nn.ModuleList([spectral_norm(nn.Linear(LATENT, b, bias=False)) for b in widths[1:]])
            self.norms = nn.ModuleList([nn.BatchNorm2d(b) for b in widths[1:]])
            self.top = spectral_norm(nn.Linear(16 * widths[-1], 1))

        def forward(self, x: Any, z: Any) -> Any:
            for number, conv in enumerate(self.convs):
                x = conv(x)
                if number:
                    x = self.norms[number - 1](x + self.codes[number - 1](z)[:, :, None, None])
                x = F.leaky_relu(x, SLOPE)
            return self.top(x.flatten(1))[:, 0]

    return Discriminator()


def pytorch(crops: int, *, channels_last: bool) -> Callable[[int], int]:
    """The same step in PyTorch, eager."""
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    e, g, d = (make().to(memory_format=layout).train() for make in (encoder, generator, discriminator))
    real = torch.rand(crops, 3, SIDE, SIDE).contiguous(memory_format=layout) * 2 - 1
    pair = [*e.parameters(), *g.parameters()]
    rates = [
        {"params": list(network.parameters()), "lr": RATE * factor}
        for network, factor in ((e, 1.0), (g, FASTER), (d, FASTER))
    ]
    optimiser = torch.optim.Adam(rates, betas=BETAS, weight_decay=2.5e-5)

    def work(_: int) -> int:
        z = torch.randn(crops, LATENT)
        true, made = d(real, e(real)), d(g(z), z)
        own = torch.relu(1 - true).mean() + torch.relu(1 + made).mean()
        opposite = true.mean() - made.mean()
        parameters = list(d.parameters())
        grads = torch.autograd.grad(own, parameters, retain_graph=True)
        grads += torch.autograd.grad(opposite, pair)
        for parameter, grad in zip(parameters + pair, grads, strict=True):
            parameter.grad = grad
        optimiser.step()
        return crops

    return work


CONTENDERS: dict[str, Callable[[int], Callable[[int], int]]] = {
    "ours": ours,
    "eager": lambda crops: pytorch(crops, channels_last=False),
    "channels_last": lambda crops: pytorch(crops, channels_last=True),
}


def main() -> None:
    contender, crops = sys.argv[1:]
    common.serve(CONTENDERS[contender](int(crops)))


if __name__ == "__main__":
    main()
