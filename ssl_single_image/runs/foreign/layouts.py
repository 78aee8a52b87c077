"""How published networks name their layers, as a table: a new layout is one entry of LAYOUTS.

Names are those that the authors' code gives: facebookresearch/deepcluster (models/alexnet.py), yukimasano/linear-probes
(alexnet.py, eval_linear_probes.py), gidariss/FeatureLearningRotNet (architectures/AlexNet.py) and torchvision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_single_image import models

OWN = "ssl_single_image"
"""The layout of this package's exports, which `own` makes for each network."""
NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
"""PyTorch's names of a batch norm's variables -> this package's."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A convolution and the batch norm behind it, here and in the file; "" where there is none.

    Attributes:
      conv: module of this package's network, such as "conv1".
      norm: likewise.
      their_conv: what stands before "weight" and "bias" in the file, such as "features.0".
      their_norm: what stands before "weight", "bias", "running_mean" and "running_var".
    """

    conv: str
    norm: str
    their_conv: str
    their_norm: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the tensors of a network are named in a file.

    Attributes:
      name: what `layout=` gives.
      summary: whose files these are.
      backbone: of this package.
      variants: options of the backbone that such a file may need; its shapes decide.
      blocks: all layers. A file without any batch norm is read too, if its convolutions have biases.
      heads: patterns (regular expressions) of tensors behind the trunk, which are not loaded.
      front: prefixes of the fixed filters of a Sobel front, grey then derivatives; they are compared and not loaded.
      epsilon: what the network's batch norms add to variances.
      mean: per channel, what the network's authors subtracted from RGB in [0, 1].
      std: per channel, what they divided by afterwards.
    """

    name: str
    summary: str
    backbone: str
    variants: Sequence[Mapping[str, Any]]
    blocks: Sequence[Block]
    heads: Sequence[str] = ()
    front: Sequence[str] = ()
    epsilon: float = models.EPSILON
    mean: Sequence[float] = models.MEAN
    std: Sequence[float] = models.STD


def _alexnet(convs: Sequence[str], norms: Sequence[str]) -> tuple[Block, ...]:
    pairs = zip(convs, norms, strict=True)
    return tuple(Block(f"conv{i}", f"bn{i}", conv, norm) for i, (conv, norm) in enumerate(pairs, 1))


def _numbered(prefix: str, numbers: Sequence[int]) -> list[str]:
    return [f"{prefix}.{number}" for number in numbers]


def _resnet(blocks: Sequence[int], convs: int) -> tuple[Block, ...]:
    """Residual networks of `blocks` in each stage, with `convs` convolutions a block."""
    found = [Block("conv1", "bn1", "conv1", "bn1")]
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            ours, theirs = f"layer{stage}_{number}", f"layer{stage}.{number}"
            names = [f".conv{i} .bn{i}".split() for i in range(1, convs + 1)]
            found += [Block(ours + conv, ours + norm, theirs + conv, theirs + norm) for conv, norm in names]
            if number == 0 and (stage > 1 or convs == 3):  # the first stage of plain blocks keeps its shape
                shortcut = (f"{theirs}.downsample.0", f"{theirs}.downsample.1")
                found.append(Block(f"{ours}.shortcut", f"{ours}.shortcut_bn", *shortcut))
    return tuple(found)


def _efficientnet() -> tuple[Block, ...]:
    """EfficientNet-B0; a block has its parts in a sequence, the first of which is left out where nothing is widened."""
    found, number = [Block("conv1", "bn1", "features.0.0", "features.0.1")], 0
    for position, stage in enumerate(models.EfficientNet.stages, 1):
        for place in range(stage.blocks):
            ours, theirs = f"block{number:02}", f"features.{position}.{place}.block"
            names = ["expand", "depthwise", "", "project"][stage.expansion == 1 :]
            for at, name in enumerate(names):
                if name:
                    conv, norm = f"{theirs}.{at}.0", f"{theirs}.{at}.1"
                    found.append(Block(f"{ours}.{name}", f"{ours}.{name}_bn", conv, norm))
                else:  # squeeze-and-excitation
                    found += [
                        Block(f"{ours}.{name}", "", f"{theirs}.{at}.fc{i}", "")
                        for i, name in enumerate(("squeeze", "excite"), 1)
                    ]
            number += 1
    return (*found, Block("top", "top_bn", f"features.{position + 1}.0", f"features.{position + 1}.1"))


STEMS = tuple({"stem": stem, "sobel": sobel} for stem in ("imagenet", "small") for sobel in (False, True))
TORCH_STEMS = tuple({**options, "epsilon": models.EPSILON} for options in STEMS)
"""EfficientNet with what PyTorch's batch norm adds to variances. Kernels do not tell its stems apart."""
BIG = ({"variant": "deepcluster", "sobel": False}, {"variant": "deepcluster", "sobel": True})
SMALL = ({"variant": "rotnet", "sobel": False}, {"variant": "rotnet", "sobel": True})
NORMED, PLAIN = (0, 4, 8, 11, 14), (0, 3, 6, 8, 10)
"""Numbers of AlexNet's convolutions in a sequence with batch norms, and in one without."""
SEQUENCE = _alexnet(_numbered("features", NORMED), _numbered("features", [number + 1 for number in NORMED]))

