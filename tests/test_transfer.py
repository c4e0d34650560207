"""Transfer: the diagonal is the plain table, corpora are exchangeable, off the diagonal scikit-learn agrees; intervals,
refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep
from toys import ToyEncoder, write_task

from probing import Store, Task, evaluate, transfer
from probing.data.sources import GrammarCorpus
from probing.errors import ConfigError, DataError
from probing.evaluation import transfer as module
from probing.evaluation.corpora import crossed, pairs_of
from probing.evaluation.paired_tests import compare
from probing.evaluation.table import ResultTable
from probing.evaluation.transfer import Transferred
from probing.evaluation.unpaired import unpaired
from probing.probes.floors import FLOORS
from probing.report.transfer import write
from probing.studies import failed
from probing.studies.transfer import TransferStudy, _floors, _layers, _source
from probing.types import Representation

WORDS = [f"w{i}" for i in range(30)]
SIZES = {"train": 160, "dev": 60, "test": 80}


def corpus(seed, words=WORDS, names=("marked", "length"), groups=False):
    """Tasks on shared sentences: whether a marker word occurs, and length modulo 3; `groups`: four test sentences share a
    source."""
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(" ".join(rng.choice(words, size=rng.integers(4, 11))) for _ in range(2000)))[: sum(SIZES.values())]
    splits = [split for split, n in SIZES.items() for _ in range(n)]
    labels = {
        "marked": ["yes" if {"w1", "w2", "w3", "w4"} & set(text.split()) else "no" for text in texts],
        "length": [str(len(text.split()) % 3) for text in texts],
    }
    own = [f"g{k // 4}" for k in range(len(texts))] if groups else None
    return [Task.from_lists(texts, labels[name], splits, name=name, groups=own) for name in names]


def run(corpora, tmp_path, encoder=None, **options):
    options = {"poolings": "mean", "store": tmp_path / "store"} | options
    return transfer(corpora, encoder or ToyEncoder(), **options)


def cells(result, role="probe"):
    """The rows by task, source, target, layer and pooling, without names."""
    frame = result.frame[result.frame.role == role]
    return frame.set_index(["property", "source", "target", "layer", "pooling"]).sort_index()


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


COUNTS = st.tuples(st.integers(1, 200), st.integers(1, 200)).map(lambda pair: (min(pair), max(pair)))


@settings(deadline=None, max_examples=40)
@given(COUNTS, COUNTS)
def test_the_interval_of_two_accuracies_is_newcombes(first, second):
    a, b = (np.arange(n) < k for k, n in (first, second))
    estimate, p = unpaired(a, b)
    low, high = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
    assert (estimate.lower, estimate.upper) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    assert (p < 0.05) == (estimate.lower > 0 or estimate.upper < 0) or p == pytest.approx(0.05, abs=1e-6)
    turned, same_p = unpaired(b, a)
    assert (turned.lower, turned.upper, same_p) == (pytest.approx(-high), pytest.approx(-low), pytest.approx(p, rel=1e-3))


def test_groups_widen_the_interval_and_numbers_have_that_of_welch():
    rng = np.random.default_rng(0)
    a, b = np.repeat(rng.random(20) < 0.7, 5), np.repeat(rng.random(30) < 0.5, 4)
    clustered, _ = unpaired(a, b, np.repeat(np.arange(20), 5), np.repeat(np.arange(30), 4))
    single, _ = unpaired(a, b)
    assert clustered.upper - clustered.lower > 1.6 * (single.upper - single.lower)
    x, y = rng.normal(0.5, 1, 4000), rng.normal(0.4, 2, 3000)
    estimate, p = unpaired(x, y)
    from scipy.stats import ttest_ind

    welch = ttest_ind(x, y, equal_var=False)
    low, high = welch.confidence_interval()
    assert (estimate.lower, estimate.upper) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))
    assert p == pytest.approx(welch.pvalue, rel=0.1)
    assert unpaired([1, 1, 0, 0], [0, 1, 0, 1])[1] == 1 and unpaired([1, 1], [0, 1], [0, 0], None)[1] == 1


def test_sentences_in_train_of_the_source_and_test_of_the_target_are_counted(tmp_path, capsys):
    a, b = corpus(0, names=("marked",))[0], corpus(1, names=("marked",))[0]
    leaked = [" ".join(reversed(text.upper().split())) for text in a.train.texts[:7]]
    b = replace(b, test=replace(b.test, texts=(*leaked, *b.test.texts[7:])))
    [there] = [pair for pair in pairs_of({"A": [a], "B": [b]}, None, None, 0) if (pair.source, pair.target) == ("A", "B")]
    assert there.shared == 7
    assert "marked: A → B: 7 of 80 test sentences are in the train split of A" in capsys.readouterr().err


def test_tasks_with_other_classes_are_left_out_with_a_line(tmp_path, capsys):
    a, b, c = corpus(0), corpus(1), corpus(2, names=("marked",))
    b = [b[0], replace(b[1], classes=("0", "1", "two"))]
    names = {pair.title for pair in pairs_of({"A": a, "B": b, "C": c}, None, None, 0)}
    assert len(names) == 9 and all(name.startswith("marked") for name in names)
    written = capsys.readouterr().err
    assert "length: A is left out: it has 3 classes (0, 1, 2), classification, accuracy; the others differ" in written
    assert "length: B is left out: it has 3 classes (0, 1, two)" in written
    ordered = replace(a[0], card={**a[0].card, "ordered": True})
    with pytest.raises(ConfigError, match="no two have a task of one name with the same classes"):
        pairs_of({"A": [ordered], "B": [corpus(1)[0]]}, None, None, 0)


def test_a_sentence_that_fails_loses_only_what_needs_it(corpora, tmp_path):
    a, b, c = (corpora[name][0] for name in "ABC")
    b = replace(b, test=replace(b.test, texts=("poison w1", *b.test.texts[1:])))
    result = run({"A": [a], "B": [b], "C": [c]}, tmp_path, ToyEncoder(poison="poison"))
    states = cells(result).groupby(["source", "target"]).status.unique().map(lambda states: states[0])
    assert {key for key, state in states.items() if state == "failed"} == {("A", "B"), ("B", "B"), ("C", "B")}
    assert "no vectors" in cells(result).error["marked", "A", "B"].iloc[0]
    lines = result.lines().set_index(["source", "target"])
    assert np.isnan(lines.score["A", "B"]) and lines.score["B", "A"] > 0 and np.isnan(lines["drop"]["B", "A"])
    assert set(result.by_layer().status) == {"done", "failed"}


@pytest.mark.parametrize("where", ["dims", "forward"])
def test_an_encoder_that_fails_leaves_a_report_of_failures(where, tmp_path):
    def fail(*_):
        raise RuntimeError("boom")

    failing = type("Failing", (ToyEncoder,), {where: property(fail) if where == "dims" else fail})
    result = run({"A": corpus(0, names=("marked",)), "B": corpus(1, names=("marked",))}, tmp_path, failing())
    assert result.lines().score.isna().all() and set(result.by_layer().status) == {"failed"}
    rows = pd.concat([_layers(result), _floors(result)], ignore_index=True)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    write(pd.read_csv(tmp_path / "rows.csv"), tmp_path, 20)
    text = (tmp_path / "table.md").read_text()
    assert "boom" in text.partition("## Failed or missing")[2] and not (tmp_path / "figure-transfer.svg").exists()
    assert failed(tmp_path) == 4 * (1 if where == "dims" else 3), "the exit code is 1"


def test_targets_of_the_same_test_split_have_a_paired_drop(tmp_path):
    a, b = corpus(0, names=("marked",))[0], corpus(1, names=("marked",))[0]
    b = replace(b, test=a.test)
    lines = run({"A": [a], "B": [b]}, tmp_path).lines().set_index(["source", "target"])
    assert lines["drop"]["A", "B"] == 0 and lines.drop_p["A", "B"] == 1, "one fit on one test split"
    assert lines.gap["A", "B"] == pytest.approx(lines.score["B", "B"] - lines.score["A", "B"])


def test_rows_are_read_back(result, tmp_path):
    result.to_csv(tmp_path / "rows.csv")
    back = ResultTable.read_csv(tmp_path / "rows.csv").frame
    own = result.table.sorted()
    for name in ("property", "source", "target", "shared", "accuracy", "accuracy_low", "cell"):
        assert back[name].tolist() == own[name].tolist(), name


def test_two_encoders_are_reported_together(result, tmp_path):
    rows = pd.concat([_layers(result), _floors(result)], ignore_index=True)
    write(pd.concat([rows, rows.replace({"encoder": {"toy": "other"}})], ignore_index=True), tmp_path, 20)
    text = (tmp_path / "table.md").read_text()
    assert "## marked, toy, fast" in text and "## marked, other, fast" in text
    assert "<!-- other -->" in (tmp_path / "figure-transfer.svg").read_text()


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


def test_twins_static_seeds_and_halves_are_transferred_too(corpora, tmp_path):
    two = {name: corpora[name][:1] for name in "AB"}
    options = {"floors": ("static", "random-weights", "majority"), "layers": (1, 2), "seeds": (0, 1)}
    result = run(two, tmp_path, resample="train", resamples=5, **options)
    counts = result.frame.groupby("role").size()
    twins = 4 * 2 * 3  # pairs, twins (one for each seed), layers with the static one
    assert counts.to_dict() == {"floor": 4, "probe": 8, "random": twins, "resample": 40, "static": 4}
    assert (result.frame.status == "done").all()
    lines = result.lines().set_index(["source", "target"])
    wide = lines.drop_high - lines.drop_low
    narrow = run(two, tmp_path, layers=(1, 2)).lines().set_index(["source", "target"])
    assert (wide > narrow.drop_high - narrow.drop_low)["A", "B"], "what training varies is in the interval"


def test_numbers_and_sets_of_labels_are_transferred(tmp_path):
    rng = np.random.default_rng(0)

    def tasks(seed):
        texts = [text for split in corpus(seed)[0].splits.values() for text in split.texts]
        splits = [s for s, n in SIZES.items() for _ in range(n)]
        sets = [[w for w in ("w1", "w2", "w3") if w in text.split()] for text in texts]
        numbers = [len(text.split()) + rng.normal(0, 0.1) for text in texts]
        return [
            Task.from_lists(texts, numbers, splits, name="n", kind="regression"),
            Task.from_lists(texts, sets, splits, name="sets", kind="multilabel"),
        ]

    result = run({"A": tasks(0), "B": tasks(1)}, tmp_path, layers=0)
    lines = result.lines().set_index(["property", "source", "target"])
    assert set(lines.metric) == {"r2", "sample_f1"} and lines.drop_p[[("n", "A", "B"), ("sets", "B", "A")]].notna().all()
    with pytest.raises(ConfigError, match="no two finished probes"):
        result.directions(draws=7)


def test_refusals(corpora, tmp_path):
    for given_, words in (
        ({"A": corpus(0)}, "needs at least two"),
        ([corpus(0), corpus(1)], "given: a list"),
        ({"A": "nowhere", "B": corpus(0)}, "no folder nowhere"),
        ({"A": corpus(0, names=("marked",)), "B": corpus(1, names=("length",))}, "no two have a task of one name"),
        ({"A": [corpus(0)[0]] * 2, "B": corpus(1)}, "several tasks of the same name"),
        ({"A": [corpus(0)[0].cross_validated(4, 0)], "B": corpus(1)}, "is cross-validated"),
    ):
        with pytest.raises((ConfigError, DataError), match=words):
            run(given_, tmp_path)
    with pytest.raises(ConfigError, match="sizes="):
        run(corpora, tmp_path, sizes=[10, 10])
    with pytest.raises(ConfigError, match="probe=None"):
        run(corpora, tmp_path, probe=None)
    result = run(corpora, tmp_path, layers=0)
    with pytest.raises(ConfigError, match="task=None: choose one of marked, length"):
        result.matrix()
    with pytest.raises(ConfigError, match="task='depth'"):
        result.matrix("depth")


def test_a_transferred_task_is_not_official_and_keeps_the_groups_of_its_test_split(corpora):
    a, c = corpora["A"][0], corpora["C"][0]
    task = crossed(replace(a, card={**a.card, "git_blob": "x"}, git_blob="x"), c)
    assert not task.data_card["official"] and task.test.groups == c.test.groups and task.train == a.train
    assert task.sha256 not in (a.sha256, c.sha256)


def folder_of(path, tasks):
    path.mkdir()
    for task in tasks:
        rows = [
            (code, task.classes[y], text)
            for code, split in (("tr", task.train), ("va", task.dev), ("te", task.test))
            for text, y in zip(split.texts, split.labels, strict=True)
        ]
        write_task(path / f"{task.name}.txt", rows)
    return path


def test_the_command_writes_matrix_layers_directions_and_figure(tmp_path):
    names = ("bigram_shift", "tree_depth")
    named = [[replace(task, name=name) for task, name in zip(corpus(seed), names, strict=True)] for seed in (0, 1)]
    for name, tasks in zip("ab", named, strict=True):
        folder_of(tmp_path / name, tasks)
    words = ["run", "+experiment=transfer", "encoder=lstm", "data=senteval", "data.root=a", "data.name=first", "study.directions=7"]
    more = ["study.corpora={second: b}", "study.sizes=[120,40,60]"]
    done = processes.run("-m", "probing", *words, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "probing-out" / "runs").iterdir()
    files = {path.name for path in folder.iterdir()}
    tables = {"matrix.csv", "layers.csv", "directions.csv", "floors.csv", "rows.csv"}
    assert files == {"table.md", "figure-transfer.svg", "manifest.json"} | tables
    text = (folder / "table.md").read_text()
    assert "| trained on | layer | first | second |" in text and "## Directions" in text and "## By layer" in text
    matrix = pd.read_csv(folder / "matrix.csv")
    assert len(matrix) == 8 and {"drop", "drop_low", "gap_p_holm", "score_low"} <= set(matrix)
    assert "<!-- second -->" in (folder / "figure-transfer.svg").read_text()
    refused = processes.run("-m", "probing", *words[:-1], "study.corpora={first: b}", cwd=tmp_path)
    assert refused.returncode == 2 and "study.corpora names first, which is the name of data too" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpora": None}, "names no corpus beside that of data=…"),
        ({"corpora": "b"}, "study.corpora='b'"),
        ({"corpora": {"c": {"path": "b"}}}, "is no corpus"),
        ({"corpora": {"c": {"data": "sentevall"}}}, "did you mean 'senteval'?"),
        ({"corpora": {"c": {"data": "senteval", "rot": "b"}}}, "study.corpora.c: unknown option 'rot'; did you mean 'root'?"),
        ({"corpora": {"c": "b"}, "sizes": [1, 2]}, "must be three numbers"),
        ({"corpora": {"c": "b"}, "directions": 3}, "study.directions=3 must be 0"),
    ],
)
def test_the_study_refuses(options, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        study = TransferStudy(**options)
        for name, own in study.corpora.items():
            _source(name, own, tmp_path)
    assert message in str(error.value)


def test_the_grammar_is_a_corpus_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = GrammarCorpus(str(tmp_path / "g"), n=600)
    pairs = pairs_of({"A": a, "B": GrammarCorpus(str(tmp_path / "h"), n=600, grammar_seed=1)}, ["subj_number"], (100, 30, 30), 0)
    assert [pair.title for pair in pairs] == [f"subj_number: {s} → {t}" for s in "AB" for t in "AB"]
    assert all(len(pair.task.test) <= 30 for pair in pairs)
