"""BiGAN's three networks in PyTorch, from the package's parameters: a reference to compare with."""

import numpy as np
import torch
from torch.nn import functional as F


def tensors(tree):
    """Parameters as leaves that take gradients."""
    if isinstance(tree, dict):
        return {name: tensors(part) for name, part in tree.items()}
    return torch.tensor(np.asarray(tree), requires_grad=True)


def norm(x, params):
    return F.batch_norm(x, None, None, params["scale"], params["bias"], training=True, eps=1e-5)


def oihw(kernel):
    return kernel.permute(3, 2, 0, 1)


def encode(params, x):
    x = x.permute(0, 3, 1, 2)
    trunk = params["backbone"]
    for number in range(1, 6):
        x = F.conv2d(x, oihw(trunk[f"conv{number}"]["kernel"]), padding=1)
        x = F.relu(norm(x, trunk[f"bn{number}"]))
        if number in (1, 2, 5):
            x = F.max_pool2d(x, 2)
    top = params["head"]["top"]
    return torch.tanh(x.permute(0, 2, 3, 1).flatten(1) @ top["kernel"] + top["bias"])


def upsample(x, kernel):
    return F.conv_transpose2d(x, kernel.permute(2, 3, 0, 1), stride=2, padding=2, output_padding=1)


def generate(params, z):
    """16-px images in [0, 1]: 4 px, doubled twice."""
    x = (z @ params["fc"]["kernel"]).reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    x = upsample(F.relu(norm(x, params["bn0"])), params["up1"]["kernel"])
    x = x + (z @ params["z1"]["kernel"])[:, :, None, None]
    x = upsample(F.relu(norm(x, params["bn1"])), params["up2"]["kernel"])
    return torch.sigmoid(x.permute(0, 2, 3, 1) + params["bias"])


def judge(params, x, z):
    first, second = params["conv1"], params["conv2"]
    x = F.conv2d(x.permute(0, 3, 1, 2), oihw(first["kernel"]), first["bias"], stride=2, padding=2)
    x = F.conv2d(F.leaky_relu(x, 0.2), oihw(second["kernel"]), stride=2, padding=2)
    x = norm(x + (z @ params["z2"]["kernel"])[:, :, None, None], params["bn2"])
    x = F.leaky_relu(x, 0.2).permute(0, 2, 3, 1).flatten(1)
    return (x @ params["top"]["kernel"] + params["top"]["bias"])[:, 0]


def logits(params, crops, real, z):
    """D's logits for (crops, E(crops)) and (G(z), z); `real` is the crops in [-1, 1]."""
    codes = encode(params["encoder"], crops)
    made = 2 * generate(params["generator"], z) - 1
    return judge(params["discriminator"], real, codes), judge(params["discriminator"], made, z)
