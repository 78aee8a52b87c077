"""Networks of other programs give the activations that they gave there, layer by layer; what does not fit is refused.

The reference is NumPy's, in float64 (`reference.numpy_alexnet`). Activations agree to 1e-4 of a layer's largest one:
float32 sums of up to 3,456 products round at about 1e-6, in an order that depends on the processor.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import numpy_alexnet as numpy_net
from reference import pickled_weights as torch_like
from safetensors.numpy import save_file

import ssl_single_image as ssi
from ssl_single_image import augment, models
from ssl_single_image.errors import InputError
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.checkpoint import variables_of
from ssl_single_image.runs.foreign import layouts

SIDE = 63
"""The smallest input of AlexNet."""
MEAN, STD = np.array(models.MEAN), np.array(models.STD)
TOLERANCE = 1e-4
FEATURES, FEATURE_NORMS = (
    [f"features.{i}" for i in (0, 4, 8, 11, 14)],
    [f"features.{i}" for i in (1, 5, 9, 12, 15)],
)
PLAIN = [f"features.{i}" for i in (0, 3, 6, 8, 10)]
BLOCKS = [f"_feature_blocks.{i}.0" for i in (0, 2, 4, 5, 6)]
BLOCK_NORMS = [name[:-1] + "1" for name in BLOCKS]
FRONT = {
    "0.weight": numpy_net.SOBEL["grey"],
    "0.bias": np.zeros(1, np.float32),
    "1.weight": numpy_net.SOBEL["weight"],
    "1.bias": np.zeros(2, np.float32),
}


def head(prefix: str, *numbers: int, outputs: int = 4) -> numpy_net.Arrays:
    """Fully connected layers; their sizes do not matter, because they are not loaded."""
    found = {f"{prefix}.{i}.weight": np.zeros((2, 3), np.float32) for i in numbers}
    return found | {
        "top_layer.weight": np.zeros((outputs, 2), np.float32),
        "top_layer.bias": np.zeros(outputs, np.float32),
    }


def front(prefix: str) -> numpy_net.Arrays:
    return {f"{prefix}{name}": value for name, value in FRONT.items()}


@dataclasses.dataclass(frozen=True)
class Case:
    """A network as its program saves it, and what it should be here."""

    layout: str
    channels: tuple[int, ...]
    convs: list[str]
    norms: list[str]
    variant: str
    sobel: bool = False
    bias: bool = True
    beside: Any = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def weights(self) -> numpy_net.Arrays:
        return numpy_net.draw(
            self.channels, self.convs, self.norms, inputs=2 if self.sobel else 3, bias=self.bias
        )

    @property
    def saved(self) -> numpy_net.Arrays:
        return self.weights | self.beside


trunk = lambda start: [f"trunk.{start + i}" for i in (0, 3, 6, 8, 10)]  # noqa: E731
BIG, SMALL = numpy_net.BIG, numpy_net.SMALL
SOBEL = front("sobel.")
PROBES = {"probes.0.2.weight": np.zeros((10, 2, 3, 3), np.float32)}
BN_HEAD = head("classifier", 0, 1, 3, 4) | {"top_layer0.weight": np.zeros((9, 2), np.float32)}
CASES = {
    "deepcluster": Case(
        "deepcluster",
        BIG,
        FEATURES,
        FEATURE_NORMS,
        "deepcluster",
        True,
        True,
        SOBEL | head("classifier", 1, 4),
    ),
    "deepcluster on RGB": Case(
        "deepcluster", BIG, FEATURES, FEATURE_NORMS, "deepcluster", False, True, head("classifier", 1, 4)
    ),
    "deepcluster without biases": Case(
        "deepcluster", BIG, FEATURES, FEATURE_NORMS, "deepcluster", False, False
    ),
    "linear-probes big": Case(
        "linear-probes", BIG, FEATURES, FEATURE_NORMS, "deepcluster", False, True, BN_HEAD
    ),
    "linear-probes small": Case(
        "linear-probes", SMALL, FEATURES, FEATURE_NORMS, "rotnet", False, True, head("classifier", 1, 4)
    ),
    "linear-probes small sobel": Case(
        "linear-probes", SMALL, FEATURES, FEATURE_NORMS, "rotnet", True, True, SOBEL
    ),
    "probed": Case("probed", BIG, trunk(0), [], "deepcluster", False, True, PROBES),
    "probed-sobel": Case(
        "probed-sobel", BIG, trunk(2), [], "deepcluster", True, True, PROBES | front("trunk.")
    ),
    "rotnet": Case(
        "rotnet",
        SMALL,
        BLOCKS,
        BLOCK_NORMS,
        "rotnet",
        False,
        True,
        {"_feature_blocks.9.0.weight": np.ones((4, 2), "f")},
    ),
    "rotnet without biases": Case("rotnet", SMALL, BLOCKS, BLOCK_NORMS, "rotnet", False, False),
    "rotnet without batch norm": Case("rotnet", SMALL, BLOCKS, [], "rotnet"),
    "torchvision": Case("torchvision", SMALL, PLAIN, [], "rotnet", False, True, head("classifier", 1, 4, 6)),
    "deepcluster without batch norm": Case("torchvision", BIG, PLAIN, [], "deepcluster", True, True, SOBEL),
}


def save(path: Path, arrays: numpy_net.Arrays, **beside: Any) -> str:
    path.write_bytes(torch_like.saved({**beside, "state_dict": torch_like.state_dict(arrays)}))
    return f"file:{path}"


def pixels(count: int = 2, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).random((count, side, side, 3), np.float32)


def activations(loaded: LoadedEncoder, x: np.ndarray) -> dict[str, np.ndarray]:
    """Of images in [0, 1], all layers by one compiled program."""
    spec = loaded.encoder.spec
    backbone = models.build_backbone(spec.backbone, spec.options)

    @jax.jit
    def encode(variables: Any, x: jax.Array) -> Any:
        return backbone.apply(variables, augment.normalise(x, spec.mean, spec.std), train=False)[1]

    return {
        name: np.asarray(value)
        for name, value in encode(variables_of(loaded.encoder), jnp.asarray(x)).items()
    }


def expected(case: Case, x: np.ndarray, mean: Any = MEAN, std: Any = STD, **options: Any) -> list[np.ndarray]:
    seen = ((x - mean) / std).transpose(0, 3, 1, 2)
    found = numpy_net.activations(case.weights, case.convs, case.norms, seen, sobel=case.sobel, **options)
    return [value.transpose(0, 2, 3, 1) for value in found]


def check(found: dict[str, np.ndarray], wanted: list[np.ndarray]) -> None:
    assert list(found) == [f"conv{number}" for number in range(1, len(wanted) + 1)]
    for value, other in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(value, other, atol=TOLERANCE * np.abs(other).max(), rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_activations_are_those_of_the_network_in_the_file(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    loaded = ssi.load_encoder(save(tmp_path / "net.pth.tar", case.saved) + f",size={SIDE}")
    assert loaded.encoder.spec.options == {"variant": case.variant, "sobel": case.sobel}
    assert loaded.meta["file"] == {"layout": case.layout, "batch_norm": bool(case.norms)}
    assert loaded.has_batch_norm == bool(case.norms)
    assert (loaded.step, loaded.meta["config"], loaded.encoder.spec.mean) == (0, {}, models.MEAN)
    check(activations(loaded, pixels()), expected(case, pixels()))


def test_features_are_activations_with_channels_last(tmp_path: Path) -> None:
    """Flattened features have another order than PyTorch's `flatten(1)`, which the transposed ones have."""
    case = CASES["rotnet"]
    encoder = ssi.load_encoder(save(tmp_path / "net.pth", case.saved) + f",size={SIDE}")
    assert encoder.layers == ("conv1", "conv2", "conv3", "conv4", "conv5")
    found = ssi.features(encoder, pixels(), "conv5")
    theirs = expected(case, pixels())[-1].transpose(0, 3, 1, 2).reshape(2, -1)
    flattened = found.transpose(0, 3, 1, 2).reshape(2, -1)
    np.testing.assert_allclose(flattened, theirs, atol=TOLERANCE * theirs.max(), rtol=0)
    assert np.abs(found.reshape(2, -1) - theirs).max() > 0.1 * theirs.max()


