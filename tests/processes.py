"""Commands and scripts in processes of their own, without the seconds of imports that a fresh interpreter costs.

A server process imports the libraries once a session; every command is a fork of it, with its own folder, environment and
streams, so that it can be killed and leaves nothing behind in the tests. A fresh interpreter is needed by what is about imports,
about the start of Python, about its hash seed (a fork has the server's), or about processes that joblib starts.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVER = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["preloaded"])


def context() -> Any:
    """That of multiprocessing whose processes are forks of the server, which is started if it does not run."""
    before = {name: os.environ.get(name) for name in SERVER}
    os.environ.update(SERVER)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return _context


class Started:
    """A process that runs the words after `python`: `-m probing …`, `-c code` or a script. The part of Popen that tests need."""

    def __init__(self, *words: Any, cwd: str | Path | None = None, env: Mapping[str, str] | None = None):
        self.args = list(map(str, words))
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, True)
        self._streams = [Path(folder, name) for name in ("out", "err")]
        environment = dict(os.environ if env is None else env)
        self._process = context().Process(
            target=_run, args=(self.args, str(cwd or os.getcwd()), environment, *map(str, self._streams))
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in self._streams)
        return out, err


def run(*words: Any, cwd: str | Path | None = None, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`subprocess.run([sys.executable, *words], capture_output=True, text=True)` by a fork."""
    process = Started(*words, cwd=cwd, env=env)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _run(words: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    gc.freeze()  # or the collector writes to every page that the fork shares with the server
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2))
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.path.insert(0, cwd)
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        elif words[0] == "-m":
            sys.argv = [words[1], *words[2:]]
            sys.path.insert(0, cwd)
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).resolve().parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
