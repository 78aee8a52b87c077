"""Networks whose first layers are made of patches of an image, by reference: baselines without training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from ssl_single_image import augment, images, models
from ssl_single_image.datasets import sources
from ssl_single_image.errors import InputError
from ssl_single_image.objectives import exemplars
from ssl_single_image.runs import forms, progress
from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.schema import suggestion
from ssl_single_image.types import EncoderSpec

CONTROLS = tuple(name for name in exemplars.RULES if name not in exemplars.ADAPTED)
"""Rules of `patches:`."""


def load(rule: str, looks: str, reference: str, rest: str) -> LoadedEncoder:
    """The network of a reference; `rule` "" is named in it.

    Options of the rule and of the backbone stand side by side. The network is `truncated`: it has the layers that get
    filters and no others.

    Raises:
      InputError: no source or one that can't be read or used, no such backbone, option or rule, or a bad seed.
    """
    source, name, options, seed = forms.of_source(reference, rest, looks)
    rule = rule or _named_rule(reference, options)
    try:
        settings, spec = _read(rule, name, options)
    except InputError as error:
        raise InputError(f"checkpoint {reference}: {error}") from error
    crop = augment.CropSpec.preset(settings.crops, spec.size)
    loaded = sources.load_source(source, size=spec.size)
    shapes = [image.pixels.shape for image in loaded]
    augment.check_source(crop, shapes, [image.name for image in loaded])
    with progress.waiting(f"making {name} of patches of {source} by {rule}"):
        atlas = jax.device_put(images.build_atlas([image.pixels for image in loaded]))
        sides = [(height, width) for height, width, _ in shapes]
        try:
            encoder = exemplars.initialise(spec, atlas, sides, rule, settings, seed)
        except InputError as error:
            raise InputError(f"checkpoint {reference}: {error}") from error
    meta = {
        "source": source,
        "inputs": sources.records(source, loaded),
        "rule": rule,
        "settings": settings.to_config(),
        "seed": seed,
    }
    return LoadedEncoder(reference, 0, encoder, {"config": meta})


def _named_rule(reference: str, options: dict[str, Any]) -> str:
    rule = options.pop("rule", "")
    if rule not in CONTROLS:
        raise InputError(
            f"checkpoint {reference}: rule = {rule!r}: must be one of {', '.join(CONTROLS)}"
            f"{suggestion(str(rule), CONTROLS)}"
        )
    return str(rule)


def _read(rule: str, name: str, options: Mapping[str, Any]) -> tuple[exemplars.Settings, EncoderSpec]:
    """The settings of the rule and the network, from options of both."""
    name = models.current_name(name)
    if name not in models.CHAINS:
        raise InputError(
            f"backbone {name}: filters of patches need a chain of convolutions: one of {', '.join(models.CHAINS)}"
        )
    kind = exemplars.RULES[rule].settings
    of_rule, of_backbone = (
        [field.name for field in dataclasses.fields(section)] for section in (kind, models.find(name).options)
    )
    for option in options:
        if option not in (*of_rule, *of_backbone):
            raise InputError(
                f"option {option}: is none of {rule} ({', '.join(of_rule)}) nor of {name} ({', '.join(of_backbone)})"
                f"{suggestion(option, (*of_rule, *of_backbone))}"
            )
    settings = kind.from_config({word: options[word] for word in of_rule if word in options})
    mine = {word: options[word] for word in of_backbone if word in options}
    return settings, models.encoder_spec(
        "truncated", {"of": name, "of_options": mine, "layers": settings.layers}
    )


def _form(word: str, rule: str, extra: str = "") -> forms.Form:
    looks = f"{word}:BACKBONE{extra}[,OPTION=VALUE],source=IMAGE[@SEED]"
    return forms.Form(functools.partial(load, rule, looks), looks)


SVM = _form("esvm", "esvm")
CORRELATION = _form("mmcf", "mmcf")
PATCHES = _form("patches", "", f",rule={'|'.join(CONTROLS)}")
