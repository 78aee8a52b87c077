"""Order of batches, layout of images on their canvas, and the registry."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import datasets
from ssl_single_image.datasets.base import MemorySplit, Split
from ssl_single_image.datasets.records import Layout, StreamedSplit
from ssl_single_image.types import Batch, InputError

COUNT = 23


class Numbered:
    """Records whose image i is uniformly i, with label i % 5."""

    def __len__(self) -> int:
        return COUNT

    def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, int]]:
        return [(np.full((4, 4, 3), i, np.uint8), i % 5) for i in indices]


@pytest.fixture(params=["memory", "streamed"])
def split(request: pytest.FixtureRequest) -> Split:
    streamed = StreamedSplit(Numbered(), Layout(4, None))
    return streamed if request.param == "streamed" else streamed.decoded("test")


def indices(batch: Batch) -> list[int]:
    """Which images are in a batch; checks that labels and extents are theirs."""
    image, label, extent = (np.asarray(part) for part in (batch.image, batch.label, batch.extent))
    assert (image.dtype, label.dtype, extent.dtype) == (np.uint8, np.int32, np.int32)
    assert image.shape == (len(label), 4, 4, 3)
    np.testing.assert_array_equal(extent, np.full((len(label), 2), 4))
    found = image[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(label, found % 5)
    return found.tolist()


def take(split: Split, count: int, batch_size: int = 5, **options: object) -> list[list[int]]:
    batches = split.batches(batch_size, **options)  # type: ignore[arg-type]
    return [indices(batch) for batch in itertools.islice(batches, count)]


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def test_one_pass_in_order_with_a_short_end(split: Split) -> None:
    assert len(split) == COUNT
    expected = [list(range(i, min(i + 5, COUNT))) for i in range(0, COUNT, 5)]
    assert take(split, 99) == expected
    assert take(split, 99, start=3) == expected[3:]
    assert take(split, 99, start=5) == []


def test_shuffled_epochs(split: Split) -> None:
    batches = take(split, 8, seed=1)
    first, second = flat(batches[:4]), flat(batches[4:])
    assert [len(batch) for batch in batches] == [5] * 8  # the 3 left over are not used
    assert len(set(first)) == len(set(second)) == 20
    assert first != second
    assert first != sorted(first)
    assert take(split, 4, seed=2) != batches[:4]


@pytest.mark.parametrize("start", [1, 4, 7, 1000])
def test_start_goes_on_where_a_run_stopped(split: Split, start: int) -> None:
    whole = split.batches(5, seed=3)
    rest = [indices(batch) for batch in itertools.islice(whole, start, start + 3)] if start < 10 else None
    resumed = take(split, 3, seed=3, start=start)
    assert rest is None or resumed == rest
    assert take(split, 1, seed=3, start=start + 2) == resumed[2:]


@pytest.mark.parametrize("seed", [None, 4])
def test_shards_are_slices_of_the_global_batch(split: Split, seed: int | None) -> None:
    whole = take(split, 6, batch_size=6, seed=seed)
    parts = [take(split, 6, batch_size=6, seed=seed, shard=(i, 3)) for i in range(3)]
    assert [len(part) for part in parts] == [len(whole)] * 3
    assert [flat(pieces) for pieces in zip(*parts, strict=True)] == whole
    assert all(len(part[0]) == 2 for part in parts)
    if seed is None:  # 23 = 3 * 6 + 5
        assert [len(part[-1]) for part in parts] == [2, 2, 1]


def test_shard_of_a_short_batch_may_be_empty(split: Split) -> None:
    assert take(split, 99, batch_size=20, shard=(1, 2)) == [list(range(10, 20)), []]


def test_memory_and_stream_agree() -> None:
    streamed = StreamedSplit(Numbered(), Layout(4, None))
    assert take(streamed, 9, seed=5) == take(streamed.decoded("test"), 9, seed=5)


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [(5, {"shard": (0, 2)}, "evenly over 2"), (24, {"seed": 0}, "more than the 23"), (0, {}, "batch_size 0")],
)
def test_impossible_batches(split: Split, batch_size: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        take(split, 1, batch_size, **options)


def test_errors_come_through_the_stream() -> None:
    class Broken(Numbered):
        def read(self, indices: Sequence[int]) -> list[tuple[np.ndarray, int]]:
            if 7 in indices:
                raise InputError("seven.jpg: truncated")
            return super().read(indices)

    batches = StreamedSplit(Broken(), Layout(4, None)).batches(5)
    assert indices(next(batches)) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"^seven\.jpg: truncated$"):
        next(batches)


def test_stopping_early_leaves_no_threads_waiting() -> None:
    batches = StreamedSplit(Numbered(), Layout(4, None)).batches(5, seed=0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert list(batches) == []


@pytest.mark.parametrize(
    ("size", "one_size", "layout"),
    [
        (32, (32, 32), Layout(32, None)),
        (32, (20, 40), Layout(40, None)),
        (32, (96, 96), Layout(55, 37)),
        (32, None, Layout(55, 37)),
        (224, None, Layout(384, 256)),
        (224, (32, 32), Layout(32, None)),
    ],
)
def test_layout(size: int, one_size: tuple[int, int] | None, layout: Layout) -> None:
    assert Layout.choose(size, one_size) == layout


@pytest.mark.parametrize(
    ("shape", "extent"),
    [
        ((500, 333), (384, 256)),
        ((333, 500), (256, 384)),
        ((300, 400), (256, 341)),
        ((40, 40), (256, 256)),
        ((100, 1000), (256, 384)),  # cut, as nothing longer than 1.5 fits
        ((7, 3), (384, 256)),
    ],
)
def test_shorter_side_is_scaled(shape: tuple[int, int], extent: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (*shape, 3), dtype=np.uint8)
    canvas, found = Layout(384, 256).place(pixels)
    assert found == extent
    assert canvas.shape == (384, 384, 3)
    assert canvas[: extent[0], : extent[1]].all()  # noise of 1 to 254 stays above 0
    assert not canvas[extent[0] :].any()
    assert not canvas[:, extent[1] :].any()


def test_what_is_cut_off_is_cut_on_both_ends() -> None:
    columns = np.linspace(0, 255, 1000)
    pixels = np.broadcast_to(columns[None, :, None], (100, 1000, 3)).astype(np.uint8)
    canvas, (height, width) = Layout(384, 256).place(pixels)
    expected = Image.fromarray(pixels[:, 425:575]).resize((384, 256), Image.Resampling.BILINEAR)
    assert (height, width) == (256, 384)
    np.testing.assert_allclose(canvas[:256].astype(int), np.asarray(expected).astype(int), atol=1)


def test_scaling_is_antialiased() -> None:
    pixels = np.indices((512, 512)).sum(0) % 2 * 255
    canvas, _ = Layout(384, 256).place(np.repeat(pixels[..., None], 3, 2).astype(np.uint8))
    inner = canvas[2:254, 2:254].astype(int)
    assert (
        abs(inner - 127).max() <= 4
    )  # a checkerboard of single pixels averages out; point sampling keeps it


def test_photos_are_cut_from_disjoint_places() -> None:
    from ssl_single_image.datasets import photos

    for height, width in ((300, 451), (512, 512), (640, 427)):
        gap = 0.04 * min(height, width)
        train, test = (
            np.array(list(photos.windows(height, width, 500, np.random.default_rng(0), test=test)))
            for test in (False, True)
        )
        for boxes in (train, test):
            assert boxes[:, :2].min() >= 0
            assert (boxes[:, 2:] <= (width, height)).all()
            np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        apart = np.maximum(  # gaps along x and y between each training and each test window; negative: overlap
            np.maximum(train[:, None, :2] - test[None, :, 2:], test[None, :, :2] - train[:, None, 2:]),
            -np.inf,
        ).max(-1)
        assert apart.min() >= gap * 0.999


def test_photos() -> None:
    labelled = datasets.load("photos", size=32, exclude=["builtin:astronaut", "builtin:motorcycle_right"])
    again = datasets.load("photos", size=32, exclude=["astronaut", "motorcycle_left"])
    together = datasets.load("photos", size=32, exclude=["builtin:astronaut+motorcycle_right"])
    assert labelled.classes == together.classes
    assert labelled.name == "photos"
    assert set(labelled.classes).isdisjoint({"astronaut", "motorcycle_left", "motorcycle_right"})
    assert len(labelled.classes) >= 3
    for split, other, count in ((labelled.train, again.train, 480), (labelled.test, again.test, 160)):
        assert isinstance(split, MemorySplit)
        assert isinstance(other, MemorySplit)
        assert split.image.shape[1:] == (32, 32, 3)
        np.testing.assert_array_equal(np.bincount(split.label), [count] * len(labelled.classes))
        np.testing.assert_array_equal(split.image, other.image)
        assert len(np.unique(split.image.reshape(len(split), -1), axis=0)) > 0.95 * len(split)


def test_photos_of_another_size() -> None:
    (batch,) = itertools.islice(datasets.load("photos", size=48).test.batches(3), 1)
    assert np.shape(batch.image) == (3, 48, 48, 3)
    np.testing.assert_array_equal(batch.extent, [[48, 48]] * 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifr10", "unknown data set 'cifr10'; did you mean cifar10"),
        ("", "unknown data set ''"),
        ("photos:cat", "photos takes nothing after its name"),
        ("folder:", "give the path, as folder:PATH"),
        ("tfds:", "give a name, as tfds:NAME"),
        ("validation:photos", "only sets of TFDS can be divided"),
        ("validation:cifr10", "unknown data set 'cifr10'; did you mean cifar10"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        datasets.load(name, size=32)


def test_photos_need_two_classes() -> None:
    from ssl_single_image.images import builtin

    with pytest.raises(InputError, match="two are needed"):
        datasets.load("photos", size=32, exclude=builtin.colour_photographs()[1:])
