"""DeepCluster: what an epoch sees, what a refresh changes, and that a resumed run has the same bits."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from precision import widened

from ssl_single_image import augment, clustering, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup, common
from ssl_single_image.objectives.deepcluster import Options, assignment, refresh
from ssl_single_image.objectives.deepcluster import objective as method
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, InputError, State

OPTIONS = Options(clusters=6, components=4, iterations=5)
OPTIMIZER = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9))


def setup(crops=26, batch_size=4, options=OPTIONS, **changes):
    crop = augment.CropSpec.preset("paper", 16).replace(min_area=0.05)
    spec = EncoderSpec("alexnet32", {}, 16, models.MEAN, models.STD)
    return Setup(spec, crop, crops, batch_size, 3, OPTIMIZER, view_hflip=0.5, options=options, **changes)


@pytest.fixture(scope="module")
def atlas():
    return images.build_atlas([np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)])


@pytest.fixture(scope="module")
def refreshed(atlas):
    """A state of the first epoch, with momentum, before and after a refresh, and the refresh's metrics."""
    objective = method.make(setup())
    state = jax.jit(objective.init)(jax.random.key(0), atlas)
    state, _ = jax.jit(partial(objective.step, axis_name=None))(state, jax.random.key(1), atlas)
    assert objective.refresh is not None
    after, metrics = jax.jit(partial(objective.refresh, axis_name=None))(state, jax.random.key(2), atlas)
    return state, after, jax.device_get(metrics)


