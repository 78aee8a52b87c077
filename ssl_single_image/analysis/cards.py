"""The model card of an exported encoder: where it comes from, what it wants as input, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jinja2
from tabulate import tabulate

from ssl_single_image import models
from ssl_single_image.analysis import probe_pages, torch_module
from ssl_single_image.objectives import exemplars
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.foreign import own
from ssl_single_image.types import EncoderSpec

MARK = "<!-- model card written by ssl-single-image export -->"
"""First line of every card; no other file is overwritten by one."""
UNSTATED = "not stated"

_CARD = """\
{{ mark }}

# {{ name }}

{{ summary }}

{{ facts }}

## Input

The encoder takes RGB images of {{ spec.size }} x {{ spec.size }} pixels with values in [0, 1].
It subtracts the mean of each channel and divides by its standard deviation:

{{ normalisation }}

Loading it as below does this for you.
{% if sobel %}
A fixed Sobel front then takes the derivatives of the mean of the three channels.
{% endif %}

## {{ kind }}

{{ sources }}

Licence: {{ licence }}.

{% if command %}
## Train it again

```bash
{{ command }}
```

{% endif %}
{% if probe %}
## What the layers know

{{ probe }}
{% if dtype != "float32" %}
The probe measured the encoder before its numbers were rounded to {{ dtype }}.

{% endif %}
{% endif %}
## Load it with ssl_single_image

```python
import ssl_single_image as ssi

encoder = ssi.load_encoder({{ quoted }})
activations = encoder.features(images, "{{ layer }}")  # (n, rows, columns, channels) of images (n, height, width, 3)
```

`{{ reference }}` is also a reference for `ssl-single-image probe --checkpoint`.

## Load it with PyTorch

{% if source %}
This program needs no other package{{ " but safetensors" if file.endswith(".safetensors") else "" }}:

```python
{{ source }}```

Activations here are (n, channels, rows, columns). In ssl_single_image channels come last, so flattened activations
have another order.
{% else %}
The tensors have PyTorch's names and shapes. For this backbone there is no ready module.
{% endif %}

## Config

{{ config }}
"""


def card(
    loaded: LoadedEncoder,
    file: str,
    *,
    dtype: str,
    reference: str,
    command: str,
    probe: Mapping[str, Any] | None,
) -> str:
    """The text of a model card, Markdown.

    Args:
      loaded: the encoder, with what is published of it in its `meta`.
      file: name of the exported file.
      dtype: of its numbers.
      reference: how the encoder is loaded from the file.
      command: trains such an encoder again; "" where it is not known.
      probe: what `probe.json` holds, None without a probe.
    """
    spec, config = loaded.encoder.spec, loaded.meta.get("config", {})
    published = loaded.meta.get(own.PUBLISHED, {})
    listed = config.get("inputs")  # a file that is exported again may say anything
    inputs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_CARD).render(
        mark=MARK,
        name=file.rpartition(".")[0],
        file=file,
        dtype=dtype,
        reference=reference,
        quoted=json.dumps(reference, ensure_ascii=False),
        command=command,
        spec=spec,
        summary=_summary(spec, loaded.step, config),
        facts=_facts(loaded, dtype, str(published.get("encoder", ""))),
        normalisation=_table(
            list(zip(("red", "green", "blue"), spec.mean, spec.std, strict=True)), ("channel", "mean", "std")
        ),
        sobel=models.sees_derivatives(spec),
        kind="Source image" if all("sha256" in record for record in inputs) else "Data set",
        sources=_sources(inputs),
        licence=published.get("licence") or UNSTATED,
        probe=probe_pages.full_markdown(probe) if probe else "",
        layer=loaded.layers[-1],
        source=torch_module.source(loaded.encoder, file),
        config=_table(list(_flat(config)), ("field", "value"))
        if config
        else "These weights come from no run of this package.",
    )


def _summary(spec: EncoderSpec, step: int, config: Mapping[str, Any]) -> str:
    if not config:
        return f"The convolutional trunk of `{spec.backbone}`."
    if config.get("rule") in exemplars.RULES:
        told = exemplars.RULES[config["rule"]].told
        of = f"`{spec.options.get('of', spec.backbone)}`"
        return f"The first layers of {of}. Their filters are {told}, made of patches of `{config.get('source')}`."
    by, on = config.get("objective", "unknown"), config.get("source") or config.get("dataset", "unknown")
    return f"The convolutional trunk of `{spec.backbone}`, pretrained by `{by}` for {step:,} steps on `{on}`."


def _facts(loaded: LoadedEncoder, dtype: str, name: str) -> str:
    spec = loaded.encoder.spec
    rows = [
        ("backbone", f"`{spec.backbone}`"),
        ("options", ", ".join(f"`{name}={value}`" for name, value in spec.options.items()) or "none"),
        ("layers", ", ".join(loaded.layers)),
        ("trainable values", f"{sum(leaf.size for leaf in jax.tree.leaves(loaded.encoder.params)):,}"),
        ("numbers", dtype),
        *([("encoder of its run", f"`#{name}`")] if name else []),
    ]
    return _table(rows, ("what", "value"))


def _sources(records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return "No source image is recorded."
    if any("sha256" not in record for record in records):  # a labelled set
        labelled = [[record.get(field, "") for field in ("name", "images", "classes")] for record in records]
        return _table(labelled, ("data set", "images", "classes"))
    rows = [(record.get("name", ""), _extent(record), record.get("sha256", "")) for record in records]
    return _table(rows, ("image", "height x width", "SHA-256 of its pixels"))


def _extent(record: Mapping[str, Any]) -> str:
    """Height and width of an image, or how many images a set has."""
    shape, count = record.get("shape"), record.get("images")
    if isinstance(count, int):
        return f"{count:,} images"
    return " x ".join(map(str, shape[:2])) if isinstance(shape, list | tuple) else ""


def _flat(config: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Fields by dotted name, without the record of inputs, which has a table of its own."""
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{before}{name}.")
        elif before or name != "inputs":
            rows.append((before + name, "`{}`".format(json.dumps(value).replace("|", "\\|"))))
    return rows


def _table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
