"""Versions, processor and time of a computation, and the message for a fault of this package.

The record of each shard (`probing.store.segments`) and the details of each cell (`probing.store.results`) hold versions and
processor; keys do not. They hold no date and no name of a machine, so that a run that was killed and resumed on one machine with
one number of threads writes the same records.
"""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "scikit-learn", "numpy", "scipy")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute the numbers."""
    ours = sys.modules["probing"].__version__  # that of this code, installed or not; an import would point upward
    known = {"python": platform.python_version(), "probing": ours}
    for package in PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "not installed"
    return known


def processor() -> dict[str, Any]:
    """The name, torch's threads, whether bfloat16 is multiplied, and the GPU if torch uses one: the last digits of a number can
    depend on them."""
    import torch

    facts = {"name": _processor_name(), "threads": torch.get_num_threads(), "bfloat16": multiplies_bfloat16()}
    return facts | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_initialized() else {})


def made_with() -> dict[str, Any]:
    """Versions and processor, for the record of a shard."""
    return {name: versions()[name] for name in ("torch", "transformers", "numpy")} | {"processor": processor()}


def provenance() -> dict[str, Any]:
    """Time, versions, machine and processor, for the details of a cell or a manifest."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": platform.platform(),
        "processor": processor(),
    }


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@cache
def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def own_fault() -> str:
    """The line after the traceback of a fault of this package: what to report, and where."""
    try:
        about = metadata("probing-bench")
        urls = dict(entry.split(", ", 1) for entry in about.get_all("Project-URL") or ())
        where = urls.get("Issues") or about["Author"] or about["Author-email"]
    except PackageNotFoundError:
        where = "The probing authors"
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    made = ", ".join(f"{name} {value}" for name, value in versions().items())
    return (
        f"this is a fault of probing, not of what you gave: please report the text above to {where}, "
        f"with the command ({command}) and the versions ({made})"
    )
