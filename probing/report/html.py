"""The report as one HTML file, with figures and data cards inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from probing.report.markdown import Content


def html(content: Content, pictures: Sequence[tuple[str, str]], cards: Mapping[str, Any], published: str | None) -> str:
    """A page without other files.

    Args:
        pictures: titles and SVG.
        cards: of the tasks.
        published: the comparison with a paper's numbers, Markdown.
    """
    summary, pairs = content.summary, content.pairs
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)
    return template.render(
        head=content.head,
        summary=_cells(summary) if len(summary) else None,
        pictures=[(title, Markup(svg[svg.index("<svg") :])) for title, svg in pictures],
        sections=[(title, _cells(section)) for title, section in content.sections],
        pairs=_cells(pairs.round(4)) if len(pairs) else None,
        foot=content.foot,
        published=published,
        cards=json.dumps(cards, indent=1, ensure_ascii=False),
    )


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """Header and rows for the template; **bold** becomes a flag."""
    rows = [[(str(v).strip("*"), str(v).startswith("**")) for v in row] for row in frame.itertuples(index=False)]
    return {"head": [str(c) for c in frame.columns], "rows": rows}


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Probing results</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.86rem; white-space: nowrap; }
th, td { padding: 0.25rem 0.6rem; text-align: right; } th:first-child, td:first-child { text-align: left; }
thead th { border-top: 2px solid #333; border-bottom: 1px solid #333; font-weight: 600; }
tbody tr:last-child td { border-bottom: 2px solid #333; } tbody tr:hover { background: #f3f6fa; }
svg { max-width: 100%; height: auto; } footer { margin-top: 3rem; border-top: 1px solid #ccc; font-size: 0.82rem; color: #444; }
pre { overflow-x: auto; font-size: 0.78rem; background: #f7f7f7; padding: 0.8rem; }
</style></head><body>
{% macro grid(t) %}<div class="wide"><table><thead><tr>{% for h in t.head %}<th>{{ h }}</th>{% endfor %}</tr></thead><tbody>
{% for row in t.rows %}<tr>{% for v, bold in row %}<td>{% if bold %}<b>{{ v }}</b>{% else %}{{ v }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}
<h1>Probing results</h1>
{% if head %}<p>{{ head }}</p>{% endif %}
{% if summary %}<p>Test accuracy in percent, at the layer and pooling chosen on dev, with what a number must beat: floors that
read only the text, static vectors, the same architecture with random weights, and a control task.</p>
{{ grid(summary) }}{% endif %}
{% if pairs %}<h2>Encoders compared</h2><p>Paired test on the same items (see the notes at the
end), each encoder at its dev-best layer; Holm over this table.</p>
{{ grid(pairs) }}{% endif %}
{% for title, svg in pictures %}<h2>{{ title }}</h2>{{ svg }}{% endfor %}
{% for title, t in sections %}<h2>{{ title }}</h2>{{ grid(t) }}{% endfor %}
{% if published %}<h2>Against published numbers</h2><pre>{{ published }}</pre>{% endif %}
<h2>Data cards</h2>
<details><summary>Counts, balance, duplicates and hashes of every task</summary><pre>{{ cards }}</pre></details>
<footer><ul>{% for line in foot %}<li>{{ line }}</li>{% endfor %}</ul></footer>
</body></html>
"""
