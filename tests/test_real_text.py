"""Studies of estimators on real sentences, at toy size: tables of segments, metrics by hand, controls, going on after a kill."""

import json

import numpy as np
import pandas as pd
import processes
import pytest

from probing.config import build, read
from probing.data.split import Split
from probing.data.task import Task
from probing.errors import ConfigError
from probing.interactions.baselines import approximated, frozen_T, learned_p, told
from probing.interactions.game import CachedGame, TableGame
from probing.interactions.intervals import METHODS, exact_rows
from probing.interactions.segment import SegmentTable, run_table, segment_interaction
from probing.interactions.text.game import TextGame
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.accuracy import InteractionAccuracy, budgets, times_fewer
from probing.studies.stability import InteractionStability, answers, instability, pairs, slope, slopes

SEGMENT = (2, 5)
QUICK = {"words": [6, 7], "lengths": [2, 3], "sentences": 3, "repeats": 3, "steps": [1, 2]}


def random_game(n=7, seed=0):
    return TableGame(np.random.default_rng(seed).normal(size=2**n))


@pytest.fixture
def task():
    rng = np.random.default_rng(1)
    texts = tuple(" ".join(rng.choice(list("abcdefgh"), rng.integers(6, 10))) for _ in range(60))
    part = Split(texts, np.array([int("a" in text) for text in texts]))
    return Task("toy_task", ("no", "yes"), part, part, part, {}, "the tests", "", "")


@pytest.fixture
def context(task, toy_encoder, tmp_path):
    def make(study, seeds=(0,), encoder=toy_encoder):
        return Context(
            lambda: encoder, lambda: [task], seeds, ResultStore(tmp_path / study.name), Store(tmp_path / "store"), tmp_path
        )

    return make


# Tables.


def test_a_table_gives_every_method_what_the_game_gives(toy_encoder):
    game = TextGame(toy_encoder, "a b c d e f g", "mean", "delete", layers=(2,))
    before = toy_encoder.sentences
    table = run_table(game, SEGMENT)
    assert table.rows == exact_rows(3, 4) == toy_encoder.sentences - before and table.seconds > 0
    for method in METHODS:
        on_table, on_game = (segment_interaction(g, SEGMENT, method, None if method == "exact" else 100, 3) for g in (table, game))
        assert on_table.T == pytest.approx(on_game.T, abs=1e-9) and on_table.n_evaluations == on_game.n_evaluations
        np.testing.assert_allclose(on_table.phi, on_game.phi, atol=1e-9)
    learned = [learned_p(g, SEGMENT, "demo", 1) for g in (table, CachedGame(game))]
    assert learned[0].T_soft == pytest.approx(learned[1].T_soft, abs=1e-9)
    with pytest.raises(ConfigError, match="two pieces of the segment"):
        table(np.array([[0, 0, 1, 0, 1, 0, 0]], bool))
    with pytest.raises(ConfigError, match=r"shape \(8, 7\) is not that of 3 of 7 players"):
        SegmentTable(np.zeros((8, 7)), 7, SEGMENT)


# Baselines.


