"""Encoders by reference, from a run's checkpoints or untrained, and their features."""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ssl_single_image import augment, keys, models
from ssl_single_image.errors import InputError
from ssl_single_image.images import atlas_from_batch
from ssl_single_image.runs.checkpoint import (
    CHECKPOINTS,
    finished,
    goodness,
    read_meta,
    restore_item,
    variables_of,
)
from ssl_single_image.types import EncoderSpec, EncoderVariables

RANDOM = "random:"
FORMS = "WORKDIR[@STEP or @best][#ENCODER] or random:BACKBONE[,OPTION=VALUE][@SEED]"
"""What a reference may look like."""
BATCH = 256
"""Images that `features` encodes at once."""


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and where it came from.

    Attributes:
      name: the reference it was loaded by.
      step: optimisation steps behind it; 0 for an untrained one.
      encoder: spec and variables.
      meta: with "config", the resolved config of its run ({} for an untrained one).
    """

    name: str
    step: int
    encoder: EncoderVariables
    meta: dict[str, Any]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, by depth."""
        size = self.encoder.spec.size
        image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        return tuple(jax.eval_shape(functools.partial(_activations, self.encoder), image))

    def features(
        self, images: Float[Array | np.ndarray, "n h w 3"] | UInt8[Array | np.ndarray, "n h w 3"], layer: str
    ) -> Float[np.ndarray, "n rows columns channels"]:
        """Activations of one layer, after its ReLU and before pooling, by the running batch statistics.

        Args:
          images: RGB, uint8 or floats in [0, 1]. Images of another size than the encoder's input are treated as in a
            probe: their largest central square is resized.
          layer: one of `layers`.

        Returns:
          float32.

        Raises:
          InputError: no such layer, or an array that does not hold images.
        """
        if layer not in self.layers:
            raise InputError(f"layer = {layer!r}: {self.name} has {', '.join(self.layers)}")
        pixels = _checked_images(images)
        encode = jax.jit(functools.partial(_layer, self.encoder.spec, layer))
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        variables = {"params": self.encoder.params, "batch_stats": self.encoder.batch_stats}
        return np.concatenate([np.asarray(encode(variables, part)) for part in parts])


def load_encoder(reference: str | os.PathLike[str]) -> LoadedEncoder:
    """Loads the encoder that `reference` names.

    Args:
      reference: a workdir of pretraining (its newest checkpoint), `WORKDIR@STEP`, `WORKDIR@best` (lowest evaluation
        loss, or what the objective goes by), any of them with `#NAME` for another encoder that the objective offers; or
        `random:BACKBONE[,OPTION=VALUE][@SEED]`, an untrained network.

    Raises:
      InputError: nothing there, no such step, a checkpoint that is truncated or of another architecture.
    """
    reference = os.fspath(reference)
    if reference.startswith(RANDOM):
        return _untrained(reference)
    folder, wanted, name = _split(os.path.expanduser(reference))
    path = Path(folder).absolute() / CHECKPOINTS
    if not path.is_dir():
        raise InputError(
            f"checkpoint {folder}: no {CHECKPOINTS}/ folder there; expected a workdir of pretraining ({FORMS})"
        )
    step = _pick(path, wanted, reference)
    place = path / str(step)
    meta = read_meta(place)
    encoder = _restore(place, meta, name, reference)
    return LoadedEncoder(reference, step, encoder, meta)


def _restore(place: Path, meta: dict[str, Any], name: str, reference: str) -> EncoderVariables:
    others = meta.get("encoders", {})
    if name and name not in others:
        raise InputError(
            f"checkpoint {reference}: no encoder {name!r}; its run offers {', '.join(others) or 'one only'}"
        )
    stored = others[name] if name else meta["encoder"]
    spec = models.encoder_spec(**{"name": stored["backbone"], **_without(stored, "backbone")})
    abstract = jax.eval_shape(lambda key: variables_of(models.untrained(spec, key)), keys.unused())
    item = f"encoder_{name}" if name else "encoder"
    return EncoderVariables(spec, **restore_item(place, item, abstract, meta))


