"""Directions of probes: formulas against the reference file and hand-worked cases, the null, and what tables say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from toys import ToyEncoder

import probing
from probing import Task, evaluate
from probing.errors import ConfigError
from probing.evaluation.directions import label_correlation
from probing.probes.directions import (
    cosine,
    cosines,
    permutation_p,
    principal_cosines,
    random_directions,
    root_of,
    score_correlation,
)


def covariance(x):
    return np.cov(np.asarray(x), rowvar=False, ddof=0)


@pytest.mark.shared
def test_the_reference_file(shared):
    cases = json.loads((shared / "oracles" / "probes.json").read_text())["directions"]["cases"]
    assert len(cases) == 4
    for case in cases:
        given_, expected = case["given"], case["expected"]
        if "features" not in given_:
            chance = random_directions(given_["d"], given_["cos"])
            numbers = {"null_sd": chance.sd, "null_mean_abs": chance.mean_abs, "null_p": chance.p}
            assert {name: pytest.approx(x, rel=1e-3, abs=1e-8) for name, x in expected.items()} == numbers
            continue
        x, w1, w2 = (np.array(given_[name]) for name in ("features", "w1", "w2"))
        sd = x.std(0)
        null = [cosine(*pair) for pair in given_["null_pairs"]]
        chance = random_directions(x.shape[1], cosine(w1, w2))
        measured = {
            "cos": cosine(w1, w2),
            "cos_raw_weights": cosine(w1 / sd, w2 / sd),
            "cos_scores": score_correlation(w1 / sd, w2 / sd, root_of(covariance(x))),
            "null_sd": chance.sd,
            "null_mean_abs": chance.mean_abs,
            "null_p": chance.p,
            "permutation_p": permutation_p(cosine(w1, w2), null),
        }
        for name, value in measured.items():
            assert value == pytest.approx(expected[name], abs=1e-6), name
        assert null == pytest.approx(expected["null_cosines"], abs=1e-6)
        assert principal_cosines(given_["W1"], given_["W2"]) == pytest.approx(expected["principal"], abs=1e-6)
        trap = np.cos(subspace_angles(np.array(given_["W1"]).T, np.array(given_["W2"]).T))
        assert sorted(trap) == pytest.approx(sorted(expected["principal_without_centring_trap"]), abs=1e-6)


SEEDS = st.integers(0, 10_000)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 5), st.integers(2, 5))
def test_principal_cosines_are_those_of_scipy_and_ignore_what_a_softmax_ignores(seed, k, m):
    rng = np.random.default_rng(seed)
    a, b, shift = rng.standard_normal((k, 9)), rng.standard_normal((m, 9)), rng.standard_normal(9)
    expected = np.cos(subspace_angles((a - a.mean(0)).T, (b - b.mean(0)).T))
    assert sorted(principal_cosines(a, b)) == pytest.approx(sorted(expected), abs=1e-7)
    assert principal_cosines(a + shift, b - 3 * shift) == pytest.approx(principal_cosines(a, b), abs=1e-7)
    assert principal_cosines(a[::-1], b) == pytest.approx(principal_cosines(a, b), abs=1e-7), "the order of classes"
    assert principal_cosines(a, a) == pytest.approx(np.ones(k - 1))


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_scores_are_correlated_as_numpy_says_and_the_sign_is_that_of_the_classes(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, 6)) * rng.uniform(0.1, 5, 6) + rng.standard_normal(6)
    w, v = rng.standard_normal((2, 1, 6))
    root = root_of(covariance(x))
    assert score_correlation(w, v, root) == pytest.approx(np.corrcoef(x @ w[0], x @ v[0])[0, 1])
    assert score_correlation(-w, v, root) == pytest.approx(-score_correlation(w, v, root))
    assert cosine(3 * w, v) == pytest.approx(cosine(w, v)) == pytest.approx(-cosine(-w, v))


def test_a_shift_between_two_corpora_is_no_part_of_the_correlation_of_scores():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 400, 4))
    w, v = rng.standard_normal((2, 1, 4))
    apart = score_correlation(w, v, root_of(covariance(x), covariance(y + 100)))
    assert apart == pytest.approx(score_correlation(w, v, root_of(covariance(x), covariance(y))))


def test_many_cosines_are_those_of_each_pair():
    rng = np.random.default_rng(1)
    for rows, others in ((1, 1), (3, 1), (3, 4)):
        a, b = list(rng.standard_normal((3, rows, 7))), list(rng.standard_normal((2, others, 7)))
        assert cosines(a, b) == pytest.approx(np.array([[cosine(x, y) for y in b] for x in a]))


def test_weights_of_zero_have_no_direction():
    assert np.isnan(cosine([[0.0, 0.0]], [[1.0, 0.0]])) and np.isnan(cosine([[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0]]))


def texts_of(n, seed=0):
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(30)]
    return list(dict.fromkeys(" ".join(rng.choice(words, size=rng.integers(4, 9))) for _ in range(2 * n)))[:n]


def task_of(name, texts, labels):
    n = len(texts)
    return Task.from_lists(texts, labels, ["train"] * (n // 2) + ["dev"] * (n // 4) + ["test"] * (n - n // 2 - n // 4), name=name)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    texts = texts_of(400)
    first = ["ab"["w1" in t.split() or "w2" in t.split()] for t in texts]
    opposite = ["ab"[y == "a"] for y in first]
    noise = np.random.default_rng(2).choice(list("xy"), len(texts)).tolist()
    three = [str(len(t.split()) % 3) for t in texts]
    tasks = [task_of(name, texts, y) for name, y in {"one": first, "opposite": opposite, "noise": noise, "three": three}.items()]
    options = {"store": tmp_path_factory.mktemp("d") / "store", "poolings": "mean", "controls": (), "floors": ()}
    return evaluate(tasks, ToyEncoder(), **options)


def test_opposite_labels_have_opposite_directions_and_noise_has_that_of_its_null(table):
    lines = probing.directions(table, draws=20, layer=0).set_index(["a_task", "b_task"])
    same = lines.loc["one", "opposite"]
    assert same.cosine == pytest.approx(-1, abs=1e-3) and same.correlation == pytest.approx(-1, abs=1e-3)
    assert same.p == pytest.approx(1 / 401) and same.label_correlation == pytest.approx(-1) and same.n_shared == 200
    assert same.null_low < 0 < same.null_high and same.cosine < same.null_low
    noise = lines.loc["one", "noise"]
    assert noise.null_low <= noise.cosine <= noise.null_high and noise.p > 0.05 and abs(noise.label_correlation) < 0.2
    assert 0 <= lines.loc["one", "three"].null_low, "a mean of principal cosines has no sign"
    assert np.isnan(lines.loc["one", "three"].aligned)
    assert (lines.p_holm >= lines.p).all() and len(lines) == 6


def test_cosines_are_those_of_the_probes_of_the_table(table):
    [line] = probing.directions(table, draws=7, layer=1, task=("one", "noise")).itertuples()
    one, noise = (table.probe(task=name, layer=1, pooling="mean").model.coef_ for name in ("one", "noise"))
    assert line.cosine == pytest.approx(cosine(one, noise), abs=1e-3)


def test_layers_are_compared_by_their_cosine_alone(table):
    lines = probing.directions(table, "layer", draws=7, task="one")
    assert list(zip(lines.a_layer, lines.b_layer, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert lines.correlation.isna().all() and lines.cosine.notna().all() and (lines.label_correlation == 1).all()
    assert lines.aligned.tolist() == pytest.approx(lines.cosine.tolist())


def test_finished_pairs_are_not_fitted_again(table, monkeypatch):
    first = probing.directions(table, draws=8, layer=2)
    monkeypatch.setattr("probing.evaluation.directions.Drawn.of", lambda *_: pytest.fail("fitted again"))
    again = probing.directions(table, draws=8, layer=2)
    assert again.equals(first)
    with pytest.raises(pytest.fail.Exception):
        probing.directions(table, draws=8, layer=2, seed=1)


def test_correlated_labels_are_shown():
    texts = texts_of(80, 3)
    a = task_of("a", texts, ["ab"[i % 2] for i in range(80)])
    b = task_of("b", texts, ["xyz"[i % 3] for i in range(80)])
    counts = np.zeros((2, 3))
    np.add.at(counts, (a.train.labels, b.train.labels), 1)
    from scipy.stats.contingency import association

    assert label_correlation(a, b) == (pytest.approx(association(counts.astype(int), method="cramer")), 40)
    assert label_correlation(a, a) == (pytest.approx(1), 40)
    assert np.isnan(label_correlation(a, task_of("c", texts_of(80, 4), ["ab"[i % 2] for i in range(80)]))[0])


def test_refusals(table, tmp_path):
    with pytest.raises(ConfigError, match="across='tasks' is unknown"):
        probing.directions(table, "tasks")
    with pytest.raises(ConfigError, match="no column 'layers'"):
        probing.directions(table, layers=1)
    with pytest.raises(ConfigError, match="draws=3 must be"):
        probing.directions(table, draws=3)
    with pytest.raises(ConfigError, match="no two finished probes"):
        probing.directions(table, task="one")
    with pytest.raises(ConfigError, match="read from files"):
        probing.directions(replace(table, refit=None))
    from sklearn.neighbors import KNeighborsClassifier

    texts = texts_of(100, 5)
    tasks = [task_of(name, texts, ["ab"[(i // k) % 2] for i in range(100)]) for k, name in ((1, "a"), (2, "b"))]
    options = {"poolings": "mean", "layers": 0, "controls": (), "floors": (), "store": tmp_path / "s"}
    with pytest.raises(ConfigError, match="no single C"):
        probing.directions(evaluate(tasks, ToyEncoder(), probe=KNeighborsClassifier(3), **options))
