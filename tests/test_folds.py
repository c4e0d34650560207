"""Cross-validation: half of the sentences choose and half report; folds fitted side by side are the folds fitted alone."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from toys import ToyEncoder

from probing import Store, evaluate
from probing.data.split import Split
from probing.data.task import Task
from probing.errors import DataError
from probing.evaluation.folds import pooled as _pooled
from probing.probes.base import Fold, ProbeResult, SplitFeatures, SplitLabels
from probing.probes.logistic import Design, fit_path, fit_paths
from probing.probes.path import LogisticPath
from probing.store.results import ResultStore


def made(labels, texts=None):
    """A task whose train sentences are numbered words; dev and test hold what no fold may read."""
    labels = np.asarray(labels)
    texts = texts or [f"w{i} {'x' if k else 'y'} w{i % 7}" for i, k in enumerate(labels)]
    apart = Split(("not to be read",), np.array([0]))
    classes = tuple(f"c{k}" for k in range(labels.max() + 1))
    return Task("tree_depth", classes, Split(tuple(texts), labels), apart, apart, {}, "made", "0", "0")


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6).filter(lambda counts: sum(counts) >= 20),
    parts=st.sampled_from([(4, None), (6, None), (10, None), (10, 2), (9, 3), (5, 1)]),
    seed=st.integers(0, 5),
)
def test_some_sentences_choose_and_others_report_in_parts_of_equal_size(counts, parts, seed):
    task = made(np.repeat(np.arange(len(counts)), counts))
    folds, choosing = parts
    whole = task.cross_validated(folds, seed, choosing)
    choosing = choosing or folds // 2
    assert len(whole.folds) == folds - choosing and whole.parts == whole.folds and task.parts == (task,)
    tested = Counter(text for fold in whole.folds for text in fold.test.texts)
    chosen_on = Counter(text for fold in whole.folds for text in fold.dev.texts)
    assert list(tested) == list(whole.test.texts) and set(tested.values()) == {1}
    assert list(chosen_on) == list(whole.dev.texts) and set(chosen_on.values()) == {(folds - choosing) // choosing}
    used = {*whole.dev.texts, *whole.test.texts}
    assert len(used) == len(whole.test) + len(whole.dev), "no sentence both chooses and reports, in any two folds"
    assert len(whole.dev) * folds == len(used) * choosing
    assert len(task.train) - folds < len(used) <= len(task.train) and used <= set(task.train.texts)
    label = dict(zip(task.train.texts, task.train.labels, strict=True))
    for fold in whole.folds:
        parts = [set(split.texts) for split in fold.splits.values()]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(used), "train, dev and test share none, and miss none"
        assert all(label[t] == k for split in fold.splits.values() for t, k in zip(split.texts, split.labels, strict=True))
    parts = [fold.splits[name] for fold in whole.folds for name in ("dev", "test")]
    held = np.array([np.bincount(part.labels, minlength=len(counts)) for part in parts])
    assert (held.max(0) - held.min(0)).max() <= 1 and len({len(part) for part in parts}) == 1, "each class goes round all parts"
    if 2 * choosing == folds:
        halves = [np.bincount(whole.splits[name].labels, minlength=len(counts)) for name in ("dev", "test")]
        assert np.abs(halves[0] - halves[1]).max() <= 1, "and both halves"


def test_a_sentence_that_occurs_twice_is_in_one_fold_and_the_seed_draws():
    labels = np.arange(60) % 2
    texts = [f"s{i % 50}" for i in range(60)]
    task = made(labels, texts).cross_validated(10, 0)
    assert sorted((*task.dev.texts, *task.test.texts)) == sorted(set(texts))
    again, other = made(labels, texts).cross_validated(10, 0), made(labels, texts).cross_validated(10, 1)
    assert task.sha256 == again.sha256 != other.sha256
    first = replace(task, folds=(*task.folds[1:], task.folds[0]))
    assert first.sha256 != task.sha256, "the hash covers the folds, not what the first one shows"
    assert task.data_card["folds"] == 5 and task.data_card["n"] == {"train": 40, "dev": 25, "test": 25}
    assert task.subset(None, 0) is task
    note = task.data_card["notes"][0]
    assert note.startswith(
        "cross-validated on sentences of the train split in 5 folds: 25 sentences choose (dev), 25 others report"
    )
    with pytest.raises(DataError, match="draw its sentences first"):
        task.subset(10, 0)
    with pytest.raises(DataError, match="19 distinct train sentences: too few for 10 parts"):
        made(np.arange(19) % 2).cross_validated(10, 0)


@pytest.mark.parametrize(
    ("folds", "choosing"), [(-4, None), (0, None), (2, None), (3, 1), (5, None), (9, None), (10, 0), (10, 4), (9, 9)]
)
def test_parts_that_choose_and_report_in_no_equal_shares_are_refused(folds, choosing):
    with pytest.raises(
        DataError, match=rf"cross-validated in {folds} parts of which .* choose.*: take at least 4 parts, half of them"
    ):
        made(np.arange(100) % 2).cross_validated(folds, 0, choosing)


@pytest.mark.parametrize("sizes", [[2] * 7 + [1] * 109, [3] * 44, [9, 7, 5, 4, 4, 3, *[2] * 11, *[1] * 70]])
def test_groups_stay_whole_in_parts_of_equal_size_and_folds_side_by_side_can_be_fitted(sizes, tmp_path):
    group = np.repeat(np.arange(len(sizes)), sizes)
    task = made(np.arange(len(group)) % 2)
    task = replace(task, train=replace(task.train, groups=tuple(f"g{k}" for k in group)))
    whole = task.cross_validated(10, 0)
    of = dict(zip(task.train.texts, group, strict=True))
    for fold in whole.folds:
        train, dev, test = ({of[text] for text in split.texts} for split in fold.splits.values())
        assert not train & test and not dev & test and not train & dev, "no group is on two sides"
    assert len({tuple(map(len, fold.splits.values())) for fold in whole.folds}) == 1
    assert len({*whole.dev.texts, *whole.test.texts}) >= 0.9 * len(group)
    table = evaluate([whole], [ToyEncoder()], store=tmp_path / "s", layers=[0], poolings=["mean"], controls=(), floors=())
    assert set(table.frame.status) == {"done"}


@dataclass
class Constant:
    """A probe that says one class, the one that most of its dev sentences have; train is not read."""

    name: str = "constant"

    def settings(self, task):
        return {"estimator": "constant"}

    def seed(self, seed):
        return None

    def columns(self, columns):
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            for which, labels in label_sets.items():
                share = np.bincount(labels.dev, minlength=n_classes) / len(labels.dev)
                predictions = np.full(len(load(column).test), share.argmax())
                yield column, which, ProbeResult(predictions, share.max(), {"class": int(share.argmax())}, (), True)


def test_labels_of_sentences_that_report_choose_nothing(tmp_path):
    """What is chosen, and the dev accuracy, stay as they were whatever the other half's labels are; and the other way round."""
    texts = [f"w{i} w{i % 7}" for i in range(60)]
    task = made(np.repeat([0, 1], [40, 20]), texts).cross_validated(6, 0)

    def flipped(which):
        """The task with other labels of the sentences that choose (dev) or report (test), wherever they stand."""
        chosen = set(task.splits[which].texts)

        def flip(split):
            return replace(split, labels=np.array([k ^ (t in chosen) for t, k in zip(split.texts, split.labels, strict=True)]))

        def both(part):
            return replace(part, train=flip(part.train), dev=flip(part.dev), test=flip(part.test))

        return replace(both(task), folds=tuple(map(both, task.folds)))

    rows = []
    for number, variant in enumerate((task, flipped("test"), flipped("dev"))):
        out = {"store": tmp_path / "s", "cells": tmp_path / f"c{number}"}
        table = evaluate([variant], [ToyEncoder()], probe=Constant(), layers=[0], poolings=["mean"], controls=(), floors=(), **out)
        rows.append(table.frame.iloc[0])
    plain, other_report, other_choice = rows
    assert json.loads(plain.chosen) == {"class": [0, 0, 0]} and plain.accuracy == pytest.approx(2 / 3, abs=0.04)
    assert (other_report.chosen, other_report.dev_accuracy) == (plain.chosen, plain.dev_accuracy)
    assert other_report.accuracy == pytest.approx(1 - plain.accuracy)
    assert json.loads(other_choice.chosen) == {"class": [1, 1, 1]}