def test_the_input_is_normalised_as_the_reference_says(tmp_path: Path) -> None:
    case = CASES["rotnet"]
    reference = save(tmp_path / "net.pth", case.saved) + f",size={SIDE}"
    for text, mean, std in ((",mean=0.5,std=0.5", 0.5, 0.5), (",mean=0.4/0.5/0.6", [0.4, 0.5, 0.6], STD)):
        loaded = ssi.load_encoder(reference + text)
        check(activations(loaded, pixels()), expected(case, pixels(), mean, std))
        assert loaded.encoder.spec.mean == tuple(np.broadcast_to(mean, 3))


def test_another_epsilon_is_folded_into_the_variances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["deepcluster on RGB"]
    other = dataclasses.replace(layouts.LAYOUTS["deepcluster"], epsilon=0.1)
    monkeypatch.setitem(layouts.LAYOUTS, "deepcluster", other)
    reference = save(tmp_path / "net.pth", case.saved)
    loaded = ssi.load_encoder(f"{reference},layout=deepcluster,size={SIDE}")
    check(activations(loaded, pixels()), expected(case, pixels(), epsilon=0.1))
    with pytest.raises(
        InputError, match="fits several layouts, choose one by layout=NAME: deepcluster, linear-probes"
    ):
        ssi.load_encoder(reference)


