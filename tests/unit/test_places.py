"""Folders in stores: what comes back is what was whole there, one job works at a time, and nothing is lost unsaid."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest
from checkpoint_fakes import encoder, save
from loop_fakes import lines, run

from ssl_single_image.errors import Halted, InputError
from ssl_single_image.experiments.results import Run
from ssl_single_image.runs import load_encoder, places
from ssl_single_image.runs.mirror import LEASE, MANIFEST, Mirror
from ssl_single_image.runs.workdir import InUse

__all__ = ["encoder"]
OTHER = {"host": "elsewhere", "pid": 7, "since": "noon", "token": "theirs", "beats": 0}


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A folder in a store, and a machine that has never seen it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/run"


def another_machine(tmp_path):
    shutil.rmtree(tmp_path / "cache")


def stored(url):
    """Names of all objects."""
    files, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root + "/") for path in files.find(root)}


def put(url, name, content):
    fsspec.filesystem("memory").pipe_file(f"{url.removeprefix('memory:/')}/{name}", content)


def get(url, name):
    return fsspec.filesystem("memory").cat_file(f"{url.removeprefix('memory:/')}/{name}")


def test_a_folder_of_this_machine_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with places.working("~/run") as place:
        assert place == tmp_path / "run"
    assert places.brought(tmp_path / "run") == tmp_path / "run"
    assert not any(places.is_remote(name) for name in ("runs/a", "file:x.pth", "zoo:rotnet", "a@3#b", "C:/x"))


def test_a_checkpoint_comes_back_on_another_machine(url, tmp_path, encoder):
    with places.working(url) as place:
        (place / "config.json").write_text('{"steps": 6}')
        save(place, encoder, 3, 6)
    assert LEASE not in stored(url)
    another_machine(tmp_path)
    for reference, step in ((f"{url}@3", 3), (url, 6)):
        loaded = load_encoder(reference)
        assert (loaded.name, loaded.step) == (reference, step)
    assert (loaded.encoder.params["conv1"]["kernel"] == encoder.params["conv1"]["kernel"]).all()
    found = Run(url)
    assert found.config == {"steps": 6}
    assert not list(found.folder.glob("checkpoints/*/state"))  # which readers have no use for
    with places.working(url) as place:
        assert (place / "checkpoints" / "6" / "state").is_dir()


def test_what_is_deleted_here_is_deleted_there_and_what_is_stale_here_goes(url, tmp_path):
    with places.working(url) as place:
        for name in ("checkpoints/1/a", "checkpoints/2/a", "metrics.jsonl"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)
    with places.working(url) as place:
        shutil.rmtree(place / "checkpoints" / "1")
        (place / ".lock").write_text("of this machine alone")
        (place / "checkpoints" / "3.orbax-checkpoint-tmp-0").mkdir()
        (place / "checkpoints" / "3.orbax-checkpoint-tmp-0" / "a").write_text("half")
    assert stored(url) == {"checkpoints/2/a", "metrics.jsonl", MANIFEST}
    (place / "checkpoints" / "9").mkdir()
    (place / "checkpoints" / "9" / "a").write_text("left by a job that was killed before it was copied")
    with places.working(url) as place:
        assert [path.name for path in (place / "checkpoints").iterdir() if path.name.isdecimal()] == ["2"]


def test_it_is_copied_while_the_command_works(url):
    with places.working(url, every=0.05) as place:
        (place / "metrics.jsonl").write_text("a line\n")
        end = time.monotonic() + 10
        while "metrics.jsonl" not in stored(url) and time.monotonic() < end:
            time.sleep(0.05)
        assert get(url, "metrics.jsonl") == b"a line\n"


def test_half_of_a_copy_is_never_seen(url, tmp_path, monkeypatch):
    """The store fails in the middle of the second checkpoint: readers, and the next job, see the first."""
    mirror = Mirror(url, tmp_path / "here")
    for step in (1, 2):
        for name in ("meta/metadata", "state/array", "encoder/array"):
            (mirror.place / "checkpoints" / str(step) / name).parent.mkdir(parents=True, exist_ok=True)
            (mirror.place / "checkpoints" / str(step) / name).write_text(f"{name} {step}")
        if step == 1:
            mirror.push()
    whole = stored(url)
    written: list[str] = []

    def write(self, name, content, *, new=False):
        if len(written) == 2:
            raise OSError("the network is gone")
        written.append(name)
        put(url, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "write", write)
        with pytest.raises(OSError, match="network"):
            mirror.push()
    assert stored(url) - whole == set(written)
    assert [path.name for path in (places.brought(url) / "checkpoints").iterdir()] == ["1"]
    with places.working(url) as place:
        assert [path.name for path in (place / "checkpoints").iterdir()] == ["1"]
    assert stored(url) == whole
    mirror.push()
    assert sorted(path.name for path in (places.brought(url) / "checkpoints").iterdir()) == ["1", "2"]


def test_a_checkpoint_that_is_removed_meanwhile_is_left_out_whole(url, tmp_path, monkeypatch):
    mirror = Mirror(url, tmp_path / "here")
    for step in ("1", "2"):
        for name in ("a", "b"):
            (mirror.place / "checkpoints" / step).mkdir(parents=True, exist_ok=True)
            (mirror.place / "checkpoints" / step / name).write_text(name)
    send = Mirror._send

    def slow(self, name, path, sent):
        if name == "checkpoints/1/b":
            path.unlink()
        return send(self, name, path, sent)

    monkeypatch.setattr(Mirror, "_send", slow)
    mirror.push()
    assert stored(url) == {"checkpoints/2/a", "checkpoints/2/b", MANIFEST}


def test_a_run_that_was_killed_goes_on_elsewhere_with_the_same_bits(url, tmp_path):
    """It had trained on since the last copy: that part is computed again."""
    whole = run(tmp_path / "whole", steps=12)
    with places.working(url) as place:
        run(place, steps=4)
    for name in ("checkpoints/8/state", "metrics.jsonl"):  # which no copy was made of
        (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / "metrics.jsonl").write_text("what the killed job wrote\n")
    with places.working(url) as place:
        resumed = run(place, steps=12)
    np.testing.assert_array_equal(resumed.params["w"], whole.params["w"])
    another_machine(tmp_path)
    assert lines(places.brought(url)) == lines(tmp_path / "whole")


def test_a_second_job_is_refused(url):
    with places.working(url), pytest.raises(InUse, match=rf"{url}: is in use by process {os.getpid()} on"):
        places.working(url).__enter__()
    with places.working(url):
        pass


@pytest.mark.parametrize("lives", [True, False])
def test_a_job_on_another_host_is_waited_for(url, monkeypatch, lives):
    monkeypatch.setattr(places, "SILENT", 0.3)
    monkeypatch.setattr(places, "BEAT", 0.02)
    put(url, LEASE, json.dumps(OTHER).encode())
    found, read = [0], places._Lease._found

    def beating(self):
        found[0] += lives
        return read(self) | ({"beats": found[0]} if lives else {})

    monkeypatch.setattr(places._Lease, "_found", beating)
    if lives:
        with pytest.raises(InUse, match="process 7 on elsewhere since noon"):
            places.working(url).__enter__()
    else:
        with places.working(url) as place:
            (place / "a").write_text("a")
        assert stored(url) == {"a", MANIFEST}


def test_a_job_that_was_thought_dead_no_longer_writes(url):
    working = places.working(url)
    place = working.__enter__()
    (place / "a").write_text("ours")
    put(url, LEASE, json.dumps(OTHER).encode())
    with pytest.raises(Halted, match=rf"process 7 on elsewhere.*is in {place} alone"):
        working.__exit__(None, None, None)
    assert MANIFEST not in stored(url)
    assert json.loads(get(url, LEASE)) == OTHER
    assert (place / "a").read_text() == "ours"


def test_a_store_that_can_not_be_written_is_said_at_the_end(url, monkeypatch):
    tries = []

    def refuse(self, allowed):
        tries.append(1)
        raise PermissionError("read-only bucket")

    monkeypatch.setattr(Mirror, "push", refuse)
    monkeypatch.setattr("ssl_single_image.runs.mirror.PAUSE", 0.0)
    working = places.working(url)
    place = working.__enter__()
    with pytest.raises(Halted, match=rf"PermissionError: read-only bucket.*new is in {place} alone"):
        working.__exit__(None, None, None)
    assert len(tries) == 4
    assert LEASE not in stored(url)


def test_a_store_that_is_gone_at_the_end_does_not_hide_what_the_command_says(url, monkeypatch):
    def gone(self, *arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("ssl_single_image.runs.mirror.PAUSE", 0.0)
    working = places.working(url)
    place = working.__enter__()
    (place / "metrics.jsonl").write_text("new\n")
    for name in ("read", "write", "remove"):
        monkeypatch.setattr(Mirror, name, gone)
    with pytest.raises(Halted, match=r"OSError: no route to host"):
        working.__exit__(None, None, None)
    assert (place / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({}, "nothing there; expected a folder"),
        ({MANIFEST: b"{"}, "mirror.json: damaged"),
        ({MANIFEST: b'{"../../evil": "00"}'}, "mirror.json: damaged .*something else than files"),
        ({MANIFEST: b'{"config.json": "00"}'}, "config.json is not what the manifest lists"),
        ({MANIFEST: b'{"config.json": "00"}', "config.json": b"cut"}, "config.json is not what the manifest"),
    ],
)
def test_what_can_not_be_read_is_said_in_one_line(url, objects, message):
    for name, content in objects.items():
        put(url, name, content)
    with pytest.raises(InputError, match=message):
        places.brought(url)


def test_a_protocol_that_is_not_there_is_said_with_what_to_install(monkeypatch):
    with pytest.raises(InputError, match=r"nonsense://a: Protocol not known: nonsense"):
        places.brought("nonsense://a")

    def missing(url):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"pip install 'ssl-single-image\[gcs\]'"):
        places.brought("gs://bucket/run")


def test_stand_ins_stay_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = places._standin("memory://../../x//y/", "read")
    assert place == tmp_path / "ssl_single_image" / "remote" / "read" / "memory" / "x" / "y"
    assert isinstance(place, Path)
