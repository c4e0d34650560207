"""Transfer: the diagonal is the plain table, corpora are exchangeable, off the diagonal scikit-learn agrees."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from corpora import SIZES, WORDS, cells, corpus, run
from toys import ToyEncoder

from probing import Store, Task, evaluate
from probing.errors import ConfigError
from probing.evaluation import transfer as module
from probing.evaluation.corpora import pairs_of
from probing.evaluation.paired_tests import compare
from probing.evaluation.transfer import Transferred
from probing.evaluation.unpaired import unpaired
from probing.probes.floors import FLOORS
from probing.types import Representation


@pytest.fixture(scope="module")
def corpora():
    return {"A": corpus(0), "B": corpus(1, words=WORDS[:20]), "C": corpus(2, groups=True)}


@pytest.fixture(scope="module")
def result(corpora, tmp_path_factory):
    return run(corpora, tmp_path_factory.mktemp("t"), poolings=("mean", "max"))


def test_the_diagonal_is_the_plain_table_to_the_last_bit(corpora, result, tmp_path):
    for name, tasks in corpora.items():
        plain = evaluate(tasks, ToyEncoder(), store=tmp_path / "s", poolings=("mean", "max"), controls=(), floors=())
        own = cells(result).xs((name, name), level=("source", "target"))
        other = plain.frame.assign(property=plain.frame.task).set_index(["property", "layer", "pooling"]).sort_index()
        assert own.cell.equals(other.cell) and len(own) == 12
        for column in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "dev_accuracy", "chosen"):
            assert own[column].equals(other[column]), column
        for cell in own.cell:
            assert np.array_equal(result.table.predicted(cell)[1], plain.predicted(cell)[1])


def test_cells_of_a_plain_table_are_not_measured_again(corpora, tmp_path, monkeypatch):
    evaluate(corpora["A"], ToyEncoder(), store=tmp_path / "store", poolings="mean", floors="majority")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store-cells").glob("*.json")}
    first = run(corpora, tmp_path)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    stored = [json.loads(path.read_text())["sentences"] for path in (tmp_path / "store").glob("*/mean/*/sentences.json")]
    sentences = [text for segment in stored for text in segment]
    assert sorted(map(len, stored)) == [300, 600] and len(set(sentences)) == 900, "sentences of A were stored already"
    monkeypatch.setattr(Transferred, "run", lambda *_: pytest.fail("measured again"))
    assert run(corpora, tmp_path).frame.equals(first.frame)


def test_every_probe_is_fitted_once_for_all_targets(corpora, tmp_path, monkeypatch):
    fits = []
    plain = module.fit_column
    monkeypatch.setattr(module, "fit_column", lambda column, *given: fits.append(column) or plain(column, *given))
    run(corpora, tmp_path)
    assert len(fits) == 3 * 3 * 2, "corpora x layers x tasks"


def test_off_the_diagonal_scikit_learn_agrees(corpora, result, tmp_path):
    """LogisticRegression on standardised stored vectors of A, at the C that was chosen on A's dev, tested on B."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    store, encoder = Store(tmp_path / "s"), ToyEncoder()
    compared = differ = 0
    for (name, source, target, layer, pooling), row in cells(result).iterrows():
        a, b = (next(task for task in corpora[corpus_] if task.name == name) for corpus_ in (source, target))
        texts = [text for task in (a, b) for split in task.splits.values() for text in split.texts]
        vectors = store.vectors(encoder, texts, [pooling])

        def x(texts, vectors=vectors, layer=layer, pooling=pooling):
            return vectors.rows(texts).get(Representation(layer, pooling)).astype(float)

        model = make_pipeline(StandardScaler(), LogisticRegression(C=json.loads(row.chosen)["C"], tol=1e-8, max_iter=5000))
        model.fit(x(a.train.texts), a.train.labels)
        gold, predicted = result.table.predicted(row.cell)
        assert np.array_equal(gold, b.test.labels)
        assert row.dev_accuracy == pytest.approx((model.predict(x(a.dev.texts)) == a.dev.labels).mean(), abs=0.02)
        compared, differ = compared + len(gold), differ + int((model.predict(x(b.test.texts)) != predicted).sum())
    assert compared == 3 * 3 * 2 * 6 * 80 and differ <= 0.001 * compared


