"""Windows of a source, exemplars among them, and the references whose networks are made of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from probe_fakes import labelled

import ssl_single_image as ssi
from ssl_single_image import augment, images, models
from ssl_single_image.analysis import finetuned, tables
from ssl_single_image.experiments import finetuning
from ssl_single_image.experiments.settings import FinetuneConfig
from ssl_single_image.models.alexnet32 import Options
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.objectives.exemplars import rules, windows
from ssl_single_image.probes import ProbeConfig, make_plan, runner
from ssl_single_image.runs import LoadedEncoder, load_encoder
from ssl_single_image.types import EncoderVariables, InputError

SIZE = 16
LAYERS = (
    ConvSpec(9, 3, padding=1, pool=(2, 2)),
    ConvSpec(5, 3, padding=1),
    ConvSpec(4, 3, padding=1),
)
SOURCE = "source=builtin:coffee"
REFERENCES = {
    "esvm": f"esvm:tiny,{SOURCE}",
    "mmcf": f"mmcf:tiny,{SOURCE}",
    **{rule: f"patches:tiny,rule={rule},{SOURCE}" for rule in ("raw", "whitened", "gaussian")},
}


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """A chain of three layers for 16-px crops, and fewer windows."""
    backbone = models.Backbone(
        lambda options, **shared: options.trunk(LAYERS, **shared),
        lambda outputs, options, **shared: FCHead((8,), outputs, **shared),
        input_size=SIZE,
        smallest=4,
        parameters=0,
        options=Options,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.BACKBONES, "tiny", backbone)
        patch.setitem(models.CHAINS, "tiny", backbone)
        patch.setattr(windows, "CROPS", 24)
        patch.setattr(windows, "PLACES", 12)
        yield


@pytest.fixture(scope="module")
def encoders(tiny: None) -> dict[str, LoadedEncoder]:
    return {rule: load_encoder(reference) for rule, reference in REFERENCES.items()}


def upright_crops(pixels: np.ndarray, count: int = 24) -> tuple[augment.Geometry, jax.Array]:
    atlas = images.build_atlas([pixels])
    crop = windows.upright(augment.CropSpec.preset("paper", SIZE))
    indices = jnp.arange(count, dtype=jnp.uint32)
    params = augment.crop_params(atlas, jax.random.key(3), indices, crop)
    return params.geometry, augment.render(atlas, params, crop)


def ramp(height: int = 200, width: int = 250) -> np.ndarray:
    """Red tells how far down a pixel is, green how far to the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(height)[:, None]
    pixels[..., 1] = np.arange(width)[None]
    return pixels


def test_windows_lie_where_their_values_come_from() -> None:
    at, crops = upright_crops(ramp())
    kernel = 3
    found = windows.draw(jax.random.key(0), crops, at, SIZE, windows.Field(0, 1, 1), kernel)
    assert found.values.shape == (24 * 12, 7, 7, 3)
    assert found.central.shape[1:3] == (kernel, kernel)
    for part, values in ((found.at, found.central), (found.wide, found.values)):
        centre = np.asarray(part.origin + part.extent / 2)
        seen = np.asarray(values.mean((1, 2)))[:, :2] * 255 + 0.5  # of the pixel's centre
        np.testing.assert_allclose(seen, centre, atol=1.5)  # 8-bit values, and levels of the pyramid
    np.testing.assert_allclose(found.wide.extent, found.at.extent * 7 / 3, rtol=1e-5)


def test_windows_of_a_crop_are_different_ones() -> None:
    at, crops = upright_crops(ramp())
    found = windows.draw(jax.random.key(0), crops, at, SIZE, windows.Field(0, 1, 1), 3)
    corners = {tuple(row) for row in np.asarray(found.at.origin).round(3).tolist()}
    assert len(corners) == 24 * 12


