"""Networks initialised by k-means of an image's patches, by reference: a baseline without training."""

from __future__ import annotations

import jax

from ssl_single_image import augment, images, models
from ssl_single_image.datasets import sources
from ssl_single_image.objectives import kmeans_init
from ssl_single_image.runs import forms, progress
from ssl_single_image.runs.encoders import LoadedEncoder

LOOKS = "kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]"


def load(reference: str, rest: str) -> LoadedEncoder:
    """The network of `kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]`; `crops=authors` takes their recipe.

    Raises:
      InputError: no source or one that can't be read, no such backbone, option or recipe, or a bad seed.
    """
    source, name, options, seed = forms.of_source(reference, rest, LOOKS)
    recipe = options.pop("crops", "paper")
    spec = models.encoder_spec(name, options)
    crop = augment.CropSpec.preset(str(recipe), spec.size)
    loaded = sources.load_source(source, size=spec.size)
    augment.check_source(crop, [s.pixels.shape for s in loaded], [s.name for s in loaded])
    with progress.waiting(f"initialising {name} by k-means of {source}"):
        atlas = jax.device_put(images.build_atlas([s.pixels for s in loaded]))
        encoder = kmeans_init.initialise(spec, atlas, crop, seed)
    return LoadedEncoder(reference, 0, encoder, {"config": {"source": source}})


FORM = forms.Form(load, LOOKS)
