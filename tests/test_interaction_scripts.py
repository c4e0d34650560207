"""The scripts that measure interactions, at toy size: they run, and what they write holds together."""

import json
from pathlib import Path

import pandas as pd
import processes
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(name, out, *words):
    done = processes.run(SCRIPTS / name, out, *words, cwd=SCRIPTS.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(next(out.glob("*.json")).read_text())


def test_the_speed_ratios(tmp_path):
    pytest.importorskip("shapiq")
    found = run("benchmarks/bench_interactions.py", tmp_path, "--players", "4", "--repeats", "3")
    assert [row["index"] for row in found["rows"]] == ["SV", "SII", "Moebius"]
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["shapiq"] / row["ours"]) and len(row["repeats"]["ours"]) == 3
    assert "| 4 | SV |" in (tmp_path / "interactions.md").read_text()


@pytest.mark.slow
def test_the_study_of_estimators(tmp_path):
    pytest.importorskip("shapiq")
    run("results/interaction_estimators.py", tmp_path, "--players", "12", "--seeds", "1", "--repeats", "3", "--shapiq", "1")
    frame, learned = pd.read_csv(tmp_path / "errors.csv"), pd.read_csv(tmp_path / "learned.csv")
    assert set(frame.method) >= {"sampled", "regression", "permutation", "permutation_told", "shapiq:KernelSHAP"}
    assert (frame["rows"] <= frame.budget + frame.m * (frame.m + 1)).all() and (frame.error >= 0).all()
    assert (learned.times_fewer_rows > 50).all() and (learned.error_soft > 0).all()
