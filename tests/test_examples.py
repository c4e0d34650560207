"""Influence and representers of logistic probes: the oracle, true leave-one-out, scikit-learn's optimum, and `explain --answer`."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from probing.attributions.examples import LogisticProbe
from probing.commands.results import explain
from probing.errors import ConfigError, DataError


def made(seed, n=40, d=4, n_classes=2, C=1.0):
    """A probe with an intercept without a penalty, on noisy labels that depend on the features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = (x[:, :n_classes] + 0.8 * rng.normal(size=(n, n_classes))).argmax(1)
    penalty = np.r_[np.full(d, 1 / C), 0.0]
    return LogisticProbe.fit(np.c_[x, np.ones(n)], y, n_classes, penalty), rng.normal(size=d), C


@pytest.mark.shared
def test_the_stored_influences_and_representers(shared):
    stored = json.loads((shared / "oracles/explanations.json").read_text())["data_influence"]
    x, y = np.c_[stored["x"], np.ones(14)], np.array(stored["y"], int)
    probe = LogisticProbe.fit(x, y, 2, np.full(4, stored["l2_on_all_of_theta"]))
    np.testing.assert_allclose(probe.theta[:, 0], stored["theta_with_intercept_last"], atol=1e-8)
    second = np.array([1.0])  # the stored value is the second class's log-odds
    for k, given_item in enumerate(stored["x_test"]):
        item = np.r_[given_item, 1.0]
        influence = probe.influence(item, second)
        true = [probe.change_without(i, item, second) for i in range(14)]
        np.testing.assert_allclose(influence, stored["influence_on_test_logit_of_leaving_out"][k], atol=1e-8)
        np.testing.assert_allclose(true, stored["true_change_of_test_logit"][k], atol=1e-8)
        assert np.corrcoef(influence, true)[0, 1] >= 0.95
        shares, rest = probe.representers(item, second)
        np.testing.assert_allclose(shares, stored["representer_value"][k], atol=1e-8)
        assert rest == 0 and abs(shares.sum() - stored["test_logit"][k]) <= 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 3))
def test_the_influence_on_a_loss_is_about_its_change_when_an_item_is_left_out(seed, n_classes):
    probe, _, _ = made(seed, n=60, n_classes=n_classes)
    rng = np.random.default_rng(seed + 1)
    x = np.c_[rng.normal(size=(30, 4)), np.ones(30)]
    y = x[:, :n_classes].argmax(1)

    def loss(theta):
        scores = np.c_[np.zeros(len(x)), x @ theta] if n_classes == 2 else x @ theta
        return float((logsumexp(scores, axis=1) - scores[np.arange(len(y)), y]).mean())

    rest = [np.arange(60) != k for k in range(60)]
    again = (LogisticProbe.fit(probe.x[own], probe.y[own], n_classes, probe.penalty, probe.theta) for own in rest)
    true = np.array([loss(one.theta) for one in again]) - loss(probe.theta)
    about = probe.influence_on_loss(x, y)
    assert np.corrcoef(about, true)[0, 1] >= 0.8 and 0.6 < (about @ true) / (true @ true) < 1.1
    of_each = np.mean([probe.influence_on_loss(x[k : k + 1], y[k : k + 1]) for k in range(30)], axis=0)
    np.testing.assert_allclose(about, of_each, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4), st.sampled_from([0.1, 1.0, 10.0]))
