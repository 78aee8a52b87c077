"""The scattering transform against sums in space, published numbers, invariants and, where it imports, kymatio."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import textbook_scattering as textbook

from ssl_single_image import models
from ssl_single_image.models import scattering
from ssl_single_image.runs import load_encoder
from ssl_single_image.types import InputError


def transform(x: np.ndarray, octaves: int, orientations: int) -> tuple[np.ndarray, np.ndarray]:
    first, whole = jax.jit(lambda x: scattering.scatter(x, octaves, orientations))(x)
    return np.asarray(first), np.asarray(whole)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("side", "octaves", "orientations"), [(8, 2, 4), (11, 1, 2), (8, 3, 2)])
def test_coefficients_are_those_of_sums_in_space(side: int, octaves: int, orientations: int) -> None:
    x = noise(2, side, side, 3)
    first, whole = transform(x, octaves, orientations)
    want = [[textbook.scatter(x[b, ..., c], octaves, orientations) for c in range(3)] for b in range(2)]
    count = 1 + octaves * orientations + orientations**2 * octaves * (octaves - 1) // 2
    assert whole.shape == (2, side >> octaves, side >> octaves, 3 * count)
    ours = whole.reshape(*whole.shape[:3], count, 3).transpose(0, 4, 3, 1, 2)
    np.testing.assert_allclose(ours, want, atol=1e-10)  # float64, sums in another order
    np.testing.assert_array_equal(first, whole[..., : 3 * (1 + octaves * orientations)])


@pytest.mark.usefixtures("float64")
def test_subsampling_the_moduli_changes_little() -> None:
    """They are band-limited but for their tails: about 1 % is folded back."""
    x = noise(1, 16, 16, 1)
    _, whole = transform(x, 2, 4)
    exact = textbook.scatter(x[0, ..., 0], 2, 4, subsampled=False)
    error = np.linalg.norm(whole[0].transpose(2, 0, 1) - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.02


def test_filters_have_the_published_numbers() -> None:
    bank = scattering.filters(40, 2, 8)
    assert bank.psi[0][0].max() == pytest.approx(0.97144, abs=1e-5)
    assert bank.phi[0, 0] == pytest.approx(1.00003, abs=1e-5)
    for psi in bank.psi:
        np.testing.assert_allclose(psi[:, 0, 0], 0, atol=1e-12)  # a wavelet has mean 0


@pytest.mark.parametrize(("side", "octaves", "shape"), [(32, 2, (8, 8, 243)), (224, 3, (28, 28, 651))])
def test_shapes_are_the_published_ones(side: int, octaves: int, shape: tuple[int, ...]) -> None:
    spec = models.encoder_spec("scattering", {"J": octaves}, side)
    assert models.activation_shapes(spec) == {
        "scattering1": (*shape[:2], 3 * (1 + 8 * octaves)),
        "scattering2": shape,
    }


def test_a_constant_image_has_its_value_and_no_waves() -> None:
    _, whole = transform(np.ones((1, 32, 32, 1), np.float32), 2, 8)
    np.testing.assert_allclose(whole[..., 0], 1.00003, atol=1e-5)
    assert np.abs(whole[..., 1:]).max() < 1e-6  # float32, of filters whose sum is 0


@pytest.mark.usefixtures("float64")
def test_turning_the_image_turns_the_map_and_permutes_the_angles() -> None:
    """A quarter turn is L / 2 angles; the square of 2^J n + 1 pixels has its centre on the subsampled grid."""
    octaves, orientations, side = 2, 4, 9
    x = noise(1, side, side, 1)
    maps = [transform(y, octaves, orientations)[1][0] for y in (x, np.rot90(x, 1, (1, 2)))]
    flat = scattering.padded_side(side, octaves) - side
    assert (
        flat == 7
    )  # 3 pixels before and 4 after: a turn moves the grid by a pixel, hence only angles are compared
    sums = [m[..., 1 : 1 + octaves * orientations].mean((0, 1)).reshape(octaves, orientations) for m in maps]
    turned = np.roll(sums[0], orientations // 2, axis=1)
    distance = np.abs(sums[1] - turned).max() / np.abs(turned).max()
    other = np.abs(sums[1] - sums[0]).max() / np.abs(turned).max()
    assert distance < 0.5 * other


@pytest.mark.usefixtures("float64")
def test_a_shift_by_a_cell_shifts_the_map_and_one_by_a_pixel_changes_it_little() -> None:
    """Covariance on the grid of 2^J pixels; between its points coefficients vary as slowly as the low-pass."""
    octaves = 3
    large = np.zeros((64, 64))
    large[24:40, 24:40] = noise(16, 16)
    images = np.stack([np.roll(large, shift, 1) for shift in (0, 8, 1)])[..., None]
    at, cell, pixel = transform(images, octaves, 4)[1]
    np.testing.assert_allclose(cell[:, 1:], at[:, :-1], atol=1e-3 * np.abs(at).max())
    moved = np.linalg.norm(pixel - at) / np.linalg.norm(at)
    raw = np.linalg.norm(images[2] - images[0]) / np.linalg.norm(images[0])
    assert moved < 0.35 * raw


@pytest.mark.usefixtures("float64")
def test_the_transform_adds_no_energy() -> None:
    """The filters together let every frequency pass at most once (Bruna and Mallat 2013): the sum below is near 1."""
    bank = scattering.filters(40, 2, 8)
    # A real image: the wavelets at -w are those at w turned by half a turn.
    mirrored = np.roll(np.stack(bank.psi)[..., ::-1, ::-1], (1, 1), (-2, -1))
    total = bank.phi**2 + 0.5 * (np.stack(bank.psi) ** 2 + mirrored**2).sum((0, 1))
    assert 1 <= total.max() < 1.001
    x = noise(2, 32, 32, 3)
    _, whole = transform(x, 2, 8)
    assert 0.3 < np.sum(whole**2) * 16 / np.sum(x**2) < 1  # a cell stands for 4 x 4 pixels


@pytest.mark.usefixtures("float64")
def test_blocks_of_images_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(3, 8, 8, 3)
    _, whole = transform(x, 2, 2)
    monkeypatch.setattr(scattering, "BLOCK", 2 * 2**2 * 16**2)  # two planes of nine
    np.testing.assert_allclose(transform(x, 2, 2)[1], whole, atol=1e-12)


def test_the_transform_is_kymatios() -> None:
    scipy = pytest.importorskip("scipy.special")
    if not hasattr(scipy, "sph_harm"):  # kymatio asks for it, for transforms of volumes
        scipy.sph_harm = None
    kymatio = pytest.importorskip("kymatio.numpy", exc_type=ImportError)
    x = noise(2, 32, 32, 3).astype(np.float32)
    want = kymatio.Scattering2D(2, (32, 32))(x.transpose(0, 3, 1, 2))
    _, whole = transform(x, 2, 8)
    ours = whole.reshape(2, 8, 8, 81, 3).transpose(0, 4, 3, 1, 2)
    np.testing.assert_allclose(ours, want, atol=1e-5)  # float32


def test_an_encoder_by_reference_in_inference_and_training_mode() -> None:
    loaded = load_encoder("scattering")
    assert loaded.layers == ("scattering1", "scattering2")
    assert (loaded.encoder.params, loaded.meta["config"]) == ({}, {})
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    again = load_encoder("random:scattering@3").features(pixels, "scattering2")
    np.testing.assert_array_equal(loaded.features(pixels, "scattering2"), again)
    network = models.build_backbone("scattering", {}, axis_name="batch", dtype="bfloat16")
    output, taps = network.apply({}, jnp.zeros((1, 8, 8, 3)), train=True)
    assert output.dtype == taps["scattering1"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("scattering:J=9", r"backbone_options.J = 9: must be a whole number in \[1, 5\]"),
        ("scattering:K=2", "no such field"),
        ("scattering:J", "'J' is no option"),
        ("scattering:size=big", "size = 'big': must be a number of pixels"),
        ("scattering:size=3", "too small"),
    ],
)
def test_bad_references_are_refused(reference: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_encoder(reference)


def test_an_image_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(InputError, match="8 pixels is too small for J = 4; it needs 16"):
        scattering.scatter(jnp.zeros((1, 8, 8, 3)), 4, 8)


def test_hybrid_puts_the_transform_in_place_of_the_first_layers() -> None:
    network = models.build_backbone("hybrid", {})
    x = jnp.asarray(noise(2, 32, 32, 3), jnp.float32)
    variables = jax.jit(lambda key: network.init(key, x, train=False))(jax.random.key(0))
    assert variables["params"].keys() == {"conv3", "bn3", "conv4", "bn4", "conv5", "bn5"}
    assert variables["params"]["conv3"]["kernel"].shape == (3, 3, 243, 192)
    (_, taps), updated = jax.jit(lambda v: network.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables
    )
    assert taps["conv3"].shape == (2, 8, 8, 192)
    _, whole = transform(np.asarray(x), 2, 8)
    np.testing.assert_allclose(taps["scattering2"], whole, atol=1e-5)  # float32
    seen = updated["batch_stats"]["front"]["bn0"]["mean"]  # momentum .9, from 0
    np.testing.assert_allclose(seen, 0.1 * whole.mean((0, 1, 2)), atol=1e-5)


def test_hybrid_pools_the_map_for_alexnet() -> None:
    spec = models.encoder_spec("hybrid", {"J": 3, "rest": "alexnet"}, 224)
    shapes = models.activation_shapes(spec)
    assert (shapes["scattering2"], shapes["conv3"]) == ((28, 28, 651), (13, 13, 384))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rest": "scattering"}, "must be one of alexnet, alexnet32"),
        ({"start": 6}, "start = 6: must be at most 5, the layers of alexnet32"),
        ({"J": 3}, "4 x 4 can't replace a map of 8 x 8"),
        ({"rest_options": {"width": 3}}, "no such field"),
    ],
)
def test_hybrids_that_do_not_fit_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        models.activation_shapes(models.encoder_spec("hybrid", options))
