"""Checkpoints: what goes in comes out, and what is damaged or foreign is refused."""

import collections
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_fakes import PLAIN, SPEC, encoder, make_state, save

from ssl_single_image import models
from ssl_single_image.runs import expand, load_encoder
from ssl_single_image.runs.checkpoint import CheckpointStore, digest
from ssl_single_image.types import EncoderVariables, InputError, State

__all__ = ["encoder"]


def test_state_comes_back_bit_for_bit(tmp_path, encoder):
    save(tmp_path, encoder, 3)
    restored = CheckpointStore(tmp_path).restore(jax.eval_shape(make_state))
    want = make_state()
    assert jax.tree.structure(restored) == jax.tree.structure(want)  # type: ignore[operator]
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_saving_does_not_hold_on_to_donated_buffers(tmp_path, encoder):
    store = CheckpointStore(tmp_path)
    state = make_state(width=200_000)
    want = np.array(state.params["a"]["kernel"])
    store.save(state, encoder, {}, {})
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    store.close()
    restored = CheckpointStore(tmp_path).restore(jax.eval_shape(lambda: make_state(width=200_000)))
    np.testing.assert_array_equal(restored.params["a"]["kernel"], want)


@pytest.mark.parametrize("changed", [{"width": 5}, {"dtype": jnp.bfloat16}])
def test_another_state_is_refused(tmp_path, encoder, changed):
    save(tmp_path, encoder, 3)
    with pytest.raises(InputError, match=r"another architecture: .*a\.kernel"):
        CheckpointStore(tmp_path).restore(jax.eval_shape(lambda: make_state(**changed)))


