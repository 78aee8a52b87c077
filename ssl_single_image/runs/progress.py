"""One moving line that says how far the work is and what it waits for; where no line moves, a log says the same."""

from __future__ import annotations

import contextlib
import contextvars
import io
import sys
import time
from collections.abc import Iterator, Mapping

import jax
from absl import logging
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

_SILENT: contextvars.ContextVar[bool] = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing below shows how far it is: for work that belongs to a step of other work."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def progress_bar(total: int, done: int, unit: str) -> tqdm:
    """How many `unit` (a plural) are done, how many a second, and the time left, on process 0 only.

    A moving line on a terminal, a widget in a notebook. Elsewhere it is not displayed, and `show` logs it.
    """
    return tqdm(
        total=total,
        initial=done,
        unit=f" {unit}",
        unit_scale=True,
        dynamic_ncols=True,
        disable=jax.process_index() != 0 or _SILENT.get(),
        **({} if _moves() else {"file": _Nowhere()}),
    )


def show(bar: tqdm, values: Mapping[str, float]) -> None:
    """Puts the newest values beside the bar, or logs both where the bar is not displayed."""
    bar.set_postfix(
        {name.rsplit("/", 1)[-1]: f"{value:.3g}" for name, value in values.items()}, refresh=False
    )
    if not bar.disable and not _moves():
        logging.info("%s", bar)


@contextlib.contextmanager
def waiting(what: str, bar: tqdm | None = None, *, done: str = "") -> Iterator[None]:
    """Says what is under way: before the bar, or without one on a line of its own, which then vanishes.

    Where no line moves, nothing is said, unless `done` is given: then one line of the log says that it begins, and
    another that it is `done`, and in how many seconds.
    """
    if jax.process_index() != 0 or _SILENT.get():
        yield
    elif not _moves():
        start = time.perf_counter()
        if done:
            logging.info("%s ...", what)
        yield
        if done:
            logging.info("%s in %.1f s", done, time.perf_counter() - start)
    elif bar is None:
        with tqdm(desc=f"{what} ...", bar_format="{desc}", leave=False, dynamic_ncols=True):
            yield
    else:
        before = bar.desc
        bar.set_description(what)
        try:
            yield
        finally:
            bar.set_description_str(before)


class _Nowhere(io.TextIOBase):
    """Discards what is printed."""

    def write(self, text: str) -> int:
        return len(text)


def _moves() -> bool:
    return sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
