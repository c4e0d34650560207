"""The script that times probes, at toy size: it runs, and what it writes holds together."""

import json
from pathlib import Path

import processes
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks" / "bench_probes.py"


def test_the_speed_of_probes(tmp_path):
    words = ["--synthetic", "300x12x2,300x12x4", "--grid", "8/0,0.2/1e-4", "--max-epoch", "8"]
    done = processes.run(SCRIPT, tmp_path, *words, cwd=SCRIPT.parents[2])
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "probes.json").read_text())
    assert [row["classes"] for row in found["logistic"]] == [2, 4] and len(found["mlp"]) == 2
    for row in found["logistic"]:
        assert row["converged"] and abs(row["above_optimum"]) < 1e-3 and abs(row["same_C_points"]) <= 100 / row["n_test"] + 1e-9
        spent = {name: sorted(times)[1] for name, times in row["cpu_seconds"].items()}
        assert row["ratio"] == pytest.approx(spent["sklearn"] / spent["ours"])
    for row in found["mlp"]:
        assert len(row["gemm_gflops"]) == 2
        assert row["worst_dev_points"] < 0.01 and row["passes"] == row["senteval_passes"]
    assert "| 300x12x4 | 300 | 4 | 3 |" in (tmp_path / "probes.md").read_text()
