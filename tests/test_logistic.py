"""Our logistic regression is scikit-learn's: same objective, same optimum, same predictions."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probing import load_probe
from probing.errors import DataError
from probing.probes.base import SplitFeatures, SplitLabels, best_of
from probing.probes.logistic import Design, Fit, best, fit_path, fit_paths
from probing.probes.solver import lbfgs, preconditioner
from probing.probes.solver import loss as solver_loss
from probing.types import Representation


def made(n, d, k, seed, signal=1.0, spread=2.0):
    """Correlated features of very different scales around large means, labels from a planted linear rule with noise."""
    rng = np.random.default_rng(seed)
    scales = 10 ** rng.uniform(-spread, spread / 2, d)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    logits = signal * x @ rng.normal(size=(d, k)) + rng.gumbel(size=(n, k))
    return (x * scales + 3 * scales * rng.normal(size=d)).astype(np.float32), logits.argmax(1)


def accuracy(x, y, fresh, labels, C):
    """Of one fit on standardised features, on other rows."""
    design = Design.prepare(x)
    return (fit_path(design, y, int(y.max()) + 1, [C])[0].predict(design.transform(fresh)) == labels).mean()


def reference(x, y, C):
    model = LogisticRegression(C=C, tol=1e-9, max_iter=20_000).fit(x.astype(np.float64), y)
    logits = model.decision_function(x.astype(np.float64))
    logits = np.stack([np.zeros(len(y)), logits], 1) if logits.ndim == 1 else logits
    loss = -log_softmax(logits, 1)[np.arange(len(y)), np.searchsorted(model.classes_, y)].mean()
    return model, loss + np.square(model.coef_).sum() / 2 / (C * len(y))


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("C", [1e-3, 1e-1, 10.0])
def test_the_optimum_is_scikit_learns(k, C):
    x, y = made(1800, 20, k, seed=k)
    x = StandardScaler().fit(x[:600].astype(np.float64)).transform(x).astype(np.float32)
    x, y, fresh, labels = x[:600], y[:600], x[600:], y[600:]
    model, objective = reference(x, y, C)
    design = Design.prepare(x, standardize=False)
    ours = fit_path(design, y, k, [C])[0]
    assert ours.converged
    assert abs(ours.objective - objective) <= 1e-3 * objective
    assert ours.objective >= objective - 1e-6
    z = design.transform(fresh)
    assert abs((ours.predict(z) == labels).mean() - model.score(fresh, labels)) <= 0.003
    assert np.abs(torch.softmax(ours.scores(z).double(), 1).numpy() - model.predict_proba(fresh)).max() < 0.02


def test_standardising_inside_is_standardising_before():
    x, y = made(400, 15, 3, seed=1)
    inside = fit_path(Design.prepare(x, standardize=True), y, 3, [0.1])[0]
    before = fit_path(Design.prepare(StandardScaler().fit_transform(x.astype(np.float64)).astype(np.float32), False), y, 3, [0.1])[
        0
    ]
    assert inside.objective == pytest.approx(before.objective, rel=1e-5)


def test_unscaled_features_have_scikit_learns_optimum_too():
    x, y = made(300, 8, 2, seed=5, spread=0.5)
    _, objective = reference(x, y, 1.0)
    assert fit_path(Design.prepare(x, standardize=False), y, 2, [1.0])[0].objective == pytest.approx(objective, rel=1e-3)


def test_a_warm_path_ends_where_a_cold_start_ends():
    x, y = made(500, 20, 4, seed=2)
    design = Design.prepare(x)
    path = fit_path(design, y, 4, [1e-3, 1e-2, 1e-1, 1.0])
    for fit in path:
        cold = fit_path(design, y, 4, [fit.C])[0]
        assert fit.objective == pytest.approx(cold.objective, rel=2e-4)
    losses = [f.objective for f in path]
    assert losses == sorted(losses, reverse=True), "weaker regularisation has a lower minimum"


def test_the_path_stops_when_dev_stops_rising_and_not_before():
    x, y = made(300, 30, 2, seed=3, signal=0.3)
    dev_x, dev_y = made(300, 30, 2, seed=3, signal=0.3)[0][::-1].copy(), made(300, 30, 2, seed=4)[1]
    design = Design.prepare(x)
    grid = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    dev = (design.transform(dev_x), dev_y)
    stopped, whole = (fit_path(design, y, 2, grid, dev, patience=p) for p in (1, None))
    accuracies = [f.dev_accuracy for f in whole]
    expected = next((i for i in range(1, 6) if accuracies[i] <= max(accuracies[:i])), 5) + 1
    assert [f.dev_accuracy for f in stopped] == accuracies[:expected]


def test_constant_features_give_the_majority_class():
    x = np.full((50, 6), 0.3, np.float32)
    y = np.array([0] * 30 + [1] * 20)
    design = Design.prepare(x)
    [fit] = fit_path(design, y, 2, [1.0])
    assert (fit.predict(design.transform(x)) == 0).all()
    p = torch.softmax(fit.scores(design.transform(x)), 1)[0]
    assert p[0] == pytest.approx(0.6, abs=1e-3)


def test_rounding_noise_around_a_constant_is_not_a_feature():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = (1000 * (1 + 1e-7 * y[:, None])).astype(np.float32).repeat(4, 1)
    design = Design.prepare(x)
    assert (design.transform(x) == 0).all()


def test_a_class_that_never_occurs_is_never_predicted():
    x, y = made(200, 5, 3, seed=0)
    fit = fit_path(Design.prepare(x), y, 4, [1.0])[0]
    assert 3 not in fit.predict(Design.prepare(x).transform(x))


def test_the_scaler_reads_train_alone():
    x, y = made(200, 5, 2, seed=0)
    design = Design.prepare(x)
    poison = np.full((10, 5), 1e6, np.float32)
    before = design.transform(x[:10]).clone()
    design.transform(poison)
    assert torch.equal(design.transform(x[:10]), before)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_shuffling_rows_and_rotating_features_change_nothing(seed, k):
    x, y = made(150, 8, k, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    scaled = StandardScaler().fit_transform(x.astype(np.float64)).astype(np.float32)
    a = fit_path(Design.prepare(scaled, False), y, k, [0.3])[0]
    b = fit_path(Design.prepare((scaled @ rotation)[order], False), y[order], k, [0.3])[0]
    assert a.objective == pytest.approx(b.objective, rel=1e-4)


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1e-3, 0.1, 3.0]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_problem_has_scikit_learns_optimum(seed, k, C, absent):
    """Features of unequal scale, two of them constant, classes that do not occur."""
    x, y = made(200, 10, k, seed, signal=2.0)
    x[:, 3], x[:, 7] = 0.0, 1e6
    y = np.where(y == k - 1, 0, y) if absent and k > 2 else y
    design = Design.prepare(x)
    assert torch.isfinite(design.matrix.features).all()
    [fit] = fit_path(design, y, k, [C])
    assert fit.converged
    if len(np.unique(y)) < k:  # scikit-learn leaves the class out, and with it a column
        assert set(fit.predict(design.z)) <= set(y)
        return
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    model, objective = reference(scaled, y, C)
    assert fit.objective == pytest.approx(objective, rel=1e-3)
    assert (fit.predict(design.z) == model.predict(scaled)).mean() >= 0.985


@pytest.mark.parametrize("blocks", ["none", "dense", "low"])
@pytest.mark.parametrize("k", [2, 5])
def test_every_preconditioner_leads_to_the_same_optimum(k, blocks, monkeypatch):
    """Blocks from the first iteration on: dense ones, and those of the sentences of the largest weights."""
    x, y = made(400, 24, k, seed=k, signal=1.0)
    _, objective = reference(StandardScaler().fit_transform(x.astype(np.float64)), y, 3.0)
    made_blocks = []
    real = lbfgs.block_preconditioner
    monkeypatch.setattr(preconditioner, "FEW_COLUMNS", {"none": 0, "dense": 64, "low": 0}[blocks])
    monkeypatch.setattr(lbfgs, "block_iterations", lambda *given: (10_000,) if blocks == "none" else (1, 4))
    monkeypatch.setattr(lbfgs, "block_preconditioner", lambda *given: made_blocks.append(real(*given)) or made_blocks[-1])
    fit = fit_path(Design.prepare(x), y, k, [3.0])[0]
    assert fit.converged and fit.objective == pytest.approx(objective, rel=1e-3)
    assert [(b.dense is not None, b.factor is not None) for b in made_blocks[:1]] == {
        "none": [], "dense": [(True, False)], "low": [(False, True)]
    }[blocks]  # fmt: skip


@pytest.mark.parametrize("k", [5, 2])
def test_products_laid_out_for_many_columns_are_the_same_products(k, monkeypatch):
    x, y = made(700, 12, k, seed=0)
    matrix, targets = Design.prepare(x).matrix, torch.from_numpy(y)[None]
    columns = 1 if k == 2 else k
    assert not matrix.for_columns(columns).blocks, "few columns stay with torch's own product"
    monkeypatch.setattr(solver_loss, "FEW_COLUMNS", 0)
    monkeypatch.setattr(solver_loss, "BLOCK_ROWS", 300)
    monkeypatch.setattr(solver_loss.LogisticLoss, "BLOCK", 300)
    weights = torch.randn(1, columns, 13, generator=torch.Generator().manual_seed(0))
    laid_out = matrix.for_columns(columns)
    assert len(laid_out.blocks) == (3 if solver_loss.onednn.pays() else 0)
    expected = solver_loss.LogisticLoss(matrix, targets, weights).iterate
    for a, b in zip(solver_loss.LogisticLoss(laid_out, targets, weights).iterate, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(solver_loss.onednn, "pays", lambda: False)
    turned = matrix.for_columns(columns)
    assert turned.rotated and not turned.blocks
    for a, b in zip(solver_loss.LogisticLoss(turned, targets, weights).iterate, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=[4096, 128])
def rows(request, monkeypatch):
    """Sentences in a block: all of a small problem, or a part."""
    for module in (solver_loss, preconditioner):
        monkeypatch.setattr(module, "BLOCK_ROWS", request.param)
    monkeypatch.setattr(solver_loss.LogisticLoss, "BLOCK", request.param)
    monkeypatch.setattr(solver_loss, "MIXED_PRECISION_ROWS", 64)
    monkeypatch.setattr(solver_loss.MixedPrecisionLoss, "BLOCK", 64)


@pytest.mark.parametrize("k", [2, 4])
def test_a_pass_is_the_loss_and_its_derivatives(k, rows):
    """Against autograd in float64: at the start, at step sizes, where it goes, for one of two label sets, without some labels."""
    x, y = made(500, 8, k, seed=3)
    design, draw = Design.prepare(x), torch.Generator().manual_seed(0)
    targets = torch.from_numpy(np.stack([y, np.roll(y, 7)]))
    targets[0, :100] = targets[1, 50:150] = solver_loss.NO_LABEL
    columns, z = 1 if k == 2 else k, torch.cat([design.z, torch.ones(500, 1)], 1).double()
    weights, way = 0.3 * torch.randn(2, 2, columns, 9, generator=draw)

    def expected(at, labels):
        at = at.double().requires_grad_()
        logits = z @ (at @ design.matrix.basis.T.double()).T
        logits = torch.cat([torch.zeros_like(logits), logits], 1) if columns == 1 else logits
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=solver_loss.NO_LABEL)
        p = torch.softmax(logits, 1)[:, k - columns :] * (labels != solver_loss.NO_LABEL)[:, None]
        return loss.item(), torch.autograd.grad(loss, at)[0], (p - p * p).T

    def check(side, at, targets):
        spreads = torch.cat([*side.hessian_weights()], 2)
        for own, labels, loss, gradient, sure in zip(at, targets, *side.iterate[1:], spreads, strict=True):
            value, slope, spread = expected(own, labels)
            assert loss.item() == pytest.approx(value, rel=1e-6)
            torch.testing.assert_close(gradient.double(), slope, rtol=1e-4, atol=1e-6)
            kept = labels != solver_loss.NO_LABEL
            torch.testing.assert_close(sure.double(), spread * kept, rtol=1e-4, atol=1e-6)

    both = solver_loss.LogisticLoss(design.matrix, targets, weights)
    assert both.n == 400
    check(both, weights, targets)
    assert torch.equal(both.set_direction(way), way)
    for sizes in ([0.5, 2.0], [1.0, 0.0], [0.3, -1.0]):
        loss, rise = both.evaluate(torch.tensor(sizes))
        for at in range(2):
            value, slope, _ = expected(weights[at] + sizes[at] * way[at], targets[at])
            assert loss[at].item() == pytest.approx(value, rel=1e-6)
            assert rise[at].item() == pytest.approx((slope * way[at]).sum().item(), rel=1e-4)
    weights = weights + torch.tensor([0.3, -1.0])[:, None, None] * way
    both.accept(weights, loss)
    check(both, weights, targets)
    alone = both.take(torch.tensor([False, True]))
    check(alone, weights[1:], targets[1:])
    alone.set_direction(way[:1])
    loss, _ = alone.evaluate(torch.tensor([1.0]))
    alone.accept(weights[1:] + way[:1], loss)
    check(alone, weights[1:] + way[:1], targets[1:])
    check(both, weights, targets)  # those that were left are where they were


@given(st.integers(0, 10_000), st.floats(-4, 4), st.floats(0.5, 8))
@settings(max_examples=200, deadline=None)
def test_a_line_search_ends_at_a_lower_and_flatter_place(seed, steps, steep):
    """Sums of softplus along a line, as they are along a direction; too long a step is not finite."""
    rng = np.random.default_rng(seed)
    slopes, offsets = steep * rng.normal(size=6), rng.normal(size=6)
    if (slopes / (1 + np.exp(-offsets))).sum() < 0:
        slopes = -slopes
    slopes *= 10**steps

    def at(size):
        t = offsets - slopes * size
        if np.abs(t).max() > 700:
            return np.inf, np.nan
        return np.logaddexp(0, t).sum() + 1e-3 * size**2, 2e-3 * size - (slopes / (1 + np.exp(-t))).sum()

    value, slope = at(0.0)
    assume(slope < -1e-6)
    search, evaluations = lbfgs.LineSearch(value, slope), 0
    while not search.done and evaluations < lbfgs.MAX_LINE_SEARCH:
        search.update(*at(search.size))
        evaluations += 1
    end, rise = at(search.size)
    assert search.done and end <= value + 1e-4 * search.size * slope + 1e-7 * value and abs(rise) <= -lbfgs.WOLFE_C2 * slope
    taken = search.size
    search.update(*at(0.0))
    search.give_up()
    assert search.size == taken, "what is done stays"


def test_a_line_search_that_ends_nowhere_takes_the_lowest_place_it_saw():
    nothing, something = lbfgs.LineSearch(1.0, -1.0), lbfgs.LineSearch(1.0, -1.0)
    for value in (2.0, 2.0, np.nan):
        nothing.update(value, 1.0)
    first = something.size
    for value in (0.5, 0.7, np.inf):
        something.update(value, 3.0)
    for search in (nothing, something):
        search.give_up()
    assert nothing.done and nothing.size == 0.0
    assert something.done and something.size == first


@pytest.mark.parametrize("kind", ["dense", "low"])
def test_a_block_is_the_inverse_of_the_columns_hessian(kind, rows, monkeypatch):
    """Up to what each kind leaves out by design: sentences of a hundredth of the mean weight; a hundredth of it on the diagonal."""
    monkeypatch.setattr(preconditioner, "FEW_COLUMNS", 64 if kind == "dense" else 0)
    monkeypatch.setattr(solver_loss, "FEW_COLUMNS", 64 if kind == "dense" else 0)
    monkeypatch.setattr(preconditioner, "TOP_ROWS", 300)
    monkeypatch.setattr(preconditioner, "TOP_CLASS_SIZES", 3)  # all 300
    x, y = made(300, 6, 3, seed=1)
    design, lam, draw = Design.prepare(x), 0.01, torch.Generator().manual_seed(0)
    weights, slope = 0.3 * torch.randn(1, 3, 7, generator=draw), torch.randn(1, 3, 7, generator=draw)
    turned = design.matrix.basis.T @ design.matrix.features  # weights and slopes are written in the covariance's basis
    p = torch.softmax(weights[0] @ turned, 0)
    for k, w in enumerate(p * (1 - p)):
        extra = 0.01 * w.mean() * design.matrix.spectrum if kind == "low" else torch.zeros(7)
        hessian = (turned * w) @ turned.T / 300 + torch.diag(torch.tensor([lam] * 6 + [0.0]) + extra)
        expected = torch.linalg.solve(hessian.double(), slope[0, k].double()).float()
        for matrix in (design.matrix, design.matrix.for_columns(3)):  # as they are, and turned
            model = solver_loss.LogisticLoss(matrix, torch.from_numpy(y)[None], weights)
            product = preconditioner.block_preconditioner(model, lam)(slope)[0, k]
            torch.testing.assert_close(product, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())


@pytest.mark.parametrize("k", [2, 4])
def test_label_sets_side_by_side_are_label_sets_alone(k):
    """Each keeps its own steps and its own end, also when the others arrive earlier or stop rising on dev."""
    x, y = made(600, 20, k, seed=k)
    dev_x, dev_y = made(600, 20, k, seed=k)[0][::-1].copy(), y[::-1].copy()
    rng = np.random.default_rng(0)
    ys = [y, rng.permutation(y), np.zeros_like(y), rng.integers(0, k, 600)]
    devs = [dev_y, rng.permutation(y), np.zeros_like(y), rng.integers(0, k, 600)]
    design, grid = Design.prepare(x), [1e-4, 1e-2, 1.0, 10.0]
    z = design.transform(dev_x)
    together = fit_paths(design, ys, k, grid, (z, devs), patience=1)
    assert len({len(path) for path in together}) > 1, "the label sets must differ in where they stop"
    for labels, dev, path in zip(ys, devs, together, strict=True):
        alone = fit_path(design, labels, k, grid, (z, dev), patience=1)
        assert len(alone) == len(path)
        for a, b in zip(alone, path, strict=True):
            assert a.converged and b.converged
            exact = a.exact and b.exact
            assert a.objective == pytest.approx(b.objective, rel=1e-4 if exact else 3e-3, abs=1e-5)
            assert (a.predict(z) == b.predict(z)).mean() > (0.99 if exact else 0.97)
        assert alone[best(alone)].exact and path[best(path)].exact and best(alone) == best(path)


@pytest.mark.parametrize("k", [2, 6])
def test_what_dev_chooses_is_an_optimum_and_the_rest_is_near_its_own(k):
    x, y = made(1200, 20, k, seed=k)
    design, grid = Design.prepare(x[:600]), [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    every = fit_path(design, y[:600], k, grid)
    assert all(fit.exact for fit in every)
    path = fit_path(design, y[:600], k, grid, (design.transform(x[600:]), y[600:]))
    chosen = path[best(path)]
    assert chosen.exact and chosen.converged
    assert not all(fit.exact for fit in path), "the others were left as they were"
    assert max(fit.dev_accuracy for fit in path) == chosen.dev_accuracy
    for rough, exact in zip(path, every, strict=True):
        assert rough.C == exact.C and rough.converged
        assert rough.objective == pytest.approx(exact.objective, rel=5e-5 if rough.exact else 3e-3)
        assert rough.iterations <= exact.iterations or rough.exact
    scaled = StandardScaler().fit_transform(x[:600].astype(np.float64))
    _, objective = reference(scaled, y[:600], chosen.C)
    assert chosen.objective == pytest.approx(objective, rel=1e-4)


MANY = 70
GRID = [1e-3, 1e-2, 1e-1, 1.0, 10.0]


@pytest.fixture(scope="module")
def many():
    """Train and dev of so many classes that they are solved as many classes are: design, y, (z, y) of dev, scaled features."""
    x, y = made(1400, 24, MANY, seed=7, signal=3.0, spread=0.5)
    y[:MANY] = np.arange(MANY)  # scikit-learn leaves absent classes out
    design = Design.prepare(x[:900])
    return design, y[:900], (design.transform(x[900:]), y[900:]), StandardScaler().fit_transform(x[:900].astype(np.float64))


@pytest.fixture
def in_bfloat16(monkeypatch):
    """Sets whether the processor multiplies bfloat16; lists the directions that bfloat16 then took."""
    ways, real = [], solver_loss.MixedPrecisionLoss.set_direction
    monkeypatch.setattr(solver_loss.MixedPrecisionLoss, "set_direction", lambda self, way: ways.append(way) or real(self, way))

    def can(so: bool) -> list:
        monkeypatch.setattr(solver_loss, "multiplies_bfloat16", lambda: so)
        return ways

    return can


@pytest.mark.parametrize("small", [0.1, 2.0])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_many_classes_have_scikit_learns_optimum_too(many, bfloat16, small, in_bfloat16, monkeypatch):
    """Also where objectives become small on the way: float32 takes over."""
    design, y, dev, scaled = many
    ways, real, made_blocks = in_bfloat16(bfloat16), lbfgs.block_preconditioner, []
    monkeypatch.setattr(solver_loss.MixedPrecisionLoss, "MIN_OBJECTIVE", small)
    monkeypatch.setattr(lbfgs, "block_preconditioner", lambda *given: made_blocks.append(given) or real(*given))
    every = fit_path(design, y, MANY, GRID)
    assert not ways and all(fit.exact and fit.converged for fit in every), "what is solved to the end is solved in float32"
    made_blocks.clear()
    path = fit_path(design, y, MANY, GRID, dev)
    assert bool(ways) == bfloat16 and made_blocks
    kinds = [type(model) for model, _ in made_blocks]
    assert not ways or (kinds.count(solver_loss.LogisticLoss) >= kinds.count(solver_loss.MixedPrecisionLoss)) == (small > 1), (
        "who comes when"
    )
    chosen = path[best(path)]
    assert chosen.exact and chosen.converged and not all(fit.exact for fit in path)
    _, objective = reference(scaled, y, chosen.C)
    assert chosen.objective == pytest.approx(objective, rel=1e-4) and chosen.objective > objective * (1 - 1e-5)
    for rough, exact in zip(path, every, strict=True):
        assert rough.converged and rough.objective == pytest.approx(exact.objective, rel=5e-5 if rough.exact else 3e-3)
        assert (rough.predict(dev[0]) == exact.predict(dev[0])).mean() > 0.9


def test_many_classes_are_fitted_one_label_set_after_the_other(many, in_bfloat16):
    design, y, dev, _ = many
    in_bfloat16(True)
    ys = [y, np.random.default_rng(0).permutation(y)]
    together = fit_paths(design, ys, MANY, GRID[:3], (dev[0], [dev[1], dev[1]]))
    for labels, path in zip(ys, together, strict=True):
        for a, b in zip(fit_path(design, labels, MANY, GRID[:3], dev), path, strict=True):
            assert torch.equal(a.weights, b.weights) and a.dev_accuracy == b.dev_accuracy


def test_more_than_fits_into_memory_is_solved_in_float32(many, in_bfloat16, monkeypatch):
    design, y, dev, _ = many
    plain = (in_bfloat16(False), fit_path(design, y, MANY, GRID[:2], dev))[1]
    ways, pays, most = in_bfloat16(True), solver_loss.MixedPrecisionLoss.pays, solver_loss.MIXED_PRECISION_BYTES // (16 * MANY)
    assert pays(most, MANY) and not pays(most + 1, MANY)
    assert not pays(900, solver_loss.FEW_COLUMNS), "few columns"
    monkeypatch.setattr(solver_loss, "MIXED_PRECISION_BYTES", 16 * MANY * len(y) - 1)
    path = fit_path(design, y, MANY, GRID[:2], dev)
    assert not ways and all(torch.equal(a.weights, b.weights) for a, b in zip(path, plain, strict=True))


def test_a_pass_in_bfloat16_is_off_by_a_part_of_what_changed(many, rows):
    design, y, _, _ = many
    matrix, targets, draw = design.matrix.for_columns(MANY), torch.from_numpy(y)[None], torch.Generator().manual_seed(0)
    at, way = (scale * torch.randn(1, MANY, 25, generator=draw) for scale in (0.3, 0.1))
    mixed = solver_loss.MixedPrecisionLoss(matrix, targets, at)
    start = solver_loss.LogisticLoss(matrix, targets, at).iterate
    torch.testing.assert_close(mixed.iterate, start, rtol=1e-5, atol=1e-7)
    for size in (0.0, 0.01, 1.0, 1.0):  # the last two go on from where they are
        taken = mixed.set_direction(way)
        torch.testing.assert_close(taken, way, rtol=2**-8, atol=0)
        loss, _ = mixed.evaluate(torch.tensor([size]))
        at = mixed.iterate.weights + size * taken
        mixed.accept(at, loss)
        exact = solver_loss.LogisticLoss(matrix, targets, at).iterate
        changed = (exact.gradient - start.gradient).norm()
        sure = (torch.cat([*one.hessian_weights()], 2) for one in (mixed, solver_loss.LogisticLoss(matrix, targets, at)))
        torch.testing.assert_close(*sure, rtol=0.05, atol=1e-3)
        assert (mixed.iterate.gradient - exact.gradient).norm() <= 0.01 * changed + 1e-6 * start.gradient.norm()
        assert abs(mixed.iterate.loss - exact.loss) <= 0.01 * abs(exact.loss - start.loss) + 1e-6 * exact.loss


@pytest.mark.parametrize("evaluations", [0, 4])
def test_where_bfloat16_gets_stuck_float32_goes_on(many, in_bfloat16, evaluations, monkeypatch):
    """At once, or on the way, after so many evaluations."""
    design, y, dev, _ = many
    in_bfloat16(False)
    plain = fit_path(design, y, MANY, GRID[:3], dev)
    ways, real, seen = in_bfloat16(True), solver_loss.MixedPrecisionLoss.evaluate, []

    def never_lower(self, sizes):
        loss, slope = real(self, sizes)
        seen.extend(sizes[sizes != 0])
        return (loss + 1000 if len(seen) > evaluations and (sizes != 0).all() else loss), slope

    monkeypatch.setattr(solver_loss.MixedPrecisionLoss, "evaluate", never_lower)
    path = fit_path(design, y, MANY, GRID[:3], dev)
    for fit, other in zip(path, plain, strict=True):
        assert fit.converged and fit.objective == pytest.approx(other.objective, rel=5e-5 if fit.exact and other.exact else 3e-3)
    assert len(ways) > 1 or path[0].iterations == plain[0].iterations + 1, "the vain attempt is counted"
    assert len(seen) == evaluations + lbfgs.MAX_LINE_SEARCH and (len(ways) > 1) == bool(evaluations), "and it was the last"


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize("k", [2, 3])
def test_a_sentence_far_from_all_others_is_no_obstacle(k, left_out):
    """Its logits move by thousands where the others' move by one: softmax and its logarithm must bear that."""
    x, y = made(300, 10, k, seed=2, spread=0.2)
    x[0] *= 1e4
    train = np.where(np.arange(300) == 0, solver_loss.NO_LABEL, y) if left_out else y
    [fit] = fit_path(Design.prepare(x, standardize=False), train, k, [1.0])
    x, y = (x[1:], y[1:]) if left_out else (x, y)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(0)
    assert fit.converged and fit.objective <= reference(centred, y, 1.0)[1] * 1.02


