"""The table of built-in photographs against the files it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_single_image.images import builtin


@pytest.mark.parametrize("photograph", builtin.PHOTOGRAPHS.values(), ids=lambda p: p.name)
def test_table_is_true(photograph: builtin.Photograph) -> None:
    pixels = builtin.load(photograph.name)
    assert pixels.shape == (photograph.height, photograph.width, 3)
    grey = bool((pixels == pixels[..., :1]).all())
    assert (photograph.kind == "colour" and grey) is False
    if photograph.kind == "grey":
        assert grey
    assert photograph.licence


def test_colour_photographs_are_distinct_scenes_of_usable_size() -> None:
    names = builtin.colour_photographs()
    assert set(names) >= {"astronaut", "chelsea", "coffee", "rocket"}
    assert len({name.split("_")[0] for name in names}) == len(names)
    assert all(min(builtin.load(name).shape[:2]) >= 300 for name in names)


def test_loading_twice_gives_the_same_pixels() -> None:
    np.testing.assert_array_equal(builtin.load("rocket"), builtin.load("rocket"))
