"""The first minute: tasks that share sentences, the table on the terminal, runs that are up to date, the Python of `make`."""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probing.data.builders import grammar_tasks
from probing.data.builders.make import uncollected
from probing.data.builders.sampling import Built, Row
from probing.data.builders.sharing import share_sentences
from probing.data.sources import GrammarCorpus
from probing.encoders import load as load_encoder
from probing.errors import DataError
from probing.evaluation import recall
from probing.evaluation.rows import Row as Cell
from probing.evaluation.table import ResultTable
from probing.report.summary import in_order, lines_of
from probing.report.terminal import sparkline, terminal
from probing.types import Estimate

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"tr": 60, "va": 20, "te": 40}


def built(labels: list[str], groups: list[str] | None = None, prefix: str = "s") -> Built:
    rows = [Row("tr", label, (prefix, str(i)), groups[i] if groups else "") for i, label in enumerate(labels)]
    return Built(tuple(rows), "", "", {})


def test_tasks_share_their_sentences():
    one, two = built(["a", "b"] * 100), built(["x", "y", "y", "x"] * 50)
    shared = share_sentences({"one": one, "two": two}, SIZES, np.random.default_rng(0))
    used = [{row.tokens for row in task.rows} for task in shared.values()]
    assert [len(sentences) for sentences in used] == [120, 120]
    assert len(used[0] | used[1]) < 150  # 240 if they were drawn apart, 168 on average


@given(st.lists(st.sampled_from("ab"), min_size=40, max_size=120), st.integers(1, 12), st.integers(0, 9))
def test_a_group_is_in_one_split_and_one_with_both_classes_is_whole_or_absent(labels, n_groups, seed):
    groups = [f"g{i % n_groups}" for i in range(len(labels))]
    rows = share_sentences({"t": built(labels, groups)}, SIZES, np.random.default_rng(seed))["t"].rows
    assert all(len({row.split for row in rows if row.group == group}) <= 1 for group in set(groups))
    whole, kept = Counter(groups), Counter(row.group for row in rows)
    mixed = {g for g in groups if len({label for label, h in zip(labels, groups, strict=True) if h == g}) == 2}
    assert all(kept[group] in (0, whole[group]) for group in mixed)


