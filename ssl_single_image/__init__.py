"""How much of a network, layer by layer, can be learnt from one image and strong augmentation?

This package pretrains convolutional networks on augmented crops of one image, and measures what each layer learnt.
It follows Asano, Rupprecht and Vedaldi, "A critical analysis of self-supervision, or what we can learn from a single
image" (ICLR 2020). From an image to a table of accuracies:

    import ssl_single_image as ssi

    config = ssi.pretrain_config("rotnet", preset="demo", image="builtin:astronaut", steps=100)
    run = ssi.pretrain(config, "runs/rotnet")
    table = ssi.probe("photos", [run, "random:alexnet32"])
    print(table)

In a notebook, `table`, `table.figure()`, `run.curves()` and `show_crops` show themselves.

Images and crops
    load_source     decodes or makes the images that a source names
    build_atlas     puts images on the device, ready to be cropped
    CropSpec        says how crops are made; `CropSpec.preset("paper", 32)` is the paper's recipe
    render_crops    renders crops of an atlas by number, a pure function for your own steps
    show_crops      draws a sheet of crops beside their source; a notebook shows it
    export_crops    writes crops as files, to train on the same images elsewhere

Training and measuring
    pretrain_config a config by name ("rotnet", "deepcluster", "bigan", "supervised") with fields changed
    pretrain        trains an encoder into a folder, or resumes the run that is there
    probe_config    a probe's config by name ("cifar10", "photos", ...) with fields changed
    probe           measures every layer of encoders; the table shows itself
    finetune_config a config by name ("cifar10", "photos", ...) with fields changed
    finetune        trains networks on labels behind frozen first layers of encoders; the table shows itself
    analyse         similarity, ranks, invariance and landmarks of the layers of encoders
    stylize         one image in the style of another, by an encoder's features
    report          one page of tables and figures about finished runs
    status          how far runs are, how fast they go, and how long they will take; the table shows itself
    study_config    a study's config by name ("cifar10", "cifar100", "imagenet")
    study           all rows of the paper's tables, its conclusions judged, and one report

Encoders
    load_encoder    an encoder by reference: a run's folder, FOLDER@STEP, random:alexnet32
                    for an untrained one, file:PATH for weights of other programs, zoo:NAME
                    for a pretrained one that comes with the package
    zoo             lists those; the table shows itself
    export_encoder  writes it as a file for PyTorch or safetensors, with a model card
    features        its activations on a batch of images, at any layer

What a user gets wrong raises `InputError` with one line. JAX is imported when the first of these names is used. The
same experiments run from a shell as `ssl-single-image COMMAND`.
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augment": ["CropSpec", "render_crops"],
        "errors": ["Halted", "InputError"],
        "experiments": [
            "analyse",
            "export_crops",
            "export_encoder",
            "features",
            "finetune",
            "finetune_config",
            "pretrain",
            "pretrain_config",
            "probe",
            "probe_config",
            "report",
            "show_crops",
            "status",
            "study",
            "study_config",
            "stylize",
            "zoo",
        ],
        "datasets.sources": ["load_source"],
        "images": ["build_atlas"],
        "runs": ["load_encoder"],
    },
)

if TYPE_CHECKING:
    from ssl_single_image.augment import CropSpec as CropSpec
    from ssl_single_image.augment import render_crops as render_crops
    from ssl_single_image.datasets.sources import load_source as load_source
    from ssl_single_image.errors import Halted as Halted
    from ssl_single_image.errors import InputError as InputError
    from ssl_single_image.experiments import analyse as analyse
    from ssl_single_image.experiments import export_crops as export_crops
    from ssl_single_image.experiments import export_encoder as export_encoder
    from ssl_single_image.experiments import features as features
    from ssl_single_image.experiments import finetune as finetune
    from ssl_single_image.experiments import finetune_config as finetune_config
    from ssl_single_image.experiments import pretrain as pretrain
    from ssl_single_image.experiments import pretrain_config as pretrain_config
    from ssl_single_image.experiments import probe as probe
    from ssl_single_image.experiments import probe_config as probe_config
    from ssl_single_image.experiments import report as report
    from ssl_single_image.experiments import show_crops as show_crops
    from ssl_single_image.experiments import status as status
    from ssl_single_image.experiments import study as study
    from ssl_single_image.experiments import study_config as study_config
    from ssl_single_image.experiments import stylize as stylize
    from ssl_single_image.experiments import zoo as zoo
    from ssl_single_image.images import build_atlas as build_atlas
    from ssl_single_image.runs import load_encoder as load_encoder
