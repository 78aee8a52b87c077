"""A trunk as the source of a PyTorch module, for model cards: whoever has the weights needs no package but PyTorch."""

from __future__ import annotations

import json

import jinja2

from ssl_single_image import models
from ssl_single_image.analysis import torch_efficientnet
from ssl_single_image.types import EncoderVariables, PyTree

_SOURCE = '''\
import torch
from torch import nn

{% block parts %}{% endblock %}

class Encoder(nn.Module):
    """RGB in [0, 1], (n, 3, {{ size }}, {{ size }}) -> the activations of every layer, (n, channels, rows, columns)."""

{% block network %}{% endblock %}
    def forward(self, x):
        x = (x - x.new_tensor({{ mean }}).view(3, 1, 1)) / x.new_tensor({{ std }}).view(3, 1, 1)
{% if sobel %}
        derivative = x.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
        filters = torch.stack([derivative, derivative.T])[:, None]
        x = nn.functional.conv2d(x.mean(1, keepdim=True), filters, padding=1)
{% endif %}
        activations = {}
{% block layers %}{% endblock %}
        return activations


{% if suffix == ".safetensors" %}
from safetensors.torch import load_file

weights = load_file({{ file }})
{% else %}
weights = torch.load({{ file }}, weights_only=True)["state_dict"]
{% endif %}
encoder = Encoder()
encoder.load_state_dict(weights)
encoder.eval()  # batch norm by its stored statistics
'''
"""What the programs have in common."""

_CHAIN = """\
{% extends "source" %}
{% block network %}
    LAYERS = (  # input channels, output channels, kernel, stride, padding, bias, batch norm, pooling behind the ReLU
{% for layer in layers %}
        ({{ layer | join(", ") }}),
{% endfor %}
    )

    def __init__(self):
        super().__init__()
        for i, (channels, outputs, kernel, stride, padding, bias, norm, _) in enumerate(self.LAYERS, 1):
            setattr(self, f"conv{i}", nn.Conv2d(channels, outputs, kernel, stride, padding, bias=bias))
            if norm:
                setattr(self, f"bn{i}", nn.BatchNorm2d(outputs, eps={{ epsilon }}))

{% endblock %}
{% block layers %}
        for i, (*_, norm, pool) in enumerate(self.LAYERS, 1):
            x = getattr(self, f"conv{i}")(x)
            if norm:
                x = getattr(self, f"bn{i}")(x)
            x = nn.functional.{{ activation }}
            activations[f"conv{i}"] = x
            if pool:
                x = pool(x)
{% endblock %}
"""

_RESIDUAL = '''\
{% extends "source" %}
{% block parts %}

class Residual(nn.Module):
    """Convolutions with batch norm, around which a shortcut leads."""

    def __init__(self, channels, outputs, convs, stride):
        super().__init__()
        entering = channels
        for i, (leaving, kernel, step) in enumerate(convs, 1):
            setattr(self, f"conv{i}", nn.Conv2d(entering, leaving, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(leaving, eps={{ epsilon }}))
            entering = leaving
        self.count = len(convs)
        self.changes = channels != outputs or stride != 1
        if self.changes:
            self.shortcut = nn.Conv2d(channels, outputs, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(outputs, eps={{ epsilon }})

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.count else y
        return torch.relu(y + (self.shortcut_bn(self.shortcut(x)) if self.changes else x))

{% endblock %}
{% block network %}
    BLOCKS = ({{ blocks | join(", ") }})  # of the four stages

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d({{ channels }}, 64, {{ kernel }}, {{ stride }}, {{ kernel // 2 }}, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps={{ epsilon }})
        channels = 64
        for stage, blocks in enumerate(self.BLOCKS, 1):
            width = 32 << stage
            for number in range(blocks):
                stride = 2 if stage > 1 and number == 0 else 1
{% if bottleneck %}
                outputs = 4 * width
                convs = (width, 1, 1), (width, 3, stride), (outputs, 1, 1)  # output channels, kernel, stride
{% else %}
                outputs = width
                convs = (width, 3, stride), (width, 3, 1)  # output channels, kernel, stride
{% endif %}
                setattr(self, f"layer{stage}_{number}", Residual(channels, outputs, convs, stride))
                channels = outputs

{% endblock %}
{% block layers %}
        x = activations["conv1"] = torch.relu(self.bn1(self.conv1(x)))
{% if pooled %}
        x = nn.functional.max_pool2d(x, 3, 2, 1)
{% endif %}
        for stage, blocks in enumerate(self.BLOCKS, 1):
            for number in range(blocks):
                x = getattr(self, f"layer{stage}_{number}")(x)
            activations[f"layer{stage}"] = x
{% endblock %}
'''


def source(encoder: EncoderVariables, file: str) -> str:
    """A program that builds the encoder in PyTorch and loads its weights; "" where there is none for the backbone.

    There is one for chains of layers, for residual networks and for EfficientNet.

    Args:
      encoder: of any backbone.
      file: name of the exported file.
    """
    spec = encoder.spec
    trunk = models.build_backbone(spec.backbone, spec.options)
    chain = models.chain(spec.backbone, spec.options)
    if chain is not None:
        name, values = "chain", _chain(chain, encoder.params)
    elif isinstance(trunk, models.ResNet):
        name, values = "residual", _residual(trunk, encoder.params)
    elif isinstance(trunk, models.EfficientNet):
        name, values = "efficientnet", torch_efficientnet.values(trunk, encoder.params)
    else:
        return ""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(
            {
                "source": _SOURCE,
                "chain": _CHAIN,
                "residual": _RESIDUAL,
                "efficientnet": torch_efficientnet.TEMPLATE,
            }
        ),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(
        size=spec.size,
        mean=list(spec.mean),
        std=list(spec.std),
        suffix=file[file.rfind(".") :],
        file=json.dumps(file, ensure_ascii=False),  # quotes in it become those of Python too
        **{"epsilon": models.EPSILON, **values},
    )


def _residual(trunk: models.ResNet, params: PyTree) -> dict[str, object]:
    large = trunk.options.stem == "imagenet"
    kernel = params["conv1"]["kernel"]
    return {
        "sobel": trunk.options.sobel,
        "blocks": trunk.blocks,
        "bottleneck": trunk.bottleneck,
        "channels": kernel.shape[2],
        "kernel": len(kernel),
        "stride": 2 if large else 1,
        "pooled": large,
    }


def _chain(trunk: models.ConvTrunk, params: PyTree) -> dict[str, object]:
    return {
        "sobel": trunk.sobel_front,
        "layers": _layers(trunk, params),
        "activation": f"leaky_relu(x, {trunk.slope})" if trunk.slope else "relu(x)",
    }


def _layers(trunk: models.ConvTrunk, params: PyTree) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for number, layer in enumerate(trunk.layers, 1):
        conv = params[f"conv{number}"]
        pool = "None"
        if layer.pool:
            window, stride, *padding = layer.pool
            kind = "AvgPool2d" if layer.average else "MaxPool2d"
            pool = f"nn.{kind}({', '.join(map(str, (window, stride, *padding)))})"
        inputs, outputs = conv["kernel"].shape[2:]
        found.append(
            (
                inputs,
                outputs,
                layer.kernel,
                layer.stride,
                layer.padding,
                "bias" in conv,
                f"bn{number}" in params,
                pool,
            )
        )
    return found
