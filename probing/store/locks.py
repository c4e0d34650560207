"""Locks between processes and machines. They avoid duplicate work; correctness does not depend on them.

Files are right without locks: each thread writes under a name of its own, then renames, and equal requests write equal files. The
locks are the kernel's (flock): they end with the process that held them. Linux passes flock on to the server on NFS (version 4, or
3 with lockd) and on Lustre mounted with `-o flock`. If locks are refused (Lustre without the option) or hold on one machine only
(`local_lock`, `localflock`), jobs on several machines may do the same work; the jobs of a Slurm array start at different shards,
which makes that rare.
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
"""Time between the attempts of a waiting process: five small requests a second to the server of a shared folder."""

_REFUSED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def gone(name: str) -> bool:
    """Whether the writer of this name (`probing.files.writer`) has ended, as far as this machine can know."""
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
    """Hold the lock while the block runs; yield False, without the lock, if another process holds it and `wait` is false."""
    lock = FileLock(path, fallback_to_soft=False)  # a lock file that outlives its process would block the others for ever
    held = True
    try:
        lock.acquire(timeout=-1 if wait else 0, poll_interval=POLL_SECONDS)
    except Timeout:
        held = False
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _report_refused(path.parent)
    try:
        yield held
    finally:
        lock.release()


def claims(path_of: Callable[[int], Path], items: Sequence[int]) -> Iterator[list[int]]:
    """Yield the items in groups while this process holds the locks of the group; items that other processes hold come last.

    Never waits for a lock while it holds one, so two processes cannot block each other.
    """
    remaining, wait = list(items), False
    while remaining:
        with ExitStack() as locks:
            group: list[int] = []
            for item in remaining:
                if locks.enter_context(locked(path_of(item), wait and not group)):
                    group.append(item)
            if group:
                yield group
        remaining, wait = [item for item in remaining if item not in group], True


@cache
def _report_refused(folder: Path) -> None:
    info(f"{folder}: its file system has no locks; several jobs at once may do the same work, the results are the same")
