"""Progress of long work: messages of the logger "probing" on stderr, and progress bars where stderr is a terminal or a notebook.

Quiet: `logging.getLogger("probing").setLevel("WARNING")`. Our handler is not added to a logger that already has one at import.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("probing")


class _Stderr(logging.Handler):
    """Writes each message to the current stderr, above a progress bar that is shown there."""

    def emit(self, record: logging.LogRecord) -> None:
        if loaded := sys.modules.get("tqdm"):  # else there is no bar, and importing it takes a sixth of a second
            loaded.tqdm.write(self.format(record), file=sys.stderr)
        else:
            sys.stderr.write(f"{self.format(record)}\n")


if not logger.handlers:
    logger.addHandler(_Stderr())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def info(message: str) -> None:
    """Log one message at level INFO."""
    logger.info("%s", message)


@contextmanager
def quiet() -> Iterator[None]:
    """No message below a warning."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of `total` steps, on a terminal or in a notebook, at level INFO; yield the function that advances it."""
    from tqdm.auto import tqdm

    interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
    disable = not (interactive and logger.isEnabledFor(logging.INFO))
    with tqdm(total=total, desc=description, leave=False, disable=disable) as progress:
        yield progress.update


def human_bytes(n: float) -> str:
    """
    >>> human_bytes(5_970_000_000)
    '6.0 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def human_count(n: int, noun: str) -> str:
    """
    >>> human_count(1, "item"), human_count(2, "item")
    ('1 item', '2 items')
    """
    return f"{n} {noun}{'s' * (n != 1)}"


def excerpt(text: str, most: int = 80) -> str:
    """The text, or its beginning where it has more characters.

    >>> excerpt("a b c", 3)
    'a b…'
    """
    return text if len(text) <= most else f"{text[:most]}…"


def human_seconds(s: float) -> str:
    """
    >>> human_seconds(90)
    '1.5 min'
    """
    if s < 60:
        return f"{s:.0f} s"
    return f"{s / 60:.1f} min" if s < 3600 else f"{s / 3600:.1f} h"
