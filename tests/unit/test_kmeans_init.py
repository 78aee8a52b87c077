"""Initialisation by k-means of patches against NumPy and scikit-learn, and the reference that names it."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import cluster

from ssl_single_image import augment, images, models
from ssl_single_image.analysis import tables
from ssl_single_image.experiments.probing import pretrained_on
from ssl_single_image.models.alexnet32 import Options
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec
from ssl_single_image.objectives import kmeans_init
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.runs import load_encoder
from ssl_single_image.types import EncoderSpec, EncoderVariables, InputError

LAYERS = (ConvSpec(40, 3, padding=1, pool=(2, 2)), ConvSpec(12, 3, stride=2, padding=1))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone of two layers, whose first has more filters than the 27 values of a patch, and few patches."""
    backbone = models.Backbone(
        lambda options, **shared: options.trunk(LAYERS, **shared),
        lambda outputs, options, **shared: FCHead((8,), outputs, **shared),
        input_size=16,
        smallest=4,
        parameters=0,
        options=Options,
    )
    monkeypatch.setitem(models.BACKBONES, "tiny", backbone)
    monkeypatch.setattr(kmeans_init, "CROPS", 24)


def initialised(first_norm: bool, seed: int = 0) -> EncoderVariables:
    spec = models.encoder_spec("tiny", {"first_norm": first_norm})
    atlas = images.build_atlas([images.load_source("builtin:coffee")[0].pixels])
    return kmeans_init.initialise(spec, atlas, augment.CropSpec.preset("paper", 16), seed)


def responses(encoder: EncoderVariables, x: jax.Array, name: str) -> np.ndarray:
    """A layer's values before the ReLU, as a network that follows the convention computes them."""
    trunk = models.chain(encoder.spec.backbone, encoder.spec.options)
    assert trunk is not None
    number = int(name.removeprefix("conv"))
    variables = {"params": encoder.params, "batch_stats": encoder.batch_stats}
    entering = jax.jit(lambda v, x: models.conv_inputs(trunk, v, x)[name])(variables, x)
    layer = LAYERS[number - 1]
    padded = np.pad(np.asarray(entering), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[
        :, :: layer.stride, :: layer.stride
    ]
    params = encoder.params
    y = np.einsum("byxcij,ijcd->byxd", windows, params[name]["kernel"])
    if f"bn{number}" not in params:
        return y + params[name]["bias"]
    norm, statistics = params[f"bn{number}"], encoder.batch_stats[f"bn{number}"]
    return (y - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5) * norm["scale"] + norm["bias"]


@pytest.mark.parametrize("first_norm", [True, False])
def test_responses_of_every_layer_have_the_published_moments(first_norm: bool) -> None:
    encoder = initialised(first_norm)
    spec = augment.CropSpec.preset("paper", 16)
    atlas = images.build_atlas([images.load_source("builtin:coffee")[0].pixels])
    crops = augment.render_crops(atlas, crops_key(0), jnp.arange(24, dtype=jnp.uint32), spec)
    x = augment.normalise(crops, encoder.spec.mean, encoder.spec.std)
    assert ("bias" in encoder.params["conv1"]) != first_norm
    for name in ("conv1", "conv2"):
        y = responses(encoder, x, name)
        np.testing.assert_allclose(y.mean((0, 1, 2)), 0.1, atol=1e-3)  # float32 sums
        np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-3)
    if first_norm:
        np.testing.assert_array_equal(encoder.params["bn1"]["scale"], 1)
        np.testing.assert_array_equal(encoder.batch_stats["bn1"]["var"], 1)


def test_a_seed_gives_the_same_filters_and_another_seed_others() -> None:
    once, again, other = (initialised(True, seed) for seed in (0, 0, 1))
    for name in ("conv1", "conv2"):
        kernel = once.params[name]["kernel"]
        np.testing.assert_array_equal(kernel, again.params[name]["kernel"])
        assert np.abs(kernel - other.params[name]["kernel"]).max() > 0.1 * np.abs(kernel).max()


def test_whitening_is_that_of_the_scatter() -> None:
    rng = np.random.default_rng(0)
    centred = rng.normal(size=(50, 6)) @ np.diag([9, 5, 3, 1, 0.01, 0])
    centred -= centred.mean(0)
    back = kmeans_init.whitening(centred, 6)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    scale = [0 if v < 1e-6 else (v + 1e-3) ** -0.5 for v in values]
    assert scale[0] == 0  # no patch goes there
    np.testing.assert_allclose(np.abs(back), np.abs(vectors * scale), atol=1e-8)
    # The direction of .01 has a scatter of about .005: the ridge shrinks it to less than 1.
    variances = np.diag(back.T @ centred.T @ centred @ back)
    assert variances[0] == 0
    assert 0.5 < variances[1] < 0.99
    np.testing.assert_allclose(variances[2:], 1, atol=1e-3)
    np.testing.assert_allclose(np.abs(kmeans_init.whitening(centred, 2)), np.abs(back[:, -2:]), atol=1e-8)