@pytest.mark.parametrize("options", [{}, {"sobel": True}])
def test_a_field_is_what_a_value_depends_on(options: dict[str, bool]) -> None:
    """Against a network: which rows of the input change a value of the map that enters conv3."""
    trunk = ConvTrunk(
        (ConvSpec(2, 5, 2, 1, (3, 2)), ConvSpec(2, 3, padding=1, pool=(2, 2)), ConvSpec(1, 3)),
        sobel_front=bool(options),
        slope=0.5,
    )
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    variables = trunk.init(jax.random.key(1), x, train=False)

    def value(x: jax.Array) -> jax.Array:
        # Average pooling lets every value of a window count.
        averaged = trunk.average_pooled()
        return models.conv_inputs(averaged, variables, x)["conv3"][0, 3, 3].sum()

    rows = np.flatnonzero(np.asarray(jnp.abs(jax.grad(value)(x)).sum((0, 2, 3))))
    start, step, size = windows.field(trunk, 3)
    assert (rows[0], rows[-1] + 1) == (start + 3 * step, start + 3 * step + size)


def test_negatives_overlap_their_exemplar_by_less_than_a_fifth() -> None:
    at, crops = upright_crops(ramp())
    drawn = windows.draw(jax.random.key(0), crops, at, SIZE, windows.Field(0, 1, 1), 3)
    chosen = np.array([0, 17, 101])
    found = windows.negatives(drawn.wide, chosen)
    origin, extent = np.asarray(drawn.wide.origin), np.asarray(drawn.wide.extent)
    for row, exemplar in enumerate(chosen):
        for other in range(len(origin)):
            both = 1.0
            for axis in range(2):
                low = max(origin[exemplar, axis], origin[other, axis])
                high = min(
                    origin[exemplar, axis] + extent[exemplar, axis], origin[other, axis] + extent[other, axis]
                )
                both *= max(high - low, 0)
            either = extent[exemplar].prod() + extent[other].prod() - both
            if abs(both / either - 0.2) > 1e-4:
                assert found[row, other] == (both / either < 0.2)
    assert not found[[0, 1, 2], chosen].any()
    some = windows.negatives(drawn.wide, chosen, most=50)
    assert (some.sum(1) == 50).all()
    assert (found | ~some).all()


def test_negatives_are_of_the_same_image() -> None:
    at, crops = upright_crops(ramp())
    drawn = windows.draw(jax.random.key(0), crops, at, SIZE, windows.Field(0, 1, 1), 3)
    image = jnp.arange(len(drawn.values), dtype=jnp.int32) % 2
    found = windows.negatives(dataclasses.replace(drawn.at, image=image), np.array([4]))
    assert found[0, ::2].any()
    assert not found[0, 1::2].any()
    alone = dataclasses.replace(drawn.at, image=jnp.arange(len(drawn.values), dtype=jnp.int32))
    with pytest.raises(InputError, match="a patch overlaps every other one of its image"):
        windows.negatives(alone, np.array([4]))


