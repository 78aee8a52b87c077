"""Checkpoints of a run: written in the background, atomic, and read back only whole. The only importer of Orbax."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep_policy

from ssl_single_image import models
from ssl_single_image.types import EncoderSpec, EncoderVariables, InputError, PyTree, State

CHECKPOINTS = "checkpoints"
RANDOM = "random:"


class CheckpointStore:
    """The `checkpoints/` folder of a workdir: keeps the last `keep` and the one of lowest evaluation loss.

    Each holds three items: `state` (all a run needs to go on), `encoder` (what probes load) and `meta` (JSON:
    the encoder's spec, the run's config, metrics). An unfinished write is never taken for a checkpoint.
    """

    def __init__(self, workdir: Path, keep: int = 3):
        self._path = Path(workdir).absolute() / CHECKPOINTS
        best = keep_policy.BestN(get_metric_fn=_goodness, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep_policy.AnyPreservationPolicy([keep_policy.LatestN(keep), best]),
            best_fn=_goodness,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._path, options=options)

    @property
    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(
        self, state: State, encoder: EncoderVariables, config: dict[str, Any], metrics: dict[str, float]
    ) -> None:
        """Writes a checkpoint in the background; a second one of the same step is not written."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        meta = {"encoder": dataclasses.asdict(encoder.spec), "config": config, "metrics": metrics}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_to_host(_as_dict(state))),
                encoder=ocp.args.StandardSave(_to_host(_variables(encoder))),
                meta=ocp.args.JsonSave(meta),
            ),
            metrics=metrics,
        )

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
        target = _as_dict(abstract)
        restored = _restore_item(self._path / str(step) / "state", target)
        return State(**jax.tree.map(jnp.asarray, restored))

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.wait_until_finished()
        self._manager.close()


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and where it came from.

    Attributes:
      name: the reference it was loaded by.
      step: optimisation steps behind it; 0 for an untrained one.
      encoder: spec and variables.
      meta: with "config", the resolved config of its run ({} for an untrained one).
    """

    name: str
    step: int
    encoder: EncoderVariables
    meta: dict[str, Any]


def load_encoder(reference: str) -> LoadedEncoder:
    """Loads the encoder that `reference` names.

    Args:
      reference: a pretraining workdir (its newest checkpoint), `WORKDIR@STEP`, `WORKDIR@best` (lowest
        evaluation loss), or `random:BACKBONE[@SEED]`, an untrained network.

    Raises:
      InputError: nothing there, no such step, a checkpoint that is truncated or of another architecture.
    """
    if reference.startswith(RANDOM):
        return _untrained(reference)
    folder, wanted = (reference, "") if Path(reference).is_dir() else _split(reference)
    path = Path(folder).absolute() / CHECKPOINTS
    if not path.is_dir():
        raise InputError(
            f"checkpoint {folder}: no {CHECKPOINTS}/ folder there; expected a workdir of pretrain"
        )
    step = _pick(path, wanted, reference)
    place = path / str(step)
    meta = _read_meta(place)
    stored = meta["encoder"]
    spec = EncoderSpec(**stored | {"mean": tuple(stored["mean"]), "std": tuple(stored["std"])})
    abstract = jax.eval_shape(lambda key: _variables(models.untrained(spec, key)), jax.random.key(0))
    variables = _restore_item(place / "encoder", abstract)
    return LoadedEncoder(reference, step, EncoderVariables(spec, **variables), meta)


def _untrained(reference: str) -> LoadedEncoder:
    name, _, seed = reference.removeprefix(RANDOM).partition("@")
    if seed and not seed.isdecimal():
        raise InputError(f"checkpoint {reference}: the seed after @ must be a whole number")
    if name not in models.BACKBONES:
        models.build_backbone(name, {})  # raises with the names there are
    spec = EncoderSpec(name, {}, models.INPUT_SIZES[name], models.MEAN, models.STD)
    encoder = models.untrained(spec, jax.random.key(int(seed or 0)))
    return LoadedEncoder(reference, 0, encoder, {"config": {}})


def _split(reference: str) -> tuple[str, str]:
    folder, _, wanted = reference.rpartition("@")
    return (folder, wanted) if folder else (reference, "")


def _pick(path: Path, wanted: str, reference: str) -> int:
    steps = sorted(int(p.name) for p in path.iterdir() if p.name.isdecimal())
    if not steps:
        raise InputError(f"checkpoint {reference}: no finished checkpoint in {path.name}/ yet")
    if wanted == "best":
        return max(steps, key=lambda step: (_goodness(_read_meta(path / str(step))["metrics"]), step))
    if wanted and not (wanted.isdecimal() and int(wanted) in steps):
        raise InputError(f"checkpoint {reference}: no step {wanted}; there are {', '.join(map(str, steps))}")
    return int(wanted) if wanted else steps[-1]


def _read_meta(place: Path) -> dict[str, Any]:
    try:
        meta = json.loads((place / "meta" / "metadata").read_text())
        return {key: meta[key] for key in ("encoder", "config", "metrics")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint {place}: its meta item is missing or damaged ({error})") from error


def _restore_item(place: Path, target: PyTree) -> PyTree:
    """Reads one item, refusing any difference in names, shapes or dtypes from `target`."""
    if not place.is_dir():
        raise InputError(f"checkpoint {place}: missing; the checkpoint is not whole, delete its folder")
    handler = ocp.StandardCheckpointHandler()
    try:
        stored = handler.metadata(place).tree
        difference = _difference(stored, target)
        if difference:
            raise InputError(f"checkpoint {place}: of another architecture: {difference}")
        host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
        return handler.restore(place, args=ocp.args.StandardRestore(host))
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


def _variables(encoder: EncoderVariables) -> dict[str, PyTree]:
    return {"params": encoder.params, "batch_stats": encoder.batch_stats}


def _to_host(tree: PyTree) -> PyTree:
    """Copies to NumPy: the next step donates these buffers while the write is still going on."""
    return jax.tree.map(np.array, tree)


def _goodness(metrics: dict[str, float]) -> float:
    return -metrics.get("eval/loss", math.inf)