def listing(sizes):
    """Clusters of the given sizes with members in an order of their own."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    distances = jnp.ones(len(labels))
    return labels, assignment.from_labels(jnp.asarray(labels), distances, len(labels), len(sizes), None)


def test_crops_are_listed_by_cluster():
    labels, clusters = listing([3, 0, 5, 1])
    np.testing.assert_array_equal(clusters.sizes, [3, 0, 5, 1])
    np.testing.assert_array_equal(clusters.labels(), labels)
    np.testing.assert_array_equal(clusters.spread, [1, 0, 1, 1])
    for cluster in range(4):
        members = clusters.members[clusters.starts[cluster] : clusters.starts[cluster + 1]]
        np.testing.assert_array_equal(members, np.flatnonzero(labels == cluster))


def test_padding_belongs_to_no_cluster():
    labels = jnp.array([1, 0, 1, 0, 0], jnp.int32)
    clusters = assignment.from_labels(labels, jnp.array([2.0, 1.0, 4.0, 0.0, 0.0]), 3, 2, None)
    np.testing.assert_array_equal(clusters.labels(), [1, 0, 1])
    np.testing.assert_array_equal(clusters.spread, [1.0, 3.0])


@pytest.mark.parametrize(("crops", "clusters"), [(26, 6), (12, 12), (13, 12)])
def test_before_the_first_refresh_clusters_are_blocks(crops, clusters):
    first = assignment.blocks(crops, clusters)
    want = [len(part) for part in np.array_split(np.arange(crops), clusters)]
    np.testing.assert_array_equal(first.sizes, want)
    np.testing.assert_array_equal(first.labels(), np.repeat(np.arange(clusters), want))


def test_an_epoch_visits_clusters_alike():
    sizes = [400, 0, 90, 7, 1, 102]
    labels, clusters = listing(sizes)
    indices, drawn = map(
        np.asarray,
        jax.jit(assignment.uniform_sample)(clusters, jax.random.key(0), jnp.arange(600, dtype=jnp.uint32)),
    )
    np.testing.assert_array_equal(labels[indices], drawn)
    counts = np.bincount(drawn, minlength=6)
    each = 600 // 5 + 1
    assert counts[1] == 0
    assert counts.max() <= each
    assert counts.sum() == 600
    assert np.delete(counts, 1).min() >= each - 5  # of 605 draws the last five are left out
    of_the_large = indices[drawn == 0]
    assert len(set(of_the_large)) == len(of_the_large)
    assert len(set(indices[drawn == 2])) > 50  # 120 draws with replacement from 90 see 66 of them on average
    assert not np.array_equal(np.sort(drawn), drawn)


def test_epochs_differ_and_do_not_depend_on_how_they_are_cut():
    _, clusters = listing([30, 10, 60])
    whole = jnp.arange(100, dtype=jnp.uint32)
    first, again = (assignment.uniform_sample(clusters, jax.random.key(k), whole)[0] for k in (0, 1))
    assert (first != again).mean() > 0.5
    part, _ = assignment.uniform_sample(clusters, jax.random.key(0), whole[37:41])
    np.testing.assert_array_equal(part, first[37:41])


@pytest.mark.usefixtures("float64")
def test_a_step_sees_views_of_the_crops_that_their_labels_mean(atlas):
    ours = setup()
    state = jax.jit(method.make(ours).init)(jax.random.key(0), atlas)
    draw = jax.jit(lambda state: method.training_crops(ours, state, atlas, None))
    whole = jnp.arange(26, dtype=jnp.uint32)
    everything = jax.jit(lambda: augment.render_crops(atlas, common.crops_key(ours.seed), whole, ours.crop))()
    for step in (0, 5, 6, 13):
        state = state.replace(step=jnp.int32(step))
        crops, labels = draw(state)
        nearest = np.abs(np.asarray(everything)[None] - np.asarray(crops)[:, None]).mean((2, 3, 4))
        assert nearest.min(1).max() == 0
        np.testing.assert_array_equal(state.extras.labels()[nearest.argmin(1)], labels)


def test_views_are_jittered_where_stored_crops_are_not(atlas):
    """Two views of a grey crop are grey without jitter, and of two brightnesses with it."""
    plain, jittered = setup(), setup(options=OPTIONS.replace(view_jitter=True))
    state = jax.jit(method.make(plain).init)(jax.random.key(0), atlas)
    key, indices = common.crops_key(3), jnp.arange(26, dtype=jnp.uint32)
    for made, spec in ((plain, plain.crop), (jittered, plain.crop.replace(jitter_probability=0.0))):
        want = augment.render_crops(atlas, key, indices, spec)
        crops, _ = method.training_crops(made, state, atlas, None)
        assert all(any(np.array_equal(crop, other) for other in want) for crop in crops)
    grey = jnp.full((4, 16, 16, 3), 128 / 255, jnp.float32)
    for made in (plain, jittered):
        views = common.views_of(made, jax.random.key(0), common.as_atlas(grey), method.view_spec(made), None)
        levels = np.unique(np.round(np.asarray(views).mean((1, 2, 3)), 3))
        assert (len(levels) > 1) is (made is jittered)


@pytest.mark.usefixtures("float64")
def test_features_are_what_the_options_say(atlas, refreshed):
    ours = setup(dtype="float64")
    from_trunks = setup(options=dataclasses.replace(OPTIONS, features="trunk"), dtype="float64")

    @jax.jit
    def run(state):
        places = jnp.arange(5, dtype=jnp.uint32)
        crops = augment.render_crops(atlas, common.crops_key(3), places, ours.crop)
        x = ours.normalise(ours.widened(crops))
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = ours.network(6).apply(variables, x, train=False)[0]
        backbone = {name: value["backbone"] for name, value in variables.items()}
        trunk = models.build_backbone("alexnet32", {}, dtype="float64").apply(backbone, x, train=False)[0]
        head = refresh.features(ours, state, atlas, places)
        return head, logits, trunk, refresh.features(from_trunks, state, atlas, places)

    state = widened(refreshed[0])
    head, logits, trunk, from_trunk = run(state)
    assert head.min() < 0  # before the ReLU
    top = state.params["head"]["top"]
    np.testing.assert_allclose(np.maximum(head, 0) @ top["kernel"] + top["bias"], logits, rtol=1e-9)
    np.testing.assert_allclose(from_trunk, trunk.reshape(5, -1), rtol=1e-9)


def test_a_refresh_assigns_every_crop(refreshed):
    _, after, metrics = refreshed
    np.testing.assert_array_equal(np.sort(after.extras.members), np.arange(26))
    assert after.extras.starts[-1] == 26
    values = {name: float(total / count) for name, (total, count) in metrics.items()}
    sizes = np.asarray(after.extras.sizes)
    assert values["empty"] == (sizes == 0).sum() == 0
    assert values["size_max"] == sizes.max()
    assert values["size_median"] == np.median(sizes)
    assert 0 < values["nmi"] < 1
    np.testing.assert_allclose(
        values["inertia"], (np.asarray(after.extras.spread) * sizes).sum() / 26, rtol=1e-4
    )


def test_a_refresh_starts_the_top_layer_from_scratch_and_nothing_else(refreshed):
    before, after, _ = refreshed
    top = after.params["head"]["top"]
    assert (top["bias"] == 0).all()
    assert (top["kernel"] != before.params["head"]["top"]["kernel"]).all()
    np.testing.assert_allclose(top["kernel"].std(), 0.01, rtol=0.1)
    rest = [{**s.params, "head": {**s.params["head"], "top": None}} for s in (before, after)]
    jax.tree.map(np.testing.assert_array_equal, *rest)
    (momentum,) = [s for s in jax.tree.leaves(after.opt_state, is_leaf=_is_trace) if _is_trace(s)]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(momentum.trace["head"]["top"]))
    assert float(optax.tree.norm(momentum.trace["backbone"])) > 0
    assert after.step == before.step == 1


def _is_trace(x):
    return isinstance(x, optax.TraceState)


@pytest.mark.usefixtures("float64")
def test_pca_can_be_fitted_on_some_of_the_crops(atlas, refreshed):
    state, key = widened(refreshed[0]), jax.random.key(0)
    some = setup(options=dataclasses.replace(OPTIONS, pca_crops=8), dtype="float64")

    @jax.jit
    def run(state):
        every = jnp.arange(28, dtype=jnp.uint32) % 26
        drawn = augment.permute_index(key, every[:8], 26)
        pca = clustering.fit_pca(refresh.features(some, state, atlas, drawn), 4)
        want = clustering.l2_normalise(clustering.project(pca, refresh.features(some, state, atlas, every)))
        return want, *refresh._points(some, state, key, atlas, None)

    want, points, inside = run(state)
    np.testing.assert_array_equal(inside, [1] * 26 + [0] * 2)
    np.testing.assert_allclose(points[:26], want[:26], atol=1e-8)


def test_a_resumed_run_has_the_same_bits(tmp_path, atlas):
    """Stopped in the middle of an epoch of six steps, and where one ends and a refresh is due."""
    data = loop.Data(atlas, lambda step: itertools.repeat(atlas), lambda: [atlas], split=False)

    def run(workdir, steps):
        plan = loop.PretrainPlan(steps, 4, log_every=2, eval_every=0, checkpoint_every=2)
        objective = method.make(setup())
        return loop.train(
            objective, plan, data, seed=7, workdir=workdir, config={}, devices=jax.devices()[:1]
        )

    for steps in (8, 12):
        run(tmp_path / "parts", steps)
    parts, whole = run(tmp_path / "parts", 16), run(tmp_path / "whole", 16)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert not np.array_equal(whole.extras.members, np.arange(26))

    def metrics(workdir):
        lines = loop.metrics_lib.METRICS, (tmp_path / workdir / loop.metrics_lib.METRICS).read_text()
        return [line for line in lines[1].splitlines() if "refresh/nmi" in line]

    assert [line.split(",")[0] for line in metrics("parts")] == [f'{{"step": {n}' for n in (1, 7, 13)]
    assert len(metrics("whole")) == 3


def shown(sizes, spread, atlas):
    """(cluster, its size, tiles to be seen) of each row of the picture that is shown, and its title's lines."""
    ours = setup(crops=sum(sizes), options=Options(clusters=len(sizes), components=4))
    _, clusters = listing(sizes)
    state = State(jnp.int32(0), {}, {}, {}, clusters._replace(spread=jnp.asarray(spread, jnp.float32)))
    draw = method.make(ours).pictures
    assert draw is not None
    rows = jax.jit(draw)(state, jax.random.key(0), atlas)["clusters"]
    found = []
    for number, (tiles, title) in enumerate(zip(rows.tiles, rows.titles, strict=True)):
        (cluster, size, distance), count = rows.values[number], int(rows.shown[number])
        assert distance == pytest.approx(spread[int(cluster)])
        if count:
            lines = title.format(cluster.item(), size.item(), distance.item()).split("\n")
            found.append((int(cluster), int(size), np.asarray(tiles)[:count], lines))
    members = [np.asarray(clusters.members[a:b]) for a, b in itertools.pairwise(clusters.starts)]
    return ours, found, members


