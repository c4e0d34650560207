"""Rankings of neurons, greedy selection, curves, rotations, counterparts and words, against laws, scikit-learn, brute force and the
reference file."""

import json
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from probing.errors import ConfigError, DataError
from probing.neurons import curves
from probing.neurons import words as of_words
from probing.neurons.between import correlations, counterparts, r_squared
from probing.neurons.classifiers import CLASSIFIERS
from probing.neurons.curves import Basis, Targets, bootstrap, masked, minimal_set, orders, overlap, retrained
from probing.neurons.gaussian import Gaussians, select
from probing.neurons.ranking import (
    RANKINGS,
    Scale,
    average_precision,
    cumulative_order,
    cumulative_places,
    intersection_over_union,
    linear_weights,
    mean_difference,
    probeless,
    top_set,
)

PLACE = Path(os.environ.get("PROBING_SHARED", "")) / "oracles" / "behaviour.json"
ORACLE = json.loads(PLACE.read_text())["neurons"] if os.environ.get("PROBING_SHARED") and PLACE.is_file() else {}
INVARIANT = tuple(name for name in RANKINGS if name not in ("variance", "random"))


def planted(seed=0, n=1500, d=24):
    """The rule of the reference file's set, drawn anew: see its key `rule`."""
    rng = np.random.default_rng(seed)
    y, x = rng.choice(3, n, p=[0.5, 0.3, 0.2]), rng.standard_normal((n, d))
    x[:, 3] += 2 * (y == 0)
    x[:, 7] += 2 * (y == 1)
    x[:, 11] = x[:, 3] + 0.5 * rng.standard_normal(n)
    x[:, 5] *= 50
    x[:, 9] = 0.01 * (x[:, 9] + 2 * y)
    x[y == 2, 13] *= 3
    x[:, 17] -= 2 * (y == 0)
    x[y == 1, 20] = np.abs(x[y == 1, 20]) * np.sign(x[y == 1, 19])
    x[y == 2, 20] = -np.abs(x[y == 2, 20]) * np.sign(x[y == 2, 19])
    return x, y


def split(x, y):
    """Basis and labels: half train, a sixth dev, a third test."""
    a, b = len(x) // 2, 2 * len(x) // 3
    return Basis.of(x[:a], x[a:b], x[b:]), Targets(y[:a], y[a:b], y[b:], int(y.max()) + 1)


@pytest.fixture(scope="module")
def layer():
    return split(*planted())


def test_each_method_sees_what_it_can(layer):
    basis, y = layer
    made = orders(basis, y, RANKINGS, steps=8)
    assert made["probeless"][:3].tolist() == [9, 7, 3] and set(made["probeless"][3:5]) == {11, 17}
    raw = probeless(planted()[0][:750], y.train, 3)
    assert raw.argmax() == 5 and raw.argsort()[::-1].tolist().index(9) > 12, "raw: the useless neuron is first, the best far behind"
    assert set(made["linear"][:4]) == {9, 7, 3, 17}
    assert set(made["gaussian"][:4]) == {9, 7, 3, 17} and {13, 19, 20} <= set(made["gaussian"][:8]), "a variance and a pair"
    for name in ("linear", "probeless", "mean_difference"):
        assert not {13, 19, 20} & set(made[name][:5].tolist()), name
    assert made["variance"][0] == 5
    full = retrained(basis, y, basis.classifier("ridge", y), made["linear"], [4, 24])
    assert full[4].right.mean() > full[24].right.mean() - 0.03


def test_the_affine_law(layer):
    """x -> a x + b for each neuron changes no ranking and no curve; only `variance` reads the scale."""
    x, y = planted()
    rng = np.random.default_rng(1)
    basis, labels = layer
    moved, _ = split(x * rng.uniform(0.01, 100, 24) * rng.choice([-1, 1], 24) + rng.normal(size=24) * 10, y)
    before, after = (orders(one, labels, INVARIANT, exact=True, steps=6) for one in (basis, moved))
    for name in INVARIANT:
        assert before[name].tolist() == after[name].tolist(), name
        for classifier in ("ridge", "logistic_exact", "gaussian"):
            points = [retrained(one, labels, one.classifier(classifier, labels), before[name], [1, 4]) for one in (basis, moved)]
            assert all((points[0][k].right == points[1][k].right).all() for k in (1, 4)), (name, classifier)
    assert np.abs(np.abs(basis.train) - np.abs(moved.train)).max() < 1e-8
    assert orders(moved, labels, ["variance"])["variance"].tolist() != orders(basis, labels, ["variance"])["variance"].tolist()


