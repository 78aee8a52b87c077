"""One device or many, one process or many: the same pure step."""

from ssl_single_image.parallel.compile import (
    CompiledEvaluate,
    CompiledStep,
    compile_evaluate,
    compile_step,
    local_batch_size,
    memory,
    operations,
)

__all__ = [
    "CompiledEvaluate",
    "CompiledStep",
    "compile_evaluate",
    "compile_step",
    "local_batch_size",
    "memory",
    "operations",
]
