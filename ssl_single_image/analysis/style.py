"""Style transfer (Gatys, Ecker and Bethge 2016): a picture with the content of one image and the style of another.

The picture is found by L-BFGS on its pixels. Its deep activations shall be those of the content image, and at several
depths the correlations between its channels shall be those of the style image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32

from ssl_single_image.errors import InputError
from ssl_single_image.keys import Stream, stream
from ssl_single_image.runs.encoders import activations
from ssl_single_image.types import EncoderVariables, PyTree

LEVELS = 255.0
"""Differences between neighbouring pixels count in levels of 8 bits."""
TINY = 1e-12
SHIFT = 16
"""Most pixels of a shift."""
EDGE = 16
"""Pixels beyond the picture that the network sees, without shifts: its zero padding then frames no picture."""
MARGIN = SHIFT + EDGE
"""Pixels by which the content image is continued on each side, by its mirror image."""

Maps = Mapping[str, Float[Array, "H W C"]]
"""Layer -> activations of one image."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What the picture is to be like, beside the images.

    Attributes:
      style_layers: layers whose Gram matrices are compared.
      content_layer: the layer whose activations are compared.
      style_weight: over n^2, of a layer with n channels.
      content_weight: of the mean squared error of the activations.
      variation_weight: of the mean squared difference between neighbouring pixels, in levels of 8 bits.
      shift: pixels by which the network's input is shifted at most, in each direction; up to SHIFT.
      average: pools by the mean where the network pools by the maximum, if it can.
    """

    style_layers: tuple[str, ...]
    content_layer: str
    style_weight: float
    content_weight: float
    variation_weight: float
    shift: int
    average: bool


class Losses(NamedTuple):
    """The loss and its weighted terms, () float32 each."""

    loss: jax.Array
    style: jax.Array
    content: jax.Array
    variation: jax.Array


class Targets(NamedTuple):
    """What the losses compare with: arguments of the compiled step, so that one program serves all weights and shifts.

    Attributes:
      weights: () float32 each, of style, content and variation.
      scale: layer -> what its activations are multiplied by.
      grams: style layer -> Gram matrix of the style image.
      canvas: the content image with a margin of MARGIN pixels.
    """

    weights: tuple[jax.Array, ...]
    scale: dict[str, jax.Array]
    grams: dict[str, jax.Array]
    canvas: jax.Array


def layers_by_depth(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Style layers and the content layer of a network: of five, the first four and the third.

    Of other depths, the first at or beyond one to four fifths of the depth, and three fifths.
    """

    def at(fifths: int) -> str:
        return names[math.ceil(len(names) * fifths / 5) - 1]

    return tuple(dict.fromkeys(at(fifths) for fifths in (1, 2, 3, 4))), at(3)


def gram(maps: Float[Array, "H W C"]) -> Float[Array, "C C"]:
    """Products of all pairs of channels, averaged over the map: F F^T / (H W)."""
    flat = maps.reshape(-1, maps.shape[-1])
    return flat.T @ flat / len(flat)


