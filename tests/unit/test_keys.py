"""Streams of random numbers: no two purposes of a run share a key, and every draw of a run comes from one of them."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from ssl_single_image import keys
from ssl_single_image.keys import Stream

COUNT = 4096
"""Steps, crops, epochs of each stream that are compared."""


def counted(seed: int, purpose: Stream) -> np.ndarray:
    """(COUNT, 2): the keys of a stream, folded with 0, 1, 2, ..."""
    key = keys.stream(seed, purpose)
    return np.asarray(jax.vmap(lambda i: jax.random.key_data(jax.random.fold_in(key, i)))(np.arange(COUNT)))


def words(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_no_two_streams_of_a_run_give_one_key() -> None:
    streams = [keys.stream(7, purpose) for purpose in Stream]
    folded = [row for purpose in Stream for row in map(tuple, counted(7, purpose).tolist())]
    everything = [*map(words, streams), words(keys.root(7)), *folded]
    assert len(set(everything)) == len(everything)


def test_streams_of_different_seeds_differ() -> None:
    pairs = itertools.product((0, 1, 2**32 - 1), Stream)
    found = [words(keys.stream(seed, purpose)) for seed, purpose in pairs]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("purpose", "value"), [(Stream.INIT, 0), (Stream.CROPS, 5), (Stream.HEADS_ORDER, 9)])
def test_values_are_fixed(purpose: Stream, value: int) -> None:
    """They are part of what a seed means: runs would not be repeated if they moved."""
    assert purpose == value