def test_the_order_of_corpora_does_not_matter(corpora, result, tmp_path):
    turned = run(dict(reversed(corpora.items())), tmp_path, poolings=("mean", "max"))
    columns = ["cell", "accuracy", "accuracy_low", "accuracy_high", "dev_accuracy", "shared"]
    pd.testing.assert_frame_equal(cells(result)[columns], cells(turned)[columns])
    keys = ["property", "source", "target"]
    lines, other = (one.lines().set_index(keys).sort_index() for one in (result, turned))
    for column in ("score", "drop", "drop_low", "drop_p", "gap", "gap_p", "drop_p_holm", "gap_p_holm"):
        assert lines[column].equals(other[column]), column


def test_two_corpora_give_what_three_give(corpora, result, tmp_path):
    """Predictions do not depend on what else is tested."""
    two = cells(run({name: corpora[name] for name in "CA"}, tmp_path, poolings=("mean", "max")))
    assert two.cell.equals(cells(result).cell.reindex(two.index)) and two.accuracy.equals(cells(result).accuracy.reindex(two.index))


def test_a_corpus_under_two_names_gives_one_matrix(tmp_path):
    same = run({"A": corpus(0), "again": corpus(0)}, tmp_path)
    assert same.frame.cell.nunique() * 4 == len(same.frame)
    for task in same.properties:
        matrix = same.matrix(task).to_numpy()
        assert matrix.shape == (2, 2) and (matrix == matrix[0, 0]).all()
    lines = same.lines()
    others = lines[lines.source != lines.target]
    assert (others["drop"] == 0).all() and (others.gap == 0).all() and (others.drop_p == 1).all()
    assert (others.shared == 0).all()


def test_floors_are_fitted_on_the_source_and_scored_on_the_target(corpora, result):
    floors = result.frame[result.frame.role == "floor"]
    assert set(floors.encoder) == {"majority", "nb-unigram"} and len(floors) == 2 * 2 * 9
    a, b = corpora["A"][1], corpora["B"][1]
    for name in ("majority", "nb-unigram"):
        _, predicted = FLOORS[name](replace(a, test=b.test))
        of_pair = (floors.property == "length") & (floors.source == "A") & (floors.target == "B")
        [row] = floors[of_pair & (floors.encoder == name)].itertuples()
        assert row.accuracy == (predicted == b.test.labels).mean()
    majority = np.bincount(a.train.labels).argmax()
    assert floors[(floors.property == "length") & (floors.source == "A") & (floors.encoder == "majority")].accuracy.tolist() == [
        (next(t for t in corpora[name] if t.name == "length").test.labels == majority).mean() for name in "ABC"
    ]


def test_a_property_of_words_transfers_and_one_without_words_in_common_does_not(tmp_path):
    other = [f"v{i}" for i in range(30)]
    a, b = corpus(0, names=("marked",)), corpus(1, names=("marked",))
    texts = [text for split in corpus(2, other, names=("length",))[0].splits.values() for text in split.texts]
    foreign = [Task.from_lists(texts, ["yes" if "v1" in t.split() or "v5" in t.split() else "no" for t in texts],
                               [s for s, n in SIZES.items() for _ in range(n)], name="marked")]  # fmt: skip
    result = run({"A": a, "B": b, "F": foreign}, tmp_path, ToyEncoder(width=40), layers=0)
    lines = result.lines().set_index(["source", "target"])
    assert lines.score["A", "B"] > 0.85 and lines.drop_p_holm["A", "B"] > 0.05
    assert lines["drop"]["A", "F"] > 0.2 and lines.drop_p_holm["A", "F"] < 0.05 and lines.drop_low["A", "F"] > 0
    assert lines.gap["A", "F"] > 0.2 and lines.gap_p_holm["A", "F"] < 0.05 and not lines.beats_floors["A", "F"]
    angles = result.directions(draws=10).set_index(["a_corpus", "b_corpus"])
    assert angles.cosine["A", "B"] > angles.null_high["A", "B"] and angles.p_holm["A", "B"] < 0.05
    assert angles.null_low["A", "F"] < angles.cosine["A", "F"] < angles.null_high["A", "F"]