def style_loss(
    maps: Maps, grams: Mapping[str, Float[Array, "C C"]], weight: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The mean squared errors of the Gram matrices, each times `weight` / n^2 for n channels, summed over layers."""
    terms = [
        jnp.square(gram(maps[layer]) - wanted).mean() / len(wanted) ** 2 for layer, wanted in grams.items()
    ]
    return weight * jnp.stack(terms).sum()


def variation(picture: Float[Array, "H W 3"]) -> Float[Array, ""]:
    """The mean squared difference between neighbours, along rows plus along columns, in levels of 8 bits."""
    steps = [jnp.square(LEVELS * jnp.diff(picture, axis=axis)).mean() for axis in (0, 1)]
    return steps[0] + steps[1]


def descend(
    problem: Problem,
    encoder: EncoderVariables,
    content: Float[np.ndarray, "H W 3"],
    style: Float[np.ndarray, "h w 3"],
    *,
    steps: int,
    seed: int,
) -> Iterator[tuple[Float[Array, "H W 3"], Losses]]:
    """The picture after each step of L-BFGS from the content image, and the losses before that step.

    Each step shifts the network's input at random, and so the target of the content: an image as a whole looks the
    same, while the lattice that the stride of the first convolution leaves is washed out. Gradient and line search of a
    step share its shift. The curvature that L-BFGS remembers comes from several shifts, whose losses differ little.
    The line search backtracks from 1, as it needs values alone: a gradient would serve one shift only.

    Activations are divided by their root mean square over the style image, layer by layer. Weights then mean the same
    for every network. Gatys et al. rescale their network's filters for this (section 2).

    Args:
      problem: what is asked for.
      encoder: not one with a Sobel front, whose activations do not depend on colour.
      content: RGB float32 in [0, 1].
      style: likewise, of any size.
      steps: how many.
      seed: of the shifts.

    Yields:
      RGB float32, not clipped to [0, 1].

    Raises:
      InputError: activations of the style image that are not finite.
    """
    targets = _targets(problem, encoder, content, style)
    solver = optax.lbfgs(
        linesearch=optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=20, decrease_factor=0.5, increase_factor=math.inf, max_learning_rate=1.0
        )
    )

    @jax.jit
    def step(
        canvas: jax.Array, state: PyTree, offset: jax.Array, variables: EncoderParts, targets: Targets
    ) -> tuple[jax.Array, PyTree, Losses]:
        seen = _with(encoder, variables)
        wanted = _content_maps(problem, seen, targets, offset)

        def losses(canvas: jax.Array) -> tuple[jax.Array, Losses]:
            found = _losses(problem, seen, targets, wanted, _window(canvas, offset))
            return found.loss, found

        (value, found), slope = jax.value_and_grad(losses, has_aux=True)(canvas)
        updates, state = solver.update(
            slope, state, canvas, value=value, grad=slope, value_fn=lambda canvas: losses(canvas)[0]
        )
        return optax.apply_updates(canvas, updates), state, found

    canvas, key = targets.canvas, stream(seed, Stream.STYLE)
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), solver.init(canvas))
    variables = encoder.params, encoder.batch_stats
    for number in range(steps):
        shift = jax.random.randint(jax.random.fold_in(key, number), (2,), -problem.shift, problem.shift + 1)
        canvas, state, found = step(canvas, state, SHIFT + shift, variables, targets)
        yield canvas[MARGIN:-MARGIN, MARGIN:-MARGIN], found


EncoderParts = tuple[PyTree, PyTree]
"""Parameters and batch statistics: arguments of compiled programs, where the spec is a constant."""


def _with(encoder: EncoderVariables, variables: EncoderParts) -> EncoderVariables:
    return EncoderVariables(encoder.spec, *variables)


def _targets(problem: Problem, encoder: EncoderVariables, content: np.ndarray, style: np.ndarray) -> Targets:
    """Computed once.

    Raises:
      InputError: activations that are not finite.
    """

    @jax.jit
    def of_style(
        variables: EncoderParts, image: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        maps = _maps(problem, _with(encoder, variables), image)
        scale = {layer: 1 / jnp.sqrt(jnp.square(x).mean() + TINY) for layer, x in maps.items()}
        return scale, {layer: gram(scale[layer] * maps[layer]) for layer in problem.style_layers}

    scale, grams = of_style((encoder.params, encoder.batch_stats), jnp.asarray(style))
    for layer, factor in scale.items():
        if not (np.isfinite(factor) and factor > 0):
            raise InputError(f"the activations of layer {layer} overflow: the encoder diverged")
    canvas = np.pad(content, [(MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)], mode="reflect")
    weights = map(jnp.float32, (problem.style_weight, problem.content_weight, problem.variation_weight))
    return Targets(tuple(weights), scale, grams, jnp.asarray(canvas))


def _maps(problem: Problem, encoder: EncoderVariables, image: jax.Array) -> dict[str, jax.Array]:
    """The activations of one image (H, W, 3) in the layers of the problem, not scaled."""
    found = activations(encoder, image[None], average=problem.average)
    return {layer: found[layer][0] for layer in dict.fromkeys((*problem.style_layers, problem.content_layer))}


def _content_maps(
    problem: Problem, encoder: EncoderVariables, targets: Targets, offset: jax.Array
) -> jax.Array:
    """The scaled activations of the content image under a shift."""
    layer = problem.content_layer
    maps = _maps(problem, encoder, _window(targets.canvas, offset))
    return targets.scale[layer] * maps[layer]


def _losses(
    problem: Problem, encoder: EncoderVariables, targets: Targets, wanted: jax.Array, picture: jax.Array
) -> Losses:
    maps = _maps(problem, encoder, picture)
    scaled = {layer: targets.scale[layer] * x for layer, x in maps.items()}
    weights = targets.weights
    style = style_loss(scaled, targets.grams, weights[0])
    content = weights[1] * jnp.square(scaled[problem.content_layer] - wanted).mean()
    roughness = weights[2] * variation(picture)
    return Losses(style + content + roughness, style, content, roughness)


def _window(canvas: Float[Array, "Y X 3"], offset: Int32[Array, " 2"]) -> Float[Array, "h w 3"]:
    """The part of a canvas that the network sees: all but SHIFT pixels on each side, if the offset is SHIFT."""
    height, width, _ = canvas.shape
    shape = (height - 2 * SHIFT, width - 2 * SHIFT, 3)
    return jax.lax.dynamic_slice(canvas, (offset[0], offset[1], jnp.int32(0)), shape)
