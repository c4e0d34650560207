"""Signals of a text, one number for each character: what a cell of a recurrent network may follow (Karpathy et al. 2016).

quote                 1 inside quotation marks: from an opening one up to, not with, the closing one; straight marks open and close
                      in turn, curly ones by their form
line position         characters since the last newline, which is 0
bracket depth         open ( [ { less closed ones, an opening one counts already, a closing one no more; never below 0
position in word      characters since the last blank, which is 0
position in sentence  characters since the last . ! or ?
upper case, digit     1 where the character is one
"""

from __future__ import annotations

import numpy as np

from probing.types import Values

OPEN, CLOSE = "([{", ")]}"
NAMES = ("quote", "line position", "bracket depth", "position in word", "position in sentence", "upper case", "digit")


def signals(text: str) -> dict[str, Values]:
    """All signals (`NAMES`) of a text of n characters, (n,) each.

    >>> {name: values.astype(int).tolist() for name, values in signals('"a" (b').items() if name in ("quote", "bracket depth")}
    {'quote': [1, 1, 0, 0, 0, 0], 'bracket depth': [0, 0, 0, 0, 1, 1]}
    """
    quoted, depth = np.zeros((2, len(text)))
    inside, open_ = 0, 0
    for k, character in enumerate(text):
        if character == '"':
            inside = 1 - inside
        elif character in "“”":
            inside = int(character == "“")
        elif character in OPEN:
            open_ += 1
        elif character in CLOSE:
            open_ = max(0, open_ - 1)
        quoted[k], depth[k] = inside, open_
    return {
        "quote": quoted,
        "line position": _since(np.array([c == "\n" for c in text], bool)),
        "bracket depth": depth,
        "position in word": _since(np.array([c.isspace() for c in text], bool)),
        "position in sentence": _since(np.array([c in ".!?" for c in text], bool)),
        "upper case": np.array([c.isupper() for c in text], float),
        "digit": np.array([c.isdigit() for c in text], float),
    }


def _since(marks: np.ndarray) -> Values:
    """Places since the last mark, which is 0; before the first one from 1 on."""
    k = np.arange(len(marks))
    return (k - np.maximum.accumulate(np.where(marks, k, -1))).astype(float)
