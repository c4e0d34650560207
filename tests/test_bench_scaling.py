"""The scaling benchmark at toy size, its measure of memory against blocks of known size."""

import gc
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from probing.data.builders import grammar_tasks
from probing.store.extraction import give_back


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks")
    import bench_scaling

    monkeypatch.setattr(bench_scaling, "fresh", lambda call, *given: call(*given))  # a process each takes seconds
    return bench_scaling


def test_anonymous_memory_counts_what_is_held_and_no_file(script, tmp_path):
    size = 64_000_000
    gc.collect()
    give_back()  # memory that earlier tests freed would be given back meanwhile
    with script.Measured() as held:
        block = np.ones(size, np.uint8)
    assert held.figures["anonymous_bytes"] - held.figures["anonymous_before"] == pytest.approx(size, rel=0.1)
    block.tofile(tmp_path / "file")
    del block
    with script.Measured() as mapped:
        assert np.memmap(tmp_path / "file", np.uint8, "r").sum(dtype=np.int64) == size  # every page is read
    assert mapped.figures["anonymous_bytes"] - mapped.figures["anonymous_before"] < size // 4


def test_every_curve_at_toy_size(script, tmp_path, tiny, monkeypatch):
    data = grammar_tasks(tmp_path / "g", n=60)
    words = "--sizes 20,40 --depths 3 --encoders 2 --classes 2,99 --repeats 1 --budget 600 --task bigram_shift"
    monkeypatch.setattr(sys, "argv", ["bench_scaling.py", str(tmp_path), str(data), "--model", str(tiny("bert")), *words.split()])
    (tmp_path / "scaling.json").write_text(json.dumps({"kept": 1}))
    script.main()
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["kept"] == 1
    assert [row["sentences"] for row in found["sentences"]["rows"]] == [20, 40]
    assert [row["blocks"] for row in found["blocks"]["rows"]] == [3]
    assert [(row["cells"], row["failed"]) for row in found["encoders"]["rows"]] == [(6, 0)]  # 3 layers each
    assert [row["classes"] for row in found["classes"]["rows"]] == [2]  # the task has not 99
    assert [row["hooks"] for row in found["hooks"]["rows"]] == [False, True]
    assert all(500 < row["tokens"] <= 600 for row in found["hooks"]["rows"])
    written = (tmp_path / "scaling.md").read_text()
    assert all(f"## {part}" in written for part in ("Sentences", "Blocks", "Encoders", "Classes", "One batch"))


def test_classes_are_merged_and_n_stays(script, tmp_path):
    """Features that name one of 12 classes name the merged ones too."""
    y = np.arange(240) % 12
    arrays = {name: np.eye(12, dtype=np.float32)[y] for name in ("train", "dev", "test")}
    np.savez(tmp_path / "x.npz", **arrays, **{f"y_{name}": y for name in arrays})
    found = script.by_classes(SimpleNamespace(features=tmp_path / "x.npz", classes="2,5,12,13", repeats=2))
    assert (found["n"], found["dims"]) == (240, 12)
    assert [(row["classes"], len(row["repeats"]), row["accuracy"]) for row in found["rows"]] == [(2, 2, 1), (5, 2, 1), (12, 2, 1)]


def test_a_store_of_many_encoders(script, tmp_path, monkeypatch):
    import bench_scale

    monkeypatch.setattr(bench_scale, "fresh", script.fresh)
    monkeypatch.setattr(sys, "argv", ["bench_scale.py", str(tmp_path), "--encoders", "1,3", "--n", "400"])
    bench_scale.main()
    one, three = json.loads((tmp_path / "scale.json").read_text())["encoders"]["rows"]
    assert (one["failed"], three["failed"]) == (0, 0) and (one["new"], three["new"]) == (1, 2)
    assert (
        three["store"]["files"] == 3 * one["store"]["files"] and three["compacted"]["files"][1] == 3 * one["compacted"]["files"][1]
    )
    assert three["locks"]["exclusive"] == 2 * one["locks"]["exclusive"] > 0 < one["locks"]["shared"]
    files = three["store"]["files"] // 3
    assert f"{1000 * files:,} files of" in (tmp_path / "scale.md").read_text()
