"""One RotNet training step, ours and PyTorch's, each in a process of its own.

`python benchmarks/train_step_peers.py CONTENDER NETWORK CROPS`, see `common.Worker`; run by `train_step.py`. PyTorch's
networks are built from the tables below, which a test compares with the package's. Ours renders its crops inside
the step; PyTorch is given a batch of stored ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import common

Step = Callable[[int], int]
Conv = tuple[int, int, int, int]  # features, kernel, stride, padding
POOL2, POOL3, AVERAGE3 = ("max", 2, 2, 0), ("max", 3, 2, 0), ("average", 3, 2, 1)
LAYERS: dict[str, list[Any]] = {
    "small4": [(32, 3, 1, 1), (64, 3, 2, 1), (128, 3, 2, 1), (128, 3, 2, 1)],
    "alexnet32": [
        (64, 3, 1, 1),
        POOL2,
        (128, 3, 1, 1),
        POOL2,
        (192, 3, 1, 1),
        (192, 3, 1, 1),
        (128, 3, 1, 1),
        POOL2,
    ],
    "dcgan32": [(64, 5, 2, 2), (128, 5, 2, 2), (256, 5, 2, 2), (512, 5, 2, 2)],
    "nin": [
        *[(192, 5, 1, 2), (160, 1, 1, 0), (96, 1, 1, 0), ("max", 3, 2, 1)],
        *[(192, 5, 1, 2), (192, 1, 1, 0), (192, 1, 1, 0), AVERAGE3],
        *[(192, 3, 1, 1), (192, 1, 1, 0), (192, 1, 1, 0)],
    ],
    "alexnet": [
        *[(64, 11, 4, 2), POOL3, (192, 5, 1, 2), POOL3],
        *[(384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), POOL3],
    ],
}
HIDDEN = {"small4": None, "alexnet32": (512,), "dcgan32": (512,), "nin": None, "alexnet": (4096, 4096)}
"""Hidden fully connected layers; None: global average pooling straight to the logits."""
DEEP = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNetB0"}
"""Networks with the stem for 32-px images -> their twins in `torch_networks`."""
SIDES = {"small4": 32, "alexnet32": 32, "dcgan32": 32, "nin": 32, "alexnet": 224} | dict.fromkeys(DEEP, 32)
LEAKY = {"dcgan32": 0.2}
"""Networks with leaky ReLU and with a bias in place of the first layer's batch norm -> the slope below zero."""
OBJECTIVES = {"jigsaw": 9, "simclr": 2, "pirl": 10}
"""Objectives on alexnet32 -> images that a crop gives to it; their twins are in `objective_twins`."""
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


def ours(network: str, crops: int) -> Step:
    """This package's step under jit, crops rendered inside."""
    import jax

    from ssl_single_image import images
    from ssl_single_image.experiments import configs, pretrain_config
    from ssl_single_image.parallel import compile_step

    if network == "small4":
        _register_small4()
    name = network if network in OBJECTIVES else "rotnet"
    preset = "imagenet224" if network == "alexnet" else "cifar32"
    fields: dict[str, Any] = {"batch_size": crops}
    if name == "rotnet":
        fields["backbone"] = network
    if network in DEEP:
        fields["backbone_options.stem"] = "small"
    chosen = pretrain_config(name, preset=preset, image="builtin:coffee", **fields)
    config = configs.read("pretrain", chosen)
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = config.entry.make(config.setup())
    step = compile_step(objective.step, split_inputs=False)
    key = jax.random.key(0)
    state = jax.jit(objective.init)(key, atlas)

    def work(_: int) -> int:
        nonlocal state
        state, metrics = step(state, key, atlas)
        jax.block_until_ready(metrics)
        return objective.views * crops

    return work


