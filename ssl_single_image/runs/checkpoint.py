"""Checkpoints of a run: written in the background, atomic, and read only if whole. The only importer of Orbax."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep_policy

from ssl_single_image.errors import disk_is_full
from ssl_single_image.parallel import distributed
from ssl_single_image.types import EncoderVariables, Halted, InputError, PyTree, State

CHECKPOINTS = "checkpoints"
BEST = "eval/loss"
"""The metric by which checkpoints are compared, if their objective names no other; the lower, the better."""


class CheckpointStore:
    """The `checkpoints/` folder of a workdir: keeps the last `keep` and the best one, whose metric `best` is lowest.

    Each holds the items `state` (all that resuming needs), `encoder` (what probes load), `encoder_NAME` for each
    further encoder, and `meta` (JSON: the encoders' specs, the run's config, metrics). An unfinished write is never
    taken for a checkpoint.
    """

    def __init__(self, workdir: Path, keep: int = 3, best: str = BEST):
        self._path, self._best = Path(workdir).absolute() / CHECKPOINTS, best
        measure = functools.partial(goodness, by=best)
        best_one = keep_policy.BestN(get_metric_fn=measure, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep_policy.AnyPreservationPolicy([keep_policy.LatestN(keep), best_one]),
            best_fn=measure,
            cleanup_tmp_directories=True,
        )
        try:
            self._manager = ocp.CheckpointManager(self._path, options=options)
        except Exception as error:  # Orbax reads what it finds there, and raises many types for damaged files
            raise InputError(f"{self._path}: can't be opened, a file in it is damaged ({error})") from error

    @property
    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(
        self,
        state: State,
        encoder: EncoderVariables,
        config: dict[str, Any],
        metrics: dict[str, float],
        others: Mapping[str, EncoderVariables] | None = None,
    ) -> None:
        """Writes a checkpoint in the background; a second one of the same step is not written.

        Args:
          state: all that resuming needs.
          encoder: what probes load.
          config: JSON-able, the run's.
          metrics: the newest, by name.
          others: further encoders by name.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        others = others or {}
        specs = {name: dataclasses.asdict(other.spec) for name, other in others.items()}
        meta: dict[str, Any] = {
            "encoder": dataclasses.asdict(encoder.spec),
            "encoders": specs,
            "config": config,
            "metrics": metrics,
            "best": self._best,
        }
        items = {"state": _as_dict(state), "encoder": variables_of(encoder)}
        items |= {f"encoder_{name}": variables_of(other) for name, other in others.items()}
        host = {name: _to_host(tree) for name, tree in items.items()}
        meta["sha256"] = {name: digest(tree) for name, tree in host.items()} | {"meta": _meta_digest(meta)}
        saved = {name: ocp.args.StandardSave(tree) for name, tree in host.items()}
        arguments = ocp.args.Composite(**saved, meta=ocp.args.JsonSave(meta))
        with self._writing():
            self._manager.save(step, args=arguments, metrics=metrics)

    def restore(self, abstract: State) -> State:
        """The newest state.

        Args:
          abstract: a state's shapes and dtypes, as from `jax.eval_shape`.

        Raises:
          InputError: the checkpoint can't be read, or holds something else.
        """
        step = self.latest
        if step is None:
            raise InputError(f"{self._path}: no checkpoint")
        place = self._path / str(step)
        restored = restore_item(place, "state", _as_dict(abstract), read_meta(place))
        return State(**jax.tree.map(jnp.asarray, restored))

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
          Halted: it could not be written; says up to which step the run is saved.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        try:
            self.wait()
        finally:
            with self._writing():
                self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises many types for one cause: a full disk, a lost mount
            if distributed.lost(error):
                raise distributed.Lost() from error
            steps = finished(self._path)
            saved = f"the state of step {steps[-1]} is saved" if steps else "nothing is saved yet"
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            reason = "the disk is full" if disk_is_full(error) else reason
            raise Halted(f"a checkpoint could not be written ({reason}); {saved}", 1) from error


def recorded(workdir: Path) -> tuple[int, dict[str, Any]] | None:
    """Step and config of the newest checkpoint in a workdir, None where there is none: what its results come from.

    Raises:
      InputError: it is damaged.
    """
    steps = finished(workdir / CHECKPOINTS)
    return (steps[-1], read_meta(workdir / CHECKPOINTS / str(steps[-1]))["config"]) if steps else None


