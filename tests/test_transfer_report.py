"""Transfer: intervals of drops, failures, other labels and roles, refusals, the study and its report."""

from dataclasses import replace

import numpy as np
import pandas as pd
import processes
import pytest
from corpora import SIZES, WORDS, cells, corpus, run
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep
from toys import ToyEncoder, write_task

from probing import Task
from probing.data.sources import GrammarCorpus
from probing.errors import ConfigError, DataError
from probing.evaluation.corpora import crossed, pairs_of
from probing.evaluation.table import ResultTable
from probing.evaluation.unpaired import unpaired
from probing.report.transfer import write
from probing.studies import failed
from probing.studies.sources import named_source
from probing.studies.transfer import TransferStudy, _floors, _layers


@pytest.fixture(scope="module")
def corpora():
    return {"A": corpus(0), "B": corpus(1, words=WORDS[:20]), "C": corpus(2, groups=True)}


@pytest.fixture(scope="module")
def result(corpora, tmp_path_factory):
    return run(corpora, tmp_path_factory.mktemp("t"), layers=(0, 1))


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
    more = ["encoder.embedding_dim=8", "study.corpora={second: b}", "study.sizes=[120,40,60]"]
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
            named_source(f"study.corpora.{name}", own, tmp_path)
    assert message in str(error.value)


def test_the_grammar_is_a_corpus_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = GrammarCorpus(str(tmp_path / "g"), n=600)
    pairs = pairs_of({"A": a, "B": GrammarCorpus(str(tmp_path / "h"), n=600, grammar_seed=1)}, ["subj_number"], (100, 30, 30), 0)
    assert [pair.title for pair in pairs] == [f"subj_number: {s} → {t}" for s in "AB" for t in "AB"]
    assert all(len(pair.task.test) <= 30 for pair in pairs)
