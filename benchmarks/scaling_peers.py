"""Training steps of RotNet on one core: alone, or joined with others. Run by `scaling.py`, see `common.Worker`.

`python benchmarks/scaling_peers.py PRESET CORE CROPS [PROCESSES NUMBER PORT]`; CROPS is the global batch.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import common

STEPS = 8
"""Of a piece of work."""


def main(preset: str, core: str, crops: str, processes: str = "1", number: str = "0", port: str = "") -> None:
    os.sched_setaffinity(0, {int(core)})
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library that joins CPUs talks on the standard output
    if port:
        os.environ |= {
            "SSL_NUM_PROCESSES": processes,
            "SSL_PROCESS_ID": number,
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        }
    import jax

    from ssl_single_image import images
    from ssl_single_image.experiments import configs, pretrain_config
    from ssl_single_image.objectives import rotnet
    from ssl_single_image.parallel import compile_step, distributed

    distributed.initialize()
    config = configs.read(
        "pretrain",
        pretrain_config("rotnet", preset=preset, image="builtin:astronaut", batch_size=int(crops)),
    )
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = rotnet.make(config.setup())
    step = compile_step(objective.step, split_inputs=False)
    state: Any = jax.jit(objective.init)(jax.random.key(0), atlas)
    key = jax.random.key(1)

    def work(_: int) -> int:
        nonlocal state
        for _ in range(STEPS):
            state, metrics = step(state, key, atlas)
        jax.block_until_ready((state, metrics))
        return STEPS * rotnet.ROTATIONS * int(crops) // int(processes)

    common.serve(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