def test_permuted_neurons_permute_rankings_and_copies_share_a_score(layer):
    x, y = planted()
    to = np.random.default_rng(2).permutation(24)
    basis, labels = layer
    permuted, _ = split(x[:, to], y)
    for name in INVARIANT:
        kwargs = {"exact": True, "steps": 6}
        assert (
            to[orders(permuted, labels, [name], **kwargs)[name][:6]].tolist()
            == orders(basis, labels, [name], **kwargs)[name][:6].tolist()
        )
    copied = np.concatenate([basis.train, basis.train[:, [9]]], 1)
    scores = probeless(copied, labels.train, 3)
    assert scores[9] == scores[24] and np.ptp(mean_difference(copied, labels.train, 3)[[9, 24]]) == 0


@pytest.mark.filterwarnings("error")
def test_dead_neurons_are_last_and_make_no_warning():
    x, y = planted(3)
    x[:, 0], x[:, 7], x[:, 23] = 0.0, 3.1, 1e-30 * x[:, 23]
    basis, labels = split(x.astype(np.float32), y)
    assert basis.scale.dead == [0, 7, 23] and basis.n_live == 21
    for name, order in orders(basis, labels, RANKINGS, steps=30).items():
        assert sorted(order) == list(range(24)) and set(order[-3:].tolist()) == {0, 7, 23}, name
    assert basis.rotated(0).train.shape == (750, 21)
    for classifier in ("ridge", "logistic", "gaussian"):
        points = retrained(
            basis, labels, basis.classifier(classifier, labels), orders(basis, labels, ["probeless"])["probeless"], [3, 21]
        )
        assert points[21].dev > 0.7
    assert Scale.of(np.ones((5, 2))).dead == [0, 1]
    with pytest.raises(DataError, match="1 of 3 vectors are not finite"):
        Scale.of(np.array([[1.0], [np.nan], [2.0]]))


def test_weights_are_the_optimum_of_the_stated_objective(layer):
    basis, y = layer
    z, K = basis.train, 3
    W, b = linear_weights(z, y.train, K, 0.01, exact=True)
    scores = z @ W.T + b
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    error = p - np.eye(K)[y.train]
    assert np.abs(error.T @ z / len(z) + 0.01 * W).max() < 1e-7 and np.abs(error.mean(0)).max() < 1e-7, "no gradient is left"
    assert np.abs(linear_weights(z, y.train, K, 0.01)[0] - W).max() < 0.01
    two = np.minimum(y.train, 1)
    W2, b2 = linear_weights(z, two, 2, 0.01, exact=True)
    model = LogisticRegression(C=2 / (0.01 * len(z)), tol=1e-10, max_iter=5000).fit(z, two)
    assert np.abs(W2[1] - W2[0] - model.coef_[0]).max() < 1e-5 and np.allclose(W2[0], -W2[1]) and np.allclose(b2[0], -b2[1])
    W4, b4 = linear_weights(z, y.train * 2, 6, 0.01, exact=True)  # classes 1, 3 and 5 do not occur
    assert np.allclose(W4[::2], W) and not W4[1::2].any() and np.isneginf(b4[1::2]).all()
    assert linear_weights(z, np.ones(len(z), int), 3)[1].tolist() == [-np.inf, 0.0, -np.inf]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 9), st.integers(0, 10**6))
def test_places_are_those_of_top_sets_that_grow(K, d, seed):
    """A neuron is in the union of the classes' top sets at p if and only if its place is below p."""
    W = np.random.default_rng(seed).normal(size=(K, d))
    places, order = cumulative_places(W), cumulative_order(W)
    assert (np.diff(places[order]) >= -1e-9).all() and sorted(order) == list(range(d))
    for p in np.linspace(0.02, 0.99, 23):
        if np.abs(places - p).min() > 1e-6:
            assert set().union(*(top_set(w, p) for w in W)) == set(np.flatnonzero(places < p))


