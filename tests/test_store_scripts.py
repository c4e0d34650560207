"""The scripts that try the store, at toy size: what they count holds, and what they write says so."""

import json
from pathlib import Path

import processes
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(name, out, *words):
    done = processes.run(SCRIPTS / name, out, *words, cwd=SCRIPTS.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "manifest.json").read_text())["command"].startswith("python ")
    return (out / "README.md").read_text()


@pytest.mark.slow
def test_faults(tmp_path):
    said = run("trials/faults.py", tmp_path, *"--kills 1 --rounds 1 --processes 2 --flips 2 --full 1".split())
    found = json.loads((tmp_path / "faults.json").read_text())
    assert {name: len(trials) for name, trials in found.items() if name != "full"} == {"kills": 1, "at_once": 1, "flips": 2}
    assert all(trial["good"] for trials in found.values() for trial in trials)
    assert all(trial["detected"] for trial in found["flips"])
    assert found["at_once"][0]["computed"] == found["at_once"][0]["sentences"]
    assert all(trial["clear"] and not trial["damaged"] for trial in found["full"]) and "| 1 | 1 |" in said and "| 2 | 2 |" in said
    assert found["full"] or "full disks were left out" in said


@pytest.mark.slow
def test_the_bench_of_the_store(tmp_path, toy_root, tiny):
    words = f"--tasks bigram_shift --train 80 --rest 30 --sizes 3000 --repeats 1 --encoder {tiny('bert')}".split()
    said = run("benchmarks/bench_store.py", tmp_path / "out", toy_root, *words)
    found = json.loads((tmp_path / "out" / "store.json").read_text())
    errors = {(r["kind"], r["layer"], r["pooling"]): r for r in found["precision"]["errors"]}
    ours = [r for (kind, *_), r in errors.items() if kind == "float16 with offset and scale"]
    assert len(ours) == 3 * 4 and all(r["worst"] < 1e-3 for r in ours)
    assert max(r["worst"] for (kind, *_), r in errors.items() if kind == "bfloat16") > 1e-3
    assert found["scale"]["3000"]["shards"] == 2 and "| 3,000 |" in said and "| 1024 | 409.6 kB | 491.5 GB |" in said
