"""The errors a user can meet. Each message says what was given, what is allowed, and what to do.

`ProbingError` ends the command line with exit code 2 and its text, never a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ProbingError(Exception):
    """A mistake in what the user gave, or a condition of the machine that the user must mend."""


class DataError(ProbingError):
    """A task file, card or corpus that cannot be used; names file and line where there is one."""


class ConfigError(ProbingError):
    """A configuration value that is unknown, missing or of the wrong type."""


class EncoderError(ProbingError):
    """An encoder that cannot be loaded, or that returned something other than finite states."""


class StatesError(EncoderError):
    """An encoder that was loaded, and returned states that cannot be used for a sentence."""


class GameError(ProbingError):
    """A game that returned something other than finite numbers, one row for each coalition."""


class StoreError(ProbingError):
    """The representation store cannot be written or read (disk full, folder not writable, foreign content)."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest allowed name, or an empty string.

    >>> did_you_mean("tree_dept", ["tree_depth", "tense"])
    "; did you mean 'tree_depth'?"
    """
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