def test_scores_by_brute_force(layer):
    basis, y = layer
    z, K = basis.train, 3
    means = [z[y.train == k].mean(0) for k in range(K)]
    pairs = sum(np.abs(means[a] - means[b]) for a, b in combinations(range(K), 2))
    assert np.allclose(probeless(z, y.train, K), pairs)
    assert np.allclose(probeless(z, y.train, K, of_class=1), sum(np.abs(means[1] - means[k]) for k in (0, 2)))
    against = [np.abs(means[k] - z[y.train != k].mean(0)) for k in range(K)]
    assert np.allclose(mean_difference(z, y.train, K), np.max(against, 0))
    before = z.copy()
    signed = average_precision(z[:, [3, 17]], y.train == 0)
    assert (signed > 0.85).all() and (z == before).all(), (
        "a neuron that codes a class by low values counts as well; nothing changes"
    )
    active = z[:, 3] > 1
    own = (active & (y.train == 0)).sum() / (active | (y.train == 0)).sum()
    assert intersection_over_union(z, y.train == 0)[3] == pytest.approx(own)


@pytest.mark.parametrize("covariance", ["mle", "map", "map_released"])
def test_greedy_selection_by_brute_force(covariance):
    """Each step against SciPy's densities of every candidate, and the information of the set."""
    x, y = planted(4, n=600, d=24)
    x = x[:, [3, 5, 7, 9, 13, 17, 19, 20]]
    basis, labels = split(x, y)
    model = Gaussians.fit(basis.train, labels.train, covariance)
    n, d = np.bincount(labels.train), x.shape[1]
    for k in range(3):
        own = basis.train[labels.train == k]
        S = (own - own.mean(0)).T @ (own - own.mean(0))
        prior = np.diag(np.diag(S)) / n[k]
        expected = {"mle": S / (n[k] - 1), "map": (prior + S) / (n[k] + 1), "map_released": (prior + S) / (n[k] + 2 * d + 4)}
        assert np.allclose(model.covariances[k], expected[covariance])

    def posterior(columns):
        densities = [
            np.log(n[k] / n.sum())
            + multivariate_normal(model.means[k, columns], model.covariances[k][np.ix_(columns, columns)]).logpdf(
                basis.dev[:, columns]
            )
            for k in range(3)
        ]
        joint = np.stack([np.atleast_1d(one) for one in densities], 1)
        return joint - np.logaddexp.reduce(joint, 1)[:, None]

    rows, chosen = np.arange(len(labels.dev)), []
    share = np.bincount(labels.dev) / len(labels.dev)
    entropy = -(share * np.log2(share)).sum()
    for step in select(model, basis.dev, labels.dev, 4):
        scores = {k: posterior([*chosen, k])[rows, labels.dev].mean() for k in range(8) if k not in chosen}
        chosen.append(max(scores, key=lambda k: scores[k]))
        assert step.columns == tuple(chosen)
        assert step.information == pytest.approx(entropy + scores[chosen[-1]] / np.log(2), abs=1e-9)
        assert step.accuracy == pytest.approx((posterior(chosen).argmax(1) == labels.dev).mean())
        assert np.allclose(model.log_posterior(basis.dev, chosen), posterior(chosen), atol=1e-9)
    with pytest.raises(ConfigError, match="allowed: map, mle, map_released"):
        Gaussians.fit(basis.train, labels.train, "diagonal")


def test_a_class_that_is_too_rare_is_never_predicted():
    x, y = planted(5, n=300)
    y[0] = 3
    basis, labels = split(x, y)
    labels = labels._replace(dev=np.where(np.arange(len(labels.dev)) == 0, 3, labels.dev))
    assert Gaussians.fit(basis.train, labels.train).classes.tolist() == [0, 1, 2]
    assert len(orders(basis, labels, ["gaussian"], steps=3)["gaussian"]) == 24


def test_ridge_and_logistic_are_those_of_scikit_learn(layer):
    basis, y = layer
    columns = np.array([9, 3, 5, 17])
    z, one_hot = basis.train[:, columns], np.eye(3)[y.train]
    model = Ridge(alpha=0.01 * len(z)).fit(z, one_hot)
    ours = basis.classifier("ridge", y).on(columns)
    assert np.abs(ours.weights[columns] - model.coef_.T).max() < 1e-10 and not np.delete(ours.weights, columns, 0).any()
    assert (ours(basis.test) == model.predict(basis.test[:, columns]).argmax(1)).all()
    exact = basis.classifier("logistic_exact", y).on(columns)(basis.test)
    assert (exact == LogisticRegression(C=100 / len(z), tol=1e-8).fit(z, y.train).predict(basis.test[:, columns])).all()
    assert set(CLASSIFIERS) == {"ridge", "logistic", "logistic_exact", "gaussian"}
    empty = [np.bincount(y.train).argmax()] * len(y.test)
    for name in CLASSIFIERS:
        assert basis.classifier(name, y).on(np.array([], int))(basis.test).tolist() == empty, name


