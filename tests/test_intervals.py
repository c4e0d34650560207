"""Sampled interval values: unbiased, calibrated, exact when exhausted; the learned partition; what budgets buy."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from brute import RandomNet
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.errors import ConfigError
from probing.interactions import CachedGame, TableGame, segment_interaction, segment_interactions
from probing.interactions.baselines import PUBLISHED, Settings, learned_p
from probing.interactions.contexts import allocate, draw, prefixes, strata
from probing.interactions.intervals import METHODS, exact_rows, interval_values, minimum_rows

SAMPLED = ["sampled", "regression", "permutation"]


@pytest.mark.parametrize("k", range(12))
def test_strata_hold_every_pair_of_contexts_once(k):
    """Taken whole, the strata are all 2^k contexts; the weights are those of the sizes."""
    parts = strata(k)
    assert sum(part.weight for part in parts) == pytest.approx(1)
    for part in parts:
        side = draw(part, part.pairs, k, np.random.default_rng(0))
        both = np.concatenate([side, ~side]) if k else side
        assert len(np.unique(both, axis=0)) == len(both) == sum(comb(k, s) for s in {part.size, k - part.size})
        assert part.weight == pytest.approx(len({part.size, k - part.size}) / (k + 1))


def test_pairs_are_drawn_uniformly_without_repetition():
    """Each of the 45 sets of two of ten, and each of the 35 halvings of eight, as often as chance has it (5 sigma)."""
    rng = np.random.default_rng(1)
    for k, part in ((10, strata(10)[2]), (8, strata(8)[4])):
        for count in (5, part.pairs - 4):  # by rejection, and from the full list
            hits, rounds = dict.fromkeys(combinations(range(k), part.size), 0), 2000
            for _ in range(rounds):
                found = [tuple(np.flatnonzero(side).tolist()) for side in draw(part, count, k, rng)]
                assert len(set(found)) == count
                for side in found:
                    hits[side] += 1
            seen = np.array([n for n in hits.values() if n or k == 10])
            share = count / part.pairs
            assert len(seen) == part.pairs
            assert np.abs(seen - rounds * share).max() < 5 * np.sqrt(rounds * share * (1 - share))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 5000))
def test_allocation_spends_the_budget_within_bounds(k, extra):
    parts = strata(k)
    least = sum(min(2, part.pairs) for part in parts)
    counts = allocate(parts, least + extra)
    assert all(min(2, part.pairs) <= n <= part.pairs for part, n in zip(parts, counts, strict=True))
    assert sum(counts) == min(least + extra, sum(part.pairs for part in parts))


@pytest.mark.parametrize("method", SAMPLED)
@pytest.mark.parametrize("n, segment, budget", [(9, (2, 5), 140), (12, (4, 8), 700)])
def test_estimates_are_unbiased(method, n, segment, budget):
    """The mean over 300 seeds is within 5 standard errors of the exact value, for every interval; the errors are not zero."""
    net = CachedGame(RandomNet(n, n))
    exact = interval_values(net, segment).phi[:, 0]
    found = np.array([interval_values(net, segment, method, budget, seed).phi[:, 0] for seed in range(300)])
    spread = found.std(0, ddof=1)
    assert (spread > 1e-6 * np.abs(exact)).all()
    assert (np.abs(found.mean(0) - exact) < 5 * spread / np.sqrt(300)).all()


@pytest.mark.parametrize("method", SAMPLED)
def test_standard_errors_are_calibrated(method):
    """95 % intervals of phi and B hold the exact value in 88-99 % of 300 samples; T, chosen on the same sample, in 80-99.5 %."""
    net, segment = CachedGame(RandomNet(14, 5)), (4, 8)
    exact = segment_interaction(net, segment)
    upper = np.triu_indices(4)
    found = [segment_interaction(net, segment, method, 1200, seed) for seed in range(300)]
    z = np.array([(r.phi[upper] - exact.phi[upper]) / r.stderr[upper] for r in found])
    assert 0.88 < (np.abs(z) < 1.96).mean() < 0.99
    assert 0.88 < np.mean([abs(r.B - exact.B) < 1.96 * r.B_stderr for r in found]) < 0.99
    assert 0.80 < np.mean([abs(r.T - exact.T) < 1.96 * r.T_stderr for r in found]) < 0.995


def test_a_better_method_has_the_smaller_error():
    """At equal budgets on a smooth game: regression < sampled < permutation, and the reported errors say so."""
    net, segment = CachedGame(RandomNet(14, 5)), (4, 8)
    exact = segment_interaction(net, segment)
    rmse, said = {}, {}
    for method in SAMPLED:
        found = [segment_interaction(net, segment, method, 2800, seed) for seed in range(60)]
        rmse[method] = np.sqrt(np.mean([(r.T - exact.T) ** 2 for r in found]))
        said[method] = np.mean([r.T_stderr for r in found])
    assert rmse["regression"] < 0.8 * rmse["sampled"] < 0.4 * rmse["permutation"]
    assert said["regression"] < 0.8 * said["sampled"] < 0.4 * said["permutation"]


def test_regression_does_not_harm_where_pairs_are_as_many_as_features():
    """104 pairs for 66 features: fits near interpolation must be recognised (clamped leverages once made this 1.8 times worse)."""
    net, segment = CachedGame(RandomNet(16, 5)), (4, 8)
    phi = {m: [segment_interaction(net, segment, m, 2288, seed).phi for seed in range(60)] for m in ("sampled", "regression")}
    assert np.std(phi["regression"], axis=0).sum() < 0.9 * np.std(phi["sampled"], axis=0).sum()


def test_a_quadratic_game_needs_no_sampling():
    """With products of at most three players D is quadratic in S: regression is exact at a fraction of the rows, sampled is not."""

    class Cubic:
        n_players = 14

        def __call__(self, rows):
            x = rows.astype(float)
            return (
                x[:, 5] * x[:, 0] * x[:, 9] + 2 * x[:, 5] * x[:, 6] * x[:, 12] - 3 * x[:, 6] * x[:, 1] * x[:, 2] + x[:, 3] * x[:, 4]
            )

    exact = segment_interaction(Cubic(), (5, 8))
    r, plain = (segment_interaction(Cubic(), (5, 8), method, 2800) for method in ("regression", "sampled"))
    assert np.abs(r.phi - exact.phi).max() < 1e-4 < 5e-3 < np.abs(plain.phi - exact.phi).max()
    assert r.n_evaluations < exact.n_evaluations / 5


@pytest.mark.parametrize("method", ["sampled", "regression"])
@pytest.mark.parametrize("n, segment", [(9, (2, 5)), (6, (0, 6)), (6, (0, 5)), (6, (2, 6)), (7, (3, 4))])
def test_a_budget_that_exhausts_is_exact(method, n, segment):
    net = RandomNet(n, 3)
    exact = segment_interaction(net, segment)
    for budget in (exact.n_evaluations, 10 * exact.n_evaluations):
        r = segment_interaction(net, segment, method, budget)
        assert r.phi == pytest.approx(exact.phi, abs=1e-12) and r.n_evaluations == exact.n_evaluations
        assert not r.stderr.any() and r.T_stderr == 0 and r.T_split == r.T
        assert r.max_partitions == exact.max_partitions


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 12), st.sampled_from(SAMPLED), st.integers(0, 500), st.integers(0, 99))
def test_budgets_are_kept_from_the_minimum_on(m, k, method, extra, seed):
    """No method spends more than its budget; one row below the minimum is refused; the result is finite and seeded."""
    net, least = RandomNet(m + k, 0, columns=2), minimum_rows(m, k, method)
    start = seed % (k + 1)
    r = segment_interactions(net, (start, start + m), method, least + extra, seed)[1]
    assert r.n_evaluations <= r.n_requested and r.n_evaluations <= least + extra
    assert np.isfinite(r.phi).all() and np.isfinite([r.T_stderr, r.T_split, r.B_stderr]).all() and r.T >= 0
    again = segment_interactions(net, (start, start + m), method, least + extra, seed)[1]
    assert np.array_equal(again.phi, r.phi) and again.max_partitions == r.max_partitions
    with pytest.raises(ConfigError, match=f"budget={least - 1}: method={method} needs at least {least:,} model rows"):
        interval_values(net, (start, start + m), method, least - 1)


def test_the_default_budgets():
    net = RandomNet(20, 0)
    assert segment_interaction(net, (2, 6), "sampled").n_evaluations == 4096 // 22 * 22
    assert minimum_rows(4, 60, "sampled") == 1342 == segment_interaction(RandomNet(64, 0), (2, 6), "regression", 1342).n_evaluations
    assert segment_interaction(RandomNet(26, 0), (0, 22), "sampled").n_evaluations == exact_rows(22, 4) == 4064
    assert set(METHODS) == {"exact", *SAMPLED}


def test_ties_stay_ties_under_shared_contexts():
    """x1 x2 + x3 + x4 x0 x9..., A = x1..x4: both + links tie exactly; permutation, with contexts of its own, breaks them."""

    class Expression:
        n_players = 14

        def __call__(self, rows):
            x = rows.astype(float)
            return x[:, 1] * x[:, 2] * (1 + x[:, 7]) + x[:, 3] + np.tanh(x[:, 4] + x[:, [0, 9, 10]].sum(1)) * x[:, 4]

    for method in ("exact", "sampled", "regression"):
        r = segment_interaction(Expression(), (1, 5), method, None if method == "exact" else 900)
        assert r.max_partition == ((1, 3), (3, 4), (4, 5)) and len(r.max_partitions) == 4
    assert len(segment_interaction(Expression(), (1, 5), "permutation", 900).max_partitions) == 1


def test_choosing_on_one_half_shows_the_bias_of_the_optimum():
    """A game of pure noise: T is biased far upwards at a small budget; measured on the other half it is not above the truth."""
    noise = np.random.default_rng(0).normal(size=2**14)
    game = TableGame(noise)
    exact = segment_interaction(game, (4, 8)).T
    found = [segment_interaction(game, (4, 8), "sampled", 600, seed) for seed in range(60)]
    T, split = np.mean([r.T for r in found]), np.mean([r.T_split for r in found])
    error = np.std([r.T_split for r in found]) / np.sqrt(60)
    assert T > 1.3 * exact and split < exact + 3 * error


def product_game(n=9):
    class Product:
        n_players = n

        def __call__(self, rows):
            x = rows.astype(float)
            return 4 * x[:, 2] * x[:, 3] + 4 * x[:, 4] * x[:, 5] - 3 * x[:, 3] * x[:, 4]

    return Product()


def test_learned_p_finds_a_clear_partition():
    """Positive control: pairs bound upwards and their seam downwards. Rows are those of the published settings, nothing cached."""
    exact = segment_interaction(product_game(), (2, 6))
    r = learned_p(product_game(), (2, 6), "accuracy", seed=1)
    assert r.max_partition == exact.max_partition == ((2, 4), (4, 6)) and r.min_partition == exact.min_partition
    assert r.T_soft == pytest.approx(exact.T, rel=0.1) and r.T_thresholded == pytest.approx(exact.T, rel=0.05)
    assert r.T_history[0] == pytest.approx(0, abs=1.5) and len(r.T_history) == 100 and r.T_history[-1] == r.T_soft
    assert 2 * 100 * 10 * 25 * 2 < r.n_requested < 2 * 100 * 10 * 25 * 2 * 4 and r.n_evaluations <= exact.n_evaluations
    again = learned_p(product_game(), (2, 6), "accuracy", seed=1)
    assert np.array_equal(again.T_history, r.T_history)


def test_learned_p_does_not_move_where_there_is_nothing_to_learn():
    """Negative control: without interaction, and with exact values, links that are all kept or all cut are chance."""
    found = [
        learned_p(TableGame(np.zeros(16)), (0, 4), Settings(10, 5, 20, 1.0), seed, np.diag([1.0, 2, 3, 4])) for seed in range(5)
    ]
    assert all(r.n_requested == 0 for r in found)
    flat = np.triu(np.ones((4, 4))).cumsum(1)  # additive: phi = number of players
    r = learned_p(TableGame(np.zeros(16)), (0, 4), Settings(10, 5, 20, 1.0), 0, flat)
    assert r.T_soft == pytest.approx(0, abs=1e-9) and r.p_max == pytest.approx(0.5) and r.T_thresholded == 0


def test_learned_p_with_exact_values_has_the_exact_gradient_on_average():
    """One epoch, many partitions: theta moves by lr / (4 m) times E[F | link] - E[F | no link], by enumeration."""
    phi = np.triu(np.random.default_rng(0).normal(size=(3, 3)))
    F = {(a, b): phi[0, 0] + phi[1, 1] + phi[2, 2] for a in (0, 1) for b in (0, 1)}
    F[1, 0], F[0, 1], F[1, 1] = phi[0, 1] + phi[2, 2], phi[0, 0] + phi[1, 2], phi[0, 2]
    want = [(F[1, 0] + F[1, 1] - F[0, 0] - F[0, 1]) / 2, (F[0, 1] + F[1, 1] - F[0, 0] - F[1, 0]) / 2]
    r = learned_p(TableGame(np.zeros(8)), (0, 3), Settings(200_000, 1, 1, 1.0), 0, phi)
    for p, sign in ((r.p_max, 1), (r.p_min, -1)):
        assert np.log(p / (1 - p)) == pytest.approx(sign * np.array(want) / 12, abs=0.003)


def test_learned_p_stops_early_and_refuses_bad_input():
    r = learned_p(product_game(), (2, 6), Settings(20, 10, 200, 5.0, stop=0.1))
    settled = np.flatnonzero(r.T_history != r.T_history[-1]).max()
    assert settled < 150 and PUBLISHED["toy"].stop == 0.1
    with pytest.raises(ConfigError, match="no settings 'toys'; did you mean 'toy'"):
        learned_p(product_game(), (2, 6), "toys")
    with pytest.raises(ConfigError, match="a segment of one player has no links"):
        learned_p(product_game(), (2, 3))
    with pytest.raises(ConfigError, match=r"phi of shape \(2, 2\) is not that of 4 players"):
        learned_p(product_game(), (2, 6), phi=np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="one column; this one has 2"):
        learned_p(RandomNet(8, 0, columns=2), (2, 6))
    with pytest.raises(ConfigError, match="out of range"):
        learned_p(product_game(), (2, 12))
    with pytest.raises(ConfigError, match=r"epochs=0.*counts are at least 1"):
        Settings(10, 10, 0, 1.0)


def test_prefixes_have_the_distribution_of_random_orders():
    """Every size as often as any other, and every subset of a size (5 sigma)."""
    draws, k = 60_000, 4
    codes = prefixes((draws,), k, np.random.default_rng(0)) @ (1 << np.arange(k))
    share = np.array([1 / (k + 1) / comb(k, s.bit_count()) for s in range(2**k)])
    assert (np.abs(np.bincount(codes, minlength=2**k) - draws * share) < 5 * np.sqrt(draws * share)).all()
