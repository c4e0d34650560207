"""Hydra callback of the Slurm trial: makes shards small and slow, and logs the job that computed each.

    PYTHONPATH=scripts/trials probing run … '+hydra.callbacks.shards={_target_:shard_log.ShardLog,folder:log,seconds:1}'

Hydra runs the callback inside every job, on any node. FOLDER/<job>-<restarts>.jsonl has a line when a shard's vectors are computed
but not written (`begun`), and one when its file and receipt are written (`written`, with the sentences); the `seconds` lie between
them, so that a kill usually costs a shard. The timed sample of the announcement is not logged.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from probing.store import extraction
from probing.store import segments as shards
from probing.store import vectors as store


class ShardLog(Callback):
    def __init__(self, folder: str, seconds: float = 0.0):
        self.folder, self.seconds = Path(folder), seconds

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        job, task, restarts = (os.environ.get(f"SLURM_{key}", "0") for key in ("ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT"))
        place = {"job": f"{job}_{task}", "restarts": int(restarts), "node": os.environ.get("SLURMD_NODENAME", "")}
        path = self.folder / f"{job}_{task}-{restarts}.jsonl"

        def note(**event: Any) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(place | {"time": time.time()} | event) + "\n")

        def extract(encoder: Any, items: Any, poolings: Sequence[str], *advance: Any) -> Any:
            vectors = extraction.extract(encoder, items, poolings, *advance)
            if advance:
                note(begun=len(items))
                time.sleep(self.seconds)
            return vectors

        def write_shard(segment: shards.Segment, shard: int, *vectors: Any) -> None:
            shards.write_shard(segment, shard, *vectors)
            note(written=f"{segment.folder.name}/{shard}", sentences=segment.sentences[segment.rows(shard)])

        store.extract, store.write_shard, store.SHARD_BYTES = extract, write_shard, 1  # 16 sentences, the least


def hook(folder: Path, seconds: float) -> str:
    """The option on the command line that adds the log to every job of a sweep."""
    return f"+hydra.callbacks.shards={{_target_:shard_log.ShardLog,folder:{folder},seconds:{seconds}}}"


def read(folder: Path) -> list[dict[str, Any]]:
    """All lines of all jobs, in time order."""
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(lines, key=lambda line: line["time"])


def counts(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts of sentences and shards, by node and job, and of the shards lost before they were written.

    >>> one = {"job": "1_0", "restarts": 0, "node": "n1", "time": 0.0}
    >>> counts([one | {"begun": 2}, one | {"written": "a/0", "sentences": ["x", "y"]}, one | {"begun": 2}])["lost"]
    {'1_0-0': 1}
    """
    written = [line for line in lines if "written" in line]
    sentences = Counter(text for line in written for text in line["sentences"])
    starts = Counter(f"{line['job']}-{line['restarts']}" for line in written)
    begun = Counter(f"{line['job']}-{line['restarts']}" for line in lines if "begun" in line)
    return {
        "sentences": len(sentences),
        "sentences_written_twice": sum(n > 1 for n in sentences.values()),
        "shards": len(written),
        "shards_written_twice": sum(n > 1 for n in Counter(line["written"] for line in written).values()),
        "segments": len({line["written"].partition("/")[0] for line in written}),
        "shards_by_node": dict(sorted(Counter(line["node"] for line in written).items())),
        "shards_by_start_of_a_job": dict(sorted(starts.items())),
        "lost": {start: n - starts[start] for start, n in sorted(begun.items()) if n > starts[start]},
    }