@dataclass
class DeadEncoder(ToyEncoder):
    """A toy encoder with one dead output in every layer."""

    def forward(self, items):
        states = super().forward(items)
        for layer in states.layers:
            layer[..., 3] *= 1e-12
        return states


def features(n, d, k, seed, signal=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return (signal * rng.normal(size=(k, d))[y] + rng.normal(size=(n, d)) * rng.uniform(0.2, 3, d)).astype(np.float32), y


@pytest.mark.parametrize("k", [2, 4])
def test_rows_that_are_left_out_do_not_exist(k):
    x, y = features(300, 12, k, seed=k)
    design = Design.prepare(x)
    left = np.stack([y, y])
    left[0, :100], left[1, 150:250] = -1, -1
    for which, labels in enumerate(left):
        kept = labels >= 0
        sides = fit_paths(design, list(left), k, [0.01, 1.0])[which]
        for C, fit in zip([0.01, 1.0], sides, strict=True):
            model = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(design.z.double().numpy()[kept], y[kept])
            weights = np.r_[model.coef_.T, model.intercept_[None]]
            ours = fit.weights.double().numpy()
            if k > 2:  # a number added to all logits changes nothing
                weights, ours = weights - weights.mean(1, keepdims=True), ours - ours.mean(1, keepdims=True)
            assert fit.converged and np.abs(ours - weights).max() < 0.01 * np.abs(weights).max()
    with pytest.raises(ValueError, match="leave out different numbers"):
        fit_paths(design, [y, left[0]], k, [1.0])


def folds_of(y, k, seed=0):
    order = np.random.default_rng(seed).permutation(len(y))
    tests = [order[i::k] for i in range(k)]
    rows = [(np.setdiff1d(order, np.r_[t, tests[i - 1][:20]]), tests[i - 1][:20], t) for i, t in enumerate(tests)]
    return [Fold(*own, SplitLabels(y[own[0]], y[own[1]])) for own in rows]


def test_folds_in_one_go_are_folds_alone_at_the_c_that_their_dev_sentences_choose_together():
    x, y = features(400, 10, 3, seed=1, signal=0.4)
    folds, probe = folds_of(y, 5), LogisticPath(patience=9)
    results = probe.fit_folds(x, folds, 3)
    z = StandardScaler().fit_transform(x.astype(np.float64))
    models = {
        C: [LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(z[fold.train], fold.labels.train) for fold in folds]
        for C in probe.grid
    }
    dev = {C: np.mean([m.score(z[f.dev], f.labels.dev) for m, f in zip(own, folds, strict=True)]) for C, own in models.items()}
    assert len({result.chosen["C"] for result in results}) == 1 and dev[results[0].chosen["C"]] >= max(dev.values()) - 0.011
    chosen = models[results[0].chosen["C"]]
    for result, model, fold in zip(results, chosen, folds, strict=True):
        assert (result.predictions == model.predict(z[fold.test])).mean() >= 0.98 and result.converged
        assert result.dev_accuracy == pytest.approx(model.score(z[fold.dev], fold.labels.dev), abs=0.051)
    assert LogisticPath(solver="sklearn").fit_folds(x, folds, 3) is None
    alone = fit_path(Design.prepare(x[folds[0].train]), y[folds[0].train], 3, [results[0].chosen["C"]])
    assert alone[0].converged


@pytest.mark.parametrize("solver", ["lbfgs", "sklearn"])
def test_a_grid_by_classes_is_times_the_classes_less_one(solver):
    x, y = features(200, 5, 3, seed=1)
    probe = LogisticPath(grid=[0.2], by_classes=True, solver=solver)
    blocks = SplitFeatures(x[:100], x[100:150], x[150:])
    [(_, _, result)] = probe.fit(lambda column: blocks, [0], {"true": SplitLabels(y[:100], y[100:150])}, "made", 3, None)
    assert result.chosen["C"] == 0.2 * 2
    folds = probe.fit_folds(x, folds_of(y, 5), 3)
    assert folds is None or {result.chosen["C"] for result in folds} == {0.2 * 2}


@pytest.mark.parametrize("probe", ["fast", "sklearn", "senteval-logreg"])
def test_a_cross_validated_task_gives_one_row_a_column_over_the_half_that_reports(probe, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"w{i}" for i in range(20)], 6)) + f" n{i}" for i in range(480)]
    task = made([int("w1 " in text) for text in texts], texts).cross_validated(10, 0)
    table = evaluate(
        [task],
        [DeadEncoder()],
        store=Store(tmp_path / "s"),
        cells=tmp_path / "c",
        probe=probe,
        poolings=["mean"],
        floors=["majority", "nb-unigram"],
    )
    frame = table.frame
    assert set(frame.status) == {"done"} and set(frame.n_test) == set(frame.n_dev) == {240} and set(frame.n_train) == {384}
    assert frame.groupby("role").size().to_dict() == {"control": 3, "floor": 2, "probe": 3}
    for row in frame.itertuples():
        gold, predicted = table.predictions(row.cell)
        assert len(gold) == 240 and row.accuracy == pytest.approx((gold == predicted).mean())
        if row.role == "probe":
            assert (gold == task.test.labels).all() and len(json.loads(row.chosen)["C"]) == 5
            assert ResultStore(tmp_path / "c").find(row.cell)["details"]["features_left_out"] == (probe != "senteval-logreg")
    top = np.bincount(task.test.labels).max() / 240
    probes, controls = frame[frame.role == "probe"].accuracy, frame[frame.role == "control"].accuracy
    assert probes.max() > top + 0.05, "whether a word is there can be told"
    assert controls.max() < top + 0.08, "permuted labels are not"
    assert frame[frame.encoder == "majority"].accuracy.item() == pytest.approx(top)


def test_folds_have_converged_as_one_only_if_all_did():
    parts = [ProbeResult(np.array([k, 1]), 0.5, {"C": 1.0}, ({"C": 1.0},), converged=k != 1) for k in range(3)]
    assert not _pooled(parts, [2, 2, 2]).converged and _pooled(parts[::2], [2, 2]).converged