def test_a_nearly_separable_problem_is_solved_to_the_end_too():
    """Its objective is small, and so must be the distance to the optimum at which the solver stops."""
    x, y = made(900, 60, 8, seed=1, signal=30.0)
    design = Design.prepare(x[:600])
    path = fit_path(design, y[:600], 8, [100.0, 1000.0], (design.transform(x[600:]), y[600:]))
    chosen = path[best(path)]
    _, objective = reference(StandardScaler().fit_transform(x[:600].astype(np.float64)), y[:600], chosen.C)
    assert objective < 0.2, "nearly separable"
    assert chosen.converged and chosen.objective == pytest.approx(objective, rel=1e-3)


def test_going_on_in_the_same_direction_saves_iterations(monkeypatch):
    """Classes that can be told apart: from one C to the next the optimum moves far, and about as far again."""
    x, y = made(900, 40, 6, seed=0, signal=8.0)
    design, grid = Design.prepare(x), [1e-3, 1e-2, 1e-1, 1.0, 10.0]
    with_it = fit_path(design, y, 6, grid)
    real = lbfgs.minimise
    monkeypatch.setattr("probing.probes.logistic.minimise", lambda loss, lam, direction, *rest: real(loss, lam, None, *rest))
    without = fit_path(design, y, 6, grid)
    assert sum(fit.iterations for fit in with_it) < 0.8 * sum(fit.iterations for fit in without)
    for a, b in zip(with_it, without, strict=True):
        assert a.objective == pytest.approx(b.objective, rel=1e-3)