def test_filters_are_the_centres_that_scikit_learn_finds() -> None:
    """Patches in well-separated groups, so that every k-means finds the same clusters."""
    rng = np.random.default_rng(0)
    count, dims = 5, 8
    directions = np.linalg.qr(rng.normal(size=(dims, dims)))[0][:count]
    patches = np.concatenate([d * 10 + 0.05 * rng.normal(size=(60, dims)) for d in directions])
    centred = patches - patches.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    back = (vectors / np.sqrt(values + 1e-3))[:, -count:]
    points = centred @ back
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    centres = cluster.KMeans(count, n_init=20, random_state=0).fit(points).cluster_centers_
    want = back @ centres.T
    want /= (centred @ want).std(0)
    # Of several seeds, because one run of k-means may put two seeds into one group and stay there.
    close = []
    for seed in range(8):
        found = kmeans_init.filters(patches, count, jax.random.key(seed))
        np.testing.assert_allclose((centred @ found).std(0), 1, rtol=1e-6)
        apart = [np.abs(found - want[:, list(order)]).max() for order in itertools.permutations(range(count))]
        close.append(min(apart))
    assert min(close) < 1e-4  # k-means runs in float32


def test_filters_beyond_the_values_of_a_patch_are_patches() -> None:
    patches = np.random.default_rng(0).normal(size=(40, 3))
    found = kmeans_init.filters(patches, 10, jax.random.key(0))
    centred = patches - patches.mean(0)
    known = (centred / (centred @ centred.T).std(0)[:, None]).T
    distances = np.abs(found[:, :, None] - known[:, None]).max(0).min(1)
    assert distances[3:].max() < 1e-12
    assert distances[:3].min() > 1e-3
    assert len({tuple(column) for column in found[:, 3:].T}) == 7


def test_a_patch_without_content_gives_no_number_that_is_none() -> None:
    found = kmeans_init.filters(np.ones((20, 4)), 4, jax.random.key(0))
    np.testing.assert_array_equal(found, 0)


def test_patches_are_windows_of_the_padded_input() -> None:
    x = np.arange(2 * 4 * 5 * 2, dtype=np.float32).reshape(2, 4, 5, 2)
    layer = ConvSpec(1, 3, stride=2, padding=1)
    found = np.asarray(kmeans_init.draw_patches(jnp.asarray(x), layer, jax.random.key(0)))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = list(itertools.product((0, 2), (0, 2, 4)))
    for image in range(2):
        rows = found[image * kmeans_init.PLACES : (image + 1) * kmeans_init.PLACES]
        known = {padded[image, i : i + 3, j : j + 3].tobytes() for i, j in places}
        assert {row.tobytes() for row in rows} == known  # 32 draws meet each of six places


def test_the_reference_loads_and_keeps_its_photograph_out_of_probes() -> None:
    loaded = load_encoder("kmeans:tiny,first_norm=false,source=builtin:coffee,crops=authors@2")
    assert loaded.encoder.spec == EncoderSpec(
        "tiny", {"sobel": False, "slope": 0.0, "first_norm": False}, 16, models.MEAN, models.STD
    )
    assert pretrained_on([loaded]) == ["coffee"]
    assert not tables.is_random({"checkpoint": loaded.name})
    assert loaded.features(np.zeros((1, 16, 16, 3), np.uint8), "conv2").shape == (1, 4, 4, 12)


def test_a_synthetic_source_has_a_seed_before_that_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []

    def initialise(spec: EncoderSpec, atlas: images.Atlas, crop: augment.CropSpec, seed: int) -> None:
        asked.append((spec.backbone, str(spec.options["sobel"]), seed))

    monkeypatch.setattr(kmeans_init, "initialise", initialise)
    for end, seed in {"": 0, "@7": 7, ",sobel=true@8": 8, ",sobel=true": 0}.items():
        loaded = load_encoder(f"kmeans:tiny,source=synthetic:white_noise@3{end}")
        assert loaded.meta["config"]["source"] == "synthetic:white_noise@3"
        assert asked.pop() == ("tiny", str("sobel" in end), seed)
    loaded = load_encoder("kmeans:tiny,sobel=true,source=synthetic:white_noise,size=512@3@5")
    assert loaded.meta["config"]["source"] == "synthetic:white_noise,size=512@3"
    assert asked.pop() == ("tiny", "True", 5)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("kmeans:tiny", "names no image; expected kmeans:BACKBONE"),
        ("kmeans:tiny,source=", "names no image"),
        ("kmeans:tiny,source=nowhere.jpg", "nowhere.jpg: no such file"),
        ("kmeans:tiny,source=nowhere@2.jpg@3", "nowhere@2.jpg: no such file"),
        ("kmeans:tiny,source=synthetic:fractal", "synthetic:fractal: has no seed"),
        ("kmeans:tiny,source=synthetic:nope,size=64@1@2", "synthetic:nope,size=64@1: no such kind"),
        ("kmeans:tiny,source=unlabelled:nope@2", "unknown data set 'nope'"),
        ("kmeans:tiny,source=builtin:coffee,crops=mine", "crop preset 'mine'"),
        ("kmeans:tiny,source=builtin:coffee,width=3", "no such field"),
        ("kmeans:tiny,source=builtin:coffee@4294967296", "seed after @"),
        ("kmeans:scattering,source=builtin:coffee", "needs a chain of convolutions"),
    ],
)
def test_bad_references_are_refused_in_one_line(reference: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_encoder(reference)
    assert "\n" not in str(caught.value)
