"""One device or many, one process or many: the same pure step."""

from ssl_single_image.parallel.compile import (
    CompiledEvaluate,
    CompiledFill,
    CompiledStep,
    compile_evaluate,
    compile_fill,
    compile_step,
    hold,
    local_batch_size,
    memory,
    operations,
    shapes_held,
)
from ssl_single_image.parallel.shards import Shards

__all__ = [
    "CompiledEvaluate",
    "CompiledFill",
    "CompiledStep",
    "Shards",
    "compile_evaluate",
    "compile_fill",
    "compile_step",
    "hold",
    "local_batch_size",
    "memory",
    "operations",
    "shapes_held",
]
