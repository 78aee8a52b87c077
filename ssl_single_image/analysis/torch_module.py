"""A trunk as the source of a PyTorch module, for model cards: whoever has the weights needs no package but PyTorch."""

from __future__ import annotations

import json

import jinja2

from ssl_single_image import models
from ssl_single_image.types import EncoderVariables, PyTree

_SOURCE = '''\
import torch
from torch import nn


class Encoder(nn.Module):
    """RGB in [0, 1], (n, 3, {{ size }}, {{ size }}) -> the activations of every layer, (n, channels, rows, columns)."""

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

    def forward(self, x):
        x = (x - x.new_tensor({{ mean }}).view(3, 1, 1)) / x.new_tensor({{ std }}).view(3, 1, 1)
{% if sobel %}
        derivative = x.new_tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
        filters = torch.stack([derivative, derivative.T])[:, None]
        x = nn.functional.conv2d(x.mean(1, keepdim=True), filters, padding=1)
{% endif %}
        activations = {}
        for i, (*_, norm, pool) in enumerate(self.LAYERS, 1):
            x = getattr(self, f"conv{i}")(x)
            if norm:
                x = getattr(self, f"bn{i}")(x)
            x = nn.functional.{{ activation }}
            activations[f"conv{i}"] = x
            if pool:
                x = pool(x)
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


def source(encoder: EncoderVariables, file: str) -> str:
    """A program that builds the encoder in PyTorch and loads its weights; "" where the trunk is no chain of layers.

    Args:
      encoder: of any backbone.
      file: name of the exported file.
    """
    spec = encoder.spec
    trunk = models.build_backbone(spec.backbone, spec.options)
    if not isinstance(trunk, models.ConvTrunk):
        return ""
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_SOURCE).render(
        size=spec.size,
        layers=_layers(trunk, encoder.params),
        epsilon=models.EPSILON,
        mean=list(spec.mean),
        std=list(spec.std),
        sobel=trunk.sobel_front,
        activation=f"leaky_relu(x, {trunk.slope})" if trunk.slope else "relu(x)",
        suffix=file[file.rfind(".") :],
        file=json.dumps(file, ensure_ascii=False),  # quotes in it become those of Python too
    )


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
