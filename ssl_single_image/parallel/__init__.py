"""One device or many, one process or many: the same pure step."""

from ssl_single_image.parallel.compile import (
    CompiledEvaluate,
    CompiledStep,
    compile_evaluate,
    compile_fill,
    compile_step,
    hold,
    local_batch_size,
    memory,
    operations,
)
from ssl_single_image.parallel.shards import Shards

__all__ = [
    "CompiledEvaluate",
    "CompiledStep",
    "Shards",
    "compile_evaluate",
    "compile_fill",
    "compile_step",
    "hold",
    "local_batch_size",
    "memory",
    "operations",
]