def test_exemplars_have_contrast_and_are_spread_over_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    pixels[:, :160] = 90
    at, crops = upright_crops(pixels, 200)
    x = augment.normalise(crops, models.MEAN, models.STD)
    drawn = windows.draw(jax.random.key(0), x, at, SIZE, windows.Field(0, 1, 1), 3)
    chosen = windows.choose(jax.random.key(1), drawn, [(240, 320)], 16, "conv1")
    assert len(set(chosen.tolist())) == 16
    assert np.asarray(drawn.central)[chosen].var((1, 2)).mean(-1).min() >= 3e-3
    centre = np.asarray(drawn.at.origin + drawn.at.extent / 2)[chosen]
    assert centre[:, 1].min() > 135  # a window at the edge, of 45 pixels at most, sees some of the noise
    # Of the 4 x 4 cells, only the right half has contrast: two or so in each of its eight.
    cells = set(map(tuple, (centre // [60, 80]).astype(int).tolist()))
    assert cells >= {(row, column) for row in range(4) for column in (2, 3)}
    again = windows.choose(jax.random.key(1), drawn, [(240, 320)], 16, "conv1")
    other = windows.choose(jax.random.key(2), drawn, [(240, 320)], 16, "conv1")
    np.testing.assert_array_equal(chosen, again)
    assert set(other.tolist()) != set(chosen.tolist())


def test_contrast_is_normalised() -> None:
    x = np.random.default_rng(0).normal(3, 2, (5, 3, 3, 4))
    found = np.asarray(windows.contrast_normalised(jnp.asarray(x, jnp.float32)))
    for one, wanted in zip(x, found, strict=True):
        np.testing.assert_allclose(wanted, (one - one.mean()) / np.sqrt(one.var() + 3e-3), atol=1e-5)
    assert np.abs(windows.contrast_normalised(jnp.ones((1, 3, 3, 4)))).max() == 0


def a_layer(settings: rules.Settings, count: int = 200) -> rules.Layer:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, 7, 7, 2)) @ np.array([[1, 0.9], [0, 0.4]])
    corner = np.stack(np.divmod(np.arange(count), 20), -1) * 10.0
    blank = upright_crops(ramp(), count)[0]
    at = dataclasses.replace(blank, origin=jnp.asarray(corner, jnp.float32), extent=jnp.full((count, 2), 3.0))
    drawn = windows.Windows(jnp.asarray(values, jnp.float32), 2, at, at)
    return rules.Layer(drawn, np.array([5, 80, 3]), jax.random.key(0), settings)


def normalised(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 3e-3)


def test_controls_are_the_same_patches_by_numpy() -> None:
    layer = a_layer(rules.Settings())
    x = normalised(np.asarray(layer.windows.values, np.float64)[:, 2:5, 2:5])
    covariance = np.cov(x.T, bias=True)
    ridge = 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    closed = np.linalg.inv(covariance + ridge) @ (x[layer.chosen] - x.mean(0)).T
    for made, wanted in ((rules.raw, x[layer.chosen].T), (rules.whitened, closed)):
        kernel = np.asarray(made(layer).kernel).reshape(-1, 3)
        np.testing.assert_allclose(kernel, wanted / np.linalg.norm(wanted, axis=0), atol=1e-4)
    noise = np.asarray(rules.gaussian(layer).kernel).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=0), 1, rtol=1e-5)
    assert np.abs(noise.T @ x[layer.chosen].T).max() < 5


def test_filters_of_detectors_have_length_1_and_score_their_exemplar_highest() -> None:
    for make, settings in (
        (rules.exemplar_svm, rules.ExemplarSettings()),
        (rules.correlation_filter, rules.CorrelationSettings(alpha=1.0)),
    ):
        layer = a_layer(settings)
        found = make(layer)
        kernel = np.asarray(found.kernel).reshape(-1, 3)
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)
        assert found.rounds >= 1
        x = normalised(np.asarray(layer.windows.values, np.float64)[:, 2:5, 2:5])
        np.testing.assert_array_equal((x @ kernel).argmax(0), layer.chosen)


def test_networks_have_two_layers_of_the_backbone_and_say_what_they_are(
    encoders: dict[str, LoadedEncoder],
) -> None:
    for rule, loaded in encoders.items():
        spec = loaded.encoder.spec
        assert (spec.backbone, spec.options["of"], spec.options["layers"]) == ("truncated", "tiny", 2)
        assert loaded.layers == ("conv1", "conv2")
        assert loaded.encoder.params["conv2"]["kernel"].shape == (3, 3, 9, 5)
        config = loaded.meta["config"]
        assert (config["source"], config["rule"], config["seed"]) == ("builtin:coffee", rule, 0)
        assert config["inputs"][0]["shape"] == [400, 600, 3]
        assert not loaded.untrained
    assert encoders["mmcf"].meta["config"]["settings"]["alpha"] == 1e-3
    kernels = [np.asarray(loaded.encoder.params["conv1"]["kernel"]) for loaded in encoders.values()]
    for number, one in enumerate(kernels):
        assert all(np.abs(one - other).max() > 1e-3 for other in kernels[number + 1 :])


