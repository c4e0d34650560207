"""Flash: the answer of the whole at a part of the cost, precision that holds, and no false separation."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pandas as pd
import processes
import pytest
import toys
from scipy.stats import norm, t, ttest_1samp
from statsmodels.stats.proportion import proportion_confint
from test_cli import here, probing, the_run  # noqa: F401
from toys import ToyEncoder, save_tiny, write_task

from probing import Store, evaluate, flash, load_probe, load_task
from probing.errors import ConfigError
from probing.evaluation.adaptive import Round, check, sample
from probing.evaluation.request import Request
from probing.evaluation.table import ResultTable
from probing.store.results import ResultStore

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "results" / "flash.py"


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem + "_script", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def calibration():
    with pytest.MonkeyPatch.context() as patch:
        folder = SCRIPT.parents[1] / "calibration"
        patch.syspath_prepend(folder)
        return script(folder / "folds.py")


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
    result = flash(tasks, [encoder], store=tmp_path / "s", precision=2.5)
    whole = evaluate(
        tasks, [encoder], store=tmp_path / "whole", cells=tmp_path / "whole-c", poolings=["mean"], controls=[], floors=[]
    )
    best = whole.best().set_index("task")
    mean = result.answers.iloc[-1]
    assert mean.task == "mean of 2 tasks" and mean.why in ("separated", "within precision") and mean.share < 0.6
    for row in result.answers.iloc[:-1].itertuples():
        assert (row.layer, "mean") in best.not_separated[row.task]
    distinct = {text for task in result.tasks for split in task.splits.values() for text in split.texts}
    [entry] = Store(tmp_path / "s").entries()
    assert entry["sentences"] == len(distinct), "samples are nested: nothing was extracted that the last round does not use"


@pytest.mark.parametrize("precision", [5.0, 3.0])
def test_it_stops_where_every_layer_is_told_apart_or_known_to_the_precision(tasks, tmp_path, precision):
    result = flash(tasks, [ToyEncoder(), ToyEncoder("other", seed=3)], store=tmp_path / "s", precision=precision)
    rounds = result.rounds
    last = rounds[rounds["round"] == rounds["round"].max()]
    assert last["round"].iloc[0] >= 2, "one size says nothing of how the ranking moves"
    assert ((last.half_width <= precision) | last.separated).all()
    assert (rounds.groupby("round").n.first().diff().dropna() > 0).all()
    assert set(result.answers.why) <= {"separated", "within precision", "mean separated", "mean within precision"}
    assert last.family.value_counts().to_dict() == {"toy": 3, "other": 3, "encoders": 1}
    [pair] = last[last.family == "encoders"].itertuples()
    assert {pair.encoder, pair.against.split()[0]} == {"toy", "other"}, "the best of one encoder against the best of the other"
    result.write(tmp_path)
    side = "above" if pair.difference < 0 else "below"
    sentence = f"{abs(pair.difference):.1f} points {side} {pair.against} in the mean, ± {pair.half_width:.1f}: "
    sentence = f"{pair.encoder} mean {pair.layer}: {sentence}" + ("separated." if pair.separated else "not separated.")
    assert sentence in (tmp_path / "flash.md").read_text()


def test_what_cannot_be_told_apart_runs_out_of_sentences_and_says_so(root, tmp_path):
    task = load_task("tree_depth", root)
    result = flash([task], [ToyEncoder()], store=tmp_path / "s", precision=0.01, floors=["majority"])
    [line] = result.answers.itertuples()
    assert line.why == "data exhausted" and 4 * line.n_dev == line.n_test == 1920 and line.half_width > 0.01
    assert line.tied == [(0, "mean"), (1, "mean"), (2, "mean")], "labels are noise: no layer is better"
    assert set(result.table.frame.role) == {"probe", "floor"}
    result.write(tmp_path)
    text = (tmp_path / "flash.md").read_text()
    assert re.search(rf"\| tree_depth \| toy \| {line.layer} mean \| 0/mean 1/mean 2/mean \|.*\| data exhausted \|", text)
    assert len(pd.read_csv(tmp_path / "flash-rounds.csv")) == len(result.rounds)


def test_a_precise_answer_needs_more_than_a_rough_one_and_both_share_their_cells(root, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.evaluation.adaptive.START", 60)
    encoder, task = ToyEncoder(), load_task("tree_depth", root)
    rough = flash([task], [encoder], store=tmp_path / "s", precision=12)
    calls = encoder.calls
    assert flash([task], [encoder], store=tmp_path / "s", precision=12).answers.equals(rough.answers) and encoder.calls == calls
    fine = flash([task], [encoder], store=tmp_path / "s", precision=7)
    assert 1200 > fine.answers.n_test.sum() > rough.answers.n_test.sum() > 60
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
    real, written = ResultStore.put, []

    def stopping(self, *given):
        if len(written) == 8:
            raise KeyboardInterrupt
        written.append(real(self, *given))

    monkeypatch.setattr(ResultStore, "put", stopping)
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken-cells").glob("*.json")}
    result = run("broken")
    assert len(before) == 8 and all(path.stat().st_mtime_ns == t for path, t in before.items())
    assert result.answers.equals(whole.answers) and result.rounds.equals(whole.rounds)


def test_many_classes_are_drawn_so_that_each_keeps_some_sentences(root):
    task = load_task("word_content", root)
    sizes = []
    for n in (10, 50, 299, 300, 599, 600):
        part = sample(task, n, 0)
        counts = np.bincount(np.r_[part.dev.labels, part.test.labels], minlength=len(part.classes))
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

    assert round_(2, [2]).steady(round_(1, [1, 2])) and not round_(2, [1, 2]).steady(round_(1, [1]))


def bare(dev, test, correct):
    """The table of one task and encoder: dev and test accuracy of every layer, and which test items it has right, (layers, n)."""
    row = {"task": "t", "encoder": "e", "pooling": "mean", "role": "probe", "status": "done", "metric": "accuracy"}
    frame = pd.DataFrame([row | {"layer": k, "cell": str(k)} for k in range(len(dev))]).assign(dev_accuracy=dev, accuracy=test)
    return ResultTable(frame, lambda cell: (np.ones(correct.shape[1], bool), correct[int(cell)]))


@pytest.mark.parametrize("n_layers", [7, 25])
def test_equal_layers_are_separated_at_either_of_two_looks_in_one_search_of_twenty_at_most(n_layers, monkeypatch):
    """Nested samples; without the correction some layer would be outside its 95 % interval in one search of six or more."""
    monkeypatch.setattr("probing.evaluation.adaptive.DEPENDENCE", 1.0)  # these items are independent
    rng = np.random.default_rng(n_layers)
    sizes, searches, wrong, naive = (400, 800), 40, 0, 0
    for _ in range(searches):
        shared = rng.random((2, 1, sizes[-1])) < 0.6
        right = np.where(rng.random((2, n_layers, sizes[-1])) < 0.5, shared, rng.random((2, n_layers, sizes[-1])) < 0.6)
        looks = []
        for number, n in enumerate(sizes, start=1):
            dev, test = right[:, :, :n].mean(2)
            looks += Round.of(bare(dev, test, right[1, :, :n]), number, 1.0).lines
        wrong += any(line["separated"] for line in looks)
        naive += any(abs(line["difference"]) > line["half_width"] > 0 for line in looks)
    assert wrong <= 0.05 * searches + 2 * np.sqrt(0.05 * 0.95 * searches) and naive > 0.15 * searches


def test_a_round_spends_half_of_what_the_round_before_spent():
    """One layer is 13 of 400 items behind another: Agresti and Min's z is 13 / sqrt(19 + 1 - 169 / 402) = 2.94, over 1.25: 2.35."""
    correct = np.zeros((2, 400), bool)
    correct[0, :16], correct[1, 16:19] = True, True  # the first alone has 16 right, the second alone 3
    z = 13 / np.sqrt(20 - 13**2 / 402) / 1.25
    assert NormalDist().inv_cdf(1 - 0.025 / 2) < z < NormalDist().inv_cdf(1 - 0.0125 / 2)
    first, second = (Round.of(bare([0.9, 0.8], correct.mean(1), correct), number, 1.0) for number in (1, 2))
    assert [line["separated"] for line in (*first.lines, *second.lines)] == [False, True, False, False]
    assert [len(state.ties) for state in (first, second)] == [1, 2], "of a task too"
    other = Round.of(bare([0.8, 0.9], correct.mean(1), correct), 1, 1.0)
    assert other.best == (("e", "mean", 1),) and other.leaders == {("t", "e", "mean", 1)}, "dev chooses, not test"


