"""The studies that come with the package: the paper's tables at two scales, the zoo, and what lies beyond the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

from ssl_single_image.experiments.presets import as_config_dict
from ssl_single_image.experiments.study_rows import (
    AT_32,
    AT_224,
    IMAGES,
    SYNTHETIC,
    TEN,
    ablation,
    baselines,
    longer,
    methods,
    pixels,
    row,
    untrained,
)
from ssl_single_image.experiments.study_settings import StudyConfig

FROZEN: dict[str, Any] = {"tables": ("headline", "frozen"), "stages": ("probe", "finetune")}
VIEWS = {"rotnet": 192_000, "deepcluster": 192_000, "bigan": 96_000}
SHORT = {name: count // 2 for name, count in VIEWS.items()}
LONG = {"rotnet": 345_600, "deepcluster": 345_600, "bigan": 192_000}
LABELS = {"method": "supervised", "images": "all training images"}


def cifar(dataset: str, **given: str) -> ml_collections.ConfigDict:
    """The study at 32 px on CIFAR-10 or CIFAR-100; `given` has the sources "a", "b" and "thousand", and "data_dir"."""
    behind = {"dataset": dataset, "steps": 2000, "eval_every": 1000, "checkpoint_every": 500, "keep": 1}
    others = {
        "random-leaky": ("untrained, as D", "alexnet32,slope=0.2,first_norm=false"),
        "random-dcgan": ("untrained, as E", "dcgan32"),
    }
    return _study(
        f"What can be learnt from a single image: 32-px crops, {dataset}",
        dataset,
        given,
        {"all": f"unlabelled:{dataset}"},
        probe_fields={"statistics": "recomputed", "seeds": 3},
        finetune_fields=behind,
        rows=(
            *untrained({"random": ("untrained", "alexnet32")}, seeds=3, **FROZEN),
            *untrained(others, seeds=2),
            *methods(AT_32, "b", VIEWS, seeds=2, **FROZEN),
            *baselines("alexnet32", **FROZEN),
            row("supervised", **LABELS, pretrain=f"supervised:dataset={dataset}", **FROZEN),
            row(
                "none",
                method="all layers trained",
                reference="none",
                tables=("frozen",),
                stages=("finetune",),
            ),
            *(one for source in ("all", "a", "ten", "thousand") for one in methods(AT_32, source, VIEWS)),
            *ablation(AT_32, 32, SHORT),
            *(one for name in SYNTHETIC for one in methods(AT_32, name, SHORT, tables=("synthetic",))),
            *pixels(AT_32, SHORT),
            *longer(AT_32, "b", LONG),
        ),
    )


def imagenet(**given: str) -> ml_collections.ConfigDict:
    """The study at 224 px with the published networks; `given` as for `cifar`.

    It has no row of all training images, which don't fit into an atlas.
    """
    whole = dict.fromkeys(AT_224, 0)
    networks = {
        "random-rotnet": ("untrained", "alexnet,variant=rotnet"),
        "random-deepcluster": ("untrained, on Sobel", "alexnet,variant=deepcluster,sobel=true"),
        "random-bigan": ("untrained, leaky", "alexnet,variant=bigan"),
    }
    labels = "supervised:preset=imagenet224,dataset=imagenet"
    return _study(
        "What can be learnt from a single image: 224-px crops, ImageNet",
        "imagenet",
        given,
        {},
        rows=(
            *untrained(networks),
            *(one for source in ("b", "a", "ten", "thousand") for one in methods(AT_224, source, whole)),
            *baselines("alexnet"),
            row("supervised", **LABELS, pretrain=labels),
            *ablation(AT_224, 224, whole),
            *(one for name in SYNTHETIC for one in methods(AT_224, name, whole, tables=("synthetic",))),
            *pixels(AT_224, whole),
        ),
    )


def zoo(**given: str) -> ml_collections.ConfigDict:
    """The encoders of the zoo, from images that anyone may use; `given` has "data_dir"."""
    others = {"random-leaky": ("untrained, as D", "alexnet32,slope=0.2,first_norm=false")}
    return _study(
        "Encoders that come with the package",
        "cifar10",
        given,
        {"astronaut": "builtin:astronaut"},
        claims=False,
        probe_fields={"statistics": "recomputed", "seeds": 3},
        rows=(
            *untrained({"random": ("untrained", "alexnet32")} | others),
            *(one for source in ("astronaut", "leaves") for one in methods(AT_32, source, LONG)),
        ),
    )


PIXELS = 96_000
"""Images of 32 px whose pixels a row of `others` sees: puzzles and pairs are counted in these."""
TILED = {"jigsaw": (9, 9 * 12**2), "pirl": (10, 32**2 + 9 * 12**2), "simclr": (2, 2 * 32**2)}
"""Method -> images that a crop gives to the encoder, and their pixels."""
CONTRASTS = {
    "jigsaw": ("Jigsaw", "jigsaw", {}),
    "pirl": ("PIRL", "pirl", {}),
    "pirl-apart": ("PIRL, overlaps masked", "pirl", {"objective_options.mask_overlap": 0.3}),
    "simclr": ("SimCLR", "simclr", {}),
    "simclr-apart": ("SimCLR, overlaps masked", "simclr", {"objective_options.mask_overlap": 0.3}),
}
"""Name of a row -> what tables call it, its config, and what differs from that."""
ANCESTORS = {
    "esvm": ("exemplar SVMs, adapted", "esvm:alexnet32,source={source}@{seed}"),
    "mmcf": ("correlation filters, adapted", "mmcf:alexnet32,source={source}@{seed}"),
    "whitened": ("whitened patches", "patches:alexnet32,rule=whitened,source={source}@{seed}"),
    "raw": ("raw patches", "patches:alexnet32,rule=raw,source={source}@{seed}"),
    "gaussian": ("Gaussian filters", "patches:alexnet32,rule=gaussian,source={source}@{seed}"),
    "kmeans": ("k-means initialisation", "kmeans:alexnet32,source={source}@{seed}"),
}
"""Filters from patches of one image: name of a row -> what tables call it, and its reference."""
LARGER = {"resnet18": "ResNet-18", "efficientnet_b0": "EfficientNet-B0"}
"""Backbone -> what tables call it; both with the stem for small images."""


def others(**given: str) -> ml_collections.ConfigDict:
    """Further methods, and further backbones, on image B at equal pixels; `given` has "b" and "data_dir"."""
    shared: dict[str, Any] = {"images": IMAGES["b"], "source": "b"}
    small = {"backbone_options.stem": "small"}
    untrained_ones = {"random": ("untrained", "alexnet32")} | {
        f"random-{name}": (f"untrained, {title}", f"{name},stem=small") for name, title in LARGER.items()
    }
    deeper = [
        row(
            f"{name}-{backbone}",
            method=f"{method}, {title}",
            pretrain=name,
            fields={"backbone": backbone, **small},
            views=PIXELS,
            untrained=(f"random-{backbone}",),
            **shared,
        )
        for backbone, title in LARGER.items()
        for name, method in (("rotnet", "RotNet"), ("deepcluster", "DeepCluster"))
    ]
    known = {name: AT_32[name] for name in ("rotnet", "deepcluster")}
    return _study(
        "Other methods and other networks: 32-px crops of one image",
        "cifar10",
        given,
        {},
        claims=False,
        probe_fields={"statistics": "recomputed", "seeds": 3},
        rows=(
            *untrained(untrained_ones),
            *methods(known, "b", dict.fromkeys(known, PIXELS)),
            *_contrasts(tuple(CONTRASTS)),
            *deeper,
        ),
    )


def harder(**given: str) -> ml_collections.ConfigDict:
    """Shifted images, invariance, and filters from single patches; `given` has "b", "thousand" and "data_dir"."""
    stages = {"stages": ("probe", "robustness", "invariance")}
    views = dict.fromkeys(AT_32, PIXELS)
    others = {"random-leaky": ("untrained, as D", "alexnet32,slope=0.2,first_norm=false")}
    ours: dict[str, Any] = {"rotnet": AT_32["rotnet"], "deepcluster": AT_32["deepcluster"]}
    ours["bigan"] = {**AT_32["bigan"], "encoders": ("discriminator",), "untrained": ("random-leaky",)}
    image: dict[str, Any] = {"images": IMAGES["b"], "source": "b"}
    return _study(
        "Harder images, invariance, and filters from single patches: 32-px crops, cifar10",
        "cifar10",
        given,
        {},
        claims=False,
        probe_fields={"statistics": "recomputed", "seeds": 3},
        robustness_fields={
            "statistics": "recomputed",
            "test_images": 2000,
            "options": {"severities": (1, 3, 5)},
        },
        invariance={"data": "cifar10", "images": 512},
        rows=(
            *untrained({"random": ("untrained", "alexnet32")} | others, **stages),
            row(
                "supervised", **LABELS, pretrain="supervised:dataset=cifar10", untrained=("random",), **stages
            ),
            *methods(ours, "b", views, **stages),
            *_contrasts(("simclr", "pirl"), **stages),
            *methods({"rotnet": ours["rotnet"]}, "thousand", views, **stages),
            *(
                row(name, method=method, reference=text, **image)
                for name, (method, text) in ANCESTORS.items()
            ),
            row(
                "random-truncated",
                method="untrained, two layers",
                images="none",
                reference="random:truncated@{seed}",
            ),
        ),
    )


def _contrasts(names: tuple[str, ...], **more: Any) -> list[dict[str, Any]]:
    """Rows of methods that see several tiles or views of a crop, on image B."""
    return [
        row(
            name,
            method=method,
            pretrain=config,
            fields=fields,
            views=PIXELS * 32**2 * TILED[config][0] // TILED[config][1],
            untrained=("random",),
            images=IMAGES["b"],
            source="b",
            **more,
        )
        for name, (method, config, fields) in CONTRASTS.items()
        if name in names
    ]


def _study(
    title: str, dataset: str, given: Mapping[str, str], own: Mapping[str, str], **fields: Any
) -> ml_collections.ConfigDict:
    """A study's config, with the sources that need not be given."""
    made = {name: source for name, (_, source) in SYNTHETIC.items()}
    sources = {name: given.get(name, "") for name in ("a", "b", "thousand")} | {"ten": TEN, **made, **own}
    analysis = {"data": dataset, "images": 1000}
    data: dict[str, Any] = {"data_dir": given.get("data_dir", ""), "probe": dataset}
    return as_config_dict(StudyConfig(title=title, sources=sources, analysis=analysis, **data, **fields))
