"""An encoder that was loaded, and its features."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ssl_single_image import augment, models
from ssl_single_image.errors import InputError
from ssl_single_image.images import atlas_from_batch
from ssl_single_image.ops.pooling import adaptive_pool
from ssl_single_image.runs.checkpoint import variables_of
from ssl_single_image.types import EncoderSpec, EncoderVariables

UNTRAINED = "random:"
"""Begins the references of untrained networks."""
BATCH = 256
"""Images that `features` encodes at once."""


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and where it came from.

    Attributes:
      name: the reference it was loaded by.
      step: optimisation steps behind it; 0 for an untrained one.
      encoder: spec and variables.
      meta: with "config", the resolved config of its run ({} for an untrained one). Weights of another program have
        "file" too: the "layout" of the file, and whether its network had "batch_norm". An export has "published": the
        licence of its source, and what a probe measured.
    """

    name: str
    step: int
    encoder: EncoderVariables
    meta: dict[str, Any]

    @property
    def untrained(self) -> bool:
        """Whether it is a network as it is before training, what others are compared with."""
        return self.name.startswith(UNTRAINED)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, by depth."""
        return tuple(models.activation_shapes(self.encoder.spec))

    @property
    def has_batch_norm(self) -> bool:
        """Whether its batch norms were trained; False for weights of a network without, where they change nothing."""
        return bool(self.meta.get("file", {}).get("batch_norm", True))

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
        variables = variables_of(self.encoder)
        return np.concatenate([np.asarray(encode(variables, part)) for part in parts])

    def pooled_features(
        self,
        images: Float[Array | np.ndarray, "n h w 3"] | UInt8[Array | np.ndarray, "n h w 3"],
        layers: Sequence[str] = (),
        *,
        side: int = 4,
    ) -> dict[str, Float[np.ndarray, "n _"]]:
        """Activations of several layers in one pass, averaged over a grid of side x side bins and flattened.

        Maps with fewer rows than `side` keep theirs. 500 images of `alexnet32` at the default take 25 MB in all.

        Args:
          images: as in `features`.
          layers: some of `layers`, in any order; none: all.
          side: bins of the grid along each axis, see `ops.pooling.adaptive_pool`.

        Returns:
          Layer -> (n, y * x * channels) float32, by depth.

        Raises:
          InputError: no such layer, or an array that does not hold images.
        """
        chosen = self.chosen(layers)
        pixels = _checked_images(images)
        encode = jax.jit(functools.partial(_pooled, self.encoder.spec, chosen, side))
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        found = [jax.device_get(encode(variables_of(self.encoder), part)) for part in parts]
        return {layer: np.concatenate([part[layer] for part in found]) for layer in chosen}

    def chosen(self, layers: Sequence[str] = ()) -> tuple[str, ...]:
        """Those of the encoder's layers that are named, by depth; all if none is.

        Raises:
          InputError: the encoder has no such layer.
        """
        there = self.layers
        for layer in layers:
            if layer not in there:
                raise InputError(f"layer {layer!r}: {self.name} has {', '.join(there)}")
        return tuple(layer for layer in there if layer in layers or not layers)

    def check_finite(self) -> None:
        """Refuses an encoder with a weight or a statistic that is not finite.

        Raises:
          InputError: there is one; the message names its layer.
        """
        for part, tree in variables_of(self.encoder).items():
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                if not np.isfinite(np.asarray(leaf)).all():
                    what = "weights" if part == "params" else "statistics"
                    layer, name = path[0].key, path[-1].key
                    raise InputError(
                        f"checkpoint {self.name}: {what} of layer {layer} ({name}) are not finite, its run diverged;"
                        " name an earlier step with @STEP"
                    )


def activations(
    encoder: EncoderVariables, x: Float[Array, "n h w 3"], *, average: bool = False
) -> dict[str, Float[Array, "n _ _ _"]]:
    """The activations of every layer, by the running batch statistics; it can be compiled and differentiated.

    Args:
      encoder: its convolutions take images of any size, not only `spec.size`.
      x: RGB in [0, 1].
      average: pools by the mean where the network pools by the maximum, see `models.Trunk`.
    """
    spec = encoder.spec
    backbone = models.build_backbone(spec.backbone, spec.options)
    seen = augment.normalise(x, spec.mean, spec.std)
    network = backbone.average_pooled() if average else backbone
    return network.apply(variables_of(encoder), seen, train=False)[1]  # type: ignore[return-value]


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
    return activations(encoder, _resized(pixels, spec.size))[layer].astype(jnp.float32)


def _pooled(
    spec: EncoderSpec, layers: Sequence[str], side: int, variables: Any, pixels: jax.Array
) -> dict[str, jax.Array]:
    encoder = EncoderVariables(spec, variables["params"], variables["batch_stats"])
    maps = activations(encoder, _resized(pixels, spec.size))
    pooled = {layer: adaptive_pool(maps[layer], min(side, *maps[layer].shape[1:3])) for layer in layers}
    return {layer: x.reshape(len(x), -1).astype(jnp.float32) for layer, x in pooled.items()}


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
