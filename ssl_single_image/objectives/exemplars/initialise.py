"""An encoder whose layers are made of exemplar patches, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from ssl_single_image import augment, keys, models
from ssl_single_image.images import Atlas
from ssl_single_image.keys import Stream, stream
from ssl_single_image.objectives import responses
from ssl_single_image.objectives.exemplars import svm, windows
from ssl_single_image.objectives.exemplars.rules import RULES, ExemplarSettings, Filters, Layer, Settings
from ssl_single_image.objectives.exemplars.windows import Windows
from ssl_single_image.types import EncoderSpec, EncoderVariables, PyTree


def initialise(
    spec: EncoderSpec,
    atlas: Atlas,
    sides: Sequence[tuple[int, int]],
    rule: str,
    settings: Settings,
    seed: int,
) -> EncoderVariables:
    """The encoder whose filters a rule makes of patches of an atlas, layer by layer, each from what enters it.

    Patches are windows of upright crops. Responses are measured on the crops that k-means initialisation sees, and are
    scaled to standard deviation 1, see `responses.put`. Their mean is .1, or the threshold is that of the SVM.

    Args:
      spec: of a backbone that is a chain of convolutions; all its layers get filters.
      atlas: the images.
      sides: (height, width) of each.
      rule: a key of RULES.
      settings: of the rule's own kind.
      seed: of crops, windows, exemplars and Gaussian filters.

    Raises:
      InputError: too few patches have contrast, or an exemplar has no negatives.
    """
    trunk = models.chain(spec.backbone, spec.options)
    assert trunk is not None
    crop_key, layers_key = jax.random.split(stream(seed, Stream.EXEMPLARS))
    blank = models.untrained(spec, keys.unused())  # the shapes of what is replaced
    variables: PyTree = {
        name: jax.tree.map(np.asarray, part)
        for name, part in (("params", blank.params), ("batch_stats", blank.batch_stats))
    }
    crop = augment.CropSpec.preset(settings.crops, spec.size)
    at, upright = _upright_crops(spec, atlas, windows.upright(crop), crop_key)
    x = jnp.concatenate([upright, responses.normalised_crops(spec, atlas, crop, seed, windows.CROPS)])
    for number, layer in enumerate(trunk.layers, 1):
        name = f"conv{number}"
        draw_key, choose_key, rule_key = jax.random.split(jax.random.fold_in(layers_key, number), 3)
        maps, seen_maps = jnp.split(responses.entering(trunk, name, variables, x), 2)
        field = windows.field(trunk, number)
        drawn = windows.draw(draw_key, maps, at, spec.size, field, layer.kernel)
        chosen = windows.choose(choose_key, drawn, sides, layer.features, name)
        found = RULES[rule].make(Layer(drawn, chosen, rule_key, settings))
        _check_solved(found, name)
        kernel = np.asarray(found.kernel)
        mean, std = responses.moments(layer, seen_maps, kernel)
        variables = responses.put(
            variables, number, kernel, mean, std, _shift(found, drawn, settings, mean, std)
        )
    return EncoderVariables(spec, variables["params"], variables["batch_stats"])


def _upright_crops(
    spec: EncoderSpec, atlas: Atlas, crop: augment.CropSpec, key: jax.Array
) -> tuple[augment.Geometry, jax.Array]:
    """Where crops lie in the source, and what the encoder sees of them."""

    def render(atlas: Atlas, key: jax.Array) -> tuple[augment.Geometry, jax.Array]:
        params = augment.crop_params(atlas, key, jnp.arange(windows.CROPS, dtype=jnp.uint32), crop)
        return params.geometry, augment.normalise(augment.render(atlas, params, crop), spec.mean, spec.std)

    return jax.jit(render)(atlas, key)


def _shift(
    found: Filters, drawn: Windows, settings: Settings, mean: np.ndarray, std: np.ndarray
) -> np.ndarray | None:
    """What responses of standard deviation 1 are shifted to, where the SVM's threshold is kept; else None.

    The SVM scores windows of contrast 1. A filter sums to 0, so that its response to a window as it is grows with the
    window's contrast. The threshold is therefore right for windows of the mean contrast.
    """
    if not isinstance(settings, ExemplarSettings) or settings.bias == "moments":
        return None
    contrast = float(windows.contrasts(drawn.central).mean())
    return (mean + contrast * np.asarray(found.bias)) / np.where(std > 0, std, 1)


def _check_solved(found: Filters, name: str) -> None:
    if found.rounds:
        logging.info("%s: SVMs solved in at most %d rounds of mining", name, found.rounds)
    if found.violation > svm.TOLERANCE:
        logging.warning(
            "%s: after %d rounds of mining the SVMs are solved to %.2g only; lower C",
            name,
            found.rounds,
            found.violation,
        )