def test_responses_are_scaled_like_those_of_k_means(encoders: dict[str, LoadedEncoder]) -> None:
    """Over the augmented crops that k-means initialisation sees too: mean .1 and standard deviation 1."""
    for loaded in encoders.values():
        statistics, params = loaded.encoder.batch_stats, loaded.encoder.params
        for number in (1, 2):
            np.testing.assert_allclose(statistics[f"bn{number}"]["var"], 1)
            np.testing.assert_allclose(params[f"bn{number}"]["bias"], 0.1, rtol=1e-6)
    raw = encoders["raw"].encoder
    spec = augment.CropSpec.preset("paper", SIZE)
    atlas = images.build_atlas([images.load_source("builtin:coffee")[0].pixels])
    crops = augment.render_crops(atlas, crops_key(0), jnp.arange(24, dtype=jnp.uint32), spec)
    x = np.asarray(augment.normalise(crops, raw.spec.mean, raw.spec.std))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    y = np.einsum("byxcij,ijcd->byxd", seen, np.asarray(raw.params["conv1"]["kernel"]))
    np.testing.assert_allclose(y.mean((0, 1, 2)), raw.batch_stats["bn1"]["mean"], atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-3)


def test_the_same_seed_gives_the_same_bits(encoders: dict[str, LoadedEncoder]) -> None:
    def same(a: EncoderVariables, b: EncoderVariables) -> bool:
        pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
        return all(np.array_equal(one, other) for one, other in pairs)

    again, other = load_encoder(REFERENCES["esvm"]), load_encoder(f"{REFERENCES['esvm']}@1")
    assert same(encoders["esvm"].encoder, again.encoder)
    assert not same(encoders["esvm"].encoder, other.encoder)
    assert other.meta["config"]["seed"] == 1


def test_the_threshold_of_the_svm_can_be_kept(encoders: dict[str, LoadedEncoder]) -> None:
    """It is where a window of the mean contrast is on the SVM's boundary, so that few windows are above it."""
    kept = load_encoder(f"esvm:tiny,bias=svm,layers=1,first_norm=false,{SOURCE}").encoder
    usual = encoders["esvm"].encoder
    np.testing.assert_allclose(kept.params["conv1"]["kernel"], usual.params["conv1"]["kernel"], atol=1e-6)
    assert "bn1" not in kept.params
    assert (kept.params["conv1"]["bias"] < 0).all()
    photograph = np.asarray(Image.fromarray(images.load_source("builtin:coffee")[0].pixels).resize((16, 16)))
    fired = [
        (LoadedEncoder("x", 0, one, {}).features(photograph[None], "conv1") > 0).mean()
        for one in (kept, usual)
    ]
    assert fired[0] < 0.5 * fired[1]


def test_tables_leave_cells_of_layers_that_are_not_there_blank(encoders: dict[str, LoadedEncoder]) -> None:
    whole = load_encoder("random:tiny")
    beginning = load_encoder("random:truncated,of=tiny")
    probed = [encoders["esvm"], whole, beginning]
    config = ProbeConfig(kind="ridge", batch_size=4, max_features=64, statistics="recomputed")
    result = runner.run(make_plan(probed, labelled(40, 22), config))
    assert list(result["results"][0]["layers"]) == ["conv1", "conv2"]
    assert "NaN" not in json.dumps(result)
    assert result["results"][0]["gains"].keys() == {"conv1", "conv2"}
    for layer in ("conv1", "conv2"):  # the same network, cut off
        assert result["results"][1]["layers"][layer] == result["results"][2]["layers"][layer]
    rows = [line for line in tables.markdown(result).splitlines() if line.startswith("| `")]
    assert rows[0].startswith(f"| `{REFERENCES['esvm']}` (adapted)")
    assert [row.split("|")[-2].strip() == "" for row in rows] == [True, False, True]
    assert rows[1].startswith("| `random:tiny` ")


def test_finetuning_trains_the_layers_that_are_not_there() -> None:
    config = FinetuneConfig(backbone="tiny", frozen_layers=2)
    row = finetuning.plan_row(config, REFERENCES["raw"])
    assert (row.spec.backbone, row.frozen) == ("tiny", 2)
    assert row.spec.options == {"sobel": False, "slope": 0.0, "first_norm": True}
    with pytest.raises(
        InputError, match="has 1 layers, fewer than frozen_layers = 2; set frozen_layers to 1"
    ):
        finetuning.plan_row(config, f"{REFERENCES['raw']},layers=1")
    with pytest.raises(InputError, match="is of backbone tiny, but the config trains alexnet32"):
        finetuning.plan_row(FinetuneConfig(), REFERENCES["raw"])
    result = {"checkpoint": REFERENCES["esvm"], "frozen": ["conv1"], "accuracy": 1.0, "low": 0.0, "high": 2.0}
    table = finetuned.markdown(
        {
            "dataset": "x",
            "config": {"backbone": "tiny", "steps": 1},
            "train_images": 1,
            "test_images": 1,
            "results": [result],
        }
    )
    assert "` (adapted)" in table


