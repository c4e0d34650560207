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
from weakref import finalize

from filelock import FileLock, Timeout

from probing.log import info

try:
    import fcntl
except ImportError:  # Windows: as a file system without locks
    fcntl = None  # type: ignore[assignment]

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


class Use:
    """A shared lock, held while this object lives: nobody is `alone` meanwhile. Makes the folder of the lock file."""

    def __init__(self, path: Path):
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = _open_locked(path, "LOCK_SH")
            except FileNotFoundError:  # who was alone has just removed the folder
                continue
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                _report_refused(path.parent)
                return
            if descriptor is not None:
                finalize(self, os.close, descriptor)
                return


@contextmanager
def alone(path: Path) -> Iterator[bool | None]:
    """Hold the lock that excludes every `Use` while the block runs, which may remove the file; yield False, without the lock, if
    there is a `Use` or no folder, and None if the file system has no locks."""
    try:
        descriptor = _open_locked(path, "LOCK_EX", "LOCK_NB")
    except FileNotFoundError:
        yield False
        return
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        yield None
        return
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_locked(path: Path, *how: str) -> int | None:
    """Open the file, made if absent, with a lock of these kinds; None if that has to wait, or who held the lock removed the file.

    Raises:
        OSError: one of `_REFUSED` where there are no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no locks")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, sum(getattr(fcntl, name) for name in how))
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


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
