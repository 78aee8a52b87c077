"""Training behind frozen layers: what stays, what is trained, resuming, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_fakes import LAYERS, SIDE, labelled, loaded, striped, tiny_backbone, tiny_encoder

import ssl_single_image as ssi
from ssl_single_image import datasets, models
from ssl_single_image.augment import CropSpec
from ssl_single_image.experiments import finetuning
from ssl_single_image.experiments.settings import FinetuneConfig
from ssl_single_image.objectives import finetune, supervised
from ssl_single_image.parallel import compile_step
from ssl_single_image.probes import intervals
from ssl_single_image.runs import load_encoder
from ssl_single_image.types import Batch, EncoderVariables, InputError, State

__all__ = ["tiny_backbone"]

SMALL: dict[str, Any] = {
    "backbone": "tiny",
    "frozen_layers": 1,
    "crop": CropSpec(SIDE, hflip=0.5),
    "batch_size": 12,
    "steps": 2,
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
    "optimizer": {"learning_rate": 0.05, "schedule": "constant", "weight_decay": 0.1},
}
TRAINED = ("conv2", "bn2")


def small(**changes: Any) -> FinetuneConfig:
    return FinetuneConfig(**{**SMALL, **changes})


def encoder() -> EncoderVariables:
    """Its statistics are far from those of any batch, and one weight is -0., which adding 0. would change."""
    made = tiny_encoder(3)
    kernel = np.array(made.params["conv1"]["kernel"])
    kernel[0, 0, 0, 0] = -0.0
    made.params["conv1"]["kernel"] = jnp.asarray(kernel)
    made.params["bn1"]["bias"] = jnp.full(LAYERS[0].features, 0.25)
    made.batch_stats["bn1"] = {"mean": jnp.full(8, 0.7), "var": jnp.full(8, 2.3)}
    return made


def batch(count: int = 12) -> Batch:
    return jax.tree.map(jnp.asarray, striped(count))


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def part(state: State, names: tuple[str, ...]) -> list[bytes]:
    return bits(
        [
            {name: value for name, value in whole["backbone"].items() if name in names}
            for whole in (state.params, state.batch_stats)
        ]
    )


@pytest.mark.parametrize("devices", [1, 3])
def test_frozen_layers_keep_their_bits_and_the_others_are_trained(devices: int) -> None:
    """Three replicas: a mean over them is no power of two, and would round."""
    given = encoder()
    setup = small().setup(models.encoder_spec("tiny", size=SIDE), 3, 1)
    made = finetune.make(setup, given)
    state = jax.jit(made.init)(jax.random.key(0), batch())
    before = part(state, TRAINED)
    step = compile_step(made.step, split_inputs=True, devices=jax.devices()[:devices])
    for _ in range(2):
        state, metrics = step(state, jax.random.key(1), batch())
    assert float(metrics["loss"][0]) > 0
    kept = finetune.frozen_part(given, 1)
    assert kept["params"].keys() == {"conv1", "bn1"}
    assert part(state, ("conv1", "bn1")) == bits([kept["params"], kept["batch_stats"]])
    assert all(a != b for a, b in zip(before, part(state, TRAINED), strict=True))
    momenta = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert (3, 3, 3, 8) not in momenta  # the optimiser holds nothing for conv1
    assert (3, 3, 8, 12) in momenta


def test_frozen_layers_are_in_inference_mode_and_have_no_gradient() -> None:
    given = encoder()
    network = models.build_network("tiny", {}, 3, frozen=1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, SIDE, SIDE, 3)), jnp.float32)
    variables = jax.jit(lambda key: network.init(key, x, train=False))(jax.random.key(0))
    variables["params"]["backbone"] |= finetune.frozen_part(given, 1)["params"]
    variables["batch_stats"]["backbone"] |= finetune.frozen_part(given, 1)["batch_stats"]

    def total(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        both = {"params": params, "batch_stats": variables["batch_stats"]}
        (logits, taps), _ = network.apply(both, x, train=True, mutable=["batch_stats"])
        return logits.sum(), taps["conv1"]

    gradient, first = jax.jit(jax.grad(total, has_aux=True))(variables["params"], x)
    alone = models.build_backbone("tiny", {}).apply(
        {"params": given.params, "batch_stats": given.batch_stats}, x, train=False
    )[1]["conv1"]
    np.testing.assert_allclose(first, alone, atol=1e-5)  # float32, compiled apart
    assert all(not np.any(leaf) for name in ("conv1", "bn1") for leaf in gradient["backbone"][name].values())
    assert np.any(gradient["head"]["fc1"]["kernel"])


def test_the_other_layers_begin_alike_whatever_is_frozen() -> None:
    spec = models.encoder_spec("tiny", size=SIDE)
    key = jax.random.key(5)
    free = jax.jit(supervised.make(small().setup(spec, 3, 0)).init)(key, batch())
    frozen = jax.jit(finetune.make(small().setup(spec, 3, 1), encoder()).init)(key, batch())
    assert part(free, TRAINED) == part(frozen, TRAINED)
    assert bits(free.params["head"]) == bits(frozen.params["head"])
    assert part(free, ("conv1",)) != part(frozen, ("conv1",))


@pytest.fixture
def stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of every labelled set; references of "runs/..." are encoders of the tiny backbone."""

    def load(reference: str) -> Any:
        return (
            loaded(reference, source="builtin:coffee")
            if reference.startswith("runs/")
            else load_encoder(reference)
        )

    monkeypatch.setattr(datasets, "load", lambda *args, **options: labelled())
    monkeypatch.setattr(finetuning, "load_encoder", load)


