"""The first layers of a network, with nothing behind them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import keys, models
from ssl_single_image.types import InputError


@pytest.mark.parametrize(
    ("of", "layers", "last", "size"),
    [
        ("alexnet32", 2, (16, 16, 128), 32),
        ("nin", 4, (16, 16, 192), 32),
        ("dcgan32", 1, (16, 16, 64), 32),
        ("alexnet", 3, (13, 13, 384), 224),
    ],
)
def test_shapes_are_those_of_the_whole_network(
    of: str, layers: int, last: tuple[int, int, int], size: int
) -> None:
    spec = models.encoder_spec("truncated", {"of": of, "layers": layers})
    shapes = models.activation_shapes(spec)
    assert spec.size == size
    assert list(shapes) == [f"conv{number}" for number in range(1, layers + 1)]
    assert shapes[f"conv{layers}"] == last
    whole = models.activation_shapes(models.encoder_spec(of))
    assert shapes == {layer: whole[layer] for layer in shapes}


def test_an_untrained_one_has_the_bits_of_the_whole_network() -> None:
    options = {"first_norm": False, "slope": 0.2}
    whole = models.untrained(models.encoder_spec("alexnet32", options, 8), keys.root(3))
    spec = models.encoder_spec("truncated", {"of_options": options}, 8)
    beginning = models.untrained(spec, keys.root(3))
    assert sorted(beginning.params) == ["bn2", "conv1", "conv2"]
    for name, values in beginning.params.items():
        jax.tree.map(np.testing.assert_array_equal, values, whole.params[name])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 3)), jnp.float32)
    activations = [
        models.build_backbone(e.spec.backbone, e.spec.options).apply(
            {"params": e.params, "batch_stats": e.batch_stats}, x, train=False
        )[1]
        for e in (whole, beginning)
    ]
    for layer in ("conv1", "conv2"):
        np.testing.assert_array_equal(activations[0][layer], activations[1][layer])


@pytest.mark.parametrize(("options", "smallest"), [({}, 4), ({"layers": 5}, 8), ({"of": "alexnet"}, 31)])
def test_the_smallest_input_is_that_of_the_layers_it_has(options: dict[str, object], smallest: int) -> None:
    spec = models.encoder_spec("truncated", options, smallest)
    assert all(min(shape) > 0 for shape in models.activation_shapes(spec).values())
    with pytest.raises(
        InputError, match=f"an input of {smallest - 1} pixels is too small; it needs {smallest}"
    ):
        models.encoder_spec("truncated", options, smallest - 1)


def test_a_sobel_front_is_known_of_the_whole_network() -> None:
    assert models.sees_derivatives(models.encoder_spec("truncated", {"of_options": {"sobel": True}}))
    assert models.sees_derivatives(models.encoder_spec("alexnet32", {"sobel": True}))
    assert not models.sees_derivatives(models.encoder_spec("truncated"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"of": "resnet18"}, "of = 'resnet18': must be one of alexnet, alexnet32, dcgan32, nin"),
        ({"layers": 6}, "layers = 6: must be at most 5, the layers of alexnet32"),
        ({"layers": 0}, "layers = 0: must be a whole number, at least 1"),
        ({"of_options": {"width": 3}}, "width: no such field"),
        ({"of_options": 3}, "of_options = 3: must be a mapping"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        models.encoder_spec("truncated", options)
