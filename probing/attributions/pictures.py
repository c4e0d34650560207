"""Two pictures of a sentence as SVG, from the table of all coalitions of its words: the interaction tree and the AND-OR graph.

    tree     joins neighbours, those with the largest density first (`probing.interactions.partition`). phi of an interval is
             v(interval) - v(empty), all other words absent; a node shows phi([l u r]) - phi([l]) - phi([r]), a leaf phi of its
             word. All numbers of the tree sum to v(N) - v(empty). (Zhang et al. 2021, AAAI 35)
    AND-OR   the salient terms of `and_or`, the strongest first, each joined to its words. In the whole sentence every term acts:
             v(empty), the terms shown and the sum of the others are v(N). (Li and Zhang 2023)

Orange numbers raise the value, blue ones lower it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from unicodedata import east_asian_width

import numpy as np

from probing.attributions.and_or import and_or
from probing.interactions.game import players_of
from probing.interactions.partition import Node, interaction_tree
from probing.interactions.text.game import TOLERANCE
from probing.neurons.coloured import colour
from probing.types import Values

MOST_TERMS = 20
"""Terms of an AND-OR graph, which more lines would make unreadable."""
ROW, LETTER, BOX, NAME = 26, 8, 58, 44
"""Pixels: the height of a row, the width of a letter, of a box with a number, and of the name of a term."""


def interval_values(v: Values) -> Values:
    """phi of all intervals of the words, (n, n): [i, j] of the words i … j, without the others; 0 below the diagonal."""
    n = players_of(v)
    phi = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            phi[i, j] = v[2 ** (j + 1) - 2**i] - v[0]
    return phi


def tree_picture(words: Sequence[str], v: Values) -> str:
    """The interaction tree of a sentence of at least two words, from the values (2^n,) of all coalitions."""
    phi = interval_values(v)
    root = interaction_tree(phi, tolerance=TOLERANCE)
    inner = _inner(root)
    most = float(max(np.abs(np.diag(phi)).max(), *(abs(node.between) for node in inner)))
    centres, width = _columns(words, 0)
    bottom = ROW * (_height(root) + 1)
    made = [_text(x, bottom + ROW, word) for x, word in zip(centres, words, strict=True)]
    made += [_box(x, bottom, float(phi[k, k]), most) for k, x in enumerate(centres)]

    def place(node: Node) -> tuple[float, float]:
        return float(np.mean(centres[node.start : node.stop])), bottom - ROW * _height(node)

    lines = []
    for node in inner:
        x, y = place(node)
        lines += [_line(x, y, part_x, part_y) for part_x, part_y in map(place, node.parts)]
        made.append(_box(x, y, node.between, most))
    return _svg(width, bottom + 2 * ROW, [*lines, *made], f"Interaction tree: {' '.join(words)}")


def terms_picture(words: Sequence[str], v: Values) -> str:
    """The AND-OR graph of a sentence, from the values (2^n,) of all coalitions; at most `MOST_TERMS` terms are drawn."""
    n = len(words)
    terms = and_or(v)
    strengths = np.concatenate([terms.conjunctions, terms.disjunctions])
    order = np.argsort(-np.abs(strengths), kind="stable")
    shown = [k for k in order[:MOST_TERMS].tolist() if terms.salient[k]]
    hidden = float(strengths.sum() - strengths[shown].sum())
    most = float(np.abs(strengths).max())
    left = NAME + BOX
    centres, width = _columns(words, left + 2 * LETTER)
    made = [_text(x, ROW / 2, word) for x, word in zip(centres, words, strict=True)]
    lines = []
    for row, k in enumerate(shown, start=1):
        y, players = ROW * (row + 0.5), [i for i in range(n) if k % 2**n >> i & 1]
        name = "word" if len(players) == 1 else "AND" if k < 2**n else "OR"
        lines += [_line(left, y, centres[players[-1]], y)]
        made += [f'<circle cx="{centres[i]:.1f}" cy="{y:.1f}" r="5" fill="{_dot(name)}"/>' for i in players]
        made += [_text(NAME / 2, y, name), _box(NAME + BOX / 2, y, float(strengths[k]), most)]
    others = f"the other {2 ** (n + 1) - n - 2 - len(shown):,} terms, {int(terms.salient.sum()) - len(shown)} of them salient"
    sums = {others: hidden, "no word": float(v[0]), "sum: the sentence": float(v[-1])}
    for row, (name, value) in enumerate(sums.items(), start=len(shown) + 1):
        y = ROW * (row + 0.5)
        made += [_box(NAME + BOX / 2, y, value, 0.0), _text(left + LETTER, y, name, "start")]
    return _svg(max(width, left + 40 * LETTER), ROW * (len(shown) + 4), [*lines, *made], f"AND-OR graph: {' '.join(words)}")


def _inner(node: Node) -> list[Node]:
    """The nodes of more than one word."""
    return [node, *(one for part in node.parts for one in _inner(part))] if node.parts else []


def _height(node: Node) -> int:
    return 1 + max(map(_height, node.parts)) if node.parts else 0


def _columns(words: Sequence[str], left: float) -> tuple[list[float], float]:
    """The middle of each word's column, and where the last one ends."""
    letters = [sum(2 if east_asian_width(c) in "WF" else 1 for c in word) for word in words]
    widths = np.array([max(BOX + 6, LETTER * (k + 2)) for k in letters], float)
    ends = left + np.cumsum(widths)
    return (ends - widths / 2).tolist(), float(ends[-1])


def _dot(name: str) -> str:
    return {"AND": "#222", "OR": "#fff"}.get(name, "#888")


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", fill: str = "#000") -> str:
    return f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _box(x: float, y: float, value: float, most: float) -> str:
    """A number on the colour of its size; `most`: the size of the full colour, 0: no colour."""
    fill = "#fff" if abs(value) > 0.75 * most > 0 else "#000"
    number = _text(x, y, f"{value:+z.3g}", fill=fill)
    return f'<rect x="{x - BOX / 2:.1f}" y="{y - 9:.1f}" width="{BOX}" height="18" rx="3" fill="{colour(value, most)}"/>{number}'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    name = escape(title)
    head = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" style="max-width: 100%" role="img" aria-label="{name}"'
    font = 'font-family="sans-serif" font-size="13" stroke-width="1"'
    body = "\n".join(part.replace("<line", '<line stroke="#999"').replace("<circle", '<circle stroke="#222"') for part in parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head} {font}>\n<title>{name}</title>\n{body}\n</svg>'
