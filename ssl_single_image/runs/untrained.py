"""Untrained networks by reference: the baseline of every probe."""

from __future__ import annotations

from ssl_single_image import keys, models
from ssl_single_image.runs import forms
from ssl_single_image.runs.encoders import LoadedEncoder


def load(reference: str, rest: str) -> LoadedEncoder:
    """The network of `random:BACKBONE[,OPTION=VALUE][@SEED]` as it is before training.

    Raises:
      InputError: no such backbone or option, or a bad seed.
    """
    described, seed = forms.seeded(reference, rest)
    name, *words = described.split(",")
    spec = models.encoder_spec(name, forms.options(reference, words))
    return LoadedEncoder(reference, 0, models.untrained(spec, keys.root(seed)), {"config": {}})


FORM = forms.Form(load, "random:BACKBONE[,OPTION=VALUE][@SEED]")
