"""The paper's tables at the scale of CIFAR-10: 32-px crops, linear probes of all layers on the whole set.

ssl-single-image study --config cifar10:a=img_a.jpg,b=ameyoko.jpg,thousand=FOLDER --workdir runs/study --data_dir DATA

Arguments `a` and `b` are the paper's images, `thousand` is a folder of 1,000 photographs. Rows of an image that is not
given are left out. Ten built-in photographs and the unlabelled training images need no argument.

Within a table, all rows of a method see equally many images. BiGAN sees half as many as the others: its step trains
three networks, and takes more than twice as long. On two CPU cores all rows take some ten hours.
"""

import ml_collections

from ssl_single_image.experiments import study_rows as rows
from ssl_single_image.experiments.presets import parse_arg

VIEWS = {"rotnet": 192_000, "deepcluster": 192_000, "bigan": 96_000}
SHORT = {name: count // 2 for name, count in VIEWS.items()}
LONG = {"rotnet": 345_600, "deepcluster": 345_600, "bigan": 192_000}
LEAKY = "random:alexnet32,slope=0.2,first_norm=false@{seed}"
HEADLINE = ("headline",)
FROZEN = {"tables": ("headline", "frozen"), "stages": ("probe", "finetune")}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    args = parse_arg(arg, a="", b="", thousand="", data_dir="", dataset="cifar10")
    sources = {"a": args.a, "b": args.b, "ten": rows.TEN, "thousand": args.thousand}
    sources |= {"all": f"unlabelled:{args.dataset}"} | {
        name: made for name, (_, made) in rows.SYNTHETIC.items()
    }
    labels = f"supervised:dataset={args.dataset}"
    return rows.config(
        title=f"What can be learnt from a single image: 32-px crops, {args.dataset}",
        sources=sources,
        data_dir=args.data_dir,
        probe=args.dataset,
        probe_fields={"statistics": "recomputed", "seeds": 3},
        finetune="cifar10",
        finetune_fields={
            "dataset": args.dataset,
            "steps": 2000,
            "eval_every": 1000,
            "checkpoint_every": 500,
            "keep": 1,
        },
        analysis={"data": args.dataset, "images": 1000},
        rows=(
            rows.row(
                "random",
                method="untrained",
                images="none",
                reference="random:alexnet32@{seed}",
                seeds=3,
                **FROZEN,
            ),
            rows.row("random-leaky", method="untrained, as D", images="none", reference=LEAKY, seeds=2),
            rows.row(
                "random-dcgan",
                method="untrained, as E",
                images="none",
                reference="random:dcgan32@{seed}",
                seeds=2,
            ),
            *rows.methods("b", VIEWS, seeds=2, **FROZEN),
            rows.row(
                "kmeans-b",
                method="k-means initialisation",
                images="image B",
                source="b",
                reference="kmeans:alexnet32,source={source}@{seed}",
                **FROZEN,
            ),
            rows.row("scattering", method="scattering", images="none", reference="scattering", **FROZEN),
            rows.row(
                "supervised", method="supervised", images="all training images", pretrain=labels, **FROZEN
            ),
            rows.row(
                "none",
                method="all layers trained",
                reference="none",
                tables=("frozen",),
                stages=("finetune",),
            ),
            *rows.methods("all", VIEWS),
            *rows.methods("a", VIEWS),
            *rows.methods("ten", VIEWS),
            *rows.methods("thousand", VIEWS),
            *rows.ablation(32, SHORT),
            *(one for name in rows.SYNTHETIC for one in rows.methods(name, SHORT, tables=("synthetic",))),
            *rows.pixels(SHORT),
            *rows.long("b", LONG),
        ),
    )