def test_an_export_says_what_the_filters_are(encoders: dict[str, LoadedEncoder], tmp_path: Path) -> None:
    path = ssi.export_encoder(encoders["mmcf"], tmp_path / "net.safetensors")
    card = path.with_suffix(".md").read_text()
    told = "The first layers of `tiny`. Their filters are adapted max-margin correlation filters"
    assert told in card
    assert "Licence: CC0" in card
    assert "class Encoder(nn.Module)" in card
    assert "| settings.alpha" in card
    back = load_encoder(f"file:{path}")
    assert back.encoder.spec == encoders["mmcf"].encoder.spec
    jax.tree.map(np.testing.assert_array_equal, back.encoder.params, encoders["mmcf"].encoder.params)


def test_sources_that_are_too_flat_or_too_small_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (90, 80), (30, 60, 90)).save(tmp_path / "flat.png")
    with pytest.raises(
        InputError, match=r"conv1: 0 of 288 patches of what enters it have contrast, but 9 are"
    ) as caught:
        load_encoder(f"esvm:tiny,source={tmp_path}/flat.png")
    assert "\n" not in str(caught.value)
    Image.fromarray(ramp(20, 30)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small\.png \(20 x 30 pixels\): too small"):
        load_encoder(f"mmcf:tiny,source={tmp_path}/small.png")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("esvm:tiny", r"names no image; expected esvm:BACKBONE\[,OPTION=VALUE\],source=IMAGE\[@SEED\]"),
        ("patches:tiny", r"expected patches:BACKBONE,rule=raw\|whitened\|gaussian"),
        (f"patches:tiny,{SOURCE}", "rule = '': must be one of raw, whitened, gaussian"),
        (f"patches:tiny,rule=whitend,{SOURCE}", "rule = 'whitend'.*did you mean"),
        (f"patches:tiny,rule=esvm,{SOURCE}", "rule = 'esvm': must be one of raw"),
        (
            f"esvm:tiny,rule=raw,{SOURCE}",
            r"option rule: is none of esvm \(layers, crops, C, .*\) nor of tiny \(sobel, ",
        ),
        (f"esvm:tiny,alpha=1,{SOURCE}", "option alpha: is none of esvm"),
        (f"mmcf:tiny,alpha=0,{SOURCE}", r"alpha = 0: must be a number in \(0, 1\]"),
        (f"mmcf:tiny,C=-1,{SOURCE}", "C = -1: must be a number above 0"),
        (f"esvm:tiny,layers=4,{SOURCE}", "layers = 4: must be at most 3, the layers of tiny"),
        (f"esvm:tiny,layers=0,{SOURCE}", "layers = 0: must be a whole number, at least 1"),
        (f"esvm:tiny,bias=none,{SOURCE}", "bias = 'none': must be one of moments, svm"),
        (f"mmcf:tiny,bias=svm,{SOURCE}", "option bias: is none of mmcf"),
        (
            f"esvm:tiny,positive_weight=1001,{SOURCE}",
            r"positive_weight = 1001: must be a number in \(0, 1000\]",
        ),
        (f"esvm:tiny,crops=mine,{SOURCE}", "crops = 'mine': must be one of paper, authors"),
        (
            f"esvm:resnet18,{SOURCE}",
            "backbone resnet18: filters of patches need a chain of convolutions: one of",
        ),
        (f"esvm:nope,{SOURCE}", "backbone"),
        (f"mmcf:tiny,layers=3,{SOURCE}@x", "coffee@x: no such photograph"),
        ("esvm:tiny,source=nowhere.jpg", "nowhere.jpg: no such file"),
        (f"esvm:tiny,{SOURCE}@4294967296", "seed after @"),
    ],
)
def test_bad_references_are_refused_in_one_line(reference: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_encoder(reference)
    assert "\n" not in str(caught.value)
