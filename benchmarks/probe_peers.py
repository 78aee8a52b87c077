"""A whole probe of one untrained `alexnet32`, ours and PyTorch's, each in a process of its own.

`python benchmarks/probe_peers.py CONTENDER KIND IMAGES`, see `common.Worker`; run by `probe.py`. Both get the same
random pixels and labels in memory: IMAGES to train on and a fifth as many to test. The protocol is that of the package:
all five layers, pooled to at most 3,072 features (768 for nearest neighbours).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import common
import numpy as np
from train_step_peers import torch_network

CLASSES, SIDE, BATCH = 10, 32, 250
EPOCHS, RATE, DECAY, MOMENTUM = 20, 0.01, 0.01, 0.9
PENALTIES, HELD_OUT = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0), 0.1
NEIGHBOURS, TEMPERATURE = 20, 0.07
FEATURES = {"linear": 3072, "ridge": 3072, "knn": 768}
"""Kind of probe -> most features of a layer."""


def labelled(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 32, 32, 3) uint8 and labels (n,) int32."""
    rng = np.random.default_rng(images)
    pixels = rng.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)
    return pixels, rng.integers(0, CLASSES, images).astype(np.int32)


def ours(kind: str, images: int) -> Callable[[int], int]:
    """The package's probe, which compiles in the first call."""
    from ssl_single_image import probes
    from ssl_single_image.datasets import LabelledSet, MemorySplit
    from ssl_single_image.runs import load_encoder

    def split(count: int) -> MemorySplit:
        pixels, labels = labelled(count)
        return MemorySplit(pixels, labels, np.full((count, 2), SIDE, np.int32))

    names = tuple(map(str, range(CLASSES)))
    data = LabelledSet("random", names, split(images), split(images // 5))
    encoder = load_encoder("random:alexnet32")
    plan = probes.make_plan([encoder], data, probes.ProbeConfig(dataset="random", kind=kind))
    program = probes.find(kind).make(plan, plan.setups[0])

    def work(_: int) -> int:
        program.run(encoder)
        return images + images // 5

    return work


def pytorch(kind: str, images: int) -> Callable[[int], int]:
    """The same in PyTorch, in its faster memory layout."""
    import torch
    from torch import nn

    network = torch_network("alexnet32").to(memory_format=torch.channels_last).eval()
    trunk = [module for module in network if not isinstance(module, nn.Linear | nn.Flatten | nn.BatchNorm1d)]
    train, test = (_torch_set(count) for count in (images, images // 5))
    classify = {"linear": _torch_linear, "ridge": _torch_ridge, "knn": _torch_knn}[kind]

    def work(_: int) -> int:
        with torch.no_grad():
            known, asked = (_torch_features(trunk, pixels, FEATURES[kind]) for pixels, _ in (train, test))
        for x, y in zip(known, asked, strict=True):
            mean, scale = x.mean(0), torch.rsqrt(x.var(0, correction=0) + 1e-5)
            if kind != "knn":
                x, y = (x - mean) * scale, (y - mean) * scale
            (classify(x, train[1], y).argmax(1) == test[1]).float().mean().item()
        return images + images // 5

    return work


def _torch_set(count: int) -> tuple[Any, Any]:
    import torch

    pixels, labels = labelled(count)
    return torch.from_numpy(pixels), torch.from_numpy(labels).long()


def _torch_features(trunk: Any, pixels: Any, most: int) -> list[Any]:
    """Pooled activations of every layer, (N, F) each."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    parts: list[list[Any]] = []
    for block in pixels.split(BATCH):
        x = ((block.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)  # already channels last
        found = []
        for module in trunk:
            x = module(x)
            if isinstance(module, nn.ReLU):
                side = min(math.isqrt(most // x.shape[1]), x.shape[2])
                found.append(F.adaptive_max_pool2d(x, side).flatten(1))
        parts.append(found[:5])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def _torch_linear(x: Any, labels: Any, y: Any) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F

    head = nn.Linear(x.shape[1], CLASSES)
    optimiser = torch.optim.SGD(head.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    steps = [EPOCHS // 2, EPOCHS * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(head(x[rows]), labels[rows]).backward()
            optimiser.step()
        schedule.step()
    with torch.inference_mode():
        return head(y)


def _torch_ridge(x: Any, labels: Any, y: Any) -> Any:
    import torch
    from torch.nn import functional as F

    target = F.one_hot(labels, CLASSES).float()
    share = target.mean(0)
    target = target - share
    rows = torch.randperm(len(x))[: round(HELD_OUT * len(x))]
    apart = x[rows]
    gram, moment = x.T @ x, x.T @ target

    def solve(gram: Any, moment: Any, penalty: float) -> Any:
        factor = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram)))
        return torch.cholesky_solve(moment, factor)

    kept, kept_moment = gram - apart.T @ apart, moment - apart.T @ target[rows]
    scores = []
    for penalty in PENALTIES:
        kernel = solve(kept, kept_moment, penalty * (len(x) - len(rows)))
        scores.append(((apart @ kernel + share).argmax(1) == labels[rows]).float().mean().item())
    best = PENALTIES[int(np.argmax(scores))]
    return y @ solve(gram, moment, best * len(x)) + share


def _torch_knn(x: Any, labels: Any, y: Any) -> Any:
    import torch
    from torch.nn import functional as F

    known, votes = F.normalize(x), []
    for block in F.normalize(y).split(BATCH):
        nearest, rows = (block @ known.T).topk(NEIGHBOURS)
        votes.append((torch.exp(nearest / TEMPERATURE)[..., None] * F.one_hot(labels[rows], CLASSES)).sum(1))
    return torch.cat(votes)


CONTENDERS = {"ours": ours, "channels_last": pytorch}


def main() -> None:
    contender, kind, images = sys.argv[1:]
    common.serve(CONTENDERS[contender](kind, int(images)))


if __name__ == "__main__":
    main()
