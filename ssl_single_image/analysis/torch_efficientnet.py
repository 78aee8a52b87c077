"""EfficientNet as the source of a PyTorch module: what `torch_module` puts into a model card."""

from __future__ import annotations

from ssl_single_image import models
from ssl_single_image.models import efficientnet
from ssl_single_image.types import PyTree

TEMPLATE = '''\
{% extends "source" %}
{% block parts %}

class Block(nn.Module):
    """1 x 1 convolution, depthwise convolution, a weight for each channel, 1 x 1 convolution."""

    def __init__(self, channels, outputs, kernel, stride, expansion):
        super().__init__()
        inside = expansion * channels
        self.widens = expansion > 1
        if self.widens:
            self.expand = nn.Conv2d(channels, inside, 1, bias=False)
            self.expand_bn = nn.BatchNorm2d(inside, eps={{ epsilon }})
        self.depthwise = nn.Conv2d(inside, inside, kernel, stride, kernel // 2, groups=inside, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(inside, eps={{ epsilon }})
        self.squeeze = nn.Conv2d(inside, channels // {{ squeeze }}, 1)
        self.excite = nn.Conv2d(channels // {{ squeeze }}, inside, 1)
        self.project = nn.Conv2d(inside, outputs, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(outputs, eps={{ epsilon }})
        self.adds = stride == 1 and channels == outputs

    def forward(self, x):
        swish = nn.functional.silu
        y = swish(self.expand_bn(self.expand(x))) if self.widens else x
        y = swish(self.depthwise_bn(self.depthwise(y)))
        y = y * torch.sigmoid(self.excite(swish(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = self.project_bn(self.project(y))
        return x + y if self.adds else y

{% endblock %}
{% block network %}
    BLOCKS = (  # output channels, kernel, stride, expansion
{% for block in blocks %}
        ({{ block | join(", ") }}),
{% endfor %}
    )

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d({{ channels }}, {{ stem }}, 3, {{ stride }}, 1, bias=False)
        self.bn1 = nn.BatchNorm2d({{ stem }}, eps={{ epsilon }})
        channels = {{ stem }}
        for number, (outputs, *how) in enumerate(self.BLOCKS):
            setattr(self, f"block{number:02}", Block(channels, outputs, *how))
            channels = outputs
        self.top = nn.Conv2d(channels, {{ top }}, 1, bias=False)
        self.top_bn = nn.BatchNorm2d({{ top }}, eps={{ epsilon }})

    def output(self, activations):
        """What a head sees of the activations, (n, {{ top }}, rows, columns)."""
        return nn.functional.silu(self.top_bn(self.top(activations["{{ probed[-1] }}"])))

{% endblock %}
{% block layers %}
        x = nn.functional.silu(self.bn1(self.conv1(x)))
        for number in range(len(self.BLOCKS)):
            x = getattr(self, f"block{number:02}")(x)
            if number in ({{ numbers | join(", ") }}):
                activations[f"block{number:02}"] = x
{% endblock %}
'''


def values(trunk: models.EfficientNet, params: PyTree) -> dict[str, object]:
    """What the template needs to know of a trunk."""
    blocks = [
        (stage.features, stage.kernel, 1 if place else stage.stride, stage.expansion)
        for stage in trunk.stages
        for place in range(stage.blocks)
    ]
    return {
        "sobel": trunk.options.sobel,
        "epsilon": trunk.options.epsilon,
        "blocks": blocks,
        "channels": params["conv1"]["kernel"].shape[2],
        "stem": efficientnet.STEM,
        "stride": 2 if trunk.options.stem == "imagenet" else 1,
        "squeeze": efficientnet.SQUEEZE,
        "top": efficientnet.TOP,
        "numbers": efficientnet.PROBED,
        "probed": [f"block{number:02}" for number in efficientnet.PROBED],
    }
