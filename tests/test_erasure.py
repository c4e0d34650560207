"""Erasure against its laws, hand-worked cases and scikit-learn; on planted classes, also with a nearly singular covariance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from probing import load_encoder
from probing.encoders.interventions import Intervention, intervened
from probing.errors import ConfigError, DataError
from probing.probes import erasure
from probing.probes.erasure import erase, inlp, leace, means, random


def planted(n=900, d=10, seed=0, singular=False):
    """Three classes whose means differ in four units, not in the order of their numbers."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.38, 0.35, 0.27])
    centres = np.zeros((3, d))
    centres[0, 1], centres[1, 3], centres[2, 1], centres[2, 4] = 2, 2, 1, 1.5
    x = centres[y] + rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)))
    if singular:
        x[:, -1] = x[:, 0] + 1e-4 * rng.standard_normal(n)
    return x, y


def cross(x, y):
    z = np.eye(y.max() + 1)[y]
    return np.abs((x - x.mean(0)).T @ (z - z.mean(0)) / len(x)).max()


def refit(x, y, c=1.0):
    return LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x, y)


@pytest.mark.parametrize("singular", [False, True])
def test_leace_guards_against_every_linear_classifier(singular):
    x, y = planted(singular=singular)
    erased = leace(x, y)
    new = erased(x)
    assert cross(x, y) > 0.3 and cross(new, y) < 1e-8
    model = refit(new - new.mean(0), y)
    assert np.abs(model.coef_).max() < 1e-6
    assert model.score(new - new.mean(0), y) == np.bincount(y).max() / len(y) < refit(x, y).score(x, y) - 0.2
    assert erased.rank == 2 == np.linalg.matrix_rank(np.eye(10) - erased.matrix, tol=1e-8)
    assert np.allclose(erased.matrix @ erased.matrix, erased.matrix, atol=1e-7)
    assert np.allclose(new.mean(0), x.mean(0))


def test_leace_is_its_formula_and_the_least_change():
    """The formula by SciPy's roots; and no other map that guards as well changes less: means does, and changes more."""
    from scipy.linalg import fractional_matrix_power, orth

    x, y = planted()
    moved, z = x - x.mean(0), np.eye(3)[y] - np.eye(3)[y].mean(0)
    white = fractional_matrix_power(moved.T @ moved / len(x), -0.5)
    u = orth(white @ moved.T @ z, rcond=1e-9)
    erased = leace(x, y)
    assert np.allclose(erased.matrix, np.eye(10) - np.linalg.inv(white) @ u @ u.T @ white, atol=1e-9)
    other = means(x, y)
    assert cross(other(x), y) < 1e-8 and other.rank == 2
    assert erased.change(x) < other.change(x) == pytest.approx(np.square(x - other(x)).sum(1).mean())


def test_class_numbers_are_one_hot_and_a_column_of_them_is_refused():
    x, y = planted()
    z = np.eye(3, dtype=int)[y]
    assert np.allclose(leace(x, y).matrix, leace(x, z).matrix)
    assert np.allclose(leace(x, 7 * y - 3).matrix, leace(x, y).matrix), "their values have no meaning"
    with pytest.raises(DataError, match="linear trend alone"):
        leace(x, y[:, None])
    trend = leace(x, (y > 0)[:, None].astype(int))  # the trap: another column leaves most of three classes
    assert refit(trend(x), y).score(trend(x), y) > np.bincount(y).max() / len(y) + 0.1


def test_inlp_is_its_protocol_step_by_step():
    """Against the protocol written out with scikit-learn: rows of each fit, from the original by the span of all rows."""
    x, y = planted()
    train, test = slice(0, 600), slice(600, 900)
    x = (x - x[train].mean(0)) / x[train].std(0)
    result = inlp(x[train], y[train], dev=(x[test], y[test]))
    rows, expected = np.zeros((0, 10)), []
    for _ in range(5):
        left = np.eye(10) - np.linalg.pinv(rows) @ rows
        model = refit(x[train] @ left, y[train], c=1 / (2 * 0.0005 * 600))
        rows = np.vstack([rows, (model.coef_ - model.coef_.mean(0))[:2]])
        expected.append((model.score(x[test] @ left, y[test]), np.eye(10) - np.linalg.pinv(rows) @ rows))
    steps = result.steps
    assert [step.rank for step in steps] == [2, 4, 6, 8, 10], "K - 1 directions an iteration, not K"
    assert [step.accuracy for step in steps] == pytest.approx([accuracy for accuracy, _ in expected], abs=0.004)
    for step, (_, matrix) in zip(steps[:4], expected, strict=False):
        assert np.allclose(step.matrix, matrix, atol=1e-4)
    majority = np.mean(y[test] == np.bincount(y[train]).argmax())
    reached = next(k for k, step in enumerate(steps) if step.accuracy <= majority + 0.01)
    assert result.rank == (steps[reached - 1].rank if reached else 0)


