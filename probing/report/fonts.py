"""Fonts of the figures: DejaVu Sans, which matplotlib brings, and a font of the machine for the characters that it lacks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import matplotlib
from matplotlib import font_manager

from probing.log import info

CJK = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Heiti TC"),
    *("Microsoft YaHei", "SimHei", "SimSun", "Droid Sans Fallback", "Arial Unicode MS"),
)
"""Families with Chinese characters, the preferred first."""


def families() -> list[str]:
    """DejaVu Sans, and the first family of `CJK` that matplotlib knows on this machine."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in CJK if name in known][:1]]


@contextmanager
def missing_characters_named() -> Iterator[None]:
    """Say in one line which characters of a figure no font has, in place of matplotlib's warnings; other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", r"Glyph \d+ .*missing from", UserWarning)
        yield
    lacking = set()
    for warning in caught:
        if glyph := re.match(r"Glyph (\d+) .*missing from", str(warning.message)):
            lacking.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if lacking:
        _name("".join(sorted(lacking)))


@cache
def _name(characters: str) -> None:
    info(
        f"figures: no font of this machine has {characters}, boxes stand in their place: install one that has them, such as Noto "
        f"Sans CJK (Debian: fonts-noto-cjk), remove {matplotlib.get_cachedir()}/fontlist-*.json, and run probing report RUN"
    )
