"""What all tests share: four virtual CPU devices, compiled programs kept between runs, the optional data folder."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ssl_single_image.cli.host import set_xla_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")
set_xla_flags()  # as the command does

import jax  # noqa: E402
import precision  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

LIBC = ctypes.CDLL(None)
DATA_VARIABLE = "SSL_SINGLE_IMAGE_DATA"

# Not by XLA_FLAGS: a command that a test starts in a process of its own must see the usual single device.
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    jax.config.update("jax_num_cpu_devices", 4)
# No type or shape gives way silently, with two exceptions for types: flax's batch norm and optax's updates, which mix
# them (the package says so at both), and programs in float64 (`precision.float64`), whose crops are drawn in float64
# from an atlas of float32. Commands in processes of their own run as users run them.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads the global flags


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs in pytest's cache folder, for all workers, all commands they start and later runs."""
    if getattr(config, "cache", None) is not None and jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        folder, least = str(config.cache.mkdir("jax")), 0.3
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(least)


@pytest.fixture(scope="module", autouse=True)
def _clear_compiled() -> Iterator[None]:
    """Programs that a module has compiled take gigabytes in all; the next module needs others."""
    yield
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)  # glibc keeps what was freed


@pytest.fixture
def float64() -> Iterator[None]:
    """JAX computes in float64, where programs that differ in the order of sums agree to about 1e-12.

    What is discrete (a rectified unit, a maximum, a nearest centroid) is then the same on every processor.
    """
    with precision.float64():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with `tfds/` and `images/` for checks on real data: `shared/data` beside the checkout, or skip."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get(DATA_VARIABLE, default))
    if not path.is_dir():
        pytest.skip(f"no data at {path}; set {DATA_VARIABLE} to a folder with tfds/ and images/")
    return path