def test_equal_classes_stay_equal_and_sizes_are_kept():
    rows = share_sentences({"t": built(["a", "b"] * 200)}, SIZES, np.random.default_rng(0))["t"].rows
    assert Counter((row.split, row.label) for row in rows) == {(s, k): n // 2 for s, n in SIZES.items() for k in "ab"}


def test_the_rows_that_are_kept_are_of_many_groups():
    groups = [i // 20 for i in range(1200)]  # each of one class
    task = built(["ab"[group % 2] for group in groups], [f"g{group}" for group in groups])
    rows = share_sentences({"t": task}, SIZES, np.random.default_rng(0))
    for split, n in (("tr", 30), ("va", 10), ("te", 20)):  # groups that the split has
        assert len({row.group for row in rows["t"].rows if row.split == split}) > 0.7 * n


@pytest.mark.parametrize("on", [True, False])
def test_making_tasks_leaves_the_garbage_collector_as_it_was(tmp_path, on):
    (gc.enable if on else gc.disable)()
    try:
        grammar_tasks(tmp_path, n=1500, sizes=SIZES)
        assert gc.isenabled() is on
        with pytest.raises(RuntimeError), uncollected():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() is on
    finally:
        gc.enable()


def test_the_grammar_gives_tasks_of_the_wanted_sizes(tmp_path):
    folder = grammar_tasks(tmp_path, n=1500, sizes=SIZES)
    lines = [line.split("\t") for line in (folder / "bigram_shift.txt").read_text().splitlines()]
    assert Counter(line[0] for line in lines) == SIZES
    assert all(len(line[2].split()) <= 14 for line in lines)


def test_a_task_that_the_grammar_cannot_make_says_why(tmp_path):
    with pytest.raises(DataError, match=r"tree_depth cannot be made from 300 sentences .* \(data.n=5000\)"):
        GrammarCorpus(str(tmp_path), n=300).tasks(["tree_depth"])


def line(role: str, right: np.ndarray, **more) -> tuple[Cell, np.ndarray]:
    score = {"accuracy": Estimate(right.mean(), 0, 1), "dev_accuracy": Estimate(right.mean(), np.nan, np.nan)}
    base = {"task": "t", "paper_name": "T", "n_test": len(right), "probe": "fast", "pooling": "mean", "encoder": "e"}
    return Cell(role, **(base | {"scores": score | {"macro_f1": score["accuracy"]}} | more)), right


def table_of(*rows: tuple[Cell, np.ndarray]) -> ResultTable:
    right = {row.cell: hits for row, hits in rows}
    return ResultTable.of([row for row, _ in rows], lambda cell: (np.ones(len(right[cell]), int), right[cell].astype(int)))


@pytest.mark.parametrize(("hits", "label"), [(200, True), (199, False)])
def test_a_length_that_decides_the_class_is_no_floor(hits, label):
    items = np.arange(200)
    table = table_of(
        line("probe", items < 150, layer=1, cell="l1"), line("probe", items < 120, layer=2, cell="l2"),
        line("floor", items < hits, encoder="length", pooling="", probe="", cell="f"),
        line("floor", items < 60, encoder="majority", pooling="", probe="", cell="m"),
    )  # fmt: skip
    best = table.best().iloc[0]
    assert (best.label_floor, best.beats_floors) == (("length", True) if label else ("", False))
    text = terminal(table, lines_of(table, in_order(table, table.best()), [""]))
    assert ("75.0=" in text, "75.0†" in text) == (label, not label)
    assert ("majority 30.0" in text) == label and "█▁" in text and "60.0-75.0" in text
    assert f"{int(label)} of 1 lines are above every floor" in text


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_bars_keep_the_order_of_the_scores(values):
    bars = sparkline(values)
    assert len(bars) == len(values)
    assert all(bars[i] <= bars[j] for i in range(len(values)) for j in range(len(values)) if values[i] <= values[j])


def run(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return processes.run("-m", "probing", "run", *words, cwd=cwd)


def test_a_finished_run_is_answered_until_something_changes(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(grammar_tasks(tmp_path / "g", n=400), data)
    words = [
        "data=senteval",
        f"data.root={data}",
        "encoder=lstm",
        "encoder.hidden=4",
        "encoder.embedding_dim=4",
        "task=bigram_shift",
        "pooling=mean",
        "controls=none",
        "floors=length",
    ]
    first, again = run(tmp_path, *words), run(tmp_path, *words)
    assert first.returncode == again.returncode == 0, first.stderr
    assert first.stdout == again.stdout and "BShift" in first.stdout
    assert "nothing to do" not in first.stderr and "nothing to do" in again.stderr
    assert "nothing to do" not in run(tmp_path, *words, "run.force=true").stderr
    assert "nothing to do" in run(tmp_path, *words).stderr
    os.utime(data / "bigram_shift.txt")  # the content may be another
    next((tmp_path / "probing-out/cells").glob("*.json")).unlink()
    assert "1 to compute" in run(tmp_path, *words).stderr


def test_a_run_whose_log_failed_is_not_finished(tmp_path):
    """The next run must write to the tracker what this one could not."""
    words = [
        "run",
        "data.n=300",
        "encoder=lstm",
        "encoder.hidden=4",
        "encoder.embedding_dim=4",
        "task=bigram_shift",
        "pooling=mean",
        "layer=1",
        "controls=none",
    ]
    code = "import sys\nimport probing.report.loggers as m\ndef log(*given): raise OSError(28, 'No space left')\nm.log = log\n"
    code += f"sys.argv = ['probing', *{[*words, 'floors=none']!r}]\nfrom probing.cli import main\nmain()"
    done = processes.run("-c", code, cwd=tmp_path)
    assert done.returncode == 2 and "No space left" in done.stderr
    assert list((tmp_path / "probing-out").glob("runs/*/table.md")) and not (tmp_path / "probing-out" / "finished").exists()


def test_another_file_or_option_is_no_finished_run(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "table.md").write_text("x")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(recall, "_opened", {str(tmp_path / "data" / "in.txt")})
    (tmp_path / "data" / "in.txt").write_text("a")
    recall.record({"a": 1}, tmp_path, folder, [], "text")
    assert recall.recall({"a": 1}, tmp_path) == (folder, "text")
    assert recall.recall({"a": 2}, tmp_path) is None
    (tmp_path / "data" / "added.txt").write_text("a task more")
    assert recall.recall({"a": 1}, tmp_path) is None
    recall.record({"a": 1}, tmp_path, folder, [], "text")
    (folder / "table.md").write_text("y!")
    assert recall.recall({"a": 1}, tmp_path) is None


def test_a_typo_loads_no_library(tmp_path):
    code = """
import json, sys
from probing.cli import main
sys.argv = ["probing", "run", "encodr=x"]
try:
    main()
except SystemExit as end:
    loaded = [name for name in ("torch", "sklearn", "pandas", "scipy", "numpy", "tqdm") if name in sys.modules]
    print(json.dumps([end.code, loaded]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1]) == [2, []], done.stderr
    assert "did you mean 'encoder'" in done.stderr


def test_a_smaller_twin_has_the_first_blocks_and_a_name_of_its_own():
    whole, small = (load_encoder("minilm", twin_blocks=n).random_twin(0) for n in (None, 2))
    assert small.name != whole.name and len(small.dims) == 3
    assert small.description["random_weights"]["blocks"] == 2 and "blocks" not in whole.description["random_weights"]
    assert load_encoder("minilm", twin_blocks=2).description == load_encoder("minilm").description


def test_make_names_the_pythons_that_it_looked_for(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "PYTHONS=python9.9", "setup"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "looked for python9.9" in done.stderr and "PYTHON=" in done.stderr
    chosen = subprocess.run(
        ["make", "-n", "setup", f"PYTHONS=nothing {sys.executable}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert f"{sys.executable} scripts/set_up.py minilm" in chosen.stdout


def test_lines_of_a_frame_are_all_on_the_terminal():
    items = np.arange(50)
    rows = [line("probe", items < 30 + k, layer=0, cell=f"c{k}", encoder=f"e{k}") for k in range(3)]
    table = table_of(*rows)
    best = table.best()
    assert isinstance(best, pd.DataFrame)
    text = terminal(table, lines_of(table, in_order(table, best), ["a"] * 3))
    assert [name in text for name in ("e0", "e1", "e2")] == [True] * 3
