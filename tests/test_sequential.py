"""Flash: the answer of the whole at a part of the cost, precision that holds, and no false separation."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
import toys
from test_cli import here, probing, the_run  # noqa: F401
from toys import ToyEncoder, save_tiny, write_task

from probing import Store, evaluate, flash, load_probe, load_task
from probing.cells import Cells
from probing.errors import ConfigError
from probing.plan import Settings
from probing.sequential import Round, _difference, check, sample

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "flash.py"
WORDS = [f"w{i}" for i in range(40)]


def parity(text, rng):
    return "I" if {"w1", "w2", "w3"} & set(text.split()) else "O"


def long(text, rng):
    return str(len(text.split()) // 4)


def noise(text, rng):
    return str(rng.integers(5, 7))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Tasks of 2,400 / 600 / 600 sentences (a marker word, a length, noise), one of 60 classes, one in the tiny models' words."""
    folder = tmp_path_factory.mktemp("flash")
    labels = {"bigram_shift": parity, "sentence_length": long, "tree_depth": noise}
    for seed, (name, label) in enumerate(labels.items()):
        rng = np.random.default_rng(seed)
        texts = [" ".join([f"{name[0]}{i}", *rng.choice(WORDS, rng.integers(4, 12))]) for i in range(3600)]
        splits = ["tr"] * 2400 + ["va"] * 600 + ["te"] * 600
        write_task(folder / f"{name}.txt", [(s, label(t, rng), t) for s, t in zip(splits, texts, strict=True)])
    rows = [(s, f"k{i % 60:02}", f"k{i % 60} x{i} {s}") for s, n in (("tr", 600), ("va", 120), ("te", 120)) for i in range(n)]
    write_task(folder / "word_content.txt", rows)
    rng = np.random.default_rng(9)
    texts = [" ".join(rng.choice(toys.WORDS, rng.integers(3, 12))) for _ in range(1000)]
    splits = ["tr"] * 600 + ["va"] * 200 + ["te"] * 200
    write_task(folder / "past_present.txt", [(s, "NP"["cat" in t.split()], t) for s, t in zip(splits, texts, strict=True)])
    return folder


@pytest.fixture
def tasks(root):
    return [load_task(name, root) for name in ("bigram_shift", "sentence_length")]


def test_its_layer_is_the_one_that_all_data_choose_and_less_is_extracted(tasks, tmp_path):
    encoder = ToyEncoder(width=20)
    found = flash(tasks, [encoder], store=tmp_path / "s", precision=2.5)
    whole = evaluate(
        tasks, [encoder], store=tmp_path / "whole", cells=tmp_path / "whole-c", poolings=["mean"], controls=[], floors=[]
    )
    best = whole.best().set_index("task")
    mean = found.answers.iloc[-1]
    assert mean.task == "mean of 2 tasks" and mean.why in ("separated", "within precision") and mean.share < 0.6
    for row in found.answers.iloc[:-1].itertuples():
        assert row.layer in best.tied[row.task]
    distinct = {text for task in found.tasks for split in task.splits.values() for text in split.texts}
    [entry] = Store(tmp_path / "s").entries()
    assert entry["sentences"] == len(distinct), "samples are nested: nothing was extracted that the last round does not use"


@pytest.mark.parametrize("precision", [5.0, 3.0])
def test_it_stops_where_every_layer_is_told_apart_or_known_to_the_precision(tasks, tmp_path, precision):
    found = flash(tasks, [ToyEncoder(), ToyEncoder("other", seed=3)], store=tmp_path / "s", precision=precision)
    rounds = found.rounds
    last = rounds[rounds["round"] == rounds["round"].max()]
    assert last["round"].iloc[0] >= 2, "one size says nothing of how the ranking moves"
    assert ((last.half_width <= precision) | last.separated).all()
    assert (rounds.groupby("round").n.first().diff().dropna() > 0).all()
    assert set(found.answers.why) <= {"separated", "within precision", "mean separated", "mean within precision"}
    pairs = last[[not a.startswith(f"{e} ") for a, e in zip(last.against, last.encoder, strict=True)]]
    assert len(pairs) == 1, "the best of one encoder against the best of the other"


def test_what_cannot_be_told_apart_runs_out_of_sentences_and_says_so(root, tmp_path):
    task = load_task("tree_depth", root)
    found = flash([task], [ToyEncoder()], store=tmp_path / "s", precision=0.01, floors=["majority"])
    [line] = found.answers.itertuples()
    assert line.why == "data exhausted" and line.n_test == 2400 and line.half_width > 0.01
    assert line.tied == [0, 1, 2], "labels are noise: no layer is better"
    assert set(found.table.frame.role) == {"probe", "floor"}
    found.write(tmp_path)
    text = (tmp_path / "flash.md").read_text()
    assert re.search(rf"\| tree_depth \| toy \| {line.layer} mean \| 0 1 2 \|.*\| data exhausted \|", text)
    assert len(pd.read_csv(tmp_path / "flash-rounds.csv")) == len(found.rounds)


