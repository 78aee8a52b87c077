"""The report's HTML page, as a Jinja template. Standing alone: no script, no style or font from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1a1a1a; background: #fff;
         max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
  table { border-collapse: collapse; margin: 1rem 0; }
  th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
  table.words td { text-align: left; white-space: normal; } table.words th { text-align: left; }
  tr.chance td { color: #555; font-style: italic; }
  .scroll { overflow-x: auto; } img { max-width: 100%; height: auto; }
  figure { margin: 1.5rem 0; }
  figcaption { color: #444; font-size: .9rem; } code { font-size: .92em; } small { color: #555; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% macro table(t) %}
<div class="scroll"><table{% if t.get("words") %} class="words"{% endif %}>
<thead><tr>{% for name in t.header %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in t.rows %}<tr>
{%- for cell in row %}<td>{% if cell.best %}<strong>{{ cell.text }}</strong>{% else %}{{ cell.text }}{% endif %}
{%- if cell.half %} <small>{{ cell.half }}</small>{% endif %}</td>
{%- endfor %}</tr>
{% endfor %}
{% if t.chance %}<tr class="chance">{% for text in t.chance %}<td>{{ text }}</td>{% endfor %}</tr>{% endif %}
</tbody></table></div>
{% endmacro %}
{% if probes %}
<h2>{{ heading }}</h2>
<p>What classifiers reach on the frozen features of every layer. The best of each layer is in bold.
The same numbers: <a href="probes.md">Markdown</a>, <a href="probes.csv">CSV</a>, <a href="probes.json">JSON</a>.</p>
{% for line in apart %}
<p>{{ line }}</p>
{% endfor %}
{% for probe in probes %}
<h3>{% if probes|length > 1 %}Table {{ loop.index }}: {% endif %}{{ probe.name }}</h3>
<p>{{ probe.setting }}.</p>
{% for t in probe.tables %}
<p>{{ t.caption }}</p>
{{ table(t) }}
{% endfor %}
<figure><img src="{{ probe.figure }}" alt="Top-1 accuracy of every checkpoint, layer by layer"></figure>
{% endfor %}
{% endif %}
{% if runs %}
<h2>Pretraining</h2>
{% for run in runs %}
<h3>{{ run.name }}</h3>
{{ table(run.summary) }}
{% for picture in run.pictures %}
<figure><a href="{{ picture.file }}"><img src="{{ picture.file }}" alt="{{ picture.caption }}"></a>
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
{% endfor %}
{% endif %}
</body>
</html>
"""


def render(content: Mapping[str, Any]) -> str:
    """Fills the page; text is escaped, and a name the template wants but `content` lacks is an error."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE).render(content)
