"""Metrics against scikit-learn, SciPy and brute force; tasks of numbers, of sets of labels and of ordered classes end to end."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    r2_score,
    roc_auc_score,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR
from toys import ToyEncoder

from probing import evaluate
from probing.data.task import Task
from probing.errors import ConfigError, DataError
from probing.evaluation import metrics
from probing.evaluation.formulas import Outcome
from probing.evaluation.metrics import OTHER
from probing.evaluation.paired_tests import compare
from probing.evaluation.statistics import degrees, standard_error
from probing.evaluation.table import merge
from probing.probes.base import SplitFeatures, SplitLabels, set_f1
from probing.probes.fitted import Linear, Scored, class_scores
from probing.probes.floors import best_set, constant, shown_as
from probing.probes.other import LabelsPath, RidgePath

CLASSES, NUMBERS, SETS = (OTHER[kind] for kind in ("classification", "regression", "multilabel"))
seeds = st.integers(0, 10**6)


def outcome(seed, k, n=60):
    """Classes, predictions and scores with ties; every class occurs in gold."""
    rng = np.random.default_rng(seed)
    gold = rng.permutation(np.r_[np.arange(k), rng.integers(0, k, n - k)])
    scores = np.round(rng.normal(size=(n, k)) + 1.0 * np.eye(k)[gold], 1)
    return Outcome(gold, scores.argmax(1), k, None, scores)


@given(seeds, st.integers(2, 4))
def test_metrics_of_classes_are_those_of_the_libraries(seed, k):
    one = outcome(seed, k)
    gold, predicted, scores = one.gold, one.predicted, one.scores
    binary = scores[:, 1] - scores[:, 0]
    of_classes = [(gold == c, scores[:, c]) for c in range(k)] if k > 2 else [(gold == 1, binary)]
    expected = {
        "auroc": np.mean([roc_auc_score(*pair) for pair in of_classes]),
        "average_precision": np.mean([average_precision_score(*pair) for pair in of_classes]),
        "mcc": matthews_corrcoef(gold, predicted),
        "quadratic_kappa": cohen_kappa_score(gold, predicted, labels=range(k), weights="quadratic"),
        "spearman": spearmanr(gold, predicted).statistic if len(set(predicted)) > 1 else 0.0,
    }
    assert {name: CLASSES[name].value(one) for name in expected} == pytest.approx(expected, abs=1e-12)


@given(seeds)
def test_metrics_of_numbers_and_sets_are_those_of_the_libraries(seed):
    rng = np.random.default_rng(seed)
    gold = np.round(rng.normal(size=40), 1)
    predicted = np.round(gold + rng.normal(size=40), 1)
    numbers = Outcome(gold, predicted, 0)
    assert NUMBERS["r2"].value(numbers) == pytest.approx(r2_score(gold, predicted))
    assert NUMBERS["spearman"].value(numbers) == pytest.approx(spearmanr(gold, predicted).statistic)
    y, z = (rng.random((40, 5)) < 0.4).astype(int), (rng.random((40, 5)) < 0.4).astype(int)
    sets = Outcome(y, z, 5)
    assert SETS["sample_f1"].value(sets) == pytest.approx(f1_score(y, z, average="samples", zero_division=1.0))
    assert SETS["micro_f1"].value(sets) == pytest.approx(f1_score(y, z, average="micro"))
    used = (y | z).any(0)
    assert SETS["macro_f1"].value(sets) == pytest.approx(f1_score(y[:, used], z[:, used], average="macro", zero_division=0.0))


def test_the_borders_of_metrics():
    same = Outcome(np.array([0, 1, 1, 0]), np.zeros(4, int), 2, None, np.zeros((4, 2)))
    assert [CLASSES[name].value(same) for name in ("auroc", "average_precision", "mcc", "spearman")] == [0.5, 0.5, 0.0, 0.0]
    one_class = Outcome(np.ones(4, int), np.ones(4, int), 2, None, np.zeros((4, 2)))
    assert all(np.isnan(CLASSES[name].value(one_class)) for name in ("auroc", "average_precision", "quadratic_kappa", "spearman"))
    assert np.isnan(NUMBERS["r2"].value(Outcome(np.ones(4), np.arange(4.0), 0)))
    perfect = Outcome(np.arange(4) % 2, np.arange(4) % 2, 2, None, np.eye(2)[np.arange(4) % 2])
    assert CLASSES["auroc"](perfect).lower == pytest.approx(0.5101, abs=1e-4), "Wilson's interval of 4 of 4"
    unseen = Outcome(np.array([0, 1, 1, 0]), np.zeros(4, int), 2, None, np.array([[1, -np.inf]] * 4))
    assert CLASSES["auroc"].value(unseen) == 0.5


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from(["auroc", "r2", "sample_f1"]))
def test_values_by_item_have_the_metric_as_their_mean_and_its_influence_as_their_spread(seed, name):
    rng = np.random.default_rng(seed)
    n = 200
    if name == "r2":
        gold = rng.normal(size=n)
        one, metric = Outcome(gold, gold + rng.normal(size=n), 0), NUMBERS["r2"]
    elif name == "auroc":
        one, metric = outcome(seed, 3, n), CLASSES["auroc"]
    else:
        y = (rng.random((n, 4)) < 0.4).astype(int)
        one, metric = Outcome(y, y ^ (rng.random((n, 4)) < 0.2), 4), SETS["sample_f1"]
    values = metric.by_item(one)
    assert values.mean() == pytest.approx(metric.value(one))
    without = [metric.value(one.take(np.delete(np.arange(n), i))) for i in range(n)]
    jackknife = np.sqrt((n - 1) / n * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert standard_error(values) == pytest.approx(jackknife, rel=0.1), "delete-one jackknife"


def test_the_test_of_two_scores_is_a_paired_t_test_and_of_truth_values_stays_mcnemars():
    from scipy.stats import t, ttest_rel

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50)) + [[0.3], [0.0]]
    interval, p = compare(a, b)
    d = a - b
    kurtosis = 50 * ((d - d.mean()) ** 4).sum() / ((d - d.mean()) ** 2).sum() ** 2
    free = min(49.0, 100 / (kurtosis - 1))
    assert degrees(d) == pytest.approx(free)
    assert p == pytest.approx(2 * t.sf(abs(ttest_rel(a, b).statistic), free), rel=1e-6)
    half = t.ppf(0.975, free) * d.std(ddof=1) / np.sqrt(50)
    assert (interval.lower, interval.upper) == pytest.approx((d.mean() - half, d.mean() + half))
    assert degrees(np.r_[np.zeros(99), 1.0]) == pytest.approx(2.06, abs=0.05), "one value holds the variance"
    assert compare(a, a)[1] == 1.0
    assert compare([1, 1, 1, 0], [0, 0, 0, 1])[1] == pytest.approx(0.625), "exact McNemar: 2 (1 + 4) / 16"


# Probes.


def blocks(seed=0, n=120, d=6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * n, d)).astype(np.float32)
    return x, SplitFeatures(x[:n], x[n : 2 * n], x[2 * n :])


def test_ridge_is_scikit_learns_on_standardised_features():
    x, parts = blocks()
    y = x @ np.arange(6) + np.random.default_rng(1).normal(size=len(x))
    [(_, result)] = RidgePath(grid=[1.0, 30.0]).fit_column(parts, {"true": SplitLabels(y[:120], y[120:240])}, "t", 0, 0)
    scaler = StandardScaler().fit(parts.train)
    fits = {alpha: Ridge(alpha=alpha).fit(scaler.transform(parts.train), y[:120]) for alpha in (1.0, 30.0)}
    scores = {alpha: fit.score(scaler.transform(parts.dev), y[120:240]) for alpha, fit in fits.items()}
    alpha = max(scores, key=scores.get)
    assert result.chosen == {"alpha": alpha} and result.dev_accuracy == pytest.approx(scores[alpha], abs=1e-4)
    np.testing.assert_allclose(result.predictions, fits[alpha].predict(scaler.transform(parts.test)), atol=1e-3)
    np.testing.assert_allclose(result.model().predict(parts.test), result.predictions, atol=1e-6)
    assert result.edge == ("lower end" if alpha == 1.0 else "upper end")


def test_labels_are_a_logistic_regression_each_and_share_the_C_of_the_highest_f1():
    from sklearn.linear_model import LogisticRegression

    x, parts = blocks()
    y = (x[:, :3] + 0.5 * np.random.default_rng(2).normal(size=(len(x), 3)) > 0.4).astype(np.int64)
    y[:120, 2] = 0  # a label that no train sentence has, as in a control task
    grid = [1e-3, 1.0]
    [(_, result)] = LabelsPath(grid=grid).fit_column(parts, {"true": SplitLabels(y[:120], y[120:240])}, "t", 3, 0)
    z = [StandardScaler().fit(parts.train).transform(part) for part in parts[:3]]
    predicted = {
        C: [
            np.stack([LogisticRegression(C=C, tol=1e-8).fit(z[0], own).predict(part) for own in y[:120, :2].T] + [np.zeros(120)], 1)
            for part in z[1:]
        ]
        for C in grid
    }
    f1 = {C: set_f1(y[120:240], dev.astype(int)).mean() for C, (dev, _) in predicted.items()}
    best = max(f1, key=f1.get)
    assert result.chosen == {"C": best} and result.dev_accuracy == pytest.approx(f1[best])
    assert (result.predictions == predicted[best][1]).mean() > 0.99
    assert np.array_equal(result.model().predict(parts.test), result.predictions)


# Tasks end to end.

KEYS, WORDS = [f"key{k}" for k in range(30)], [f"w{k}" for k in range(120)]
"""Every sentence has one of the keys, so that a word control has deciding words."""


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    texts = [" ".join([rng.choice(KEYS), *rng.choice(WORDS, rng.integers(5, 11), replace=False)]) for _ in range(700)]
    encoder = ToyEncoder()
    state = np.stack([encoder_mean(encoder, text) for text in texts])
    return texts, (state - state.mean(0)) / state.std(0), rng


def encoder_mean(encoder, text):
    ids, _ = encoder.tokenize([text])
    states = encoder.forward(ids)
    return states.layers[1][0].numpy()[states.mask[0].numpy()].mean(0)


@pytest.fixture(scope="module")
def table(rows, tmp_path_factory):
    texts, z, rng = rows
    numbers = (z[:, 0] + 0.5 * rng.normal(size=len(z))).round(3).tolist()
    sets = [[f"l{k}" for k in range(3) if row[k] > 0.3] for row in z + 0.3 * rng.normal(size=z.shape)]
    rare = ["yes" if v > 1.0 else "no" for v in z[:, 1] + 0.3 * rng.normal(size=len(z))]
    grades = ["low middle high".split()[k] for k in np.digitize(z[:, 2] + 0.3 * rng.normal(size=len(z)), [-0.5, 0.5])]
    tasks = [
        Task.from_lists(texts, numbers, name="numbers", kind="regression"),
        Task.from_lists(texts, sets, name="sets", kind="multilabel"),
        Task.from_lists(texts, rare, name="rare", metric="auroc"),
        Task.from_lists(texts, grades, name="grades", ordered=["low", "middle", "high"]),
    ]
    asked = ["average_precision", "mcc", "quadratic_kappa", "spearman"]
    return evaluate(tasks, ToyEncoder(), store=tmp_path_factory.mktemp("m") / "store", poolings="mean", metrics=asked)


def test_every_kind_of_task_has_floors_controls_intervals_and_comparisons(table):
    best = table.best().set_index("task")
    assert not (table.frame.status != "done").any()
    assert best.metric.to_dict() == {"numbers": "r2", "sets": "sample_f1", "rare": "auroc", "grades": "accuracy"}
    assert (best.score_low < best.score).all() and (best.score < best.score_high).all()
    assert best.beats_floors[["numbers", "sets"]].all() and (best.score >= best.static).all(), "planted in layer 1"
    assert (best.layer[:3] != 0).all()
    floors = table.floors()
    assert floors.loc["numbers"].dropna().index.tolist() == ["mean", "length", "ridge-unigram", "ridge-bigram"]
    assert floors.loc["sets"].dropna().index.tolist() == ["length", "constant set", "nb-unigram", "nb-bigram"]
    assert abs(floors.loc["numbers", "mean"]) < 0.05 and floors.loc["rare", "majority"] == 0.5
    assert best.control_permuted.loc[["numbers", "rare"]].to_list() == pytest.approx([0.0, 0.5], abs=0.15)
    assert (best.leak_p > 0.001).all() and (best.selectivity > 0.1).all()
    assert {"layers" not in best.columns, best.can_show.notna().all()} == {True}
    layers = table.compare_layers()
    assert {"metric", "score", "dev_score"} <= set(layers) and (layers.groupby("task").not_separated.sum() >= 1).all()


def test_scores_are_those_of_the_recorded_predictions(table):
    row = table.where(task="numbers", role="probe", layer=1).iloc[0]
    gold, predicted = table.predictions(row.cell)
    assert row.score == row.r2 == pytest.approx(r2_score(gold, predicted))
    row = table.where(task="rare", role="probe", layer=1).iloc[0]
    scores = table.items(row.cell)["scores"]
    gold = table.items(row.cell)["gold"]
    assert row.auroc == pytest.approx(roc_auc_score(gold, scores[:, 1] - scores[:, 0]))
    assert row.average_precision == pytest.approx(average_precision_score(gold, scores[:, 1] - scores[:, 0]))
    assert table.where(task="rare").quadratic_kappa.isna().all(), "its classes have no order"
    row = table.where(task="grades", role="probe", layer=1).iloc[0]
    gold, predicted = table.predictions(row.cell)
    assert row.quadratic_kappa == pytest.approx(cohen_kappa_score(gold, predicted, weights="quadratic"))


def test_the_key_of_a_cell_says_which_metric_is_the_main_one(rows, tmp_path):
    texts, z, _ = rows
    labels, quiet = (z[:, 0] > 0).tolist(), {"store": tmp_path / "s", "poolings": "mean", "floors": "length", "controls": ()}
    main, beside, plain = (
        evaluate(Task.from_lists(texts, labels, metric=metric), ToyEncoder(), layers=1, metrics=names, **quiet)
        for metric, names in (("auroc", ()), (None, "auroc"), (None, ()))
    )
    assert len({*main.frame.cell, *beside.frame.cell, *plain.frame.cell}) == 6
    assert [one.frame.metric[0] for one in (main, beside, plain)] == ["auroc", "accuracy", "accuracy"]
    assert main.frame.auroc.tolist() == beside.frame.auroc.tolist() and "auroc" not in plain.frame


def test_fitted_probes_of_other_labels(table):
    numbers, sets = table.probe("numbers"), table.probe("sets")
    assert numbers.coef_.shape == (1, 12) and sets.coef_.shape == (3, 12) and "numbers" in repr(numbers)
    x = np.random.default_rng(0).normal(size=(5, 12))
    np.testing.assert_allclose(numbers.predict(x), x @ numbers.coef_[0] + numbers.intercept_[0])
    assert sets.predict(x).shape == (5, 3) and set(np.unique(sets.predict(x))) <= {0, 1}


def test_the_report_names_the_metric_of_each_task(table, tmp_path):
    from probing.evaluation.comparisons import letters_of
    from probing.evaluation.table import ResultTable
    from probing.report.latex import encoders_table
    from probing.report.markdown import content_of, markdown
    from probing.report.notes import footer
    from probing.report.summary import lines_of
    from probing.report.terminal import terminal

    best, pairs = table.best(), table.compare_encoders()
    lines = lines_of(table, best, letters_of(best, pairs))
    text = markdown(content_of(table, lines, pairs, footer(table, best)))
    assert "Test score (accuracy, AUROC, R², sample F1) in percent" in text and "t test" in text
    assert [line.values["metric"] for line in lines] == ["R²", "sample F1", "AUROC", "accuracy"]
    assert "R² " in terminal(table, lines) and "score" in encoders_table(lines, [])
    assert "quadratic kappa" in text and "AUROC after DeLong" in text
    table.to_csv(tmp_path / "rows.csv")
    again = ResultTable.read_csv(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(again.sorted(), table.sorted(), check_dtype=False, check_like=True)


@pytest.mark.parametrize("probe", [KNeighborsClassifier(), MultiOutputClassifier(LinearSVC())], ids=["kNN", "multi-output"])
def test_scikit_learns_classifiers_fit_sets(rows, probe, tmp_path):
    texts, z, _ = rows
    sets = [[f"l{k}" for k in range(2) if row[k] > 0] for row in z]
    task = Task.from_lists(texts, sets, kind="multilabel")
    best = evaluate(task, ToyEncoder(), store=tmp_path / "s", probe=probe, poolings="mean", floors="majority", controls=()).best()
    assert best.metric[0] == "sample_f1" and best.score[0] > 0.7


def test_scikit_learns_regressors_fit_numbers_and_other_probes_say_what_they_fit(rows, tmp_path):
    texts, z, _ = rows
    numbers = Task.from_lists(texts, z[:, 0].tolist(), kind="regression")
    classes = Task.from_lists(texts, (z[:, 0] > 0).tolist())
    quiet = {"store": tmp_path / "s", "poolings": "mean", "floors": (), "controls": ()}
    best = evaluate(numbers, ToyEncoder(), probe=LinearSVR(max_iter=10_000), **quiet).best()
    assert best.metric[0] == "r2" and best.score[0] > 0.9
    with pytest.raises(ConfigError, match="fits regression, but lists is a task of kind classification: probe=fast"):
        evaluate(classes, ToyEncoder(), probe=Ridge(), **quiet)
    with pytest.raises(ConfigError, match="senteval fits classification, but lists is a task of kind regression: probe=ridge"):
        evaluate(numbers, ToyEncoder(), probe="senteval", **quiet)


def test_tasks_of_the_same_rows_and_other_metrics_share_no_cell(rows, tmp_path):
    texts, z, _ = rows
    labels, quiet = (z[:, 0] > 0).tolist(), {"store": tmp_path / "s", "poolings": "mean", "floors": "majority", "controls": ()}
    tasks = [Task.from_lists(texts, labels, name=metric, metric=metric) for metric in ("auroc", "accuracy")]
    table = evaluate(tasks, ToyEncoder(), **quiet)
    assert table.best().metric.tolist() == ["auroc", "accuracy"] and table.frame.cell.is_unique
    assert tasks[1].sha256 == Task.from_lists(texts, labels).sha256 != tasks[0].sha256
    one, two = (evaluate({"t": task}, ToyEncoder(), **quiet) for task in tasks)
    with pytest.raises(ConfigError, match="sentences, labels or metrics"):
        merge([one, two]).check()


def test_scores_of_several_classes_are_probabilities_of_each():
    """Logits of a softmax say nothing of one class alone."""
    from scipy.special import log_softmax
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 2)) + 1.5 * np.stack([y, (y == 1) * 2.0], 1)
    model = LogisticRegression().fit(x, y)
    expected = roc_auc_score(y, model.predict_proba(x), multi_class="ovr")
    linear = Linear(model.coef_, model.intercept_)
    for one in (model, linear, Scored(linear.decision_function)):
        value = CLASSES["auroc"].value(Outcome(y, y, 3, None, class_scores(one, x, 3)))
        assert value == pytest.approx(expected)
    np.testing.assert_allclose(linear.predict_log_proba(x), log_softmax(model.decision_function(x), axis=1))
    assert class_scores(SVC().fit(x, y), x, 3).shape == (300, 3)
    with pytest.raises(ValueError, match="pairs of classes"):
        class_scores(SVC(decision_function_shape="ovo").fit(x, y), x, 3)


def test_a_test_split_that_says_nothing_is_named(rows, tmp_path):
    texts, z, _ = rows
    splits = ["train"] * 400 + ["dev"] * 100 + ["test"] * 200
    quiet = {"store": tmp_path / "s", "poolings": "mean", "layers": 1, "floors": (), "controls": ()}
    constant = Task.from_lists(texts, [*z[:500, 0], *[0.1] * 200], splits, kind="regression")
    assert evaluate(constant, ToyEncoder(), **quiet).frame.error.tolist() == [
        "R² is not defined on test: its labels are all the same"
    ]
    grouped = Task.from_lists(texts, z[:, 0].tolist(), splits, kind="regression", groups=[min(k, 500) for k in range(700)])
    row = evaluate(grouped, ToyEncoder(), **quiet).frame.iloc[0]
    assert row.r2 > 0.5 and np.isnan(row.r2_low), "one group has no variance"
    few = ["rare" if k % 100 == 0 else "often" for k in range(700)]
    with pytest.raises(ConfigError, match="needs 2 dev and 10 test sentences of each class, its smallest has 1 and 2"):
        evaluate(Task.from_lists(texts, few, splits, metric="auroc"), ToyEncoder(), **quiet)


def test_few_positive_items_count_as_few():
    rng = np.random.default_rng(0)
    gold = np.r_[np.ones(12, int), np.zeros(800, int)]
    covered, apart = 0, 0
    for _ in range(300):
        a, b = (Outcome(gold, gold, 2, None, np.stack([np.zeros(812), rng.normal(size=812)], 1)) for _ in range(2))
        interval = CLASSES["auroc"](a)
        covered += interval.lower <= 0.5 <= interval.upper
        apart += compare(CLASSES["auroc"].by_item(a), CLASSES["auroc"].by_item(b))[1] < 0.05
    assert covered >= 276 and apart <= 27, "95 % of 300 less three standard errors, and likewise 5 %"


def test_an_array_of_0_and_1_is_a_set_of_the_numbers_of_its_columns(rows, tmp_path):
    texts, z, _ = rows
    matrix = (z[:, :3] > 0).astype(int)
    task = Task.from_lists(texts, matrix, kind="multilabel")
    assert task.classes == ("0", "1", "2")
    assert task.sha256 == Task.from_lists(texts, [np.flatnonzero(row).tolist() for row in matrix], kind="multilabel").sha256


def test_own_controls_draw_numbers_and_own_floors_are_named_where_they_do_not_apply(rows, tmp_path, caplog):
    import probing
    from probing.evaluation import register

    texts, z, _ = rows
    numbers = Task.from_lists(texts, z[:, 0].tolist(), name="numbers", kind="regression")
    try:
        probing.register_control("reversed")(lambda task, rng: [split.labels[::-1] for split in task.splits.values()])
        probing.register_floor("first")(lambda task: (np.zeros(len(task.dev)), np.zeros(len(task.test))))
        table = evaluate(
            numbers,
            ToyEncoder(),
            store=tmp_path / "s",
            poolings="mean",
            layers=1,
            floors=["first", "majority"],
            controls="reversed",
        )
    finally:
        register.unregister()
    assert table.best().control_reversed[0] < 0.3 and table.floors().columns.tolist() == ["mean"]


def test_a_probe_without_scores_fails_the_cell_in_one_sentence(rows, tmp_path):
    from sklearn.neighbors import NearestCentroid

    texts, z, _ = rows
    task = Task.from_lists(texts, (z[:, 0] > 0).tolist(), metric="auroc")

    class Mute(NearestCentroid):
        decision_function = predict_proba = predict_log_proba = None

    table = evaluate(task, ToyEncoder(), store=tmp_path / "s", probe=Mute(), poolings="mean", floors=(), controls=())
    assert table.frame.error.str.contains("has no decision_function and no predict_proba").all()


# Data.


def test_sets_and_numbers_are_the_same_from_lists_frames_datasets_and_files(rows, tmp_path):
    datasets = pytest.importorskip("datasets")
    texts = rows[0][:90]
    splits = ["train"] * 60 + ["dev"] * 15 + ["test"] * 15
    sets = [sorted(set(text.split()) & {"w1", "w2", "w3", "w4"}) for text in texts]
    numbers = [len(text) / 7 for text in texts]
    codes = {"train": "tr", "dev": "va", "test": "te"}
    for kind, labels, field in (
        ("multilabel", sets, lambda own: "|".join(own) or "|"),
        ("regression", numbers, repr),
    ):
        (tmp_path / f"{kind}.txt").write_text(
            "".join(f"{codes[s]}\t{field(own)}\t{text}\n" for s, own, text in zip(splits, labels, texts, strict=True))
        )
        card = tmp_path / f"{kind}.yaml"
        card.write_text(f"name: {kind}\nfile: {kind}.txt\nkind: {kind}\n")
        frame = pd.DataFrame({"text": texts, "label": labels, "split": splits})
        data = datasets.DatasetDict(
            {name: datasets.Dataset.from_pandas(frame[frame.split == name], preserve_index=False) for name in codes}
        )
        from probing.data.loading import load

        hashes = {
            Task.from_lists(texts, labels, splits, kind=kind).sha256,
            Task.from_frame(frame, kind=kind).sha256,
            Task.from_dataset(data.rename_column("label", "y"), label="y", kind=kind).sha256,
            load(str(card), tmp_path).sha256,
        }
        assert len(hashes) == 1


def test_labels_that_are_not_of_their_kind_are_named(rows):
    texts = rows[0][:40]
    cases = [
        (dict(kind="regression"), ["x"] * 40, "row 0: the label is 'x', but kind=regression takes numbers"),
        (dict(kind="regression"), [1.0] * 39 + [float("nan")], "finite numbers"),
        (dict(kind="regression"), [2.0] * 40, "one number only"),
        (dict(kind="multilabel"), [3] * 40, "takes a list of labels"),
        (dict(kind="multilabel"), [["a"]] * 40, "two or more"),
        (dict(), [0.5, 1.5] * 20, "if labels are numbers, say kind: regression"),
        (dict(), [["a"], ["b"]] * 20, "kind=multilabel: lists"),
        (dict(kind="numbers"), [1, 2] * 20, "kind='numbers' is unknown"),
        (dict(kind="regression"), [1e200, 1.0] * 20, "finite numbers"),
        (dict(metric="f2"), [1, 2] * 20, r"not chosen by the metric 'f2' \(allowed: accuracy, auroc\)"),
        (dict(kind="regression", ordered=True), [1, 2] * 20, "ordered is for classes"),
        (dict(ordered=True), ["low", "high"] * 20, "ordered labels must be numbers, or be listed"),
        (dict(ordered=["low", "high", "none"]), ["low", "high"] * 20, "are not the labels of train"),
    ]
    for options, labels, message in cases:
        with pytest.raises(DataError, match=message):
            Task.from_lists(texts, labels, **options)
    task = Task.from_lists(texts, [2, 10, 9, 1] * 10, ordered=True)
    assert task.classes == ("1", "2", "9", "10")
    with pytest.raises(ConfigError, match=r"metrics='f1' is unknown.*allowed: auroc"):
        evaluate(task, ToyEncoder(), metrics="f1")
    with pytest.raises(DataError, match="kind regression; a cross-validation needs classes"):
        Task.from_lists(texts, np.arange(40.0).tolist(), kind="regression").cross_validated(4, 0)


@given(seeds)
def test_the_best_constant_set_is_the_best_of_the_most_frequent_labels(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random((30, 4)) < rng.random(4)).astype(int)
    order = np.argsort(-y.sum(0), kind="stable")
    scores = [set_f1(y, np.tile(np.isin(np.arange(4), order[:k]).astype(int), (30, 1))).mean() for k in range(5)]
    assert set_f1(y, np.tile(best_set(y), (30, 1))).mean() == pytest.approx(max(scores))


def test_strata_keep_the_shares_of_numbers_and_of_rare_labels(rows):
    texts = rows[0]
    task = Task.from_lists(texts, np.random.default_rng(0).normal(size=len(texts)).tolist(), kind="regression")
    for split in (task.dev, task.test):
        assert np.histogram(split.labels, np.quantile(task.train.labels, [0, 0.5, 1]))[0] == pytest.approx(
            [len(split) / 2] * 2, abs=6
        )
    sets = [["often"] + ["rare"] * (k % 35 == 0) for k in range(len(texts))]
    task = Task.from_lists(texts, sets, kind="multilabel")
    assert all(split.labels[:, 1].any() for split in task.splits.values())
    assert constant(task).tolist() == [1, 0] and task.subset(100, 0).train.labels[:, 1].any()
    assert shown_as("own", task) == "" and shown_as("majority", task) == "constant set"


# The command line.


def test_a_card_of_numbers_and_metrics_on_the_command_line(rows, tmp_path):
    texts, z, _ = rows
    codes = ["tr"] * 400 + ["va"] * 100 + ["te"] * 100
    for name, labels in (("depth", z[:, 0].round(4)), ("sign", (z[:, 1] > 0).astype(int))):
        content = "".join(f"{c}\t{y}\t{t}\n" for c, y, t in zip(codes, labels, texts, strict=False))
        (tmp_path / f"{name}.txt").write_text(content)
        extra = "kind: regression" if name == "depth" else "metric: auroc"
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nfile: {name}.txt\n{extra}\n")
    words = [
        "data=senteval",
        f"data.root={tmp_path}",
        f"task={tmp_path}/depth.yaml,{tmp_path}/sign.yaml",
        "encoder=bilstm",
        "encoder.hidden=8",
        "encoder.embedding_dim=8",
    ]
    done = processes.run(
        *("-m", "probing", "run", *words, "floors=majority,length", "controls=none", "metrics=mcc", f"run.dir={tmp_path}/out")
    )
    assert done.returncode == 0, done.stderr
    assert "R²" in done.stdout and "AUROC" in done.stdout
    [folder] = (tmp_path / "out" / "runs").iterdir()
    frame = pd.read_csv(folder / "table.csv")
    assert frame.metric.tolist() == ["r2", "auroc"] and frame.mcc.notna().tolist() == [False, True]
    cells = [json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").glob("*.json")]
    assert {tuple(one["inputs"].get("metrics", ())) for one in cells} == {("r2", "spearman"), ("auroc", "mcc")}
    done = processes.run("-m", "probing", "explain", "--best", "depth", str(folder))
    assert done.returncode == 0 and "R²" in done.stdout, done.stderr
    assert metrics.ASKED == ("auroc", "average_precision", "mcc", "quadratic_kappa", "spearman")
