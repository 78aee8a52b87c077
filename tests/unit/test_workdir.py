"""Whose run a folder holds."""

import pytest

from ssl_single_image.runs import workdir
from ssl_single_image.types import InputError

CONFIG = {"steps": 10, "crop": {"size": 32, "blur_sigma": (0.1, 2.0)}, "keep": 3}


def test_claim_is_repeatable(tmp_path):
    workdir.claim(tmp_path / "a" / "run", CONFIG)
    workdir.claim(tmp_path / "a" / "run", CONFIG)
    assert workdir.read(tmp_path / "a" / "run")["crop"]["size"] == 32


def test_another_config_is_refused_by_the_keys_that_differ(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    other = CONFIG | {"crop": {"size": 64, "blur_sigma": (0.1, 2.0)}, "keep": 5}
    with pytest.raises(InputError, match=r"crop\.size was 32, is 64") as error:
        workdir.claim(tmp_path, other, free=("keep",))
    assert "keep" not in str(error.value)
    assert workdir.read(tmp_path) == workdir.read(tmp_path) | {"keep": 3}


def test_free_keys_may_change(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    workdir.claim(tmp_path, CONFIG | {"keep": 5}, free=("keep",))
    assert workdir.read(tmp_path)["keep"] == 5


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file"):
        workdir.claim(tmp_path / "run", CONFIG)


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        workdir.claim(tmp_path, CONFIG)
