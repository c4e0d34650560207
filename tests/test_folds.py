"""Cross-validation: every sentence is tested once, folds fitted side by side are the folds fitted alone, cells are pooled right."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from toys import ToyEncoder

from probing import Store, evaluate
from probing.errors import DataError
from probing.evaluation import ProbeResult, _pooled
from probing.probes.logistic import Design, fit_path, fit_paths
from probing.probes.protocols import Blocks, Fold, LabelSet, LogisticPath
from probing.task import Split, Task


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
    folds=st.sampled_from([2, 5, 10]),
    seed=st.integers(0, 5),
)
def test_every_sentence_is_tested_once_by_folds_of_equal_size_that_share_nothing(counts, folds, seed):
    task = made(np.repeat(np.arange(len(counts)), counts))
    whole = task.cross_validated(folds, seed)
    assert len(whole.folds) == folds and whole.parts == whole.folds and task.parts == (task,)
    tested = [text for fold in whole.folds for text in fold.test.texts]
    assert tuple(tested) == whole.test.texts and max(Counter(tested).values()) == 1
    assert len(task.train) - folds < len(tested) <= len(task.train) and set(tested) <= set(task.train.texts)
    assert {tuple(map(len, fold.splits.values())) for fold in whole.folds} == {tuple(map(len, whole.folds[0].splits.values()))}
    label = dict(zip(task.train.texts, task.train.labels, strict=True))
    for fold in whole.folds:
        parts = [set(split.texts) for split in fold.splits.values()]
        assert sum(map(len, parts)) == len(set.union(*parts)), "train, dev and test share no sentence"
        assert all(label[t] == k for split in fold.splits.values() for t, k in zip(split.texts, split.labels, strict=True))
    held = np.array([np.bincount(fold.test.labels, minlength=len(counts)) for fold in whole.folds])
    assert (held.max(0) - held.min(0)).max() <= 1, "each class goes round all folds"


def test_a_sentence_that_occurs_twice_is_in_one_fold_and_the_seed_draws():
    labels = np.arange(60) % 2
    texts = [f"s{i % 50}" for i in range(60)]
    task = made(labels, texts).cross_validated(5, 0)
    assert sorted(task.test.texts) == sorted(set(texts))
    again, other = made(labels, texts).cross_validated(5, 0), made(labels, texts).cross_validated(5, 1)
    assert task.sha256 == again.sha256 != other.sha256
    first = replace(task, folds=(*task.folds[1:], task.folds[0]))
    assert first.sha256 != task.sha256, "the hash covers the folds, not what the first one shows"
    assert task.data_card["folds"] == 5 and task.data_card["n"] == {name: len(s) for name, s in task.splits.items()}
    assert task.subset(None, 0) is task
    assert task.data_card["notes"][0].startswith("cross-validated in 5 folds")
    with pytest.raises(DataError, match="draw its sentences first"):
        task.subset(10, 0)
    with pytest.raises(DataError, match="9 distinct train sentences: too few for 5 folds"):
        made(np.arange(9) % 2).cross_validated(5, 0)


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
    return [Fold(*own, LabelSet(y[own[0]], y[own[1]])) for own in rows]


def test_folds_in_one_go_are_folds_alone_at_the_c_that_their_dev_sentences_choose_together():
    x, y = features(400, 10, 3, seed=1, signal=0.4)
    folds, probe = folds_of(y, 5), LogisticPath(patience=9)
    found = probe.fit_folds(x, folds, 3)
    z = StandardScaler().fit_transform(x.astype(np.float64))
    models = {
        C: [LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(z[fold.train], fold.labels.train) for fold in folds]
        for C in probe.grid
    }
    dev = {C: np.mean([m.score(z[f.dev], f.labels.dev) for m, f in zip(own, folds, strict=True)]) for C, own in models.items()}
    assert len({result.chosen["C"] for result in found}) == 1 and dev[found[0].chosen["C"]] >= max(dev.values()) - 0.011
    chosen = models[found[0].chosen["C"]]
    for result, model, fold in zip(found, chosen, folds, strict=True):
        assert (result.predictions == model.predict(z[fold.test])).mean() >= 0.98 and result.converged
        assert result.dev_accuracy == pytest.approx(model.score(z[fold.dev], fold.labels.dev), abs=0.051)
    assert LogisticPath(solver="sklearn").fit_folds(x, folds, 3) is None
    alone = fit_path(Design.prepare(x[folds[0].train]), y[folds[0].train], 3, [found[0].chosen["C"]])
    assert alone[0].converged


@pytest.mark.parametrize("solver", ["lbfgs", "sklearn"])
def test_a_grid_by_classes_is_times_the_classes_less_one(solver):
    x, y = features(200, 5, 3, seed=1)
    probe = LogisticPath(grid=[0.2], by_classes=True, solver=solver)
    blocks = Blocks(x[:100], x[100:150], x[150:])
    [(_, _, found)] = probe.fit(lambda column: blocks, [0], {"true": LabelSet(y[:100], y[100:150])}, "made", 3, None)
    assert found.chosen["C"] == 0.2 * 2
    folds = probe.fit_folds(x, folds_of(y, 5), 3)
    assert folds is None or {result.chosen["C"] for result in folds} == {0.2 * 2}


@pytest.mark.parametrize("probe", ["fast", "sklearn", "senteval-logreg"])
def test_a_cross_validated_task_gives_one_row_a_column_over_all_its_sentences(probe, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"w{i}" for i in range(20)], 6)) + f" n{i}" for i in range(240)]
    task = made([int("w1 " in text) for text in texts], texts).cross_validated(5, 0)
    found = evaluate(
        [task], [ToyEncoder()], store=Store(tmp_path / "s"), probe=probe, poolings=["mean"], floors=["majority", "nb-unigram"]
    )
    frame = found.frame
    assert set(frame.status) == {"done"} and set(frame.n_test) == {240} and set(frame.n_train) == {len(task.folds[0].train)}
    assert frame.groupby("role").size().to_dict() == {"control": 3, "floor": 2, "probe": 3}
    for row in frame.itertuples():
        gold, predicted = found.predictions(row.cell)
        assert len(gold) == 240 and row.accuracy == pytest.approx((gold == predicted).mean())
        if row.role == "probe":
            assert (gold == task.test.labels).all() and len(json.loads(row.chosen)["C"]) == 5
    top = np.bincount(task.test.labels).max() / 240
    probes, controls = frame[frame.role == "probe"].accuracy, frame[frame.role == "control"].accuracy
    assert probes.max() > top + 0.05, "whether a word is there can be told"
    assert controls.max() < top + 0.08, "permuted labels are not"
    assert frame[frame.encoder == "majority"].accuracy.item() == pytest.approx(top)


def test_folds_have_converged_as_one_only_if_all_did():
    parts = [ProbeResult(np.array([k, 1]), 0.5, {"C": 1.0}, ({"C": 1.0},), converged=k != 1) for k in range(3)]
    assert not _pooled(parts, [2, 2, 2]).converged and _pooled(parts[::2], [2, 2]).converged
