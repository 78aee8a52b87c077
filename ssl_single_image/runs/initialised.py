"""Networks initialised by k-means of an image's patches, by reference: a baseline without training."""

from __future__ import annotations

import re

import jax

from ssl_single_image import augment, images, models
from ssl_single_image.errors import InputError
from ssl_single_image.objectives import kmeans_init
from ssl_single_image.runs import forms, progress
from ssl_single_image.runs.encoders import LoadedEncoder

LOOKS = "kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]"


def load(reference: str, rest: str) -> LoadedEncoder:
    """The network of `kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]`; `crops=authors` takes their recipe.

    Only digits after the last @ are a seed, because a file may have @ in its name.

    Raises:
      InputError: no source or one that can't be read, no such backbone, option or recipe, or a bad seed.
    """
    has_seed = re.search(r"@\d+$", rest)
    described, seed = forms.seeded(reference, rest) if has_seed else (rest, 0)
    name, *words = described.split(",")
    source = "".join(word.removeprefix("source=") for word in words if word.startswith("source="))
    if not source:
        raise InputError(f"checkpoint {reference}: names no image; expected {LOOKS}")
    options = forms.options(reference, [word for word in words if not word.startswith("source=")])
    recipe = options.pop("crops", "paper")
    spec = models.encoder_spec(name, options)
    crop = augment.CropSpec.preset(str(recipe), spec.size)
    sources = images.load_source(source)
    augment.check_source(crop, [s.pixels.shape for s in sources], [s.name for s in sources])
    with progress.waiting(f"initialising {name} by k-means of {source}"):
        atlas = jax.device_put(images.build_atlas([s.pixels for s in sources]))
        encoder = kmeans_init.initialise(spec, atlas, crop, seed)
    return LoadedEncoder(reference, 0, encoder, {"config": {"source": source}})


FORM = forms.Form(load, LOOKS)
