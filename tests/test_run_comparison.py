"""Runs compared: tests by hand and by SciPy, letters, ranks, what is refused, and the command."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import processes
import pytest
from scipy.stats import binomtest, t
from toys import write_task

from probing.errors import ConfigError
from probing.evaluation.rows import Row
from probing.evaluation.run_comparison import RunComparison
from probing.evaluation.table import ResultTable
from probing.report import compared

N = 400
_count = itertools.count()
GOLD = np.zeros(N, int)


def right(share, seed):
    """Whether each of N items is right, a share of them; items of one seed are the same up to chance."""
    return np.random.default_rng(seed).random(N) < share


def table(entries, task="t", groups=None, probe="fast"):
    """A table of encoders: name -> truth values of N test items, one layer each."""
    predictions, rows = {}, []
    for name, correct in entries.items():
        cell = f"cell{next(_count)}"
        predictions[cell] = (GOLD, np.where(correct, 0, 1))
        score = float(np.mean(correct))
        rows.append(
            Row.flat(
                role="probe", task=task, paper_name=task.upper(), encoder=name, layer=1, pooling="mean", probe=probe, n_train=100,
                n_test=N, n_groups=N if groups is None else int(groups.max()) + 1, n_classes=2, majority=0.5, cell=cell,
                test_sha256=f"of {task}", data_sha256=f"of {task}", accuracy=score, accuracy_low=score - 0.04,
                accuracy_high=score + 0.04,
                dev_accuracy=score, macro_f1=score,
            )
        )  # fmt: skip
    return ResultTable.of(rows, predictions.__getitem__, lambda cell: groups)


def joined(*tables):
    """Tables of several tasks as one run."""
    frame = pd.concat([one.frame for one in tables], ignore_index=True)
    source = {cell: one for one in tables for cell in one.frame.cell}
    return ResultTable(frame, lambda cell: source[cell].predictions(cell), lambda cell: None)


def test_a_pair_is_mcnemars_exact_test_with_holms_correction():
    a, b, c = right(0.8, 1), right(0.72, 2), right(0.7, 3)
    pairs = RunComparison.of({"one": table({"a": a}), "two": table({"b": b, "c": c})}).pairs.set_index(["a", "b"])
    plain = {}
    for (name, x), (other, y) in itertools.combinations({"a": a, "b": b, "c": c}.items(), 2):
        only = int((x & ~y).sum())
        plain[name, other] = binomtest(only, int((x != y).sum())).pvalue
        assert pairs.difference[name, other] == pytest.approx(x.mean() - y.mean())
        assert pairs.low[name, other] < x.mean() - y.mean() < pairs.high[name, other]
    assert pairs.p.to_dict() == pytest.approx(plain)
    ordered = sorted(plain.values())
    assert min(pairs.p_holm) == pytest.approx(min(1, 3 * ordered[0])) and (pairs.p_holm >= pairs.p).all()


def test_the_order_of_runs_turns_the_sign_and_nothing_else():
    x, y = table({"a": right(0.8, 1)}), table({"b": right(0.7, 2)})
    one, other = (RunComparison.of(dict(order)).pairs.iloc[0] for order in ([("r", x), ("s", y)], [("s", y), ("r", x)]))
    assert (one.a, one.b, one.difference) == (other.b, other.a, -other.difference)
    assert (one.p, one.low) == (pytest.approx(other.p), pytest.approx(-other.high))


def test_letters_and_ranks_of_planted_entries():
    """One is far above two that differ by chance; over two tasks too."""
    tasks = [{"top": right(0.95, 10 * k), "b": right(0.7, 10 * k + 1), "c": right(0.7, 10 * k + 2)} for k in (1, 2)]
    comparison = RunComparison.of({"run": joined(table(tasks[0], "t"), table(tasks[1], "u"))})
    for _, group in comparison.tasks.groupby("task"):
        letters = group.set_index("entry").letters
        assert group.entry.iloc[0] == "top" and letters["b"] == letters["c"] != letters["top"]
    ranks = comparison.ranks.set_index("entry")
    assert ranks.loc["top", ["rank", "rank_low", "rank_high"]].tolist() == [1, 1, 1]
    assert ranks.loc[["b", "c"], "rank_low"].tolist() == [2, 2] and ranks.loc[["b", "c"], "rank_high"].tolist() == [3, 3]


def test_the_mean_over_tasks_by_hand():
    """Independent tasks: variances of the mean difference add; each has the 1 / n^2 of the half items."""
    tasks = [{"a": right(0.8, 10 * k), "b": right(0.75, 10 * k + 1)} for k in (1, 2, 3)]
    comparison = RunComparison.of({"run": joined(*(table(own, f"t{k}") for k, own in enumerate(tasks)))})
    [line] = comparison.over_tasks.itertuples()
    d = [own["a"].astype(float) - own["b"] for own in tasks]
    error = np.sqrt(sum(x.var(ddof=1) / N + 1 / N**2 for x in d)) / 3
    assert line.tasks == 3 and line.difference == pytest.approx(np.mean([x.mean() for x in d]))
    assert line.high - line.low == pytest.approx(2 * t.isf(0.025, 3 * (N - 1)) * error, rel=1e-3)
    assert comparison.ranks.shape[0] == 2 and comparison.common == ("of t0", "of t1", "of t2")


def test_ranks_leave_out_tasks_that_an_entry_lacks():
    one = joined(table({"a": right(0.8, 1)}, "t"), table({"a": right(0.8, 4)}, "u"))
    comparison = RunComparison.of({"one": one, "two": table({"b": right(0.7, 2)}, "t")})
    assert comparison.common == ("of t",) and comparison.tests == {"of t": "T"}
    three = {"one": one, "two": table({"b": right(0.7, 2)}, "t"), "three": table({"c": right(0.7, 3)}, "u")}
    text = compared.text_of(RunComparison.of(three))
    assert "No task is common to all entries" in text and RunComparison.of(three).ranks.empty


def test_entries_of_groups_are_compared_by_groups():
    """Ten groups of 40 equal items: the p-value is that of ten signs, not of 400 items."""
    groups = np.repeat(np.arange(10), N // 10)
    a, b = np.repeat(np.arange(10) < 8, N // 10), np.repeat(np.arange(10) < 6, N // 10)
    x, y = table({"a": a}, groups=groups), table({"b": b}, groups=groups)
    assert RunComparison.of({"one": x, "two": y}).pairs.p.iloc[0] == pytest.approx(0.5)  # 2 of 2 signs


def test_names_are_told_apart_by_probe_and_run():
    tables = {"r1": table({"a": right(0.8, 1)}), "r2": table({"a": right(0.7, 2)}), "r3": table({"a": right(0.6, 3)}, probe="mlp")}
    assert [entry.name for entry in RunComparison.of(tables).entries] == ["a, fast, r1", "a, fast, r2", "a, mlp"]


def test_an_encoder_with_one_probe_for_each_task_is_one_entry():
    runs = {
        f"r{k}": joined(table({name: right(share, k)}, "t"), table({name: right(share, k + 9)}, "u", probe="ridge"))
        for k, (name, share) in enumerate({"a": 0.8, "b": 0.6}.items())
    }
    comparison = RunComparison.of(runs)
    assert [entry.name for entry in comparison.entries] == ["a", "b"] and comparison.common == ("of t", "of u")
    assert list(comparison.ranks.entry) == ["a", "b"] and comparison.over_tasks.tasks.tolist() == [2]


def test_runs_without_common_test_items_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"share no test items.*one: t; two: u") as caught:
        RunComparison.of({"one": table({"a": right(0.8, 1)}), "two": table({"b": right(0.8, 1)}, "u")})
    assert "\n" not in str(caught.value)


def test_the_command(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for k in range(160):
        words = " ".join(rng.choice([f"w{i}" for i in range(30)], 5))
        rows.append(("tr" if k < 100 else "va" if k < 120 else "te", "IO"[k % 2], f"{words} n{k}"))
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_task(tmp_path / folder / "bigram_shift.txt", rows if folder == "x" else rows[:-1])

    def probing(*words):
        return processes.run("-m", "probing", *words, cwd=tmp_path)

    usual = ["data=senteval", "controls=none", "floors=none", "pooling=mean", "layer=1"]
    small = ["encoder.hidden=8", "encoder.embedding_dim=8"]
    for name, folder, more in (("A", "x", []), ("B", "x", ["encoder.init_seed=1"]), ("C", "y", [])):
        words = [*usual, f"data.root={folder}", f"run.name={name}", "encoder=lstm", *small, *more]
        assert probing("run", *words).returncode == 0
    runs = tmp_path / "probing-out" / "runs"
    done = probing("compare", runs / "A", runs / "B", "--out", "both")
    assert done.returncode == 0 and "Family of Holm's correction: all 1 comparison " in done.stdout
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        *("compare.md", "pairs.csv", "tasks.csv", "over_tasks.csv", "ranks.csv"),
    }
    assert "BShift" in done.stdout and " to " in done.stdout
    for words, message in (([runs / "A", runs / "C"], "share no test items"), ([runs / "A"], "Give two runs or more")):
        done = probing("compare", *words)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