@pytest.mark.parametrize("name", ["ridge", "gaussian"])
def test_keep_and_drop_by_their_definition(layer, name):
    basis, y = layer
    classifier, order = basis.classifier(name, y), orders(basis, y, ["probeless"])["probeless"]
    whole = classifier.on(np.arange(24))
    for k, (keep, drop) in masked(basis, y, classifier, order, [1, 5, 24]).items():
        kept, dropped = np.zeros_like(basis.test), basis.test.copy()
        kept[:, order[:k]] = basis.test[:, order[:k]]
        dropped[:, order[:k]] = 0.0  # the mean of train
        assert keep == (whole(kept) == y.test).mean() and drop == (whole(dropped) == y.test).mean()
        if k == 24:
            assert keep == (whole(basis.test) == y.test).mean()


def test_the_mean_is_not_zero_of_raw_values(layer):
    """Others at zero, of a probe of raw values far from 0, is another and worse question."""
    x, y = planted()
    x = x + 5.0
    basis, labels = split(x, y)
    whole = basis.classifier("ridge", labels).on(np.arange(24))
    order = orders(basis, labels, ["probeless"])["probeless"]
    zeroed = x[1000:].copy()
    zeroed[:, order[4:]] = 0.0
    keep, _ = masked(basis, labels, basis.classifier("ridge", labels), order, [4])[4]
    assert (whole(basis.scale(zeroed)) == labels.test).mean() < keep - 0.05


def test_a_rotation_keeps_all_neurons_together_and_spreads_the_first(layer):
    basis, y = layer
    rotated = basis.rotated(3)
    assert np.allclose(rotated.train.mean(0), 0) and np.allclose(rotated.train.std(0), 1)
    span = np.linalg.lstsq(basis.train, rotated.train, rcond=None)
    assert np.allclose(basis.test @ span[0], rotated.test, atol=1e-8), "the same directions in every split"
    scores = {}
    for name, one in (("own", basis), ("rotated", rotated)):
        order = orders(one, y, ["linear"])["linear"]
        scores[name] = retrained(one, y, one.classifier("ridge", y), order, [3, 24])
    assert abs(scores["own"][24].right.mean() - scores["rotated"][24].right.mean()) < 0.03
    assert scores["own"][3].right.mean() > scores["rotated"][3].right.mean() + 0.1
    again = basis.rotated(3)
    assert (again.train == rotated.train).all() and not np.allclose(basis.rotated(4).train, rotated.train)


def test_the_minimal_set_is_chosen_on_dev(layer):
    basis, y = layer
    classifier, order = basis.classifier("ridge", y), orders(basis, y, ["linear"])["linear"]
    least = minimal_set(basis, y, classifier, order, 0.02)
    dev = {k: retrained(basis, y, classifier, order, [k])[k].dev for k in range(1, 25)}
    assert least.k == min(k for k in dev if dev[k] >= dev[24] - 0.02) <= 7
    assert least.accuracy == retrained(basis, y, classifier, order, [least.k])[least.k].right.mean()
    assert least.without == (classifier.on(order[least.k :])(basis.test) == y.test).mean()
    moved = y._replace(test=(y.test + 1) % 3)
    assert minimal_set(basis, moved, classifier, order, 0.02).k == least.k, "test labels choose nothing"


def test_names_sizes_overlap_and_bootstrap(layer):
    basis, y = layer
    with pytest.raises(ConfigError, match="unknown ranking 'probless'; did you mean 'probeless'"):
        orders(basis, y, ["probless"])
    assert curves.sizes_of(basis) == [1, 2, 5, 10, 20, 24] and curves.sizes_of(basis, [3, 99]) == [3, 24]
    assert overlap(np.arange(10), np.arange(10)[::-1], 4, 10) == (0, 1.6, 0.0)
    groups = np.array([0, 0, 1, 2, 2, 2])
    rows = bootstrap(6, groups, 1)
    counts = np.bincount(rows, minlength=6)
    assert counts[0] == counts[1] and counts[3] == counts[4] == counts[5] and len(set(bootstrap(50, None, 0))) < 50
    assert sorted(curves.drawn(basis, 0)) == list(range(24)) and (curves.drawn(basis, 0) != curves.drawn(basis, 1)).any()


def models(seed=0, n=400):
    """Three models of six neurons: 4 is one shared signal (its sign turned in model 1), 5 noise, 0-3 weak mixtures."""
    rng = np.random.default_rng(seed)
    signal, hidden = rng.normal(size=n), rng.normal(size=(n, 3))
    made = []
    for m in range(3):
        x = hidden @ rng.normal(size=(3, 6)) * 0.4 + rng.normal(size=(n, 6))
        x[:, 4] = (-1 if m == 1 else 1) * signal + 0.25 * rng.normal(size=n)
        x[:, 5] = rng.normal(size=n)
        made.append(x)
    return made