def test_drops_are_those_of_the_items_by_hand(corpora, result):
    lines = result.lines().set_index(["property", "source", "target"])
    for key in (("marked", "A", "B"), ("marked", "A", "C"), ("length", "C", "A")):
        line, own = lines.loc[key], lines.loc[(key[0], key[1], key[1])]
        assert (line.layer, line.pooling) == (own.layer, own.pooling), "the source's dev split chose for all targets"
        a, b = (result.table.by_item(cell) for cell in (own.cell, line.cell))
        groups = [result.table.groups(cell) for cell in (own.cell, line.cell)]
        assert (groups[1] is not None) == (key[2] == "C"), "intervals over the groups of the target"
        estimate, p = unpaired(a, b, *groups)
        assert (line["drop"], line.drop_low, line.drop_high, line.drop_p) == (estimate.value, estimate.lower, estimate.upper, p)
        target = lines.loc[(key[0], key[2], key[2])]
        paired, p = compare(result.table.by_item(target.cell), b, groups[1])
        assert (line.gap, line.gap_low, line.gap_p) == (pytest.approx(paired.value), pytest.approx(paired.lower), pytest.approx(p))
    layers = result.by_layer()
    assert len(layers) == 3 * 3 * 2 * 6 and layers.best.sum() == 18
    assert (
        layers[layers.source == layers.target]["drop"].isna().all() and layers[layers.source != layers.target]["drop"].notna().all()
    )


def test_sentences_in_train_of_the_source_and_test_of_the_target_are_counted(tmp_path, capsys):
    a, b = corpus(0, names=("marked",))[0], corpus(1, names=("marked",))[0]
    leaked = [" ".join(reversed(text.upper().split())) for text in a.train.texts[:7]]
    b = replace(b, test=replace(b.test, texts=(*leaked, *b.test.texts[7:])))
    [there] = [pair for pair in pairs_of({"A": [a], "B": [b]}, None, None, 0) if (pair.source, pair.target) == ("A", "B")]
    assert there.shared == 7
    assert "marked: A → B: 7 of 80 test sentences are in the train split of A" in capsys.readouterr().err


def test_tasks_with_other_classes_are_left_out_with_a_line(tmp_path, capsys):
    a, b, c = corpus(0), corpus(1), corpus(2, names=("marked",))
    b = [b[0], replace(b[1], classes=("0", "1", "two"))]  # a third of the items is in a class that A lacks
    names = {pair.title for pair in pairs_of({"A": a, "B": b, "C": c}, None, None, 0)}
    assert len(names) == 9 and all(name.startswith("marked") for name in names)
    written = capsys.readouterr().err
    assert "length: A is left out: it has 3 classes (0, 1, 2) without two, classification, accuracy; the others differ" in written
    assert "length: B is left out: it has 3 classes (0, 1, two)" in written
    ordered = replace(a[0], card={**a[0].card, "ordered": True})
    with pytest.raises(ConfigError, match="no two have a task of one name with the same classes"):
        pairs_of({"A": [ordered], "B": [corpus(1)[0]]}, None, None, 0)


def test_items_of_rare_classes_that_the_source_lacks_count_as_wrong(tmp_path, capsys):
    """Four test items of B get a class of their own, which sorts before all others."""
    a, b = corpus(0, names=("marked",)), corpus(1, names=("marked",))
    plain = run({"A": a, "B": b}, tmp_path)
    labels = {name: split.labels + 1 for name, split in b[0].splits.items()}
    labels["test"][:4] = 0
    splits = {name: replace(split, labels=labels[name]) for name, split in b[0].splits.items()}
    result = run({"A": a, "B": [replace(b[0], classes=("!rare", *b[0].classes), **splits)]}, tmp_path)
    assert "marked: A → B: A lacks !rare: 5 % of the test items, which count as wrong" in capsys.readouterr().err
    now, before = cells(result), cells(plain)
    for place in now.index:
        right, earlier = (t.table.by_item(frame.cell[place]).ravel() for t, frame in ((result, now), (plain, before)))
        if place[1:3] == ("A", "A"):
            assert now.cell[place] == before.cell[place], "the diagonal is the plain table"
        if place[1:3] == ("A", "B"):
            assert not right[:4].any() and (right[4:] == earlier[4:]).all() and earlier[:4].any()
    assert {(p[1], p[2]): unseen for p, unseen in now.unseen.items() if unseen} == {("A", "B"): 4 / 80}
    assert result.lines().gap_p.notna().any()


def test_a_probe_without_a_model_is_fitted_for_each_target(corpora, tmp_path):
    from probing.probes.base import ProbeResult
    from probing.probes.path import LogisticPath

    class Bare(LogisticPath):
        def fit_column(self, *given_):
            for which, one in super().fit_column(*given_):
                yield which, ProbeResult(one.predictions, one.dev_accuracy, one.chosen, one.tried, one.converged)

    two = {name: corpora[name][:1] for name in "AB"}
    bare = run(two, tmp_path / "bare", probe=Bare(name="bare"))
    plain = run(two, tmp_path / "plain")
    assert (bare.frame.status == "done").all()
    assert cells(bare).accuracy.tolist() == pytest.approx(cells(plain).accuracy.tolist(), abs=1 / 79)
