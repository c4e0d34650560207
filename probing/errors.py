"""The errors a user can meet. Each message says what was given, what is allowed, and what to do.

`ProbingError` ends the command line with exit code 2 and its text, never a traceback.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


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


class ForeignError(StatesError):
    """An exception raised by code or files that are not ours (a model, a tokenizer, a library, a user's function).

    The cells that need its result fail and are recorded; the other cells of the run go on.
    """

    @classmethod
    def of(cls, doing: str, error: BaseException) -> ForeignError:
        """The error for `error`, which was raised while `doing` (a phrase such as "bert: running the model")."""
        return cls(f"{doing}: {described(error)}")


class GameError(ProbingError):
    """A game that returned something other than finite numbers, one row for each coalition."""


class StoreError(ProbingError):
    """The representation store cannot be written or read (disk full, folder not writable, foreign content)."""


def described(error: BaseException) -> str:
    """Class, first line and place of an exception.

    >>> try:
    ...     [].pop()
    ... except IndexError as error:
    ...     described(error).partition(" (")[0]
    'IndexError: pop from empty list'
    """
    message = next(iter(str(error).strip().splitlines()), "")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({'/'.join(Path(frames[-1].filename).parts[-3:])}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}"


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest allowed name, or an empty string.

    >>> did_you_mean("tree_dept", ["tree_depth", "tense"])
    "; did you mean 'tree_depth'?"
    """
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
