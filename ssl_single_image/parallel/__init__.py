"""One device or many, one process or many: the same pure step."""

from ssl_single_image.parallel.compile import (
    CompiledEvaluate,
    CompiledFill,
    CompiledStep,
    compile_evaluate,
    compile_fill,
    compile_step,
    compile_whole,
    divide,
    hold,
    local_batch_size,
    shapes_held,
)
from ssl_single_image.parallel.costs import memory, memory_limit, operations
from ssl_single_image.parallel.shards import Shards

__all__ = [
    "CompiledEvaluate",
    "CompiledFill",
    "CompiledStep",
    "Shards",
    "compile_evaluate",
    "compile_fill",
    "compile_step",
    "compile_whole",
    "divide",
    "hold",
    "local_batch_size",
    "memory",
    "memory_limit",
    "operations",
    "shapes_held",
]
