"""The committed result of a study: one report of its runs, and a manifest of how they were made.

Usage: python scripts/study_results.py OUT RUN...
RUN: folders of `probing run +experiment=NAME` of one study. OUT: the study's report, rows.csv.xz, and manifest.json: for each run
its configuration, encoder, seconds and versions; the commit; this command. A README.md in OUT is left as it is.
"""

import json
import lzma
import os
import platform
import subprocess
import sys
from pathlib import Path

from probing.paths import portable
from probing.studies import job


def main() -> None:
    out, *runs = map(Path, sys.argv[1:])
    job.together(runs, out)
    (out / "rows.csv.xz").write_bytes(lzma.compress((out / "rows.csv").read_bytes()))
    (out / "rows.csv").unlink()
    made = [json.loads((run / "manifest.json").read_text(encoding="utf-8")) for run in runs]
    manifest = {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": round(sum(one["seconds"] for one in made), 1),
        "runs": [{"name": run.name, **one} for run, one in zip(runs, made, strict=True)],
    }
    (out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