@pytest.mark.parametrize("filled", [1, 6, 10, 13, 25])
def test_the_picture_shows_every_cluster_once_and_no_empty_one(atlas, filled):
    sizes = np.r_[np.tile([method.GRID + 2, 3], 13)[:filled], np.zeros(max(2 - filled, 4), int)]
    order = np.random.default_rng(filled).permutation(len(sizes))
    sizes, spread = sizes[order].tolist(), np.random.default_rng(1).uniform(size=len(sizes)).tolist()
    _, rows, _ = shown(sizes, spread, atlas)
    clusters = [cluster for cluster, *_ in rows]
    assert len(set(clusters)) == len(clusters) == min(filled, 2 * method.SHOWN)
    large = sorted((k for k, n in enumerate(sizes) if n >= method.GRID), key=lambda k: spread[k])
    small = sorted((k for k, n in enumerate(sizes) if 0 < n < method.GRID), key=lambda k: spread[k])
    ranked = large + small
    assert clusters[: method.SHOWN] == ranked[: method.SHOWN]
    assert [ranked.index(k) for k in clusters] == sorted(ranked.index(k) for k in clusters)
    for cluster, size, tiles, lines in rows:
        assert size == sizes[cluster]
        assert len(tiles) == min(size, method.GRID)
        assert lines[-1].startswith(f"cluster {cluster}, {size} crops, ")