def test_features_of_tiny_scale_are_features_where_all_are():
    """Squares of 1e-30 vanish in float32; standardised, the features are as good as any."""
    x, y = made(400, 5, 2, seed=0)
    a, b = (fit_path(Design.prepare(given), y, 2, [0.1])[0].objective for given in (x, x * np.float32(1e-30)))
    assert a == pytest.approx(b, rel=1e-4)


@pytest.mark.parametrize("spread", [1e-9, 1e-32])
def test_a_dead_feature_that_holds_the_label_is_no_feature_beside_others(spread):
    """Every protocol stays at chance, and says how many features it left out."""
    y = np.random.default_rng(0).integers(0, 2, 900)
    x = np.random.default_rng(1).normal(size=(900, 12)).astype(np.float32)
    x[:, 4] = spread * (2 * y - 1)
    blocks, labels = SplitFeatures(x[:400], x[400:600], x[600:]), {"true": SplitLabels(y[:400], y[400:600])}
    for name, left_out in (("fast", 1), ("sklearn", 1), ("senteval", 0), ("senteval-logreg", 0)):
        [(_, _, result)] = load_probe(name).fit(lambda _: blocks, [Representation(0, "mean")], labels, "tree_depth", 2, 0)
        assert 0.4 < (result.predictions == y[600:]).mean() < 0.6 and result.left_out == left_out, name
    design = Design.prepare(x)
    assert design.left_out == 1 and (design.transform(x)[:, 4] == 0).all()
    assert 0.4 < accuracy(x[:600], y[:600], x[600:], y[600:], C=10.0) < 0.6