def test_a_precise_answer_needs_more_than_a_rough_one_and_both_share_their_cells(root, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.sequential.START", 60)
    encoder, task = ToyEncoder(), load_task("tree_depth", root)
    rough = flash([task], [encoder], store=tmp_path / "s", precision=12)
    calls = encoder.calls
    assert flash([task], [encoder], store=tmp_path / "s", precision=12).answers.equals(rough.answers) and encoder.calls == calls
    fine = flash([task], [encoder], store=tmp_path / "s", precision=7)
    assert 600 > fine.answers.n_test.sum() > rough.answers.n_test.sum() > 60
    shared = rough.rounds["round"].max() - 1
    first = [table[table["round"] <= shared].reset_index(drop=True) for table in (fine.rounds, rough.rounds)]
    assert first[0].equals(first[1]) and len(first[0])


def test_samples_read_from_a_float16_store_are_cells_of_their_own(tasks, tmp_path):
    half = flash(tasks, [ToyEncoder()], store=Store(tmp_path / "s", "float16"), precision=12, floors=[])
    exact = flash(tasks, [ToyEncoder()], store=tmp_path / "t", cells=tmp_path / "s-cells", precision=12, floors=[])
    assert set(half.table.frame.encoder) == {"toy[store=float16]"} and set(exact.table.frame.encoder) == {"toy"}
    assert not set(half.table.frame.cell) & set(exact.table.frame.cell)


def test_interrupted_it_goes_on_and_finds_the_same(tasks, tmp_path, monkeypatch):
    def run(name):
        return flash(tasks, [ToyEncoder()], store=tmp_path / name, precision=3, floors=[])

    whole = run("whole")
    real, written = Cells.write, []

    def stopping(self, *given):
        if len(written) == 8:
            raise KeyboardInterrupt
        written.append(real(self, *given))

    monkeypatch.setattr(Cells, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken-cells").glob("*.json")}
    found = run("broken")
    assert len(before) == 8 and all(path.stat().st_mtime_ns == t for path, t in before.items())
    assert found.answers.equals(whole.answers) and found.rounds.equals(whole.rounds)


def test_many_classes_are_drawn_so_that_each_keeps_some_sentences(root):
    task = load_task("word_content", root)
    sizes = []
    for n in (10, 50, 299, 300, 599, 600):
        part = sample(task, n, 0)
        counts = np.bincount(part.test.labels, minlength=len(part.classes))
        assert set(counts) == {10} and len(part.classes) == min(60, max(2, n // 10)), "10 a class is all that there is"
        for split in part.splits.values():
            assert all(text.split()[0] == f"k{int(part.classes[k][1:])}" for k, text in zip(split.labels, split.texts, strict=True))
        sizes.append({text for split in part.splits.values() for text in split.texts})
    assert all(a <= b for a, b in zip(sizes, sizes[1:], strict=False)) and sizes[-1] == set(task.train.texts)


def test_a_fold_trains_on_about_ten_sentences_of_a_class_and_not_on_eight_tenths_of_ten(root):
    task, labels = load_task("word_content", root), np.repeat(np.arange(20), 60)
    train = replace(task.train, texts=tuple(f"w{i} x" for i in range(len(labels))), labels=labels)
    task = replace(task, classes=tuple(f"c{k}" for k in range(20)), train=train)
    for n in (100, 150):
        part = sample(task, n, 0)
        counts = [np.bincount(fold.train.labels, minlength=len(part.classes)) for fold in part.parts]
        assert len(part.classes) < 20 and np.mean(counts) >= 9


def test_a_best_layer_that_moves_beyond_the_ties_is_not_yet_an_answer():
    def round_(leader, ties):
        return Round((), (), 0.0, frozenset({("t", "e", "mean", leader)}), frozenset(("t", "e", "mean", k) for k in ties))

    assert round_(2, [1, 2]).steady(round_(1, [1])) and not round_(2, [2]).steady(round_(1, [1, 2]))


def test_layers_that_do_not_differ_are_separated_in_one_search_of_twenty_at_most():
    """Seven layers of equal accuracy, in five rounds of nested samples; without the correction it would be one in three."""
    rng = np.random.default_rng(0)
    sizes, searches, wrong, naive = (300, 600, 1200, 2400, 4800), 200, 0, 0
    keys = [("e", "mean", layer) for layer in range(7)]
    cells = {key: {"t": str(key)} for key in keys}
    for _ in range(searches):
        shared = rng.random(sizes[-1]) < 0.6
        right = {str(k): np.where(rng.random(sizes[-1]) < 0.7, shared, rng.random(sizes[-1]) < 0.6) for k in keys}
        found = []
        for r, n in enumerate(sizes, start=1):
            predictions = lambda cell, n=n, right=right: (np.ones(n, bool), right[cell][:n])  # noqa: E731
            found.append([_difference(cells, predictions, keys[0], key, 0.05 / 2**r / 6) for key in keys[1:]])
        wrong += any(line["separated"] for part in found for line in part)
        naive += any(abs(line["difference"]) > line["half_width"] for part in found for line in part)
    assert wrong <= 0.05 * searches + 2 * np.sqrt(0.05 * 0.95 * searches) and naive > 0.2 * searches


@pytest.mark.parametrize("precision", [0, -1.0, float("nan"), float("inf"), "narrow", True, None])
def test_a_precision_that_is_no_number_above_zero_is_refused(tasks, tmp_path, precision):
    with pytest.raises(ConfigError, match=r"precision=.* must be a number of accuracy points above 0"):
        flash(tasks, [ToyEncoder()], store=tmp_path / "s", precision=precision)


@pytest.mark.parametrize(
    ("options", "message"), [({"seeds": (0, 1)}, "takes one seed"), ({"train_size": 100}, "leave out data.train_size=100")]
)
def test_sizes_and_several_seeds_are_not_given_beside_a_precision(options, message):
    with pytest.raises(ConfigError, match=message):
        check(1.0, Settings(load_probe("fast"), **options))


def test_a_round_with_failed_cells_ends_the_search_and_is_said(tasks, tmp_path):
    found = flash(tasks, [ToyEncoder(poison="w7")], store=tmp_path / "s", precision=2, floors=[])
    assert (found.table.frame.status == "failed").all() and found.answers.empty


@pytest.mark.slow
def test_the_command_line(here):  # noqa: F811
    words, out = here
    words = [word for word in words if not word.startswith("pooling")]
    done = probing("run", "+experiment=flash", "precision=5", *words)
    assert done.returncode == 0, done.stderr
    folder = the_run(out)
    assert "flash, round 1: n = 640" in done.stderr and "flash.md" in done.stderr
    assert {"flash.csv", "flash-rounds.csv", "flash.md", "table.md"} <= {path.name for path in folder.iterdir()}
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.role) == {"probe", "floor"} and set(rows.pooling.dropna()) == {"mean"}
    assert json.loads((folder / "run.json").read_text())["config"]["precision"] == 5
    answers = pd.read_csv(folder / "flash.csv")
    assert list(answers.task) == ["tree_depth", "bigram_shift", "mean of 2 tasks"]
    refused = probing("run", "+experiment=flash", *words, "precision=narrow")
    assert refused.returncode == 2 and "precision='narrow' must be a number" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow
def test_the_script_that_compares_it_with_the_full_run(root, tmp_path):
    model = save_tiny("bert", tmp_path / "bert", words=[*toys.WORDS, *(f"k{k:02}" for k in range(60))])
    words = [root, tmp_path / "out", "--encoder", model, "--tasks", "past_present,word_content", "--precisions", "12,6"]
    words += ["--seeds", "0", "--scratch", tmp_path / "scratch", "--cold"]
    for _ in range(2):  # the second reads what the first has measured
        done = processes.run(SCRIPT, *words, cwd=SCRIPT.parents[1])
        assert done.returncode == 0, done.stderr
    runs, lines = pd.read_csv(tmp_path / "out" / "flash.csv"), pd.read_csv(tmp_path / "out" / "tasks.csv")
    assert list(runs.tasks) == ["all", "all", "without word_content", "without word_content"]
    full = json.loads((tmp_path / "out" / "manifest.json").read_text())["full_run"]
    assert runs.full_seconds[0] == pytest.approx(sum(said["extraction"] + said["fits"] for said in full.values()), abs=1e-3)
    assert (runs.ratio - runs.full_seconds / runs.seconds).abs().max() < 0.01 and (runs.sentences <= runs.of).all()
    assert len(lines) == 2 * 2 + 2 and lines.tau[lines.task == "past_present"].between(-1, 1).all()
    assert "| all | 12 |" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.shared
def test_the_reference_of_the_script_is_the_committed_run(shared):
    spec = importlib.util.spec_from_file_location("flash_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tasks = [load_task(name, shared / "data" / "probing" / "xprobe-en") for name in ("sentence_length", "bigram_shift")]
    folder = SCRIPT.parents[1] / "results" / "xprobe-en-minilm"
    best = script.Reference(folder, tasks).best().set_index("task")
    assert best.layer.to_dict() == {"sentence_length": 2, "bigram_shift": 3} and best.tied["sentence_length"] == [0, 1, 2, 3]
    with pytest.raises(SystemExit, match="made on other data: bigram_shift"):
        script.Reference(folder, [tasks[0], tasks[1].subset(100, 0)])