def test_representers_and_the_intercepts_sum_to_the_log_odds(seed, n_classes, C):
    probe, item, _ = made(seed, n_classes=n_classes, C=C)
    item = np.r_[item, 1.0]
    best, second, target = probe.target(item)
    scores = probe.values(item[None])[0]
    scores = np.array([0, scores[0]]) if n_classes == 2 else scores
    assert best == scores.argmax() and abs(scores[best] - scores[second] - probe.theta.T @ item @ target) <= 1e-12
    shares, rest = probe.representers(item, target)
    assert abs(shares.sum() + rest - (scores[best] - scores[second])) <= 1e-8


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_optimum_is_that_of_scikit_learn(n_classes):
    probe, _, C = made(3, n_classes=n_classes)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(probe.x[:, :-1], probe.y)
    scores = probe.values(probe.x)
    scores = scores[:, 0] if n_classes == 2 else scores - scores.mean(1, keepdims=True)  # logits are known up to a constant
    own = model.decision_function(probe.x[:, :-1])
    own = own if n_classes == 2 else own - own.mean(1, keepdims=True)
    np.testing.assert_allclose(scores, own, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_influence_is_the_derivative_of_the_value_by_an_items_weight(n_classes):
    """A finite difference: an item counted 1 - e times moves the value by e times its influence, whatever its leverage."""
    probe, item, C = made(5, n_classes=n_classes)
    item = np.r_[item, 1.0]
    _, _, target = probe.target(item)
    influence, eps = probe.influence(item, target), 1e-4
    for k in (0, 7):
        weights = np.ones(len(probe.y))
        changes = []
        for sign in (1, -1):
            weights[k] = 1 + sign * eps
            model = LogisticRegression(C=C, tol=1e-14, max_iter=10000, solver="newton-cg")
            model.fit(probe.x[:, :-1], probe.y, sample_weight=weights)
            scores = model.decision_function(item[None, :-1])[0]
            changes.append(float(np.atleast_1d(scores) @ target))
        assert abs((changes[1] - changes[0]) / (2 * eps) - influence[k]) <= 1e-3 * np.abs(influence).max()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_influence_goes_with_true_leave_one_out(n_classes):
    probe, item, _ = made(11, n=60, n_classes=n_classes)
    item = np.r_[item, 1.0]
    _, _, target = probe.target(item)
    influence = probe.influence(item, target)
    true = np.array([probe.change_without(k, item, target) for k in range(60)])
    assert np.corrcoef(influence, true)[0, 1] >= 0.95
    assert np.abs(true).sum() > np.abs(influence).sum()  # it falls short where an item has leverage


def test_too_many_weights_and_classes_without_an_optimum_are_refused():
    x = np.random.default_rng(0).normal(size=(20, 30))
    with pytest.raises(ConfigError, match="1000 x 30 weights"):
        LogisticProbe.fit(x, np.arange(20), 1000, np.ones(30))
    with pytest.raises(DataError, match="no single optimum: give every feature a penalty"):
        LogisticProbe.fit(np.ones((20, 2)), np.arange(20) % 3 // 2, 2, np.zeros(2))
    with pytest.raises(DataError, match="no single optimum"):
        LogisticProbe.fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, np.zeros(1))


def probing(*given, cwd):
    return processes.run("-m", "probing", *given, cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"})


def test_explain_lists_the_training_items_that_decide_an_answer(tmp_path, monkeypatch):
    """Items told by one word: removing an item of the answer's class makes it weaker, and the true change has the same sign."""
    data = tmp_path / "data"
    data.mkdir()
    words = {"I": ["cat", "dog", "cow"], "O": ["red", "blue", "pink"]}
    splits = ["tr"] * 60 + ["va"] * 20 + ["te"] * 20
    lines = [(part, label, f"{words[label][k // 2 % 3]} n{k}") for k, part in enumerate(splits) for label in ["IO"[k % 2]]]
    (data / "bigram_shift.txt").write_text("".join("\t".join(line) + "\n" for line in lines))
    options = ("encoder.embedding_dim=8", "encoder.hidden=8", "layer=0,1", "controls=permuted")
    run = probing("run", "data=senteval", f"data.root={data}", "encoder=lstm", "pooling=mean", *options, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    [made] = (tmp_path / "probing-out/runs").glob("*/run.json")
    rows = json.loads(made.read_text())["rows"]
    probe = next(row["cell"] for row in rows if row["role"] == "probe" and row["layer"] == 1)
    monkeypatch.chdir(tmp_path)
    shown = explain(probe[:12], tmp_path / "probing-out", False, "0")
    assert "item      dog n80 (test item 0, label I)" in shown and "20 of 20 test items as recorded" in shown
    listed = re.findall(r"^(for|against) +(\S+) / (\S+) +(\S+)  ([IO])  (.*)$", shown, re.M)
    assert len(listed) == 8 and {line[0] for line in listed} == {"for", "against"}
    assert all(float(estimate) * float(true) > 0 for _, estimate, true, *_ in listed)
    assert all((float(estimate) < 0) == (side == "for") for side, estimate, *_ in listed)
    assert [line[4] for line in listed[:4]] == ["I"] * 4  # in a task of single words the nearest of the own class hold the answer
    assert "item      red cow (not in test)" in explain(probe, tmp_path / "probing-out", False, "red cow")
    control = next(row["cell"] for row in rows if row["role"] == "control")
    assert "test items as recorded" in explain(control, tmp_path / "probing-out", False, "3")
    floor = next(row["cell"] for row in rows if row["role"] == "floor")
    for key, answer, message in (
        (probe, "20", "has the test items 0 to 19"),
        (probe, "-1", "--answer -1: .* has the test items 0 to 19"),
        (floor, "0", "reads L2 logistic probes of an encoder"),
    ):
        with pytest.raises(ConfigError, match=message):
            explain(key, tmp_path / "probing-out", False, answer)
    wrong = probing("explain", probe, "--answer", "0", "--json", cwd=tmp_path)
    assert wrong.returncode == 2 and "--answer goes with the key of a cell" in wrong.stderr and "Traceback" not in wrong.stderr
    with (data / "bigram_shift.txt").open("a") as file:
        file.write("te\tI\tcat n999\n")
    with pytest.raises(DataError, match="planned again has no cell"):
        explain(probe, tmp_path / "probing-out", False, "0")
