"""How each operation is computed on each backend. Only this module asks for the backend, when a program is traced."""

from __future__ import annotations

import jax

FASTEST: dict[str, dict[str, str]] = {
    "convolution": {"cpu": "products", "other": "native"},
    "depthwise": {"cpu": "shifted", "other": "native"},
    "max_pool": {"cpu": "separable", "other": "native"},
    "sum_over_replicas": {"cpu": "joined", "other": "apart"},
    "dtype": {"cpu": "float32", "other": "bfloat16"},
}
"""Operation -> backend -> the formulation to take; "other" stands for GPUs and TPUs."""


def fastest(operation: str) -> str:
    """The formulation of an operation, a key of FASTEST, for the default backend."""
    choices = FASTEST[operation]
    return choices.get(jax.default_backend(), choices["other"])
