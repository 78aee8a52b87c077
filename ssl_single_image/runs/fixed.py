"""The scattering transform by reference: a network whose filters are known, with neither training nor a seed."""

from __future__ import annotations

from ssl_single_image import keys, models
from ssl_single_image.errors import InputError
from ssl_single_image.runs import forms
from ssl_single_image.runs.encoders import LoadedEncoder

BACKBONE = "scattering"


def load(reference: str, rest: str) -> LoadedEncoder:
    """The transform of `scattering[:OPTION=VALUE,...]`; `size=PIXELS` is the side of its input.

    Raises:
      InputError: no such option, or an input that is too small.
    """
    options = forms.options(reference, rest.split(",") if rest else [])
    size = options.pop("size", 0)
    if type(size) is not int or size < 0:
        raise InputError(f"checkpoint {reference}: size = {size!r}: must be a number of pixels")
    spec = models.encoder_spec(BACKBONE, options, size)
    return LoadedEncoder(reference, 0, models.untrained(spec, keys.unused()), {"config": {}})


FORM = forms.Form(load, "scattering[:OPTION=VALUE]", needs_argument=False)