def test_inlp_removes_nothing_of_what_cannot_be_read():
    x, y = planted(d=6)
    rng = np.random.default_rng(1)
    noise, held_out = rng.standard_normal((400, 6)), rng.standard_normal((4000, 6))
    nothing = inlp(noise, y[:400], dev=(held_out, rng.permutation(np.resize(y, 4000))))
    assert nothing.rank == 0 and np.array_equal(nothing.matrix, np.eye(6)) and nothing.steps[0].rank == 2
    two = inlp(x, (y == 1).astype(int), iterations=3)
    assert [step.rank for step in two.steps] == [1, 2, 3]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 20))
def test_the_scale_and_a_shift_of_the_vectors_do_not_matter(seed, scale):
    x, y = planted(n=120, d=5, seed=seed)
    a = np.diag(np.random.default_rng(seed).uniform(0.5, 2, 5)) * scale
    for method in ("leace", "means", "inlp"):
        one, other = erase(method, x, y), erase(method, x * scale + 3, y)
        assert np.allclose(other(x * scale + 3), one(x) * scale + 3, atol=1e-4 * scale), method
        assert one.rank == other.rank
    assert np.allclose(leace(x @ a, y)(x @ a), leace(x, y)(x) @ a, atol=1e-6 * scale), "LEACE follows any linear map"


def test_random_directions_have_the_rank_and_leave_dead_units():
    x, y = planted()
    x[:, 4] = 7.0
    erased = random(x, 3, seed=1)
    assert np.linalg.matrix_rank(np.eye(10) - erased.matrix) == 3 == erased.rank
    assert np.allclose(erased.matrix, erased.matrix.T) and np.allclose(erased(x)[:, 4], 7)
    assert not np.allclose(random(x, 3, seed=2).matrix, erased.matrix)
    assert np.array_equal(random(x, 3, seed=1).matrix, erased.matrix)
    assert len({tuple(one.matrix.ravel()) for one in erasure.controls(x, 2, 20)}) == 20
    for method in ("leace", "means", "inlp"):
        assert np.allclose(erase(method, x, y)(x)[:, 4], 7)
    assert erase("random", x, y).rank == 2
    with pytest.raises(ConfigError, match="9 units"):
        random(x, 10)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), "not finite"),
        (np.ones(4), np.array([0, 1, 0, 1]), "vectors \\(n, d\\)"),
        (np.ones((4, 2)), np.array([0, 1]), "4 vectors, but 2 labels"),
        (np.ones((4, 2)), np.array([1, 1, 1, 1]), "nothing to erase"),
        (np.ones((4, 2)), np.array([0.5, 1, 1, 1]), "class numbers"),
    ],
)
def test_bad_input_is_one_sentence(x, y, message):
    with pytest.raises(DataError, match=message):
        leace(x, y)
    with pytest.raises(ConfigError, match="allowed: leace, inlp"):
        erase("rlace", x, y)


def test_an_erasure_is_an_intervention(tiny):
    encoder = load_encoder("hf", name=str(tiny("bert")))
    texts = ["the cat runs near the house .", "the dogs see the small house ."]
    items = encoder.tokenize(texts)[0]
    states = encoder.forward(items)
    x = states.layers[1][states.mask].double().numpy()
    y = np.arange(len(x)) % 2
    erased = leace(x, y)
    with intervened(encoder, [Intervention(1, erased.projection)]):
        changed = encoder.forward(items)
    with intervened(encoder, [Intervention(1, erased)]):
        assert torch.equal(encoder.forward(items).layers[1], changed.layers[1])
    assert np.allclose(changed.layers[1][states.mask].numpy(), erased(x), atol=1e-5)
    assert not torch.allclose(changed.layers[2], states.layers[2], atol=1e-4)
