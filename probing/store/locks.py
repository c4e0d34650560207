"""Locks between processes and between machines: an economy, never a condition.

A lock keeps two processes from computing the same thing. What they write is right without it: a file is written under a name of
its writer, which is one thread, and renamed, and equal requests write equal files. The locks are the kernel's (flock): they die
with the process that held them, so that no stale lock exists. Linux passes flock on to the server on NFS (version 4, or 3 with
lockd) and on Lustre mounted with `-o flock`. Where locks are refused (Lustre without the option) or hold on one machine only
(`local_lock`, `localflock`), jobs on several machines may do the same work; the jobs of a Slurm array start at different places,
which makes that rare, and nothing gets damaged.

Left out: lock files with heartbeats. They need a guess when their owner is dead; a wrong guess costs what a lost lock costs.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from probing.log import info

POLL_SECONDS = 0.2
"""How often a waiting process asks again: five small requests a second to the server of a shared folder."""

_REFUSED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def gone(name: str) -> bool:
    """Whether the writer of this name is known to have ended: its process is of this machine, and no more."""
    host, _, pid = name.rpartition("-")
    pid = pid.partition(".")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock while the block runs; False, and no lock, if another process holds it and `wait` is false."""
    lock = FileLock(path, fallback_to_soft=False)  # a lock file that outlives its process would block the others for ever
    held = True
    try:
        lock.acquire(timeout=-1 if wait else 0, poll_interval=POLL_SECONDS)
    except Timeout:
        held = False
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _say_refused(path.parent)
    try:
        yield held
    finally:
        lock.release()


def claims(path_of: Callable[[int], Path], items: Sequence[int]) -> Iterator[list[int]]:
    """The items in groups, each once, while the locks of its group are held: first all that are free, then what others held.

    Never waits for a lock while it holds one, so two processes cannot block each other.
    """
    left, wait = list(items), False
    while left:
        with ExitStack() as held:
            mine: list[int] = []
            for item in left:
                if held.enter_context(locked(path_of(item), wait and not mine)):
                    mine.append(item)
            if mine:
                yield mine
        left, wait = [item for item in left if item not in mine], True


@cache
def _say_refused(folder: Path) -> None:
    info(f"{folder}: its file system has no locks; several jobs at once may do the same work, the results are the same")
