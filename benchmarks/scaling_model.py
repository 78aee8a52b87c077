"""Scaling on paper: from the messages of the compiled programs, where all-reduce and the gathers of k-means bind.

The program of a step is lowered for several devices, and its messages are read from it. An alpha-beta model gives
their time on n devices; time to compute is flops / (peak x utilisation), or measured. No message is hidden behind
computing, so efficiencies are lower bounds of what overlap would give.

`python benchmarks/scaling_model.py [--figure docs/images/scaling.png]` prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tabulate import tabulate

DEVICES = (8, 64, 512)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
UTILISATION = 0.3
"""Of a device's peak, in training: assumed."""
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8, "i32": 4, "ui32": 4, "i64": 8, "i1": 1}


class Link(NamedTuple):
    """What joins devices.

    Attributes:
      alpha: seconds from the begin of a message to its first byte at the other end, software included.
      beta: bytes a second that pass, in one direction.
    """

    alpha: float
    beta: float


class Machine(NamedTuple):
    """Devices in hosts.

    Attributes:
      title: of a table's row.
      flops: peak operations a second of a device.
      host: devices of a host.
      inside: link between devices of a host.
      between: link between hosts, all cards of a host together: rings leave a host once.
    """

    title: str
    flops: float
    host: int
    inside: Link
    between: Link

    def link(self, devices: int) -> Link:
        """The slowest that a ring over so many devices passes."""
        return self.inside if devices <= self.host else self.between


MACHINES = {
    "fast": Machine("H100, NVLink, 400 Gb/s a device", 989e12, 8, Link(5e-6, 360e9), Link(15e-6, 360e9)),
    "slow": Machine("H100, NVLink, 100 Gb/s a host", 989e12, 8, Link(5e-6, 360e9), Link(30e-6, 11e9)),
    "tpu": Machine("TPU v5p, ICI", 459e12, 512, Link(3e-6, 90e9), Link(3e-6, 90e9)),
}


class Case(NamedTuple):
    """A step to be scaled: the preset of RotNet's config, and crops on one device."""

    preset: str
    crops: int


CASES = {"AlexNet, 224 px": Case("imagenet224", 64), "alexnet32, 32 px": Case("cifar32", 256)}


class Step(NamedTuple):
    """What one device does in a step.

    Attributes:
      flops: floating-point operations of the network, three times those of its forward pass.
      messages: bytes of each all-reduce, in order. The largest has all gradients, one has the metrics, and the others
        are batch norm's, which depend on each other.
    """

    flops: float
    messages: tuple[int, ...]


def all_reduce(size: float, devices: int, link: Link) -> float:
    """Seconds of an all-reduce: by a ring or by two trees, whichever is faster (Thakur et al. 2005, NCCL 2.4).

    A ring sends 2 (n - 1) messages of size / n, two pipelined trees 2 log2(n) messages and twice the bytes.
    """
    if devices == 1:
        return 0.0
    ring = 2 * (devices - 1) * (link.alpha + size / devices / link.beta)
    trees = 2 * (math.ceil(math.log2(devices)) * link.alpha + size / link.beta)
    return min(ring, trees)


def all_gather(size: float, devices: int, link: Link) -> float:
    """Seconds until every device has `size` bytes in all, of which each had its part."""
    return 0.0 if devices == 1 else (devices - 1) * (link.alpha + size / devices / link.beta)


def messages_of(program: str) -> tuple[int, ...]:
    """Bytes of each all-reduce in the text of a StableHLO program."""
    found = re.findall(r'"stablehlo\.all_reduce".*?\}\) : \(tensor<([^>]*)>\)', program, re.DOTALL)
    return tuple(_size(shape) for shape in found)


def _size(shape: str) -> int:
    *sides, kind = shape.split("x")
    return BYTES[kind] * math.prod(map(int, sides))


@functools.cache
def step_of(case: Case) -> Step:
    """The step of RotNet on each of several devices; nothing is compiled."""
    from ssl_single_image import images, models
    from ssl_single_image.experiments import configs, pretrain_config
    from ssl_single_image.objectives import rotnet
    from ssl_single_image.parallel import compile_step

    fields = pretrain_config("rotnet", preset=case.preset, image="builtin:coffee", batch_size=2 * case.crops)
    config = configs.read("pretrain", fields)
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = rotnet.make(config.setup())
    state = jax.eval_shape(objective.init, jax.random.key(0), atlas)
    step: Any = compile_step(objective.step, split_inputs=False, devices=jax.devices()[:2])
    messages = messages_of(step.lower(state, jax.random.key(1), atlas).as_text())
    forward = 2 * multiplications(state.params, models.activation_shapes(config.encoder))
    return Step(3 * forward * rotnet.ROTATIONS * case.crops, messages)


