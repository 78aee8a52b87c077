"""The architecture's import arrows and confinements, checked on the syntax tree of every module.

The order of the layers is read from docs/architecture.md, so that page and code can't drift apart.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssl_single_image

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ssl_single_image"
MODULES = sorted(path.relative_to(ROOT / PACKAGE).as_posix() for path in (ROOT / PACKAGE).rglob("*.py"))
DOORS = ("__init__.py", "__main__.py")
COMPILERS = {"jax.jit", "jax.pmap", "jax.shard_map"}
CONFINED = {  # dotted prefix -> paths (prefixes) inside the package that may use it
    "jax.distributed.initialize": ("parallel/distributed.py",),
    "jax.pmap": ("parallel/",),
    "jax.shard_map": ("parallel/",),
    "orbax": ("runs/checkpoint.py",),
    "jax.random.key": ("keys.py",),
    "jax.random.PRNGKey": (),
    "jax.default_backend": ("ops/backend.py", "parallel/", "experiments/pretraining.py"),
    "ml_collections": ("experiments/", "cli/"),
    "flax.linen": ("models/",),
    "flax.nnx": ("models/",),
    "tensorflow": (),
}


def read_layers() -> dict[str, int]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (line,) = re.findall(r"^errors +<.*$", text, flags=re.MULTILINE)
    return {name.strip(): rank for rank, names in enumerate(line.split("<")) for name in names.split(",")}


LAYERS = read_layers()


def violations(path: str, source: str) -> list[str]:
    """What the module at `path` (inside the package, as "probes/linear.py") does that it may not."""
    tree = ast.parse(source)
    layer = path.removesuffix(".py").split("/")[0]
    if layer not in LAYERS:
        return [f"{layer} is in no layer of docs/architecture.md"]
    names = bound_names(tree, path)
    imported = set(names.values())
    used = imported | set(resolve(ast.walk(tree), names))
    found = {f"imports {name}" for name in imported if upward(layer, name)}
    found |= {f"uses {name}" for name in used if confined(path, name)}
    if layer == "datasets":
        found |= {f"imports {name}" for name in imported if name.split(".")[0] == "jax"}
    if layer in ("errors", "types"):
        # Beside the standard library, types know JAX, names of shapes and the layer below them, errors nothing.
        known = {*sys.stdlib_module_names, *(("jax", "jaxtyping", PACKAGE) if layer == "types" else ())}
        found |= {f"imports {name}" for name in imported if name.split(".")[0] not in known}
    if layer != "parallel":
        at_import = set(resolve(walk_import_time(tree), names))
        found |= {f"compiles at module level with {name}" for name in at_import & COMPILERS}
    return sorted(found)


def bound_names(tree: ast.Module, path: str) -> dict[str, str]:
    """Local name -> dotted name of what an import binds to it (or, for `import a.b`, a key of its own)."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    names[alias.name] = alias.name
                    names.setdefault(alias.name.split(".")[0], alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = [PACKAGE, *path.split("/")][: -node.level]
                base = ".".join([*package, *([base] if base else [])])
            names |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return names


def resolve(nodes: Iterator[ast.AST], names: dict[str, str]) -> Iterator[str]:
    """Dotted names of the imported things that `nodes` mention."""
    for node in nodes:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in names:
            yield ".".join([names[node.id], *reversed(parts)])


def walk_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Like `ast.walk`, without the bodies of functions: what runs when the module is imported."""
    yield node
    bodies = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
    if isinstance(node, ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        if child not in bodies:
            yield from walk_import_time(child)


def upward(layer: str, name: str) -> bool:
    """Whether `name` is of a higher layer than `layer`, or of another one of the same rank."""
    package, _, rest = name.partition(".")
    other = rest.split(".")[0]
    if package != PACKAGE or not rest or other.startswith("__"):
        return False
    return other not in LAYERS or (other != layer and LAYERS[other] >= LAYERS[layer])


def confined(path: str, name: str) -> bool:
    """Whether `name` belongs to places other than `path` alone."""
    return any(
        f"{name}.".startswith(f"{prefix}.") and not path.startswith(places)
        for prefix, places in CONFINED.items()
    )


@pytest.mark.parametrize("path", [path for path in MODULES if path not in DOORS])
def test_module_keeps_to_its_layer(path: str) -> None:
    assert violations(path, (ROOT / PACKAGE / path).read_text()) == []


def test_package_imports_nothing_heavy() -> None:
    code = "import sys, ssl_single_image as s; dir(s); assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ssl_single_image.__all__)
def test_every_name_of_the_door_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(ssl_single_image, name))
    assert name in (ssl_single_image.__doc__ or "") or name == "Halted"


def test_every_package_is_in_the_page() -> None:
    assert {path.split("/")[0].removesuffix(".py") for path in MODULES} - {
        "__init__",
        "__main__",
    } <= LAYERS.keys()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("images/a.py", "from ssl_single_image.augment import render"),
        ("images/a.py", "from ssl_single_image import augment"),
        ("images/a.py", "def f():\n    import ssl_single_image.cli.common"),
        ("probes/a.py", "from ssl_single_image import analysis"),
        ("training/a.py", "from ..probes import plan"),
        ("unheard/a.py", ""),
        ("types.py", "import numpy as np"),
        ("errors.py", "from jaxtyping import Float"),
        ("datasets/a.py", "import jax.numpy as jnp"),
        ("models/a.py", "import jax\n@jax.jit\ndef f(x): return x"),
        (
            "models/a.py",
            "import functools, jax\n@functools.partial(jax.jit, inline=True)\ndef f(x): return x",
        ),
        ("models/a.py", "from jax import jit as compiled\nf = compiled(abs)"),
        ("training/a.py", "import jax\ndef f(x):\n    return jax.pmap(abs)(x)"),
        ("training/a.py", "from jax import distributed\ndef f():\n    distributed.initialize()"),
        ("training/loop.py", "import orbax.checkpoint as ocp"),
        ("training/loop.py", "import jax\ndef f():\n    return jax.random.key(0)"),
        ("models/a.py", "import jax\ndef f():\n    return jax.default_backend()"),
        ("objectives/a.py", "from flax import linen as nn"),
        ("objectives/a.py", "import flax\ndef f():\n    return flax.linen.Dense(3)"),
        ("datasets/a.py", "def f():\n    import tensorflow as tf"),
    ],
)
def test_checker_sees(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("runs/checkpoint.py", "import orbax.checkpoint as ocp\nx = ocp.args.JsonSave"),
        ("probes/a.py", "from ssl_single_image import augment\nfrom . import linear"),
        ("probes/a.py", "import jax\ndef f(g):\n    return jax.jit(g)"),
        ("parallel/distributed.py", "import jax\ndef f():\n    jax.distributed.initialize()"),
        ("cli/a.py", "from ssl_single_image import __version__, datasets"),
        ("datasets/a.py", "import tensorflow_datasets as tfds"),
    ],
)
def test_checker_allows(path: str, source: str) -> None:
    assert violations(path, source) == []
