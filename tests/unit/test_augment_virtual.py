"""The keyed permutation of indices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import augment


def permuted(seed: int, count: int, index: np.ndarray | None = None) -> np.ndarray:
    index = np.arange(count) if index is None else index
    run = jax.jit(lambda key, i: augment.permute_index(key, i, count))
    return np.asarray(run(jax.random.key(seed), jnp.asarray(index)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000, 65_537])
def test_is_a_permutation(count: int) -> None:
    np.testing.assert_array_equal(np.sort(permuted(0, count)), np.arange(count))


def test_differs_by_key_and_looks_random() -> None:
    first, second = permuted(1, 10_000), permuted(2, 10_000)
    assert (first == second).mean() < 0.002
    assert abs(np.corrcoef(first, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


def test_every_place_is_equally_likely() -> None:
    keys = jax.random.split(jax.random.key(0), 6000)
    places = np.asarray(jax.jit(jax.vmap(lambda key: augment.permute_index(key, jnp.uint32(2), 6)))(keys))
    counts = np.bincount(places, minlength=6)
    assert np.abs(counts - 1000).max() < 150


def test_does_not_depend_on_company_or_shape() -> None:
    whole = permuted(3, 1_281_167, np.arange(64))
    assert permuted(3, 1_281_167, np.array([17]))[0] == whole[17]
    np.testing.assert_array_equal(permuted(3, 1_281_167, np.arange(64).reshape(8, 8)), whole.reshape(8, 8))
    assert whole.max() < 1_281_167
    assert len(set(whole.tolist())) == 64


def test_large_counts() -> None:
    count = 2**32 - 1
    places = permuted(0, count, np.array([0, 1, 2**31, count - 1], np.uint32))
    assert len(set(places.tolist())) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 1000])
def test_a_count_may_be_a_traced_value(count):
    index, key = jnp.arange(count, dtype=jnp.uint32), jax.random.key(3)
    want = augment.permute_index(key, index, count)
    np.testing.assert_array_equal(jax.jit(augment.permute_index)(key, index, count), want)
    many = jax.vmap(lambda n: augment.permute_index(key, jnp.minimum(index, n - 1), n))
    np.testing.assert_array_equal(many(jnp.array([count, 1], jnp.uint32)), [want, 0 * want])
