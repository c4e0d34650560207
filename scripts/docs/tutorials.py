"""Runs tutorials (docs/tutorials/*.py), and writes each as a page: its text, code, output and pictures.

    python scripts/docs/tutorials.py docs/tutorials              # all
    python scripts/docs/tutorials.py docs/tutorials your_data    # some

A tutorial is a script in jupytext's percent format: `# %% [markdown]` begins text, `# %%` code. Tutorials run one after the
other in one folder, so that a later one finds the data and vectors of an earlier one; each also runs alone. A picture is a file
.svg or .png that a code cell writes into that folder.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
ORDER = (
    *("first_table", "your_data", "your_encoder", "compare_encoders", "llm"),
    *("interactions", "slurm", "read_a_table", "reproduce_a_paper"),
)


class Cell(NamedTuple):
    """A cell of a tutorial; `line`: where it begins in the script, from 1."""

    kind: str
    text: str
    line: int


def cells(script: str) -> Iterator[Cell]:
    """The cells of a script: "markdown" without its comment signs, or "code"."""
    parts = re.split(r"^# %%(.*)\n", script, flags=re.M)
    if parts[0].strip():
        raise ValueError("a tutorial begins with '# %% [markdown]'")
    line = parts[0].count("\n") + 1
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        if "[markdown]" in head:
            yield Cell("markdown", "\n".join(row.removeprefix("#").removeprefix(" ") for row in body.strip().split("\n")), line)
        else:
            yield Cell("code", body.strip("\n"), line + 1)
        line += 1 + body.count("\n")


def page(name: str, folder: Path, out: Path) -> str:
    """Run a tutorial in `folder`; return its page, and copy its pictures to `out`. An exception of the tutorial is raised."""
    path = SCRIPTS / f"{name}.py"
    namespace = {"__name__": "__main__", "__file__": str(path)}
    parts = []
    for kind, text, line in cells(path.read_text(encoding="utf-8")):
        if kind == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        before = {picture: picture.stat().st_mtime_ns for picture in pictures(folder)}
        printed = io.StringIO()
        with redirect_stdout(printed), chdir(folder):
            exec(compile("\n" * (line - 1) + text, str(path), "exec"), namespace)
        if output := printed.getvalue().rstrip():
            parts.append(f"```text\n{output.replace(str(folder), 'FOLDER')}\n```")
        for picture in pictures(folder):
            if before.get(picture) != picture.stat().st_mtime_ns:
                shutil.copy(picture, out / f"{name}-{picture.name}")
                parts.append(f"![{picture.stem.replace('_', ' ')}]({name}-{picture.name})")
    note = f"*This page is the script [`{name}.py`]({name}.py) with its output; CI runs the script.*"
    return "\n\n".join([*parts, note, ""])


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".svg", ".png"))


def main(out: Path, names: list[str]) -> None:
    if wrong := [name for name in names if name not in ORDER]:
        sys.exit(f"no tutorial {', '.join(wrong)} (there are: {', '.join(ORDER)})")
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.getLogger("probing").setLevel("WARNING")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names or ORDER:
            (out / f"{name}.md").write_text(page(name, Path(folder), out.resolve()), encoding="utf-8")
            print(f"{name}: {out / name}.md")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
