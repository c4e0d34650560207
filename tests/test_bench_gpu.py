"""The script for a GPU, on the CPU at toy size: every part runs, and what must be equal everywhere is."""

import json
from pathlib import Path

import processes
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks" / "gpu.py"


def test_every_part_runs_on_the_cpu(tmp_path, tiny):
    words = ["--device", "cpu", "--quick", "--repeats", "1", "--model", tiny("bert")]
    done = processes.run(SCRIPT, tmp_path, *words, cwd=SCRIPT.parents[2])
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = {row["what"]: row for row in found["extraction"]["rows"]}
    assert rows["probing, float32"]["apart"] < 1e-5 < rows["probing, bfloat16"]["apart"] < 0.1
    assert (
        rows["batches by length, bfloat16, sdpa"]["apart"] < 0.1
        and "absent" in rows["batches by length, bfloat16, flash_attention_2"]
    )
    [row] = found["share"]["rows"]
    assert row["share"] == pytest.approx(row["rate"] / found["share"]["peak"])
    grid = {row["what"]: row for row in found["grid"]["rows"]}
    assert grid["ours, cpu"]["dev accuracy"] == pytest.approx(grid["scikit-learn"]["dev accuracy"], abs=0.02)
    assert found["probes"]["rows"][0]["dev accuracy"] > 0.7 and "× loop" in (tmp_path / "gpu.md").read_text()


def test_a_machine_without_a_gpu_is_told_so(tmp_path):
    done = processes.run(SCRIPT, tmp_path, "--quick", cwd=SCRIPT.parents[2])
    if done.returncode:  # there is none
        assert done.returncode == 2 and "this machine has no CUDA device" in done.stderr and "Traceback" not in done.stderr