def finished(folder: Path) -> list[int]:
    """The steps of the whole checkpoints in a folder, ascending."""
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def read_meta(place: Path) -> dict[str, Any]:
    """The `meta` item of the checkpoint in folder `place`.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        meta = json.loads((place / "meta" / "metadata").read_text())
        known: dict[str, Any] = {key: dict(meta[key]) for key in ("encoder", "config", "metrics")}
        known |= {key: dict(meta.get(key, {})) for key in ("encoders", "sha256")}
        known["best"] = str(meta.get("best", BEST))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {place}: its meta item is missing or damaged ({error})") from error
    if known["sha256"].get("meta", _meta_digest(known)) != _meta_digest(known):
        raise InputError(f"checkpoint {place}: its meta item is damaged (its checksum does not agree)")
    return known


def verify(folder: Path) -> None:
    """Reads all of the checkpoint in `folder`, as resuming and probing would.

    Raises:
      InputError: a part of it is missing or damaged; one of before there were checksums may be so unnoticed.
    """
    meta = read_meta(folder)
    for item in {"state", "encoder", *meta["sha256"]} - {"meta"}:
        restore_item(folder, item, None, meta)


def restore_item(folder: Path, item: str, target: PyTree | None, meta: Mapping[str, Any]) -> PyTree:
    """Reads one item of the checkpoint in `folder`.

    Args:
      folder: of the checkpoint.
      item: its name.
      target: the shapes and dtypes that are wanted; None: those that are stored.
      meta: of the checkpoint, with its checksums; older checkpoints have none.

    Raises:
      InputError: the item is missing or damaged, or differs from `target` in names, shapes or dtypes.
    """
    place = (folder / item).absolute()  # Orbax takes no other
    if not place.is_dir():
        raise InputError(f"checkpoint {place}: missing; the checkpoint is not whole, delete its folder")
    handler = ocp.StandardCheckpointHandler()
    try:
        stored = handler.metadata(place).tree
        target = stored if target is None else target
        difference = _difference(stored, target)
        if difference:
            raise InputError(f"checkpoint {place}: of another architecture: {difference}")
        host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
        restored = handler.restore(place, args=ocp.args.StandardRestore(host))
        stated = meta.get("sha256", {}).get(item)
        if stated is not None and digest(restored) != stated:
            raise InputError(f"checkpoint {place}: damaged (its checksum does not agree)")
        return restored
    except InputError:
        raise
    except Exception as error:  # Orbax and tensorstore raise many types for one cause: damaged files
        logging.vlog(1, "restoring %s: %s", place, error)
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint {place}: can't be read, it is damaged or truncated ({reason})"
        ) from error
    finally:
        handler.close()


def digest(tree: PyTree) -> str:
    """SHA-256 of the names, types, shapes and bytes of all leaves."""
    total = hashlib.sha256()
    for name, leaf in sorted(_named_leaves(tree).items()):
        value = np.asarray(leaf)
        total.update(f"{name} {_shape(value)}".encode())
        total.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    return total.hexdigest()


def _meta_digest(meta: Mapping[str, Any]) -> str:
    """SHA-256 of a meta item without its checksums, as JSON."""
    content = {name: meta[name] for name in ("encoder", "encoders", "config", "metrics")}
    if meta.get("best", BEST) != BEST:  # older ones do not name it
        content["best"] = meta["best"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _difference(stored: PyTree, target: PyTree) -> str:
    """The first difference between two trees of things with shape and dtype, in words; "" if none."""
    have, want = _named_leaves(stored), _named_leaves(target)
    for name in sorted(have.keys() | want.keys()):
        if name not in have:
            return f"{name} is not in the checkpoint"
        if name not in want:
            return f"{name} is not in the network"
        if tuple(have[name].shape) != tuple(want[name].shape) or have[name].dtype != want[name].dtype:
            return f"{name} is {_shape(have[name])}, expected {_shape(want[name])}"
    return ""


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    """Leaves by dotted path; a named tuple and the dict it was stored as get the same names."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _as_dict(state: State) -> dict[str, PyTree]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}


def variables_of(encoder: EncoderVariables) -> dict[str, PyTree]:
    """The collections that `apply` takes."""
    return {"params": encoder.params, "batch_stats": encoder.batch_stats}


def _to_host(tree: PyTree) -> PyTree:
    """Copies to NumPy: the next step donates these buffers before the write has ended."""
    return jax.tree.map(np.array, tree)


def goodness(metrics: Mapping[str, float], by: str = BEST) -> float:
    """By which checkpoints are compared: the higher, the better. It is the metric `by`, negated."""
    return -metrics.get(by, math.inf)
