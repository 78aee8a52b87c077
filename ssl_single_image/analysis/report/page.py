"""Fills the page's templates. The page stands alone: no script, style, font or picture from elsewhere."""

from __future__ import annotations

import datetime
import importlib.resources
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

import ssl_single_image
from ssl_single_image.analysis.report import classes

TEMPLATES = importlib.resources.files("ssl_single_image.analysis.report") / "templates"


def render(content: Mapping[str, Any], made: datetime.datetime | None = None) -> str:
    """The page as HTML; text is escaped, and a name the templates want but `content` lacks is an error.

    Args:
      content: "title", "chapters" (each with its "template"), "waiting", "plots", "script" and "refresh".
      made: when, told at the foot of the page; None: now.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # a plot's parts refer to earlier ones
    environment.globals["own"] = lambda name: Markup(_source(name))  # ours, not a user's: scripts and styles
    made = made or datetime.datetime.now(datetime.UTC)
    told = {
        "version": ssl_single_image.__version__,
        "made": f"{made:%Y-%m-%d %H:%M} UTC",
        "shades": classes.styles(),
        "library": Markup(content["script"]),
    }
    return environment.get_template("page.html").render({**content, **told})


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