@given(st.integers(0, 10_000), st.floats(-30, 30), st.integers(1, 4), st.floats(-12, -7))
@settings(max_examples=20, deadline=None)
def test_what_is_left_out_does_not_depend_on_the_layers_scale(seed, power, dead, below):
    """A feature a million times smaller than its layer is left out, one a hundred thousand times smaller is not, at any scale."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 11))
    x /= x.std(0)
    x[:, :dead] *= 10**below
    x[:, -1] *= 1e-5
    x *= 10**power
    scale = Design.prepare(x.astype(np.float32)).scale
    assert scale[:dead].isinf().all() and not scale[dead:].isinf().any()


def test_one_feature_far_larger_than_its_layer_does_not_make_the_others_dead():
    """What is constant is told by the median spread: the largest would leave out the whole layer beside one outlier."""
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    x[:, 3] *= 1e8
    assert Design.prepare(x).left_out == 0


def test_the_same_call_gives_the_same_bits():
    x, y = made(500, 20, 4, seed=0)
    first, again = (fit_path(Design.prepare(x), y, 4, [1.0])[0].weights for _ in range(2))
    assert torch.equal(first, again)


def test_a_planted_signal_is_found_and_noise_is_not():
    x, y = made(4000, 20, 2, seed=0, signal=3.0)
    noise = np.random.default_rng(0).permutation(y)
    planted, random = (accuracy(x[:2000], t[:2000], x[2000:], t[2000:], C=0.1) for t in (y, noise))
    assert planted > 0.85
    assert abs(random - 0.5) < 0.05


def test_vectors_that_are_not_finite_are_refused():
    x, _ = made(20, 3, 2, seed=0)
    x[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 20 train vectors are not finite"):
        Design.prepare(x)


def test_too_few_iterations_are_marked(monkeypatch):
    x, y = made(500, 20, 3, seed=0)
    monkeypatch.setattr("probing.probes.solver.lbfgs.MAX_ITERATIONS", 1)
    assert not fit_path(Design.prepare(x), y, 3, [10.0])[0].converged


@pytest.mark.parametrize("together", [False, True])
def test_a_best_value_that_is_the_last_tried_lets_the_path_go_on(monkeypatch, together):
    """The loose fit of C = 1 stops the path after C = 2; its exact one is worse, so that C = 2 is the best: C = 3 comes next."""
    hits = {1.0: 6, 2.0: 7, 3.0: 9, 4.0: 1, 5.0: 10}
    right = {(1.0, False): 8}
    monkeypatch.setattr(Fit, "predict", lambda fit, z: np.arange(10) >= right.get((fit.C, fit.exact), hits[fit.C]))
    rng = np.random.default_rng(0)
    design, y, gold = Design.prepare(rng.normal(size=(40, 3))), np.arange(40) % 2, np.zeros(10, int)
    paths = fit_paths(design, [y, 1 - y], 2, list(hits), (torch.zeros(10, 3), [gold, gold]), patience=1, together=together)
    for path in paths:
        assert [fit.C for fit in path] == [1, 2, 3, 4] and best(path) == 2 and path[2].exact
    two = fit_paths(design, [y], 2, [1.0, 2.0], (torch.zeros(10, 3), [gold]), patience=1)
    assert [fit.C for fit in two[0]] == [1, 2] and best(two[0]) == 1, "the grid ends there"


def test_the_edge_is_that_of_the_grid_and_not_of_the_values_tried():
    class Model:
        def predict(self, x):
            return [0]

    tried = [({"C": C, "dev_accuracy": C, "converged": True}, Model()) for C in (1.0, 2.0)]
    assert [best_of(tried, None, grid).edge for grid in ([1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0])] == ["upper end", "", "lower end"]
