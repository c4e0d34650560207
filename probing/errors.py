"""The errors a user can meet. Each message says what was given, what is allowed, and what to do.

An exception has one of three causes:

- `ProbingError`, except `ForeignError`: a mistake in the input, or a condition of the machine. It ends the command with its text
  and exit code 2.
- `ForeignError`: any other exception while code of others runs (a method of an encoder, a probe, a floor, a user's function), or
  while its result is read (see `foreign`). The cells that need the result fail, the others go on; exit code 1.
- Anything else is a fault of this package: it ends with a traceback and `probing.provenance.own_fault`.
"""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ProbingError(Exception):
    """A mistake in the user's input, or a condition of the machine that the user must mend."""


class DataError(ProbingError):
    """A task file, card or corpus that cannot be used; names file and line where there is one."""


class ConfigError(ProbingError):
    """A configuration value that is unknown, missing or of the wrong type."""


class EncoderError(ProbingError):
    """An encoder that cannot be loaded, or that returned something other than finite states."""


class StatesError(EncoderError):
    """States that a loaded encoder returned and that cannot be used for a sentence."""


class ForeignError(StatesError):
    """An exception raised by code or files of others (a model, a tokenizer, a library, a user's function)."""

    @classmethod
    def of(cls, doing: str, error: BaseException) -> ForeignError:
        """Wrap `error`, which was raised while `doing` (a phrase such as "bert: running the model").

        Raises:
            error itself: the disk is full, or a Slurm job ends (submitit raises that at any place).
        """
        if ends_job(error) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise error
        return cls(f"{doing}: {described(error)}")


class GameError(ProbingError):
    """A game that returned something other than finite numbers, one row for each coalition."""


class StoreError(ProbingError):
    """The representation store cannot be written or read (disk full, folder not writable, foreign content)."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's text."""
    try:
        return next(iter(str(error).strip().splitlines()), "")
    except Exception:  # __str__ may be code of others, too
        return "(its text cannot be had)"


def described(error: BaseException) -> str:
    """Describe an exception by its class, first line and place.

    >>> try:
    ...     [].pop()
    ... except IndexError as error:
    ...     described(error).partition(" (")[0]
    'IndexError: pop from empty list'
    """
    message = first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({'/'.join(Path(frames[-1].filename).parts[-3:])}, line {frames[-1].lineno})" if frames else ""
    advice = f"; {NO_MEMORY}" if out_of_memory(error) else ""
    return (f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}") + advice


NO_MEMORY = (
    "there was not enough memory: end other programs, take a machine with more, or ask for less "
    "(data.train_size=…, a smaller model, encoder.device=cpu where a GPU is too small)"
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python, numpy or torch says that the machine or its GPU has too little memory."""
    refused = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or refused


def ends_job(error: BaseException) -> bool:
    """Whether submitit's signal handler raised the exception: a Slurm job ends (time limit, preemption)."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__module__.startswith("submitit") or any("submitit" in Path(frame.filename).parts for frame in frames)


@contextmanager
def foreign(doing: str) -> Iterator[None]:
    """Turn an exception of the block, which runs code of others or reads its result, into a `ForeignError`.

    A `ProbingError` passes unchanged.
    """
    try:
        yield
    except (ProbingError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # also SystemExit, and the likes of asyncio.CancelledError
        if ends_job(error):
            raise
        raise ForeignError.of(doing, error) from error


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest allowed name, or an empty string.

    >>> did_you_mean("tree_dept", ["tree_depth", "tense"])
    "; did you mean 'tree_depth'?"
    """
    allowed = list(allowed)
    same = [name for name in allowed if name.lower() == given.lower()]  # METHOD for method
    close = same[:1] or difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
