"""Turns pure steps into compiled ones: jit on one device, pmap on several. Nothing else in the package does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ssl_single_image import keys
from ssl_single_image.parallel import replicas
from ssl_single_image.parallel.shards import Shards
from ssl_single_image.types import InputError, Metrics, PyTree, State, Step

AXIS = "batch"

CompiledStep = Callable[[State, jax.Array, PyTree], tuple[State, Metrics]]
CompiledEvaluate = Callable[[State, jax.Array, PyTree], Metrics]
Result = TypeVar("Result")
Part = TypeVar("Part")
Shares = list[PyTree]
"""What the shards of a state hold, in the order of the tree."""


def compile_step(
    step: Step, *, split_inputs: bool, steps_per_call: int = 1, devices: Sequence[jax.Device] | None = None
) -> CompiledStep:
    """Compiles (state, root, inputs) -> (state, metrics summed over the steps of the call).

    The step's key is `fold_in(root, state.step)`. The state is donated: use the one returned. It is replicated, but
    for each `Shards` in it, of which the step sees its device's share, see `divide`. On n devices and with the same
    global batch the result agrees with one device's to rounding.

    Args:
      step: a pure step, see `types.Step`.
      split_inputs: True: leaves of `inputs` are this process's (B, ...) part of the global batch, split over
        its devices along the first axis; or a `Shards`, which is divided already. False: every device gets all of
        `inputs` (an atlas).
      steps_per_call: steps taken by one call with the same inputs, by `lax.scan`.
      devices: those to use; default: all, of every process.
    """

    def advance(
        state: State, root: jax.Array, inputs: PyTree, axis_name: str | None
    ) -> tuple[State, Metrics]:
        def one(state: State, _: None) -> tuple[State, Metrics]:
            return step(state, jax.random.fold_in(root, state.step), inputs, axis_name=axis_name)

        if steps_per_call == 1:
            return one(state, None)
        state, metrics = lax.scan(one, state, None, length=steps_per_call)
        return state, jax.tree.map(lambda m: m.sum(0), metrics)

    return _compile(advance, split_inputs, devices, returns_state=True)


def compile_evaluate(
    evaluate: Callable[..., Result], *, split_inputs: bool, devices: Sequence[jax.Device] | None = None
) -> Callable[[State, jax.Array, PyTree], Result]:
    """Compiles (state, key, inputs) -> metrics, or whatever else is the same on all replicas.

    Arguments are as `compile_step`'s. Nothing is donated.
    """

    def measure(state: State, key: jax.Array, inputs: PyTree, axis_name: str | None) -> Result:
        return evaluate(state, key, inputs, axis_name=axis_name)

    return _compile(measure, split_inputs, devices, returns_state=False)


def divide(state: State, devices: Sequence[jax.Device] | None = None) -> State:
    """A whole state as the compiled functions take it: each `Shards` in it lies on the devices, in equal shares.

    Args:
      state: as an objective's `init` or a checkpoint gives it, with (N, ...) in each `Shards`; their number of devices
        divides N. Every process has the same. It may be shapes and dtypes.
      devices: those to use; default: all, of every process.
    """
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) == 1:
        return state
    here = np.array([number for number, d in enumerate(devices) if d in _local(devices)])

    def share(x: Any) -> Any:
        n = len(devices)
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((len(here), x.shape[0] // n, *x.shape[1:]), x.dtype)
        return np.asarray(x).reshape(n, -1, *x.shape[1:])[here]

    return _in_shards(lambda shards: jax.tree.map(share, shards), state)


def compile_whole(devices: Sequence[jax.Device] | None = None) -> Callable[[State], State]:
    """Compiles the inverse of `divide`, which all processes call. Each device has all of the shards for a while."""
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) == 1:
        return lambda state: state

    def gathered(state: State, key: jax.Array, inputs: PyTree, *, axis_name: str | None) -> list[PyTree]:
        del key, inputs
        return [replicas.gather(shards.parts, axis_name) for shards in _shards_of(state)]

    compiled = compile_evaluate(gathered, split_inputs=False, devices=devices)

    def whole(state: State) -> State:
        if not _shards_of(state):
            return state
        return _with(state, compiled(state, keys.unused(), ()))

    return whole


def hold(make: Callable[[], Part], *, devices: Sequence[jax.Device] | None = None) -> Shards[Part]:
    """What `make` builds on every device: its share (n, ...) of something, before it is filled."""
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) == 1:
        return Shards(jax.jit(make)())
    built = jax.pmap(lambda _: make(), AXIS, devices=devices)
    return Shards(built(jnp.arange(len(_local(devices)))))


def shapes_held(make: Callable[[], Part], *, devices: Sequence[jax.Device] | None = None) -> Shards[Part]:
    """The shapes and dtypes of what `hold` would build."""
    devices = jax.devices() if devices is None else list(devices)
    share = jax.eval_shape(make)
    if len(devices) == 1:
        return Shards(share)
    here = len(_local(devices))
    return Shards(jax.tree.map(lambda x: jax.ShapeDtypeStruct((here, *x.shape), x.dtype), share))


def compile_fill(
    fill: Callable[..., Part], *, devices: Sequence[jax.Device] | None = None
) -> CompiledFill[Part]:
    """Compiles (shards, common, inputs) -> shards, from `fill(part, common, inputs)` of each device.

    The shards are donated. Every device gets all of `common`, and its part of `inputs` as with `split_inputs`.
    """

    def filled(common: PyTree, part: Part, inputs: PyTree) -> Part:
        return fill(part, common, inputs)

    devices = jax.devices() if devices is None else list(devices)
    if len(devices) == 1:
        return CompiledFill(jax.jit(filled, donate_argnums=(1,)), 0)
    mapped = jax.pmap(filled, AXIS, in_axes=(None, 0, 0), donate_argnums=(1,), devices=devices)
    return CompiledFill(mapped, len(_local(devices)))


@dataclasses.dataclass(frozen=True)
class CompiledFill(Generic[Part]):
    """What `compile_fill` gives."""

    function: Any
    split_into: int

    def __call__(self, shards: Shards[Part], common: PyTree, inputs: PyTree) -> Shards[Part]:
        return Shards(self.function(*self._arguments(shards, common, inputs)))

    def lower(self, *arguments: Any) -> Any:
        """The program, as `jax.jit` offers it."""
        return self.function.lower(*self._arguments(*arguments))

    def _arguments(self, shards: Shards[Part], common: PyTree, inputs: PyTree) -> tuple[Any, ...]:
        return common, shards.parts, _split(inputs, self.split_into) if self.split_into else inputs


def local_batch_size(batch_size: int, devices: Sequence[jax.Device] | None = None) -> int:
    """This process's part of a global batch.

    Raises:
      InputError: the global batch can't be split evenly over the devices.
    """
    devices = jax.devices() if devices is None else devices
    if batch_size % len(devices):
        below = batch_size // len(devices) * len(devices)
        near = " or ".join(str(size) for size in (below, below + len(devices)) if size)
        raise InputError(
            f"batch_size {batch_size} can't be split evenly over {len(devices)} devices; the nearest that can: {near}"
        )
    return batch_size * len(_local(devices)) // len(devices)


def _local(devices: Sequence[jax.Device]) -> list[jax.Device]:
    return [d for d in devices if d.process_index == jax.process_index()]


def _compile(
    function: Callable[..., Any], split: bool, devices: Sequence[jax.Device] | None, returns_state: bool
) -> Any:
    devices = jax.devices() if devices is None else list(devices)
    donated = (0,) if returns_state else ()
    if len(devices) == 1:

        def alone(state: State, key: jax.Array, inputs: PyTree) -> Any:
            held = inputs.parts if isinstance(inputs, Shards) else inputs
            return function(state, key, held, axis_name=None)

        return jax.jit(alone, donate_argnums=donated)

    def mapped(rest: State, shares: Shares, key: jax.Array, inputs: PyTree, _: jax.Array) -> Any:
        made = function(_with(rest, shares), key, inputs, axis_name=AXIS)
        if not returns_state:
            return made
        state, metrics = made
        return (*_apart(state), metrics)

    # pmap wants one argument that is mapped, and an atlas is not: the last one only counts the devices. The shares of a
    # state are an argument of their own, because over several processes axes must be numbers and no trees.
    parallel = jax.pmap(
        mapped,
        AXIS,
        in_axes=(None, 0, None, 0 if split else None, 0),
        out_axes=(None, 0, None) if returns_state else None,
        donate_argnums=(0, 1) if returns_state else (),
        devices=devices,
    )
    return _Mapped(parallel, split, len(_local(devices)), returns_state)


@dataclasses.dataclass(frozen=True)
class _Mapped:
    """A function over the devices, with the arguments of one over one device."""

    parallel: Any
    split: bool
    count: int
    returns_state: bool

    def __call__(self, *arguments: Any) -> Any:
        made = self.parallel(*self._divided(*arguments))
        if not self.returns_state:
            return made
        rest, shares, metrics = made
        return _with(rest, shares), metrics

    def lower(self, *arguments: Any) -> Any:
        """The program, as `jax.jit` offers it."""
        return self.parallel.lower(*self._divided(*arguments))

    def _divided(self, state: State, key: jax.Array, inputs: PyTree) -> tuple[Any, ...]:
        if isinstance(inputs, Shards):
            inputs = inputs.parts
        elif self.split:
            inputs = _split(inputs, self.count)
        return *_apart(state), key, inputs, jnp.arange(self.count)


def _is_shards(x: Any) -> bool:
    return isinstance(x, Shards)


def _shards_of(state: PyTree) -> list[Shards[Any]]:
    return [x for x in jax.tree.leaves(state, is_leaf=_is_shards) if _is_shards(x)]


def _in_shards(change: Callable[[Shards[Any]], Shards[Any]], state: State) -> State:
    changed: State = jax.tree.map(lambda x: change(x) if _is_shards(x) else x, state, is_leaf=_is_shards)
    return changed


def _apart(state: State) -> tuple[State, Shares]:
    """A state whose shards are empty, and what they held."""
    return _in_shards(lambda _: Shards(()), state), [shards.parts for shards in _shards_of(state)]


def _with(rest: State, shares: Shares) -> State:
    """The inverse of `_apart`."""
    parts = iter(shares)
    return _in_shards(lambda _: Shards(next(parts)), rest)


def _split(inputs: PyTree, count: int) -> PyTree:
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), inputs)