def _untrained(reference: str) -> LoadedEncoder:
    described, at, seed = reference.removeprefix(RANDOM).rpartition("@")
    if not at:
        described, seed = seed, "0"
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise InputError(f"checkpoint {reference}: the seed after @ must be a whole number in [0, 2**32)")
    name, *words = described.split(",")
    spec = models.encoder_spec(name, _options(words, reference))
    encoder = models.untrained(spec, keys.root(int(seed)))
    return LoadedEncoder(reference, 0, encoder, {"config": {}})


def _options(words: list[str], reference: str) -> dict[str, Any]:
    """ "sobel=true" -> {"sobel": True}."""
    options = {}
    for word in words:
        option, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"checkpoint {reference}: {word!r} is no option; expected OPTION=VALUE")
        options[option] = _value(value)
    return options


def _value(text: str) -> Any:
    """A number or truth value where the text is one, else the text."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text


def _split(reference: str) -> tuple[str, str, str]:
    """Folder, step and name of the encoder; a folder whose own name has @ or # in it is found."""
    if Path(reference).is_dir():
        return reference, "", ""
    before, hash_sign, name = reference.rpartition("#")
    if hash_sign and Path(before).is_dir():
        return before, "", name
    folder, at, wanted = reference.rpartition("@")
    if at and folder:
        wanted, _, name = wanted.partition("#")
        return folder, wanted, name
    return (before, "", name) if hash_sign and before else (reference, "", "")


def _pick(path: Path, wanted: str, reference: str) -> int:
    steps = finished(path)
    if not steps:
        raise InputError(f"checkpoint {reference}: no finished checkpoint in {path.name}/ yet")
    if wanted == "best":
        metas = {step: read_meta(path / str(step)) for step in steps}
        known = {step: goodness(meta["metrics"], meta["best"]) for step, meta in metas.items()}
        if max(known.values()) == -math.inf:
            raise InputError(
                f"checkpoint {reference}: no checkpoint was saved with an evaluation; name a step"
            )
        return max(steps, key=lambda step: (known[step], step))
    if wanted and not (wanted.isdecimal() and int(wanted) in steps):
        raise InputError(f"checkpoint {reference}: no step {wanted}; there are {', '.join(map(str, steps))}")
    return int(wanted) if wanted else steps[-1]


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def _checked_images(images: Any) -> np.ndarray:
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or not len(pixels):
        raise InputError(f"images of shape {pixels.shape}: expected (n, height, width, 3)")
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(f"images of type {pixels.dtype}: expected uint8, or floats in [0, 1]")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(f"images with values in [{pixels.min()}, {pixels.max()}]: floats must lie in [0, 1]")
    return pixels


def _layer(spec: EncoderSpec, layer: str, variables: Any, pixels: jax.Array) -> jax.Array:
    encoder = EncoderVariables(spec, variables["params"], variables["batch_stats"])
    return _activations(encoder, _resized(pixels, spec.size))[layer].astype(jnp.float32)


def _activations(encoder: EncoderVariables, x: jax.Array) -> dict[str, jax.Array]:
    """Of x (n, size, size, 3) in [0, 1]."""
    spec = encoder.spec
    backbone = models.build_backbone(spec.backbone, spec.options)
    seen = augment.normalise(x, spec.mean, spec.std)
    return backbone.apply(variables_of(encoder), seen, train=False)[1]  # type: ignore[return-value]


def _resized(pixels: jax.Array, size: int) -> jax.Array:
    """(n, size, size, 3) float32 in [0, 1]."""
    if pixels.shape[1:3] == (size, size):
        return pixels.astype(jnp.float32) / 255 if pixels.dtype == jnp.uint8 else pixels.astype(jnp.float32)
    if pixels.dtype != jnp.uint8:
        pixels = jnp.rint(pixels * 255).astype(jnp.uint8)
    count, height, width, _ = pixels.shape
    side = max(height, width)
    canvas = jnp.pad(pixels, ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    extent = jnp.broadcast_to(jnp.array([height, width], jnp.int32), (count, 2))
    return augment.render_centres(atlas_from_batch(canvas, extent), size)