_TABLE = (
    Layout(
        "deepcluster",
        "DeepCluster (Caron et al. 2018), AlexNet with batch norm",
        "alexnet",
        BIG,
        SEQUENCE,
        (r"classifier\.[14]\.", r"top_layer\."),
        ("sobel.0", "sobel.1"),
    ),
    Layout(
        "linear-probes",
        "the authors' AlexNet of 64 or 96 channels, also with several heads (Asano et al. 2020)",
        "alexnet",
        (*BIG, *SMALL),
        SEQUENCE,
        (r"classifier\.[0134]\.", r"top_layer\d*\."),
        ("sobel.0", "sobel.1"),
    ),
    Layout(
        "probed",
        "what the authors' probes save: the trunk with its batch norm absorbed, and the probes (Asano et al. 2020)",
        "alexnet",
        (BIG[0], SMALL[0]),
        _alexnet(_numbered("trunk", PLAIN), [""] * 5),
        (r"probes\.",),
    ),
    Layout(
        "probed-sobel",
        "the same behind a Sobel front",
        "alexnet",
        (BIG[1], SMALL[1]),
        _alexnet(_numbered("trunk", [number + 2 for number in PLAIN]), [""] * 5),
        (r"probes\.",),
        ("trunk.0", "trunk.1"),
    ),
    Layout(
        "rotnet",
        "RotNet (Gidaris et al. 2018), AlexNet",
        "alexnet",
        SMALL[:1],
        _alexnet(
            [f"_feature_blocks.{number}.0" for number in (0, 2, 4, 5, 6)],
            [f"_feature_blocks.{number}.1" for number in (0, 2, 4, 5, 6)],
        ),
        (r"_feature_blocks\.[89]\.",),
    ),
    Layout(
        "torchvision",
        "torchvision's AlexNet, without batch norm",
        "alexnet",
        (*SMALL, *BIG),
        _alexnet(_numbered("features", PLAIN), [""] * 5),
        (r"classifier\.[146]\.", r"top_layer\."),
        ("sobel.0", "sobel.1"),
    ),
    Layout(
        "torchvision-resnet18",
        "torchvision's ResNet-18",
        "resnet18",
        STEMS,
        _resnet((2, 2, 2, 2), 2),
        (r"fc\.",),
        ("sobel.0", "sobel.1"),
    ),
    Layout(
        "torchvision-resnet50",
        "torchvision's ResNet-50",
        "resnet50",
        STEMS,
        _resnet((3, 4, 6, 3), 3),
        (r"fc\.",),
        ("sobel.0", "sobel.1"),
    ),
    Layout(
        "torchvision-efficientnet_b0",
        "torchvision's EfficientNet-B0",
        "efficientnet_b0",
        TORCH_STEMS,
        _efficientnet(),
        (r"classifier\.1\.",),
        ("sobel.0", "sobel.1"),
    ),
)
LAYOUTS = {layout.name: layout for layout in _TABLE}
"""Name -> layout, those of other programs."""
