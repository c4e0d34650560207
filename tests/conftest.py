"""Fixtures: toy data, a toy encoder, tiny transformers models; and the rule for tests that need more than the set-up."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy is imported; threads that wait for a product spin

import numpy as np
import pytest
import torch
from toys import ToyEncoder, write_task

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Leaves out a test where something is absent that the set-up does not install."""
    for item in items:
        absent = [name for mark in item.iter_markers("needs") for name in mark.args if not shutil.which(name)]
        if absent:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(absent)}"))
        elif item.get_closest_marker("shared") and not os.environ.get("PROBING_SHARED"):
            item.add_marker(pytest.mark.skip(reason="PROBING_SHARED is not set"))


def pytest_collection_finish():
    """Leaves what the imports made out of every later collection of garbage, which would walk through half a million objects."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """One line that names every test that was left out, by reason. From the reports: only they come back from xdist's workers."""
    left_out: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid.partition("[")[0])
    if left_out:
        said = [f"{reason}: {', '.join(sorted(set(names)))}" for reason, names in sorted(left_out.items())]
        terminalreporter.write_line(f"left out {sum(map(len, left_out.values()))} tests. {'. '.join(said)}")


@pytest.fixture(scope="session")
def shared() -> Path:
    return Path(os.environ["PROBING_SHARED"])


@pytest.fixture
def toy_encoder() -> ToyEncoder:
    return ToyEncoder()


@pytest.fixture
def toy_root(tmp_path) -> Path:
    """A folder with two small tasks: bigram_shift (its label is the parity of a marker word) and tree_depth (label is noise)."""
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    seen: set[str] = set()

    def rows(label):
        made = []
        for split, n in (("tr", 400), ("va", 60), ("te", 60)):
            while n:
                text = " ".join(rng.choice(words, size=rng.integers(4, 12)))
                if text not in seen:
                    seen.add(text)
                    made.append((split, label(text), text))
                    n -= 1
        return made

    write_task(root / "bigram_shift.txt", rows(lambda text: "I" if {"w1", "w2", "w3"} & set(text.split()) else "O"))
    write_task(root / "tree_depth.txt", rows(lambda text: str(rng.integers(5, 8))))
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders of tiny random transformers models with a word-level tokenizer: `tiny("bert")`, also gpt2, llama, t5."""
    from toys import save_tiny

    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_tiny(kind, tmp_path_factory.mktemp("models") / f"tiny-{kind}")
        return made[kind]

    return get