def test_a_bias_without_batch_norm_is_exact(tmp_path: Path) -> None:
    """The batch norm in its place changes no bit: 1 - epsilon + epsilon is 1 in float32."""
    case = CASES["torchvision"]
    loaded = ssi.load_encoder(save(tmp_path / "net.pth", case.saved) + f",size={SIDE}")
    norm = {**loaded.encoder.params["bn2"], **loaded.encoder.batch_stats["bn2"]}
    np.testing.assert_array_equal(norm["bias"], case.weights["features.3.bias"])
    assert float(norm["var"][0] + jnp.float32(models.EPSILON)) == 1.0
    assert float(jax.lax.rsqrt(norm["var"][0] + jnp.float32(models.EPSILON))) == 1.0


@pytest.mark.parametrize("place", ["features.module.0", "module.features.0"])
def test_names_of_data_parallel_are_known(tmp_path: Path, place: str) -> None:
    case = CASES["deepcluster"]
    change = lambda name: name.replace("features", place[: place.rindex(".")])  # noqa: E731
    arrays = {change(name): value for name, value in case.saved.items()}
    reference = save(tmp_path / "net.pth", arrays, arch="alexnet", epoch=500)
    plain = ssi.load_encoder(save(tmp_path / "plain.pth", case.saved))
    jax.tree.map(
        np.testing.assert_array_equal, ssi.load_encoder(reference).encoder.params, plain.encoder.params
    )
    with pytest.raises(InputError, match=r"has features\.0\.weight twice"):
        ssi.load_encoder(save(tmp_path / "both.pth", arrays | case.saved))