def test_encoder_references(tmp_path, encoder):
    save(tmp_path, encoder, 3, 6, 9, losses=[2.0, 0.5, 1.0])
    newest = load_encoder(str(tmp_path))
    assert (newest.step, newest.meta["config"]["source"]) == (9, "builtin:coffee")
    assert newest.encoder.spec == SPEC
    for a, b in zip(jax.tree.leaves(newest.encoder.params), jax.tree.leaves(encoder.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert load_encoder(f"{tmp_path}@3").step == 3
    assert load_encoder(f"{tmp_path}@best").step == 6
    with pytest.raises(InputError, match="no step 4; there are 3, 6, 9"):
        load_encoder(f"{tmp_path}@4")
    assert expand(f"{tmp_path}@all") == [f"{tmp_path}@{step}" for step in (3, 6, 9)]
    assert expand(f"{tmp_path}@all#discriminator")[0] == f"{tmp_path}@3#discriminator"
    assert expand(f"{tmp_path}@best") == [f"{tmp_path}@best"]
    with pytest.raises(InputError, match="nowhere: no checkpoints/ folder"):
        expand(f"{tmp_path}/nowhere@all")


def test_an_objective_may_name_the_metric_of_the_best(tmp_path, encoder):
    """It is kept beyond `keep`, and known without the objective."""
    store = CheckpointStore(tmp_path, keep=1, best="eval/inversion")
    for step, ratio in ((3, 0.9), (6, 0.7), (9, 0.8)):
        store.save(make_state(step), encoder, {}, {"eval/loss": 1 / step, "eval/inversion": ratio})
    store.close()
    assert {p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()} == {"6", "9"}
    assert load_encoder(f"{tmp_path}@best").step == 6


def test_the_best_of_checkpoints_without_evaluation_is_refused(tmp_path, encoder):
    store = CheckpointStore(tmp_path)
    store.save(make_state(3), encoder, {}, {})
    store.close()
    with pytest.raises(InputError, match="@best: no checkpoint was saved with an evaluation"):
        load_encoder(f"{tmp_path}@best")


def test_untrained_references():
    first, again, other = (
        load_encoder(f"random:{name}") for name in ("alexnet32", "alexnet32@0", "alexnet32@1")
    )
    kernels = [np.asarray(e.encoder.params["conv2"]["kernel"]) for e in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    for reference, words in [("random:alexnot", "alexnet"), ("random:alexnet32@x", "whole number")]:
        with pytest.raises(InputError, match=words):
            load_encoder(reference)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="workdir of pretrain"):
        load_encoder(str(tmp_path / "none"))
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(InputError, match="no finished checkpoint"):
        load_encoder(str(tmp_path))


def test_an_unfinished_write_is_never_taken_for_a_checkpoint(tmp_path, encoder):
    save(tmp_path, encoder, 3)
    shutil.copytree(tmp_path / "checkpoints" / "3", tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp")
    assert load_encoder(str(tmp_path)).step == 3
    assert CheckpointStore(tmp_path).latest == 3


def test_another_architecture_is_refused(tmp_path, encoder):
    narrow = {**encoder.params, "conv3": {"kernel": encoder.params["conv3"]["kernel"][..., :100]}}
    save(tmp_path, EncoderVariables(SPEC, narrow, encoder.batch_stats), 3)
    with pytest.raises(
        InputError, match=r"another architecture: .*conv3\.kernel is float32\[3, 3, 128, 100\]"
    ):
        load_encoder(str(tmp_path))


def test_one_flipped_byte_is_reported_as_damage(tmp_path, encoder):
    """In any file of it: what is then loaded is as it was saved, or nothing is."""
    save(tmp_path, encoder, 3)
    rng, place = np.random.default_rng(0), tmp_path / "checkpoints" / "3"
    kept = sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)
    found: collections.Counter[Path] = collections.Counter()
    for path in kept:
        before = path.read_bytes()
        for at in rng.integers(0, len(before), 3):
            path.write_bytes(before[:at] + bytes([before[at] ^ 0x10]) + before[at + 1 :])
            try:
                loaded = load_encoder(str(tmp_path))
                state = CheckpointStore(tmp_path).restore(jax.eval_shape(make_state))
            except InputError:
                found[path.relative_to(place)] += 1
                continue
            same = zip(jax.tree.leaves(loaded.encoder.params), jax.tree.leaves(encoder.params), strict=True)
            assert all(np.array_equal(a, b) for a, b in same)
            assert loaded.meta["config"] == {"source": "builtin:coffee"}
            assert digest(dataclasses.asdict(state)) == digest(dataclasses.asdict(make_state()))
        path.write_bytes(before)
    sure = [Path("meta/metadata"), Path("encoder/manifest.ocdbt"), Path("state/manifest.ocdbt")]
    assert [found[path] for path in sure] == [3, 3, 3]


def test_truncated_or_missing_files_are_refused(tmp_path, encoder):
    save(tmp_path, encoder, 3)
    item = tmp_path / "checkpoints" / "3" / "encoder"
    largest = max((p for p in item.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        load_encoder(str(tmp_path))
    shutil.rmtree(item)
    with pytest.raises(InputError, match="not whole"):
        load_encoder(str(tmp_path))
    meta = tmp_path / "checkpoints" / "3" / "meta" / "metadata"
    meta.write_text(json.dumps({"encoder": {}})[:-1])
    with pytest.raises(InputError, match="meta item"):
        load_encoder(str(tmp_path))


def test_further_encoders_are_loaded_by_name(tmp_path, encoder):
    other = models.untrained(models.encoder_spec("nin"), jax.random.key(3))
    store = CheckpointStore(tmp_path)
    store.save(State(jnp.int32(4), {}, {}, {}, {}), encoder, {}, {}, {"discriminator": other})
    store.close()
    loaded = load_encoder(f"{tmp_path}@4#discriminator")
    assert (loaded.step, loaded.encoder.spec.backbone) == (4, "nin")
    for a, b in zip(jax.tree.leaves(loaded.encoder.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert load_encoder(f"{tmp_path}#discriminator").encoder.spec == other.spec
    assert load_encoder(str(tmp_path)).encoder.spec == SPEC
    with pytest.raises(InputError, match="no encoder 'generator'; its run offers discriminator"):
        load_encoder(f"{tmp_path}#generator")


def test_a_folder_with_signs_in_its_name_is_found(tmp_path, encoder):
    folder = tmp_path / "a@b#c"
    save(folder, encoder, 3)
    assert load_encoder(str(folder)).step == 3
    assert load_encoder(f"{folder}@3").step == 3


def test_untrained_networks_take_options():
    plain, sobel = load_encoder("random:alexnet32@3"), load_encoder("random:alexnet32,sobel=true@3")
    assert plain.encoder.spec.options == PLAIN
    assert sobel.encoder.spec.options == PLAIN | {"sobel": True}
    assert sobel.encoder.params["conv1"]["kernel"].shape[2] == 2
    assert load_encoder("random:cifar32").encoder.spec == load_encoder("random:alexnet32").encoder.spec
    leaky = load_encoder("random:alexnet32,slope=0.2,first_norm=false").encoder
    assert leaky.spec.options == PLAIN | {"slope": 0.2, "first_norm": False}
    assert leaky.params["conv1"].keys() == {"kernel", "bias"}
    assert "bn1" not in leaky.params
    for reference, words in [
        ("random:alexnet32,sobel", "'sobel' is no option"),
        ("random:alexnet32,sobol=true", "backbone_options.sobol: no such field; did you mean sobel"),
        ("random:alexnet32,sobel=3", "backbone_options.sobel = 3: must be True or False"),
        ("random:nin,slope=1", r"backbone_options.slope = 1: must be a number in \[0, 1\)"),
        ("random:alexnet32@99999999999", "whole number in"),
    ]:
        with pytest.raises(InputError, match=words):
            load_encoder(reference)


def test_an_old_checkpoint_loads_by_the_names_it_was_stored_with(tmp_path, encoder):
    """Its spec names the backbone `cifar32`, and options that were left out."""
    save(tmp_path, encoder, 3)
    file = tmp_path / "checkpoints" / "3" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    meta["encoder"] |= {"backbone": "cifar32", "options": {}}
    del meta["encoders"], meta["sha256"]
    file.write_text(json.dumps(meta))
    assert load_encoder(str(tmp_path)).encoder.spec == SPEC


def test_references_keep_their_options_when_a_list_is_split():
    from ssl_single_image.cli.probe import references

    words = ["runs/a", "random:alexnet", "variant=bigan", "sobel=true@3", "runs/b=c"]
    assert references(words) == ["runs/a", "random:alexnet,variant=bigan,sobel=true@3", "runs/b=c"]
