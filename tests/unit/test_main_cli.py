"""The `ssl-single-image` entry point."""

import os
import subprocess
import sys
import threading

import jax
import pytest

import ssl_single_image
from ssl_single_image.cli import common, host, interrupts, main
from ssl_single_image.cli.flags import CONFIGURED

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
    monkeypatch.setattr(interrupts, "watch", lambda: None)  # for the tests' own process
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # so that they are restored
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
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


def cache_folder():
    return jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]


@pytest.fixture
def cache_setting():
    before = cache_folder()
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_are_kept_in_the_users_cache_unless_told_otherwise(
    tmp_path, monkeypatch, cache_setting
):
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    host.keep_compiled()
    assert cache_folder() == str(tmp_path / host.COMPILED)
    assert (tmp_path / host.COMPILED).stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    host.keep_compiled()
    assert cache_folder() == str(tmp_path / host.COMPILED)


def test_a_cache_that_others_can_write_to_is_not_used(tmp_path, monkeypatch, cache_setting):
    """They could put programs there that this process would run."""
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / host.COMPILED).mkdir()
    (tmp_path / host.COMPILED).chmod(0o777)
    host.keep_compiled()
    assert cache_folder() is None


@pytest.mark.parametrize("columns", [50, 100])
def test_the_list_of_commands_fits_the_terminal(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    main.main(["ssl-single-image", "--help"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines).split()).count("on every layer of frozen encoders") == 1


def test_the_version_and_the_package_as_a_command():
    words = [sys.executable, "-m", "ssl_single_image", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"ssl-single-image {ssl_single_image.__version__}\n"


@pytest.mark.parametrize("command", sorted(main.COMMANDS.keys() - CONFIGURED.keys()))
def test_help_needs_no_jax(command):
    code = (
        "import sys\nfrom ssl_single_image.cli import main\n"
        f"try: main.main(['x', '{command}', '--help'])\n"
        "finally: assert not {'jax', 'numpy', 'tensorflow_datasets'} & set(sys.modules), 'heavy'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"ssl-single-image {command}" in result.stdout
