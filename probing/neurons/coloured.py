"""Text with a background that shows a value at each word or character, as HTML: orange above 0, blue below, white at 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

HIGH, LOW = (230, 120, 0), (0, 114, 178)
"""Okabe and Ito's orange (a little darker) and blue."""


def colour(value: float, most: float) -> str:
    """The background of a value; `most`: the size that has the full colour.

    >>> colour(0.0, 2.0), colour(2.0, 2.0)
    ('#ffffff', '#e67800')
    """
    share = min(abs(value) / most, 1.0) if most else 0.0
    full = HIGH if value > 0 else LOW
    return "#" + "".join(f"{round(255 + share * (one - 255)):02x}" for one in full)


def spans(pieces: Sequence[str], values: Sequence[float], most: float, between: str = "", shown: bool = False) -> str:
    """The pieces of text as coloured spans, the value on hovering, or, if `shown`, small behind the piece."""
    made = []
    for piece, value in zip(pieces, values, strict=True):
        dark = " color: #fff;" if value < -0.93 * most else ""  # from there white has more contrast than black, on orange never
        number = f" <small>{value:+.2f}</small>" if shown else ""
        made.append(f'<span title="{value:+.3g}" style="background: {colour(value, most)};{dark}">{escape(piece)}{number}</span>')
    return between.join(made)


def page(title: str, sections: Iterable[tuple[str, str]], about: str = "") -> str:
    """A page without other files: a title, what it is about, and sections of a heading and HTML (`spans`)."""
    body = "\n".join(f"<h2>{escape(head)}</h2>\n<p>{text}</p>" for head, text in sections)
    intro = f"<p>{escape(about)}</p>\n" if about else ""
    style = "body { font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; background: #fff; color: #000; } "
    style += "p { line-height: 1.6; white-space: pre-wrap; color: #000; }"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{intro}{body}\n</body>\n</html>\n"
    )