def test_sentences_of_one_group_count_once():
    """Every sentence twice: half as many groups as sentences, so that the error is √2 times as large."""
    correct = np.zeros((2, 400), bool)
    correct[0, :32], correct[1, 32:36] = True, True
    alone = bare([0.9, 0.8], correct.mean(1), correct)
    twins = replace(alone, groups=lambda cell: np.arange(400) // 2)
    widths = [Round.of(table, 1, 1.0).lines[1]["half_width"] for table in (alone, twins)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("m", [8, 12, 40])
def test_groups_are_tested_by_students_t_and_never_beyond_their_sign_flips(m, monkeypatch):
    """The t test of the sums of the groups, by scipy; a group has so many items that half items play no part."""
    monkeypatch.setattr("probing.evaluation.adaptive.DEPENDENCE", 1.0)
    groups, rng, least = np.repeat(np.arange(m), 400), np.random.default_rng(m), 2 / 2**m
    shares = 0.7 + 0.02 * rng.standard_normal((2, m, 1)) - np.array([0, 0.03]).reshape(2, 1, 1)
    for gap in (0.0, 0.5):
        correct = (rng.random((2, m, 400)) < shares - np.array([0, gap]).reshape(2, 1, 1)).reshape(2, -1)
        table = replace(bare([0.9, 0.8], correct.mean(1), correct), groups=lambda cell: groups)
        line = Round.of(table, 1, 1.0).lines[1]
        sums = (correct[0].astype(int) - correct[1]).reshape(m, -1).mean(1)
        student = ttest_1samp(sums, 0)
        assert line["p"] == pytest.approx(max(student.pvalue, least), rel=0.05, abs=1e-20)
        interval = student.confidence_interval(0.95)
        assert line["half_width"] == pytest.approx(50 * (interval.high - interval.low), rel=0.02)
        assert line["separated"] == (line["p"] < 0.025)
    two = bare([0.9] + [0.8] * 6, np.r_[0.9, [0.1] * 6], np.r_[correct[:1], [correct[1]] * 6])
    lines = Round.of(replace(two, groups=lambda cell: groups), 1, 1.0).lines
    assert all(line["separated"] for line in lines[1:]) == (least < 0.025 / 6), "eight groups cannot reach 0.025 / 6"


def test_the_interval_of_an_answer_goes_over_groups_at_the_level_of_its_round(calibration, tmp_path):
    """24 groups of 20 sentences that share most of their noise: twice as wide as by sentences."""
    task, encoder = calibration.planted(480, 2, 4, 1, size=20)
    result = flash([task], [encoder], store=tmp_path / "s", precision=50, probe=calibration.Ridge(), floors=())
    [answer] = result.answers.itertuples()
    cells = result.table.frame.set_index("layer").cell
    right, groups = result.table.by_item(cells[answer.layer]), result.table.groups(cells[answer.layer])
    alpha, m, n, p = 0.05 / 2 ** result.rounds["round"].max(), len(set(groups)), len(right), right.mean()
    sums = np.bincount(groups, right - p)
    size = p * (1 - p) / (m / (m - 1) * (sums @ sums) / n**2) * (norm.isf(alpha / 2) / t.isf(alpha / 2, m - 1)) ** 2
    expected, by_items = (proportion_confint(p * k, k, alpha, "wilson") for k in (size, n))
    assert (answer.accuracy_low, answer.accuracy_high) == pytest.approx(expected)
    assert answer.accuracy_high - answer.accuracy_low > 1.5 * np.diff(by_items)[0]
    assert list(result.rounds.n.unique()) == [480], "not more than there are"


def test_an_encoder_that_is_better_on_test_than_the_best_on_dev_is_above_it(tasks, tmp_path):
    result = flash(tasks[:1], [ToyEncoder()], store=tmp_path / "s", precision=60, floors=[])
    line = {"round": 9, "family": "encoders", "encoder": "B", "pooling": "mean", "layer": 1, "against": "A mean 2"}
    rounds = pd.DataFrame([line | {"difference": x, "half_width": 1.0, "separated": False} for x in (-0.4, 0.4)])
    replace(result, rounds=rounds).write(tmp_path)
    text = (tmp_path / "flash.md").read_text()
    assert "0.4 points above A mean 2" in text and "0.4 points below A mean 2" in text and "-0.4" not in text


@pytest.mark.parametrize(("ahead", "tied"), [([0, 28, 28, 28], 1), ([0, 9, 28, 28], 1), ([0, 9, 9, 28], 3), ([0, 9, 9, 9], 4)])
def test_layers_are_tied_by_holm_over_the_tasks_own(ahead, tied):
    """The best has so many items right that the others have wrong; by hand against the normal quantiles of Holm's steps."""
    correct = np.ones((4, 400), bool)
    for layer, n in enumerate(ahead):
        correct[layer, : 2 * n : 2] = False
    state = Round.of(bare([0.9, 0.8, 0.7, 0.6], correct.mean(1), correct), 1, 1.0)
    z = sorted((n / np.sqrt(n + 1 - n**2 / 402) / 1.25 for n in ahead[1:]), reverse=True)
    expected = 0
    for step, one in enumerate(z):
        if one <= NormalDist().inv_cdf(1 - 0.025 / (3 - step) / 2):
            break
        expected += 1
    assert len(state.ties) == 4 - expected == tied


def test_the_answer_of_flash_is_right_where_no_layer_is_better_than_another(calibration, monkeypatch):
    """The public function: what it says is separated, tied and inside an interval, at two looks, 25 layers. One wrong run of 11
    is allowed: an error rate of 0.4 would pass with a probability of 0.03, one of 0.5 with 0.006."""
    monkeypatch.setattr("probing.evaluation.adaptive.START", 200)
    runs = 11
    counts = calibration.flash_null(25, runs, 16, 0, sentences=400)
    few = 0.05 * runs + 2 * np.sqrt(0.05 * 0.95 * runs)
    assert counts["runs"] == runs and counts["looks"] == 2
    assert max(counts["any_look"], counts["answer"], counts["tied"]) <= few and counts["covered"] >= runs - few
    assert counts["differences_covered"] >= 0.93 * counts["differences"] == 0.93 * 24 * runs


def test_a_task_that_is_cross_validated_reports_what_its_layers_reach(calibration):
    counts = calibration.folds_null(20, 20, 16, 0, sentences=200, probe=calibration.Ridge())
    assert counts["tied"] <= 3 and counts["covered"] >= 17 and abs(counts["bias"]) < 300 * np.sqrt(0.25 / 100 / 20)


def test_statements_of_the_answer_are_at_the_level_of_its_round(tasks, tmp_path):
    """Intervals, from the predictions by statsmodels; of the mean line by hand."""
    result = flash(tasks, [ToyEncoder()], store=tmp_path / "s", precision=4, floors=[])
    alpha = 0.05 / 2 ** result.rounds["round"].max()
    cells = result.table.frame.set_index(["task", "layer"])
    sums = []
    for line in result.answers.iloc[:-1].itertuples():
        assert line.layer == cells.loc[line.task].dev_accuracy.idxmax()
        right = np.equal(*result.table.predictions(cells.cell[line.task, line.layer]))
        low, high = proportion_confint(right.sum(), len(right), alpha, "wilson")
        assert (line.accuracy, line.accuracy_low, line.accuracy_high) == pytest.approx((right.mean(), low, high))
    mean = result.answers.iloc[-1]
    for task in tasks:
        right = np.equal(*result.table.predictions(cells.cell[task.name, mean.layer]))
        low, high = proportion_confint(right.sum(), len(right), alpha, "wilson")
        sums.append([right.mean(), (right.mean() - low) ** 2, (high - right.mean()) ** 2])
    value, below, above = np.sum(sums, 0)
    assert mean.accuracy == pytest.approx(value / 2)
    assert mean.accuracy_low == pytest.approx(value / 2 - np.sqrt(below) / 2)
    assert mean.accuracy_high == pytest.approx(value / 2 + np.sqrt(above) / 2)


@pytest.mark.parametrize("precision", [0, -1.0, float("nan"), float("inf"), "narrow", True, None])
def test_a_precision_that_is_no_number_above_zero_is_refused(tasks, tmp_path, precision):
    with pytest.raises(ConfigError, match=r"precision=.* must be a number of accuracy points above 0"):
        flash(tasks, [ToyEncoder()], store=tmp_path / "s", precision=precision)


@pytest.mark.parametrize(
    ("options", "message"), [({"seeds": (0, 1)}, "takes one seed"), ({"train_size": 100}, "leave out data.train_size=100")]
)
def test_sizes_and_several_seeds_are_not_given_beside_a_precision(options, message):
    with pytest.raises(ConfigError, match=message):
        check(1.0, Request(load_probe("fast"), **options))


def test_a_round_with_failed_cells_ends_the_search_and_is_said(tasks, tmp_path):
    result = flash(tasks, [ToyEncoder(poison="w7")], store=tmp_path / "s", precision=2, floors=[])
    assert (result.table.frame.status == "failed").all() and result.answers.empty


@pytest.mark.slow
def test_the_command_line(here):  # noqa: F811
    words, out = here
    words = [word for word in words if not word.startswith("pooling")]
    done = probing("run", "+experiment=flash", "precision=5", *words)
    assert done.returncode == 0, done.stderr
    folder = the_run(out)
    assert "flash, round 1: n = 400" in done.stderr and "flash.md" in done.stderr
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
        done = processes.run(SCRIPT, *words, cwd=SCRIPT.parents[2])
        assert done.returncode == 0, done.stderr
    runs, lines = pd.read_csv(tmp_path / "out" / "flash.csv"), pd.read_csv(tmp_path / "out" / "tasks.csv")
    assert list(runs.precision) == [12, 6]
    full = json.loads((tmp_path / "out" / "manifest.json").read_text())["full_run"]
    [times] = full.values()
    assert runs.full_seconds[0] == pytest.approx(
        sum(seconds["extraction"] + seconds["fits"] for seconds in times.values()), abs=1e-3
    )
    assert (runs.ratio - runs.full_seconds / runs.seconds).abs().max() < 0.01 and (runs.sentences <= runs.of).all()
    assert len(lines) == 2 * 2 and lines.tau[lines.task == "past_present"].between(-1, 1).all()
    assert f"| {runs.encoder[0]} | 12 |" in (tmp_path / "out" / "table.md").read_text()
    ranks = pd.read_csv(tmp_path / "out" / "ranks.csv")
    assert set(ranks.task) == {"past_present", "word_content", "mean"} and set(ranks.layer) == {0, 1, 2}
    assert (ranks.groupby(["precision", "task"])[["rank", "full_rank"]].sum() == 6).all(axis=None)


def test_rank_resolution_is_what_95_percent_of_the_rank_differences_do_not_exceed():
    measured = script(SCRIPT.with_name("flash_agreement.py"))

    def table(a, b):
        rows = [{"role": "probe", "task": t, "layer": k, "accuracy": x} for t, of in (("s", a), ("t", b)) for k, x in enumerate(of)]
        return ResultTable(pd.DataFrame(rows))

    sample_, full = table([0.875, 0.75, 0.75], [0.25, 0.5, 0.375]), table([0.875, 0.8125, 0.75], [0.625, 0.5, 0.375])
    lines = pd.DataFrame(measured.ranked(SimpleNamespace(table=sample_), full))
    of = {task: [list(part["rank"]), list(part.full_rank)] for task, part in lines.groupby("task")}
    assert of == {"s": [[1, 2.5, 2.5], [1, 2, 3]], "t": [[3, 1, 2], [1, 2, 3]], "mean": [[2.5, 1, 2.5], [1, 2, 3]]}
    few, many = (pd.DataFrame({"rank": [1.0] * 20, "full_rank": [1.0] * n + [3.0] * (20 - n)}) for n in (18, 19))
    assert measured.resolution(few) == 2 and measured.resolution(many) == 0 and np.isnan(measured.resolution(few[:0]))
    tasks = pd.DataFrame({"encoder": ["a", "b"], "accuracy": [0.7, 0.8], "full_accuracy": [0.9, 0.8]})
    encoders = measured.ranked_encoders(tasks.assign(precision=1.0, seed=0, task="t"))
    assert list(encoders["rank"]) == [2, 1] and list(encoders.full_rank) == [1, 2]


@pytest.mark.shared
def test_the_reference_of_the_script_is_the_committed_run(shared):
    measured = script(SCRIPT)
    tasks = [load_task(name, shared / "data" / "probing" / "xprobe-en") for name in ("sentence_length", "bigram_shift")]
    folder = SCRIPT.parents[2] / "results" / "xprobe-en-minilm"
    best = measured.Reference(folder, tasks).best().set_index("task")
    assert best.layer.to_dict() == {"sentence_length": 2, "bigram_shift": 3} and best.not_separated["sentence_length"] == [
        (layer, "mean") for layer in range(4)
    ]
    with pytest.raises(SystemExit, match="made on other data: bigram_shift"):
        measured.Reference(folder, [tasks[0], tasks[1].subset(100, 0)])