@pytest.mark.usefixtures("stripes")
def test_rows_are_trained_resumed_and_added(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    first = ssi.finetune(small(), "runs/a", folder, devices=1)
    (result,) = first["results"]
    run = folder / result["folder"]
    meta = json.loads((run / "config.json").read_text())
    assert meta["source"] == "builtin:coffee"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracy = next(line["eval/accuracy"] for line in metrics if "eval/accuracy" in line)
    assert result["correct"] == round(22 * accuracy)
    assert first.accuracy("runs/a") == (
        100 * result["correct"] / 22,
        *(100 * end for end in intervals.wilson(result["correct"] / 22, 22)),
    )
    trained = load_encoder(str(run))
    assert trained.step == 2
    kept = finetune.frozen_part(tiny_encoder(), 1)
    assert bits(finetune.frozen_part(trained.encoder, 1)) == bits(kept)

    # Another row leaves the first as it is; four steps are resumed from two, with the bits of four at once.
    files = {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "checkpoints" in path.parts
    }
    both = ssi.finetune(small(), ["runs/a", "none"], folder, devices=1)
    assert both["results"][0] == result
    assert {path: path.read_bytes() for path in files} == files
    assert json.loads((folder / "finetune.json").read_text()) == dict(both)
    assert "| `none`" in (folder / "finetune.md").read_text()
    longer = small(steps=4)
    resumed = ssi.finetune(longer, "runs/a", folder, devices=1)
    whole = ssi.finetune(longer, "runs/a", tmp_path / "whole", devices=1)
    assert resumed["results"] == whole["results"]
    pairs = [load_encoder(str(place / result["folder"])).encoder for place in (folder, tmp_path / "whole")]
    assert bits(pairs[0].params) == bits(pairs[1].params)
    with pytest.raises(InputError, match="is at step 4 already"):
        ssi.finetune(small(), "runs/a", folder, devices=1)
    with pytest.raises(InputError, match="seed was 0, is 1"):
        ssi.finetune(longer.replace(seed=1), "runs/a", folder, devices=1)


def test_a_checkpoint_of_another_backbone_is_refused() -> None:
    words = "checkpoint random:alexnet32: is of backbone alexnet32, but the config trains tiny"
    with pytest.raises(InputError, match=words):
        finetuning.plan_row(small(), "random:alexnet32")


def test_behind_the_scattering_transform_the_later_layers_follow() -> None:
    config = FinetuneConfig(backbone_options={"slope": 0.1})
    row = finetuning.plan_row(config, "scattering:L=4")
    assert row.spec.backbone == "hybrid"
    assert row.spec.options["start"] == 3
    assert row.spec.options["rest_options"]["slope"] == 0.1
    assert (row.frozen, row.spec.options["L"]) == (0, 4)
    with pytest.raises(InputError, match=r"checkpoint scattering:J=3: .* can't replace a map of 8 x 8"):
        finetuning.plan_row(config, "scattering:J=3")


def test_options_of_a_row_are_those_of_its_checkpoint() -> None:
    row = finetuning.plan_row(FinetuneConfig(), "random:alexnet32,sobel=true")
    assert row.spec.options["sobel"] is True
    assert row.frozen == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "scattering"}, "backbone = 'scattering': has no first layers to freeze"),
        ({"frozen_layers": 5}, "frozen_layers = 5: must be below 5, the layers of alexnet32"),
        ({"frozen_layers": 0}, "frozen_layers = 0: must be a whole number, at least 1"),
        ({"eval_every": 0}, "eval_every = 0"),
        ({"steps_per_call": 2}, "steps_per_call = 2: must be 1"),
    ],
)
def test_bad_fields_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FinetuneConfig(**changes)


@pytest.mark.usefixtures("stripes")
def test_too_large_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size = 64: there are only 60 training images"):
        ssi.finetune(small(batch_size=64), "none", tmp_path, devices=1)


@pytest.mark.usefixtures("stripes")
def test_a_folder_of_another_kind_of_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"objective": "rotnet"}')
    with pytest.raises(InputError, match="holds another kind of run"):
        ssi.finetune(small(), "none", tmp_path, devices=1)
    assert (tmp_path / "config.json").read_text() == '{"objective": "rotnet"}'


def test_folders_of_rows_are_told_apart() -> None:
    names = ["none", "runs/a", "runs-a", "runs_a", "random:alexnet32", "../" * 40 + "runs/a"]
    folders = [finetuning.row_folder(name) for name in names]
    assert folders[0] == "none"
    assert len(set(folders)) == len(names)
    assert all(len(folder) <= 70 and "/" not in folder and folder[0] != "." for folder in folders)