@pytest.mark.parametrize("own", [0, 1, 2])
def test_a_shared_neuron_has_counterparts_and_noise_has_none(own):
    three = models()
    result = counterparts(three, own)
    assert result.max_corr[4] > 0.92 and result.min_corr[4] > 0.9 and result.max_corr[5] < 0.15
    assert (
        result.best[4, 1] == 4 and (result.min_corr <= result.max_corr).all() and (result.lin_reg_min <= result.lin_reg_max).all()
    )
    others = [x for k, x in enumerate(three) if k != own]
    assert result.sign[4] == np.sign(np.corrcoef(three[own][:, 4], others[result.best[4, 0]][:, 4])[0, 1])
    brute = np.array([[abs(np.corrcoef(three[own][:, i], x[:, j])[0, 1]) for j in range(6)] for x in others for i in range(6)])
    tops = brute.max(1).reshape(2, 6)
    assert np.allclose(result.max_corr, tops.max(0)) and np.allclose(result.min_corr, tops.min(0))
    scores = [[LinearRegression().fit(x, three[own][:, i]).score(x, three[own][:, i]) for i in range(6)] for x in others]
    assert np.allclose(result.lin_reg_max, np.max(scores, 0)) and np.allclose(result.lin_reg_min, np.min(scores, 0))


def test_counterparts_of_dead_neurons_and_mistakes():
    a, b, _ = models(1)
    a[:, 2] = 0.7
    result = counterparts([a, b], 0, held_out=np.arange(0, 400, 2))
    assert result.max_corr[2] == result.lin_reg_max[2] == 0 and result.lin_reg_max[4] > 0.8 > result.lin_reg_max[5]
    assert not correlations(a, b)[2].any()
    rng = np.random.default_rng(0)
    noise, wide = rng.normal(size=(60, 2)), rng.normal(size=(60, 50))
    assert (r_squared(noise, wide) > 0.6).all() and (r_squared(noise, wide, np.arange(5)) < 0.5).all(), "many neurons, few words"
    with pytest.raises(DataError, match="two models or more"):
        counterparts([a], 0)
    with pytest.raises(DataError, match="400, 399 words"):
        counterparts([a, b[:-1]], 0)


def test_words_keep_their_sign_and_rare_ones_are_left_out():
    tokens = ["good", "bad", "good", "film", "film", "rare", "bad", "film"]
    z = of_words.z_scores(np.array([2.0, -2.0, 1.0, 0.0, 0.5, 4.0, -1.0, -0.5]))
    assert np.allclose(z, [0.85714286, -1.42857143, 0.28571429, -0.28571429, 0.0, 2.0, -0.85714286, -0.57142857])
    assert [(t.word, t.count) for t in of_words.types(tokens, z)] == [("good", 2), ("film", 3), ("bad", 2)]
    assert of_words.types(tokens, z, least=1)[0].word == "rare"
    means = {t.word: t.z for t in of_words.types(tokens, z, least=1)}
    assert means["bad"] == pytest.approx(-1.14285714) and means["good"] == pytest.approx(0.57142857)


@pytest.mark.shared
def test_the_reference_values_of_orders_from_weights():
    linear = ORACLE["linear"]
    W = np.array(linear["W"])
    assert cumulative_order(W).tolist() == linear["cumulative_order"]
    assert np.allclose(cumulative_places(W), linear["cumulative_place"], atol=1e-6)
    assert np.argsort(-np.abs(W).mean(0), kind="stable").tolist() == linear["mean_abs_order"]
    for p, sets in linear["top_sets"].items():
        assert [top_set(w, float(p)) for w in W] == sets["per_class"]
        assert sorted(set().union(*(top_set(w, float(p)) for w in W))) == sets["union"]


@pytest.mark.shared
def test_the_reference_values_of_top_words():
    case = ORACLE["top_words"]
    z = of_words.z_scores(np.array(case["activations"]))
    assert np.allclose(z, case["z"], atol=1e-8)
    assert {t.word: round(t.z, 8) for t in of_words.types(case["tokens"], z, 1)} == case["mean_z"]
    ends = of_words.types(case["tokens"], z, 2)
    assert (ends[0].word, ends[-1].word) == ("good", "bad")
