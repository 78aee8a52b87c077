"""The model of scaling on paper: its times against a simulated ring, its messages against programs that are known."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from ssl_single_image import models

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import scaling_model
from scaling_model import Link, all_gather, all_reduce


def ring(size: float, devices: int, link: Link) -> float:
    """Every device sends a chunk to the next one, round after round, until all have the sums of all chunks."""
    have = [[{device} for _ in range(devices)] for device in range(devices)]
    clock = 0.0
    while not all(len(chunk) == devices for chunks in have for chunk in chunks):
        turn = round(clock / (link.alpha + size / devices / link.beta))
        sent = [(device, (device - turn) % devices) for device in range(devices)]
        parcels = [(device, chunk, set(have[device][chunk])) for device, chunk in sent]
        for device, chunk, parcel in parcels:
            have[(device + 1) % devices][chunk] |= parcel
        clock += link.alpha + size / devices / link.beta
    return clock


@pytest.mark.parametrize("devices", [2, 4, 5, 8])
def test_large_messages_take_the_time_of_a_ring(devices):
    link = Link(1e-6, 1e9)
    assert all_reduce(1e9, devices, link) == pytest.approx(ring(1e9, devices, link))
    assert all_gather(1e9, devices, link) == pytest.approx(ring(1e9, devices, link) / 2)


def test_small_messages_take_trees_and_one_device_sends_nothing():
    link = Link(1e-5, 1e9)
    assert all_reduce(8, 512, link) == pytest.approx(2 * 9 * 1e-5, rel=1e-2)
    assert all_reduce(1e9, 1, link) == all_gather(1e9, 1, link) == 0


def test_messages_are_read_from_a_program():
    def program(x, y):
        total = lax.psum(x, "batch")
        return total.sum() + lax.pmean(y, "batch").astype(jnp.float32)

    shapes = (jnp.zeros((2, 7, 3), jnp.float32), jnp.zeros((2,), jnp.bfloat16))
    text = jax.pmap(program, "batch", devices=jax.devices()[:2]).lower(*shapes).as_text()
    assert sorted(scaling_model.messages_of(text)) == [2, 7 * 3 * 4]


def test_multiplications_of_alexnet_are_the_known_ones():
    """The convolutions of the network in one tower: 656 million at 224 pixels (Krizhevsky 2014, by its layer sizes)."""
    spec = models.encoder_spec("alexnet", {}, 224)
    shapes = models.activation_shapes(spec)
    params = models.untrained_shapes(spec, jax.random.key(0))["params"]
    sides = {layer: shape[0] for layer, shape in shapes.items()}
    kernels, channels = (11, 5, 3, 3, 3), (3, 64, 192, 384, 256, 256)
    by_hand = sum(
        kernels[i] ** 2 * channels[i] * channels[i + 1] * side**2 for i, side in enumerate(sides.values())
    )
    assert scaling_model.multiplications(params, shapes) == by_hand
    assert by_hand == pytest.approx(656e6, rel=0.02)


def test_more_devices_never_compute_a_larger_share():
    step = scaling_model.Step(1e12, (10**8, *[1024] * 10))
    for machine in scaling_model.MACHINES.values():
        shares = []
        for devices in scaling_model.COUNTS:
            compute, gradients, norms = scaling_model.seconds(step, devices, machine)
            shares.append(compute / (compute + gradients + norms))
        assert shares[0] == 1
        assert shares == sorted(shares, reverse=True)
