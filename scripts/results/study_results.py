"""Writes the committed result of a study: one report of its runs, and a manifest of how they were made.

Usage: python scripts/results/study_results.py OUT RUN...
RUN: folders of `probing run +experiment=NAME` of one study. OUT: the study's report, rows.csv.xz, and manifest.json: for each run
its configuration, encoder, seconds and versions; the commit; this command, with the names of the run folders alone, as where they
lay says nothing on another machine. A README.md in OUT is left as it is. Texts are other people's: `strip` and
pairs.html are not written, and sentences in a column `text` or `words` become the first 12 digits of their sha256.
"""

import hashlib
import io
import json
import lzma
import sys
from pathlib import Path

import pandas as pd

from probing import studies as job

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json


def without_texts(data: bytes) -> bytes:
    """A CSV file without the sentences in it; one without columns, of a table that has no line, is left as it is."""
    if not data.strip():
        return data
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False).drop(columns="strip", errors="ignore")
    for name in {"text", "words"} & {*frame}:
        if frame[name].str.contains(r"[A-Za-z] [A-Za-z]").any():
            frame[name] = [hashlib.sha256(text.encode()).hexdigest()[:12] if text else "" for text in frame[name]]
    return frame.to_csv(index=False).encode()


def main() -> None:
    out, *runs = map(Path, sys.argv[1:])
    job.together(runs, out)
    for path in sorted(out.glob("*.csv")):
        path.write_bytes(without_texts(path.read_bytes()))
    (out / "rows.csv.xz").write_bytes(lzma.compress((out / "rows.csv").read_bytes()))
    (out / "rows.csv").unlink()
    (out / "pairs.html").unlink(missing_ok=True)
    made = [json.loads((run / "manifest.json").read_text(encoding="utf-8")) for run in runs]
    seconds = round(sum(one["seconds"] for one in made), 1)
    named = [{"name": run.name, **one} for run, one in zip(runs, made, strict=True)]
    command = " ".join(["python", "scripts/results/study_results.py", str(out), *(run.name for run in runs)])
    write_json(out / "manifest.json", manifest(command=command, seconds=seconds, runs=named))


if __name__ == "__main__":
    main()