def test_the_sampler_that_is_told_is_unbiased_and_counts_its_rows():
    game = random_game()
    exact = segment_interaction(game, SEGMENT)
    found = np.array([told(game, SEGMENT, exact.max_partition, exact.min_partition, 60, seed) for seed in range(400)])
    assert abs(found[:, 0].mean() - exact.T) < 4 * found[:, 0].std() / 20 and (found[:, 1] <= 60).all() and found[:, 0].std() > 0.05
    additive = TableGame(np.arange(16) % 2 + np.arange(16) // 2 % 2)
    assert told(additive, (1, 3), ((1, 2), (2, 3)), ((1, 2), (2, 3)), 60, 0) == (0.0, 0)


def test_shapiq_is_exact_where_its_budget_holds_all_rows():
    pytest.importorskip("shapiq")
    game = random_game()
    found, rows = approximated(game, SEGMENT, "KernelSHAP", 32 * 6, 0)
    assert found == pytest.approx(segment_interaction(game, SEGMENT).T, abs=1e-6) and rows <= 32 * 6


def test_a_frozen_p_of_0_and_1_gives_the_sums_of_two_partitions():
    game = random_game()
    exact = segment_interaction(game, SEGMENT)
    both, none = np.ones(2), np.zeros(2)
    found = np.array([frozen_T(game, SEGMENT, both, none, 4, 50, seed) for seed in range(100)])
    T = exact.phi[0, 2] - np.trace(exact.phi)  # one part against three
    assert abs(found[:, 0].mean() - T) < 4 * found[:, 0].std() / 10 and set(found[:, 1]) == {4 * 50 * 2 * (1 + 3)}


# Metrics.


def test_instability_is_its_formula_and_that_of_gaussian_noise():
    assert instability(np.array([3.0, 5.0, 4.0, 8.0]), 5.0) == pytest.approx((2 + 1 + 5 + 1 + 3 + 4) / 6 / 5)
    assert instability(np.full(4, 2.0), 2.0) == 0 and instability(np.array([1.0, -1.0]), 0.0) is None
    noise = np.random.default_rng(0).normal(10, 1, 2000)
    assert instability(noise, 10.0) == pytest.approx(2 / np.sqrt(np.pi) / 10, rel=0.05)


def planted(exponents, segments=8, noise=0.05, method="learned_p"):
    """Instability that falls as samples^exponent, an exponent for each encoder."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"long": False, "task": "t", "encoder": encoder, "method": method, "text": f"s{i}", "start": 0, "stop": 3}
        | {"step": str(n), "samples": n, "rows": 10 * n, "instability": n**exponent * np.exp(noise * rng.normal())}
        for encoder, exponent in exponents.items()
        for i in range(segments)
        for n in (500, 1000, 1500, 2000, 2500)
    )


def test_slopes_are_found_and_compared_in_pairs():
    assert slope([1, 2, 4], [1, 0, 0.25]) == pytest.approx(-1) and np.isnan(slope([1, 2], [1, 0]))
    each = slopes(planted({"cnn": -1.0, "lstm": -0.5, "flat": 0.0}))
    means = each.groupby("encoder").slope.mean()
    assert means.to_dict() == pytest.approx({"cnn": -1, "lstm": -0.5, "flat": 0}, abs=0.06)
    found = pairs(each, "cnn").set_index("other")
    assert (found.slope_high < 0).all() and found.slope["flat"] == pytest.approx(-1, abs=0.1) and set(found.segments) == {8}
    null = pairs(slopes(planted({"cnn": -0.5, "lstm": -0.5})), "cnn").iloc[0]
    assert null.slope_low < 0 < null.slope_high
    assert pairs(each, "elmo").empty and pairs(each[each.text == "s0"], "cnn").empty
    assert "below 0, with all of its interval, for 2 of 3 encoders" in answers(each, pairs(each, "cnn"), "cnn")
    assert "steeper slope than 2 of 2 others" in answers(each, pairs(each, "cnn"), "cnn")
    assert answers(each[each.text == "s0"], pd.DataFrame(), "cnn").startswith("One segment an encoder")


def test_times_fewer_is_c_squared_over_the_rows():
    def of(method, rows, rmse):
        return {"game": 1, "method": method, "step": "1", "rows": rows, "rmse": rmse, "exact_rows": 1000}

    frame = pd.DataFrame(
        [of("permutation", 100, 0.2), of("permutation", 400, 0.1), of("shapiq:A", 100, 0.4), of("shapiq:B", 100, 0.3)]
    )
    frame = pd.concat([frame, pd.DataFrame([of("sampled", 50, 0.1), of("regression", 1000, 0.0), of("exact", 1000, 0.0)])])
    [row] = times_fewer(frame, ["game"]).to_dict("records")
    assert row["method"] == "sampled" and np.isnan(row["permutation_told"])
    assert row["permutation"] == pytest.approx(8) and row["shapiq"] == pytest.approx(18)  # 2^2 / (.1^2 50), 3^2 / (.1^2 50)


# The studies.


def test_accuracy_runs_goes_on_and_is_exact_at_the_exact_budget(context, toy_encoder, tmp_path):
    pytest.importorskip("shapiq")
    study = InteractionAccuracy(**QUICK, long=1, long_words=[8, 9], outside=4)
    frame = study.measure(context(study))
    assert frame.text.nunique() == 4 and frame.long.sum() and set(frame.task) == {"toy_task"}
    at = frame[frame.step == "exact"].groupby("method").error.max()
    assert (at[["exact", "sampled", "regression"]] < 1e-9).all() and at["permutation"] > 1e-6
    first = frame[(frame.step == "1") & (frame["rows"] < frame.exact_rows)]
    assert (first[first.method == "sampled"].error > 0).any()
    ours = frame[frame.method.isin(["sampled", "regression"])]
    assert (ours["rows"] <= ours.exact_rows).all()
    learned = frame[frame.method == "learned_p"]
    assert not learned.long.any() and learned.groupby("text").size().eq(7).all() and (learned["rows"].max() > 1e5)
    assert set(frame[frame.long].method) >= {"shapiq:KernelSHAP", "permutation_told"}
    assert not frame[~frame.long].method.str.startswith("shapiq").any()

    before = toy_encoder.calls
    pd.testing.assert_frame_equal(study.measure(context(study)), frame)
    kept = {path: json.loads(path.read_text())["inputs"]["kind"] for path in (tmp_path / study.name).glob("*.json")}
    assert toy_encoder.calls == before and list(kept.values()).count("segment table") == 4
    next(path for path, kind in kept.items() if kind == study.name).unlink()  # a part that was not finished: its table is there
    pd.testing.assert_frame_equal(study.measure(context(study)), frame)
    assert toy_encoder.calls == before
    more = InteractionAccuracy(**QUICK | {"sentences": 4}, long=1, long_words=[8, 9], outside=4).measure(context(study))
    assert set(frame.text) < set(more.text) and toy_encoder.calls > before

    study.report(frame, tmp_path)
    made = pd.read_csv(tmp_path / "summary.csv")
    row = made[(made.method == "sampled") & (made.step == "1") & ~made.long].iloc[0]
    part = frame[(frame.method == "sampled") & (frame.step == "1") & ~frame.long]
    assert row.error_mean == pytest.approx(part.error.mean(), abs=1e-7) and row.segments == 3
    assert "at least 50 times fewer rows in 3 of 3 segments" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "error_rows.svg").read_text().startswith("<?xml") and len(pd.read_csv(tmp_path / "times.csv"))


def test_stability_runs_and_answers_its_claims(context, toy_encoder, tmp_path):
    study = InteractionStability(**QUICK | {"repeats": 12}, partitions=[2, 8], settings="layers")
    frame = study.measure(context(study))
    paper = frame[frame.method == "learned_p"]
    assert set(paper.samples) == {50, 200} and (paper["rows"] > paper.samples).all()
    assert slopes(frame)[lambda rows: rows.method == "learned_p"].slope.mean() < -0.2
    assert (frame[frame.method == "sampled"]["rows"] < 100).all()
    before = toy_encoder.calls
    pd.testing.assert_frame_equal(study.measure(context(study)), frame)
    assert toy_encoder.calls == before
    twin = study.measure(context(study, encoder=toy_encoder.random_twin(1)))
    study.report(pd.concat([frame, twin.assign(encoder="cnn")], ignore_index=True), tmp_path)
    said = (tmp_path / "table.md").read_text()
    assert "Instability falls with samples" in said and "Falls fastest for cnn (toy_task, short segments)" in said
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 1 and (tmp_path / "instability.svg").is_file()


@pytest.mark.slow
def test_the_command_ends_with_one_report_of_its_encoders(task, tmp_path):
    rows = "".join(f"{label} {text}\n" for label, text in zip(task.train.labels, task.train.texts, strict=True))
    for split in ("train", "dev", "test"):
        (tmp_path / f"stsa.binary.{split}").write_text(rows)
    words = [
        "+experiment=interaction_stability",
        "encoder=lstm,cnn",
        "++encoder.embedding_dim=8",
        "data=sst2",
        f"data.root={tmp_path}",
    ]
    words += ["study.sentences=2", "study.words=[6,7]", "study.lengths=[2]", "study.repeats=3", f"run.dir={tmp_path / 'out'}"]
    done = processes.run("-m", "probing", "run", "-m", *words)
    assert done.returncode == 0 and "one table of 2 runs" in done.stderr, done.stderr
    [folder] = (tmp_path / "out" / "tables").iterdir()
    assert {path.name for path in folder.iterdir()} >= {"table.md", "rows.csv", "instability.svg", "pairs.csv"}
    assert pd.read_csv(folder / "rows.csv").encoder.nunique() == 2


def test_budgets_are_multiples_up_to_the_exact_rows():
    table = run_table(random_game(9), (3, 6))
    assert budgets(table, (1, 2, 100)) == {"1": 98, "2": 196, "100": 448, "exact": 448}  # 7 pairs of contexts, 7 rows each


@pytest.mark.parametrize("name", ["interaction_accuracy", "interaction_stability"])
def test_the_presets_say_every_option_at_its_default(name):
    said = read("experiment", name)["study"]
    study = build(said, "study")
    assert study.name == name and set(said) - {"_target_"} == set(vars(study))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "mean"}, r"study.value='mean' is unknown \(allowed: logit"),
        ({"words": [8]}, r"study.words=\[8\] must be the least and the most words"),
        ({"long_words": [9, 8]}, "study.long_words"),
        ({"lengths": [1]}, "study.lengths"),
        ({"lengths": [8]}, "study.lengths.* below 8 words"),
        ({"outside": 17}, "study.outside=17 must be from 1 to 16"),
        ({"sentences": 0}, "not both 0"),
        ({"repeats": 1}, "study.repeats must be at least 2"),
        ({"steps": []}, "study.steps"),
        ({"shapiq": ["SHAP"]}, r"study.shapiq: SHAP is unknown \(allowed: Perm"),
        ({"settings": "cnn"}, r"study.settings='cnn' is unknown.*allowed: toy"),
        ({"partitions": [10]}, "at least two numbers"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        (InteractionStability if {"settings", "partitions"} & set(options) else InteractionAccuracy)(**options)


def test_several_seeds_and_sentences_that_are_not_there_are_refused(context):
    study = InteractionAccuracy(**QUICK)
    with pytest.raises(ConfigError, match=r"seed=\[0, 1\]: this study draws its sentences with one seed"):
        study.measure(context(study, seeds=(0, 1)))
    study = InteractionAccuracy(words=[20, 22])
    with pytest.raises(ConfigError, match="none of 60 sentences has 20 to 22 words"):
        study.measure(context(study))