def test_a_row_has_the_crops_of_its_cluster_and_none_twice(atlas):
    ours, rows, members = shown([3, method.GRID + 2, 1], [0.3, 0.2, 0.1], atlas)
    draw = jax.jit(lambda a, i: augment.render_crops(a, common.crops_key(ours.seed), i, ours.crop))
    crops = np.asarray(draw(atlas, jnp.arange(ours.crops)))
    assert [cluster for cluster, *_ in rows] == [1, 2, 0]
    for cluster, _, tiles, _ in rows:
        distance = np.abs(tiles[:, None] - crops[None]).max(axis=(2, 3, 4))
        nearest = distance.argmin(axis=1)
        assert distance.min(axis=1).max() < 0.02  # one program may round where another does not
        assert set(nearest) <= set(members[cluster])
        assert len(set(nearest)) == len(nearest)


def test_parts_of_the_picture_have_headings(atlas):
    few = shown([5] * 4, [0.1] * 4, atlas)[1]
    assert [lines[:-1] for *_, lines in few] == [["The clusters, the tightest first"], [], [], []]
    many = shown([2] * 12, [0.1] * 12, atlas)[1]
    headings = {number: lines[0] for number, (*_, lines) in enumerate(many) if len(lines) > 1}
    assert headings == {0: "The 10 tightest of 12 clusters", 10: "Others, drawn at random"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"clusters": 1}, "clusters = 1: must be a whole number, at least 2"),
        ({"features": "conv5"}, "features = 'conv5': must be one of head, trunk"),
        ({"seeding": "grid"}, "seeding = 'grid'"),
        ({"view_min_area": 0.0}, "view_min_area = 0.0: must be a number in"),
        ({"k": 3}, "objective_options.k: no such field; there are clusters"),
    ],
)
def test_options_out_of_range_are_refused(fields, words):
    with pytest.raises(InputError, match=words):
        OBJECTIVES["deepcluster"].options.from_config(fields)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crops": 5}, "clusters = 6: must be at most crops, which is 5"),
        ({"batch_size": 27}, "batch_size = 27: must be at most crops, which is 26"),
        ({"options": dataclasses.replace(OPTIONS, components=513)}, "components = 513: must be at most 512"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        method.make(setup(**changes))