def _register_small4() -> None:
    from ssl_single_image import models
    from ssl_single_image.models import heads, layers

    def build(options: Any, **shared: Any) -> layers.ConvTrunk:
        return layers.ConvTrunk(tuple(layers.ConvSpec(*layer) for layer in LAYERS["small4"]), **shared)

    def head(outputs: int, options: Any, **shared: Any) -> heads.AverageHead:
        return heads.AverageHead(outputs)

    models.BACKBONES["small4"] = models.Backbone(
        build, head, input_size=SIDES["small4"], smallest=1, parameters=0
    )


def torch_trunk(network: str) -> tuple[Any, int]:
    """The layers before the head in PyTorch, and the values that they give for an image."""
    from torch import nn

    modules: list[nn.Module] = []
    channels, side = 3, SIDES[network]
    for layer in LAYERS[network]:
        if layer[0] == "max":
            modules.append(nn.MaxPool2d(*layer[1:]))
        elif layer[0] == "average":
            modules.append(nn.AvgPool2d(*layer[1:]))
        else:
            features, *rest = layer
            slope = LEAKY.get(network, 0.0)
            bias = slope > 0 and not modules
            modules.append(nn.Conv2d(channels, features, *rest, bias=bias))
            if not bias:
                modules.append(nn.BatchNorm2d(features))
            modules.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
            channels = features
        _, kernel, stride, padding = layer
        side = (side + 2 * padding - kernel) // stride + 1
    if HIDDEN[network] is None:
        return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1)), channels
    return nn.Sequential(*modules), channels * side * side


def torch_network(network: str) -> Any:
    """The same network in PyTorch."""
    from torch import nn

    if network in DEEP:
        import torch_networks

        return getattr(torch_networks, DEEP[network])(4, "small")
    trunk, channels = torch_trunk(network)
    modules: list[nn.Module] = [trunk, nn.Flatten()]
    for features in HIDDEN[network] or ():
        modules += [nn.Linear(channels, features, bias=False), nn.BatchNorm1d(features), nn.ReLU()]
        channels = features
    return nn.Sequential(*modules, nn.Linear(channels, 4))


def torch_rotnet(network: str, crops: int, layout: Any) -> tuple[Any, Callable[[], Any]]:
    """A network, and its loss on the rotations of stored crops."""
    import torch
    from torch.nn import functional as F

    model = torch_network(network).to(memory_format=layout).train()
    stored = torch.randn(crops, 3, SIDES[network], SIDES[network])
    labels = torch.arange(4).repeat_interleave(crops)

    def loss() -> Any:
        views = torch.cat([torch.rot90(stored, turns, (2, 3)) for turns in range(4)])
        return F.cross_entropy(model(views.contiguous(memory_format=layout)), labels)

    return model, loss


def torch_step(network: str, crops: int, *, channels_last: bool, compiled: bool) -> Step:
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    if network in OBJECTIVES:
        import objective_twins

        model = objective_twins.TWINS[network](torch_trunk("alexnet32")[0], crops, layout)
        model, loss = model.to(memory_format=layout).train(), model
    else:
        model, loss = torch_rotnet(network, crops, layout)
    optimiser = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True)
    compute = torch.compile(loss) if compiled else loss

    def work(_: int) -> int:
        optimiser.zero_grad(set_to_none=True)
        compute().backward()
        optimiser.step()
        return OBJECTIVES.get(network, 4) * crops

    return work


CONTENDERS: dict[str, Callable[[str, int], Step]] = {
    "ours": ours,
    "eager": lambda n, c: torch_step(n, c, channels_last=False, compiled=False),
    "channels_last": lambda n, c: torch_step(n, c, channels_last=True, compiled=False),
    "compile": lambda n, c: torch_step(n, c, channels_last=False, compiled=True),
    "compile_channels_last": lambda n, c: torch_step(n, c, channels_last=True, compiled=True),
}


def main() -> None:
    contender, network, crops = sys.argv[1:]
    common.serve(CONTENDERS[contender](network, int(crops)))


if __name__ == "__main__":
    main()