def multiplications(params: Any, shapes: Any) -> int:
    """Of one image's way through convolutions, by the sizes of their outputs, and through fully connected layers."""
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.ndim > 1:
            height, width, _ = shapes.get(path[-2].key, (1, 1, 0))
            total += leaf.size * height * width
    return total


def seconds(step: Step, devices: int, machine: Machine) -> tuple[float, float, float]:
    """Of a step: computing, the message of gradients, and those of batch norm and metrics, one after the other."""
    link = machine.link(devices)
    *small, gradients = sorted(step.messages)
    return (
        step.flops / (machine.flops * UTILISATION),
        all_reduce(gradients, devices, link),
        sum(all_reduce(size, devices, link) for size in small),
    )


class Clustering(NamedTuple):
    """One assignment of DeepCluster: `points` of `size` values in `clusters`, so many updates."""

    points: int = 1_000_000
    size: int = 256
    clusters: int = 10_000
    updates: int = 20


def clustering_seconds(problem: Clustering, devices: int, machine: Machine) -> tuple[float, float]:
    """Of k-means over all devices: computing, and messages.

    An update sums the centroids and their counts over devices. At the end every device gets all labels.
    """
    points, size, clusters, updates = problem
    flops = 2 * points * size * clusters * (updates + 1)
    link = machine.link(devices)
    sums = updates * all_reduce(4 * clusters * (size + 1), devices, link)
    labels = all_gather(4 * points, devices, link)
    return flops / devices / (machine.flops * UTILISATION), sums + labels


def step_rows() -> list[list[Any]]:
    """Rows of the table of steps."""
    rows = []
    for title, case in CASES.items():
        step = step_of(case)
        for machine in MACHINES.values():
            cells = [f"{title}, {case.crops} crops a device", machine.title]
            for devices in DEVICES:
                compute, gradients, norms = seconds(step, devices, machine)
                cells.append(f"{_share(compute, gradients + norms)} ({_share(compute, gradients)})")
            rows.append(cells)
    return rows


def clustering_rows() -> list[list[Any]]:
    """Rows of the table of k-means."""
    rows = []
    for machine in MACHINES.values():
        cells: list[Any] = [machine.title]
        for devices in DEVICES:
            compute, messages = clustering_seconds(Clustering(), devices, machine)
            cells.append(f"{1000 * compute:,.0f} + {1000 * messages:,.0f} ms")
        rows.append(cells)
    return rows


def _share(compute: float, messages: float) -> str:
    return f"{compute / (compute + messages):.2f}"


def draw(path: Path) -> None:
    """The figure: efficiency over the number of devices."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(CASES) + 1, figsize=(12, 3.8), layout="constrained", sharey=True)
    for axes, (title, case) in zip(panels, CASES.items(), strict=False):
        for machine in MACHINES.values():
            found = [seconds(step_of(case), count, machine) for count in COUNTS]
            line = axes.plot(COUNTS, [c / (c + g + n) for c, g, n in found], marker="o", ms=3)[0]
            axes.plot(COUNTS, [c / (c + g) for c, g, _ in found], ls=":", color=line.get_color())
        axes.set_title(f"Step of RotNet: {title}", fontsize=10)
    for machine in MACHINES.values():
        clustered = [clustering_seconds(Clustering(), count, machine) for count in COUNTS]
        panels[-1].plot(COUNTS, [c / (c + m) for c, m in clustered], marker="o", ms=3, label=machine.title)
    panels[-1].set_title("k-means: 1 M points, 10,000 clusters", fontsize=10)
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    panels[0].set_ylabel("share of the time spent computing")
    for axes in panels:
        axes.set_xscale("log", base=2)
        axes.set_xticks(COUNTS[::3], [str(count) for count in COUNTS[::3]])
        axes.set_xlabel("devices")
        axes.set_ylim(0, 1.03)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", type=Path, help="PNG to draw")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2)
    heads = [f"{count} devices" for count in DEVICES]
    sizes = [
        [
            title,
            f"{step.flops / 1e9:,.0f}",
            len(step.messages),
            f"{max(step.messages) / 1e6:,.1f}",
        ]
        for title, step in ((title, step_of(case)) for title, case in CASES.items())
    ]
    names = ("step of RotNet", "GFLOP a device", "all-reduces", "MB of gradients")
    print(tabulate(sizes, names, tablefmt="github", disable_numparse=True), end="\n\n")
    print(
        tabulate(step_rows(), ["step", "machine", *heads], tablefmt="github", disable_numparse=True),
        end="\n\n",
    )
    print(tabulate(clustering_rows(), ["machine", *heads], tablefmt="github", disable_numparse=True))
    if args.figure:
        draw(args.figure)


if __name__ == "__main__":
    main()