@pytest.mark.parametrize("kind", ["float64", "float16", "safetensors"])
def test_other_types_and_formats_give_the_same_network(tmp_path: Path, kind: str) -> None:
    case = CASES["torchvision"]
    rounded = {name: value.astype(np.float16) for name, value in case.saved.items()}
    if kind == "safetensors":
        save_file({name: value.astype(np.float32) for name, value in rounded.items()}, tmp_path / "net.pth")
        reference = f"file:{tmp_path / 'net.pth'}"
    else:
        reference = save(tmp_path / "net.pth", {name: value.astype(kind) for name, value in rounded.items()})
    kernel = ssi.load_encoder(reference).encoder.params["conv3"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_array_equal(
        kernel[1, 2, 3], rounded["features.6.weight"][:, 3, 1, 2].astype(np.float32)
    )


def changed(case: Case, **arrays: np.ndarray | None) -> numpy_net.Arrays:
    whole = case.saved | {
        name.replace("__", "."): value for name, value in arrays.items() if value is not None
    }
    gone = {name.replace("__", ".") for name, value in arrays.items() if value is None}
    return {name: value for name, value in whole.items() if name not in gone}


def refused(reference: str) -> InputError:
    with pytest.raises(InputError) as caught:
        ssi.load_encoder(reference)
    assert "\n" not in str(caught.value)
    return caught.value


def test_missing_extra_and_misshaped_tensors_are_listed(tmp_path: Path) -> None:
    arrays = changed(
        CASES["deepcluster"],
        features__4__weight=None,
        features__9__running_var=None,
        features__17__weight=np.zeros((3, 2), np.float32),
        features__0__bias=np.zeros(95, np.float32),
    )
    for start in ("", ",layout=deepcluster"):
        error = refused(save(tmp_path / "net.pth", arrays) + start)
        assert "4 tensors differ" in str(error)
        (table,) = error.__notes__
        rows = {line.split()[0]: " ".join(line.split()[1:]) for line in table.splitlines()}
        assert rows["features.4.weight"] == "missing (256, 96, 5, 5)"
        assert rows["features.9.running_var"] == "missing (384,)"
        assert rows["features.17.weight"] == "(3, 2) no such tensor"
        assert rows["features.0.bias"] == "(95,) (96,)"


def test_a_convolution_without_batch_norm_needs_its_bias(tmp_path: Path) -> None:
    error = refused(save(tmp_path / "net.pth", changed(CASES["torchvision"], features__3__bias=None)))
    assert "features.3.bias" in error.__notes__[0]


def test_an_unknown_network_is_told_with_what_there_is(tmp_path: Path) -> None:
    arrays = {"layer1.0.conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    error = refused(save(tmp_path / "net.pth", arrays))
    for name in (*layouts.LAYOUTS, layouts.OWN):
        assert name in str(error)
    assert "layer1.0.conv1.weight  (64, 3, 7, 7)  float32" in error.__notes__[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("features.4.weight", np.nan, r"features\.4\.weight has NaN or infinite values"),
        ("features.5.running_mean", np.inf, r"features\.5\.running_mean has NaN or infinite values"),
        ("features.5.running_var", -1.0, r"features\.5\.running_var has negative values"),
        ("sobel.1.weight", 2.0, r"sobel\.1\.weight is not DeepCluster's Sobel front"),
        ("sobel.0.bias", 1.0, r"sobel\.0\.bias is not DeepCluster's Sobel front"),
    ],
)
def test_values_that_no_network_has_are_named(tmp_path: Path, name: str, value: float, message: str) -> None:
    arrays = dict(CASES["deepcluster"].saved)
    arrays[name] = arrays[name].copy()
    arrays[name].flat[0] = value
    with pytest.raises(InputError, match=message):
        ssi.load_encoder(save(tmp_path / "net.pth", arrays))


def test_numbers_beyond_float32_and_whole_numbers_are_refused(tmp_path: Path) -> None:
    case = CASES["torchvision"]
    huge = case.weights["features.0.bias"].astype(np.float64) * 1e200
    with pytest.raises(
        InputError, match=r"features\.0\.bias has NaN or infinite values, or values beyond float32"
    ):
        ssi.load_encoder(save(tmp_path / "net.pth", changed(case, features__0__bias=huge)))
    whole = np.ones(64, np.int64)
    with pytest.raises(InputError, match=r"features\.0\.bias holds int64, expected floats"):
        ssi.load_encoder(save(tmp_path / "net.pth", changed(case, features__0__bias=whole)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("layout=alexnet", "layout = 'alexnet': unknown"),
        ("layout=rotnet", "does not fit the layout rotnet"),
        (
            "layout=rotnet,sobel=true",
            "sobel=True suits no layout; their options are variant=rotnet, sobel=False",
        ),
        ("sobel=true", "fits no layout; the nearest is torchvision"),
        ("colour=7", "colour=7 suits no layout"),
        ("layout=torchvision,backbone=nin", "layout=torchvision is of the backbone alexnet, not nin"),
        ("layout=ssl_single_image", "give backbone=NAME"),
        ("backbone=alexnet", "does not fit the layout ssl_single_image"),
        ("backbone=alexnut", "did you mean alexnet"),
        ("size=8", "an input of 8 pixels is too small"),
        ("size=big", "size = 'big': must be a whole number"),
        ("mean=0.5/0.5", "must be a number, or three"),
        ("mean=nan", "must be a number, or three"),
        ("std=0", "std must be above 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: str, message: str) -> None:
    reference = save(tmp_path / "net.pth", CASES["torchvision"].saved)
    with pytest.raises(InputError, match=message):
        ssi.load_encoder(f"{reference},{options}")


def test_names_with_commas_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "a,b=c.pth", CASES["torchvision"].saved)
    for reference in (
        "file:~/a,b=c.pth",
        "file:~/a,b=c.pth,layout=torchvision",
        "file:~/a,b=c.pth,sobel=false",
    ):
        assert ssi.load_encoder(reference).encoder.spec.backbone == "alexnet"
    assert "No such file" in str(refused("file:~/none.pth,layout=torchvision"))
    assert "is a folder" in str(refused("file:"))
