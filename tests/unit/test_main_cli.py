"""The `ssl-single-image` entry point."""

import os
import subprocess
import sys

import jax
import pytest

from ssl_single_image.cli import common, host, main

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")


@pytest.fixture
def started(monkeypatch):
    """What would have been started in this process's place: (program, words, GLIBC_TUNABLES)."""
    calls = []
    record = lambda program, words: calls.append((program, words, os.environ["GLIBC_TUNABLES"]))  # noqa: E731
    monkeypatch.setattr(os, "execv", record)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ssl_single_image.cli.main", "help"])
    return calls


@linux_only
def test_a_process_starts_anew_with_huge_pages_and_the_same_words(monkeypatch, started):
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that it is restored
    monkeypatch.delenv("GLIBC_TUNABLES")
    host.tune()
    assert started == [
        (sys.executable, [sys.executable, "-m", "ssl_single_image.cli.main", "help"], host.HUGE_PAGES)
    ]


@linux_only
def test_the_users_own_setting_is_left_alone(monkeypatch, started):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    host.tune()
    assert started == []


def test_flags_of_xla_are_set_before_the_users_and_once(monkeypatch, started):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    host.tune()
    host.tune()
    assert os.environ["XLA_FLAGS"] == f"{host.XLA_FLAGS} --xla_dump_to=x"


def test_a_call_from_python_starts_nothing(monkeypatch, started, capsys):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    main.main(["ssl-single-image", "--help"])
    assert started == []
    assert "pretrain" in capsys.readouterr().out


@pytest.mark.parametrize(
    "switch", [("SSL_TUNE", "0"), ("JAX_PLATFORMS", "cuda"), ("JAX_PLATFORMS", "tpu,cpu")]
)
def test_a_host_is_left_alone_where_the_user_or_an_accelerator_wants_it(monkeypatch, started, switch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv(*switch)
    host.tune()
    assert started == []
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x"
    assert not host.wanted()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("nvidia0", True),
        ("kfd", True),
        ("accel0", True),
        ("vfio/3", True),
        ("null", False),
        ("vfio/vfio", False),
    ],
)
def test_accelerators_are_known_by_their_device_files(tmp_path, file, found):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert host.has_accelerator(tmp_path) == found


def test_both_spellings_of_a_command_tune_the_host(monkeypatch, capsys):
    tuned = []
    monkeypatch.setattr(host, "tune", lambda: tuned.append(True))
    monkeypatch.setattr(sys, "argv", ["ssl-single-image", "prepare", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    monkeypatch.setattr(sys, "argv", ["prepare", "--help"])
    with pytest.raises(SystemExit):
        common.run("prepare")
    assert tuned == [True, True]
    assert "--dataset" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["ssl-single-image", "pretrian"])
    assert "'pretrian'" in capsys.readouterr().err


@pytest.fixture
def cache_setting():
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_are_kept_beside_the_workdir_unless_told_otherwise(tmp_path, cache_setting):
    jax.config.update("jax_compilation_cache_dir", None)
    host.keep_compiled(tmp_path / "first" / "run")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "first" / host.COMPILED)  # type: ignore[attr-defined]
    host.keep_compiled(tmp_path / "second" / "run")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "first" / host.COMPILED)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", sorted(main.COMMANDS))
def test_help_needs_no_jax(command):
    code = (
        "import sys\nfrom ssl_single_image.cli import main\n"
        f"try: main.main(['x', '{command}', '--help'])\n"
        "finally: assert not {'jax', 'numpy', 'tensorflow_datasets'} & set(sys.modules), 'heavy'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"ssl-single-image {command}" in result.stdout
