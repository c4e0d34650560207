"""Intervals and tests against independent references and cases worked by hand."""

from __future__ import annotations

import itertools
import json
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm, sem, t
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from probing.evaluation.paired_tests import compare, holm, letters, mcnemar, mcnemar_power, paired_difference, smallest_difference
from probing.evaluation.statistics import macro_f1, mean_accuracy, mean_ci, mean_score, median_ci, standard_error, wilson
from probing.types import Estimate

labellings = st.integers(2, 6).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60))
)


def arrays(pairs):
    gold, predicted = np.array(pairs, dtype=np.int64).T
    return gold, predicted


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_accuracy_is_scipys_wilson_interval(case):
    correct, n = case
    estimate, expected = wilson(correct, n), binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert estimate.value == correct / n
    assert (estimate.lower, estimate.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert -1e-12 <= estimate.lower <= estimate.value + 1e-12 and estimate.value - 1e-12 <= estimate.upper <= 1 + 1e-12


def test_the_interval_covers_the_true_rate_nineteen_times_of_twenty():
    """Exact coverage, summed over all outcomes of 80 items, on average over rates; a 90 % interval would fail."""
    n, rates = 80, np.linspace(0.1, 0.9, 41)
    bounds = [wilson(k, n) for k in range(n + 1)]
    covered = [sum(binom.pmf(k, n, p) for k, b in enumerate(bounds) if b.lower <= p <= b.upper) for p in rates]
    assert 0.94 < np.mean(covered) < 0.96 and min(covered) > 0.92


@settings(deadline=None, max_examples=80)
@given(labellings)
def test_macro_f1_is_scikit_learns(case):
    """Whatever the labels: over the classes that occur in gold or predicted, also when a class is never right."""
    k, pairs = case
    gold, predicted = arrays(pairs)
    estimate = macro_f1(gold, predicted, k, draws=20)
    assert estimate.value == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0), abs=1e-12)
    assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1
    assert macro_f1(gold, predicted, k + 3, draws=20).value == pytest.approx(estimate.value)  # unused classes do not count
    order = np.random.default_rng(0).permutation(len(gold))
    assert macro_f1(gold[order], predicted[order], k, draws=20) == estimate


def test_macro_f1_by_hand():
    """Gold aab, predicted abb: F1(a) = 2·1/(2+1), F1(b) = 2·1/(1+2), their mean 2/3."""
    assert macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).value == pytest.approx(2 / 3)


def test_the_bootstrap_interval_is_that_of_resampled_items():
    """Against the plain way: draw items with replacement, score each draw by scikit-learn over the same classes."""
    rng = np.random.default_rng(1)
    gold = rng.choice(4, size=150, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(150) < 0.6, gold, rng.integers(0, 4, 150))
    present = np.union1d(gold, predicted)
    draws = []
    for _ in range(1500):
        items = rng.integers(0, 150, 150)
        draws.append(f1_score(gold[items], predicted[items], labels=present, average="macro", zero_division=0))
    estimate = macro_f1(gold, predicted, 4, draws=4000)
    assert (estimate.lower, estimate.upper) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)
    assert estimate.upper - estimate.lower > 0.1


def test_the_bootstrap_is_seeded_and_narrows_with_items():
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 3, 120)
    predicted = np.where(rng.random(120) < 0.7, gold, rng.integers(0, 3, 120))
    assert macro_f1(gold, predicted, 3, seed=5) == macro_f1(gold, predicted, 3, seed=5)
    assert macro_f1(gold, predicted, 3, seed=5) != macro_f1(gold, predicted, 3, seed=6)
    short = macro_f1(gold, predicted, 3)
    long = macro_f1(np.tile(gold, 16), np.tile(predicted, 16), 3)
    assert (short.upper - short.lower) / (long.upper - long.lower) == pytest.approx(4, rel=0.2)  # as 1/sqrt(n)


def test_without_errors_there_is_nothing_to_resample():
    gold = np.array([0, 1, 0, 1, 1])
    estimate = macro_f1(gold, gold, 2, draws=50)
    assert estimate.value == estimate.upper == 1 and estimate.lower <= 1
    one = np.zeros(5, dtype=np.int64)
    assert macro_f1(one, one, 2, draws=50).lower == 1


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_is_statsmodels_exact_test(only_a, only_b, both, neither):
    a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
    b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
    expected = statsmodels_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(a, b) == pytest.approx(min(expected, 1), abs=1e-12)
    assert mcnemar(a, b) == mcnemar(b, a)


def test_mcnemar_by_hand():
    """Ten items that only the first has right: 2 / 2^10. One each way: 1. No difference in correctness: 1."""
    assert mcnemar([True] * 10, [False] * 10) == pytest.approx(2 / 1024)
    assert mcnemar([True, False], [False, True]) == 1
    assert mcnemar([True, True, False], [True, True, False]) == 1
    assert mcnemar([1] * 9 + [0] * 3, [0] * 9 + [1] * 3) == pytest.approx(2 * (1 + 12 + 66 + 220) / 4096)


def test_mcnemar_keeps_its_level():
    """Negative control: equal classifiers are told apart in at most about 5 % of the samples. Positive: unequal ones are."""
    rng = np.random.default_rng(3)
    null = [mcnemar(rng.random(100) < 0.7, rng.random(100) < 0.7) < 0.05 for _ in range(300)]
    real = [mcnemar(rng.random(200) < 0.9, rng.random(200) < 0.6) < 0.05 for _ in range(50)]
    assert np.mean(null) < 0.08 and np.mean(real) > 0.9


def rejections(n: int, discordance: float, difference: float, alpha: float, draws: int) -> float:
    """Share of drawn pairs of classifiers that the exact McNemar test separates; items are drawn one by one."""
    rng, rejected = np.random.default_rng(0), []
    for _ in range(draws):
        u = rng.random(n)
        only_a = u < (discordance + difference) / 2
        rejected.append(mcnemar(only_a, ~only_a & (u < discordance)) <= alpha)
    return float(np.mean(rejected))


@pytest.mark.parametrize(
    ("n", "discordance", "alpha"), [(300, 0.1, 0.05), (200, 0.4, 0.05 / 27), (1000, 0.02, 0.05 / 6), (60, 0.01, 0.05)]
)
def test_the_smallest_difference_is_shown_four_times_of_five(n, discordance, alpha):
    """By drawn items; in the last, all on which the two differ are the better one's. Half of it is shown in fewer than half."""
    smallest = smallest_difference(n, discordance, alpha)
    assert rejections(n, max(discordance, smallest), smallest, alpha, 1500) == pytest.approx(0.8, abs=0.035)
    assert rejections(n, max(discordance, smallest), smallest / 2, alpha, 300) < 0.5
    assert mcnemar_power(n, discordance, smallest, alpha) == pytest.approx(0.8, abs=1e-3)


def test_the_smallest_difference_by_hand_and_its_laws():
    """Of six items all must differ and be the better one's: p = 2/2^6; 0.8 = d^6. Of five none is enough: 2/2^5 > 0.05."""
    assert smallest_difference(6, 0.1, 0.05) == pytest.approx(0.8 ** (1 / 6), abs=1e-5)
    assert smallest_difference(5, 0.1, 0.05) == np.inf
    base = smallest_difference(500, 0.2, 0.05)
    assert smallest_difference(2000, 0.2, 0.05) == pytest.approx(base / 2, rel=0.05)  # as 1 / sqrt(n)
    assert smallest_difference(500, 0.3, 0.05) > base and smallest_difference(500, 0.2, 0.01) > base
    assert smallest_difference(500, 0.2, 0.05, power=0.5) < base


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 7).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.tuples(st.integers(0, n), st.integers(0, n))))))
def test_letters_are_the_largest_sets_of_which_no_two_are_separated(case):
    """By brute force over all subsets; so two share a letter if and only if they are not separated."""
    n, pairs = case
    apart = np.zeros((n, n), bool)
    for i, j in pairs:
        if i < n and j < n and i != j:
            apart[i, j] = apart[j, i] = True
    subsets = chain.from_iterable(combinations(range(n), k) for k in range(1, n + 1))
    free = [set(subset) for subset in subsets if not apart[np.ix_(subset, subset)].any()]
    largest = [group for group in free if not any(group < other for other in free)]
    named = letters(apart)
    names = sorted(set("".join(named)))
    assert sorted(sorted(k for k in range(n) if name in named[k]) for name in names) == sorted(map(sorted, largest))
    assert all(bool(set(named[i]) & set(named[j])) != apart[i, j] for i, j in combinations(range(n), 2))
    assert not n or "a" in named[0]
    assert names == list("abcdefghijklm")[: len(names)]


def test_letters_of_more_sets_than_the_alphabet_has_stay_apart():
    named = letters(~np.eye(60, dtype=bool))
    assert len(set(named)) == 60 and named[51:53] == ["Z", "a'"]


def test_mcnemar_refuses_other_items():
    with pytest.raises(ValueError, match=r"different items: \(3,\) and \(2,\)"):
        mcnemar([True] * 3, [True] * 2)


def holm_by_hand(p):
    """Step down: the k-th smallest of m times m-k+1, never below the one before, at most 1."""
    adjusted, worst = np.empty(len(p)), 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        worst = max(worst, (len(p) - rank) * p[i])
        adjusted[i] = min(1.0, worst)
    return adjusted


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_rule(p):
    adjusted = holm(p)
    assert adjusted == pytest.approx(holm_by_hand(np.array(p)), abs=1e-12)
    assert np.all(adjusted >= np.array(p) - 1e-12)


def test_holm_by_hand_and_of_nothing():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]).shape == (0,)
    p = np.random.default_rng(0).uniform(0, 0.2, 9).round(2)  # with ties
    assert np.array_equal(holm(p), multipletests(p, method="holm")[1])


def test_a_paired_difference_by_hand_and_its_coverage():
    """Ten items, three only a's and one only b's: 12 items with the half ones; then 95 % intervals of a mean over three tasks."""
    a, b = np.array([1, 1, 1, 0, 1, 1, 1, 0, 0, 0], bool), np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0], bool)
    value, error, degrees = paired_difference([a], [b])
    assert degrees == np.inf and value == pytest.approx(2 / 12) and error == pytest.approx(np.sqrt((5 / 12 - (2 / 12) ** 2) / 12))
    assert paired_difference([a, a], [b, b])[:2] == pytest.approx((value, error / np.sqrt(2)))
    assert paired_difference([a], [a])[0] == 0 < paired_difference([a], [a])[1], "no discordant item is not certainty"
    with pytest.raises(ValueError, match="different items"):
        paired_difference([a], [b[:5]])
    rng = np.random.default_rng(0)
    covered, draws, truth = 0, 1500, np.mean([0.1, 0.0, 0.3])
    for _ in range(draws):
        left, right = [], []
        for gap, n in ((0.1, 60), (0.0, 90), (0.3, 40)):
            u = rng.random(n)  # only a: [0, .15 + gap), only b: the next .15, both: the next .4
            left.append((u < 0.15 + gap) | (u >= 0.3 + gap) & (u < 0.7))
            right.append((u >= 0.15 + gap) & (u < 0.7))
        value, error, _ = paired_difference(left, right)
        covered += abs(value - truth) <= 1.96 * error
    assert 0.935 < covered / draws < 0.97


def test_degrees_of_a_paired_difference_are_those_of_its_groups():
    """m - 1 of m groups; of several tasks between the least and the sum (Satterthwaite), the sum where they are alike."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 60)) < 0.6
    few, many = np.arange(60) // 10, np.arange(60) // 2
    assert paired_difference([a], [b], [few])[2] == pytest.approx(5)
    assert paired_difference([a, a], [b, b], [few, few])[2] == pytest.approx(10)
    assert 5 < paired_difference([a, a], [b, b], [few, many])[2] < 34
    assert paired_difference([a, a], [b, b], [few, None])[2] > 5, "items without groups add variance, and no doubt of it"
    assert paired_difference([a], [b], [np.zeros(60, int)])[1] == np.inf


def test_an_interval_of_groups_at_another_level_is_the_one_at_that_level():
    """Of groups of one item: Wilson's at the effective number n (z / t)^2, by statsmodels; and wider the smaller the level."""
    right = np.random.default_rng(1).random(40) < 0.7
    for alpha in (0.05, 0.0125):
        n = 40 * (norm.isf(alpha / 2) / t.isf(alpha / 2, 39)) ** 2 * 39 / 40  # the variance between groups has m - 1
        low, high = proportion_confint(right.mean() * n, n, alpha, "wilson")
        estimate = mean_accuracy(right, np.arange(40), alpha=alpha)
        assert (estimate.lower, estimate.upper) == pytest.approx((low, high), abs=1e-9)
        assert mean_accuracy(right, alpha=alpha) == wilson(int(right.sum()), 40, alpha)
    assert mean_accuracy(right, None, [0.6, 0.7, 0.65], 0.0125).lower < mean_accuracy(right, None, [0.6, 0.7, 0.65]).lower


def test_the_interval_of_a_mean_is_students_and_leaves_nan_out():
    x = [1.0, 4.0, 2.0, 7.0]
    estimate = mean_ci([*x, np.nan])
    assert (estimate.lower, estimate.upper) == pytest.approx(t.interval(0.95, 3, loc=np.mean(x), scale=sem(x)))
    assert estimate.value == 3.5 and mean_ci([2.0]).value == 2 and np.isnan(mean_ci([2.0]).lower)
    pairs = mean_ci([1.0, 1.0, 4.0, 4.0, 2.0, 2.0, 7.0, 7.0, np.nan], [0, 0, 1, 1, 2, 2, 3, 3, 4])
    assert (pairs.lower, pairs.upper) == pytest.approx((estimate.lower, estimate.upper)), "groups of one value count once"
    assert np.isnan(mean_ci([1.0, 2.0], [0, 0]).lower), "one group shows no variance"
    assert np.isnan(mean_ci([np.nan]).value) and np.isnan(median_ci([]).value)


def test_the_interval_of_a_median_holds_it_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    estimates = [median_ci(rng.exponential(size=25), draws=300, seed=seed) for seed in range(300)]
    held = np.mean([x.lower <= np.log(2) <= x.upper for x in estimates])
    assert 0.9 < held < 0.99 and all(x.lower <= x.value <= x.upper for x in estimates)
    assert median_ci([1.0, np.nan, 3.0, 100.0]).value == 3


# Groups of items.


def test_the_standard_error_between_groups_by_hand():
    """Right items of three groups: 2 of 2, 0 of 1, 1 of 3; mean 1/2, sums of deviations 1, -1/2, -1/2: 3/2 · 1.5 / 36 = 1/16."""
    right, groups = [1, 1, 0, 1, 0, 0], [0, 0, 1, 2, 2, 2]
    assert standard_error(right, groups) == pytest.approx(0.25)
    assert standard_error(right) == pytest.approx(np.sqrt(0.25 / 5))
    assert standard_error([1, 0], [0, 0]) == np.inf, "one group tells nothing of the variance between groups"


@pytest.mark.shared
def test_errors_and_sign_flips_of_groups_are_those_of_an_independent_reference(shared):
    oracle = json.loads((shared / "oracles" / "probes.json").read_text())
    for case in oracle["cluster_se"]["cases"]:
        groups = np.unique(case["given"]["cluster"], return_inverse=True)[1]
        assert standard_error(case["given"]["right"], groups) == pytest.approx(case["expected"]["se_clustered"], abs=1e-8)
        assert mean_accuracy(case["given"]["right"], groups).value == pytest.approx(case["expected"]["accuracy"], abs=1e-8)
    for case in oracle["mcnemar"]["cases"]:
        given, expected = case["given"], case["expected"]
        groups = np.unique(given["cluster"], return_inverse=True)[1]
        a, b = np.array(given["a_right"], bool), np.array(given["b_right"], bool)
        assert mcnemar(a, b) == pytest.approx(expected["exact_p"], abs=1e-8)
        assert mcnemar(a, b, groups) == pytest.approx(expected["sign_flip_p"], abs=1e-8)
        error = standard_error(a.astype(float) - b, groups)
        assert error == pytest.approx(expected.get("se_clustered_difference", 0), abs=1e-8)  # one case has no discordant item
        assert compare(a, b, groups)[0].value == pytest.approx(expected["difference"], abs=1e-8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_test_of_groups_is_the_share_of_all_sign_patterns(items):
    a, b, named = (np.array(x) for x in zip(*items, strict=True))
    groups = np.unique(named, return_inverse=True)[1]
    d = np.bincount(groups, a.astype(int) - b)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product([-1, 1], repeat=len(d))]
    assert mcnemar(a, b, groups) == pytest.approx(np.mean(np.array(sums) >= abs(d.sum()) - 1e-9), abs=1e-12)
    assert mcnemar(a, b, np.arange(len(a))) == pytest.approx(mcnemar(a, b), abs=1e-12)


def test_groups_count_by_their_size_in_the_test_by_hand():
    """Differences of three groups 2, 1 and -1, sum 2: of the sums ±2 ±1 ±1 three in four are 2 or more away from 0."""
    a, b, groups = [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 1, 2]
    assert mcnemar(a, b, groups) == pytest.approx(0.75) and mcnemar(a, b) == 0.625


def test_groups_of_one_item_change_little_and_repeated_items_add_nothing():
    """Four copies of each item, in groups, are the items once; without groups the interval is half as wide."""
    right = np.arange(90) % 3 > 0
    alone, copies, groups = wilson(60, 90), np.repeat(right, 4), np.repeat(np.arange(90), 4)
    singles = mean_accuracy(right, np.arange(90))
    assert singles.upper - singles.lower == pytest.approx(alone.upper - alone.lower, rel=0.03)
    grouped = mean_accuracy(copies, groups)
    assert (grouped.lower, grouped.upper) == pytest.approx((singles.lower, singles.upper), abs=1e-9)
    other = np.arange(90) % 4 > 0
    assert mcnemar(copies, np.repeat(other, 4), groups) == pytest.approx(mcnemar(right, other))
    assert mcnemar(copies, np.repeat(other, 4)) < mcnemar(right, other)


def test_groups_whose_items_cancel_are_not_taken_for_more_items_than_there_are():
    """Of each pair one is right: there is no variance between groups, and the interval stays that of the items."""
    right, groups = np.arange(100) % 2, np.repeat(np.arange(50), 2)
    grouped, alone = mean_accuracy(right, groups), wilson(50, 100)
    assert grouped.lower <= alone.lower and alone.upper <= grouped.upper < alone.upper + 0.01
    whole = mean_accuracy(np.ones(100), groups)
    assert whole.lower < wilson(50, 50).lower and whole.upper == pytest.approx(1), "all right: as many items as groups"
    assert mean_accuracy([1, 0], [0, 0]) == Estimate(0.5, 0.0, 1.0) and compare([1, 1], [0, 0], [0, 0])[1] == 1


def grouped_columns(rng, m, size, within=1.5):
    groups = np.repeat(np.arange(m), size)
    return groups, [rng.random(m * size) < norm.cdf(0.8 + within * rng.standard_normal(m)[groups]) for _ in range(2)]


def test_intervals_and_tests_of_groups_keep_their_level_where_those_of_items_do_not():
    rng, truth, runs = np.random.default_rng(0), norm.cdf(0.8 / np.sqrt(1 + 1.5**2)), 250
    counts = np.zeros(5)
    for _ in range(runs):
        groups, (a, b) = grouped_columns(rng, 30, 6)
        inside = [low.lower <= truth <= low.upper for low in (mean_accuracy(a, groups), wilson(int(a.sum()), len(a)))]
        difference, p = compare(a, b, groups)
        counts += [*inside, p < 0.05, mcnemar(a, b) < 0.05, difference.lower <= 0 <= difference.upper]
    covered, by_items, separated, separated_by_items, zero_inside = counts / runs
    assert covered > 0.92 and separated < 0.08 and zero_inside > 0.92
    assert by_items < 0.8 and separated_by_items > 0.15


def test_the_f1_of_few_items_or_groups_has_no_narrow_interval():
    """One group says nothing of others; with three whose shares differ, the interval still covers."""
    rng = np.random.default_rng(2)
    gold = np.arange(180) % 2
    predicted = np.where(rng.random(180) < 0.8, gold, 1 - gold)
    for one in (macro_f1(gold, predicted, 2, np.zeros(180, int)), macro_f1(gold[:1], gold[:1], 2)):
        assert (one.lower, one.upper) == (0, 1)
    hits, covered = 0.8, 0
    for _ in range(200):  # shares that differ between three groups
        shares = np.clip(hits + 0.1 * rng.standard_normal(3), 0, 1)
        right = rng.random(180) < np.repeat(shares, 60)
        one = macro_f1(gold, np.where(right, gold, 1 - gold), 2, np.repeat(np.arange(3), 60))
        covered += one.lower <= hits <= one.upper
    assert covered >= 180


def test_the_f1_of_groups_is_resampled_by_whole_groups():
    """Against the plain way: draw groups with replacement, and score their items together."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    gold = rng.integers(0, 3, 40)[groups]
    predicted = np.where(rng.random(40)[groups] < 0.6, gold, rng.integers(0, 3, len(groups)))
    draws = []
    for _ in range(400):
        items = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 40, 40)])
        draws.append(f1_score(gold[items], predicted[items], labels=[0, 1, 2], average="macro", zero_division=0))
    grouped, alone = macro_f1(gold, predicted, 3, groups, draws=4000), macro_f1(gold, predicted, 3)
    assert grouped.value == alone.value
    assert (grouped.lower, grouped.upper) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.025)
    assert grouped.upper - grouped.lower > 1.3 * (alone.upper - alone.lower)
    mixed = rng.permutation(len(groups))
    assert macro_f1(gold[mixed], predicted[mixed], 3, groups[mixed], draws=50) == macro_f1(gold, predicted, 3, groups, draws=50)


# Several seeds, and halves of train.


def test_an_interval_over_seeds_and_halves_by_hand():
    """Half-widths add as squares: Wilson's over items, t_1 s / sqrt(2) over two seeds, t_2 s over three halves."""
    one, other = Estimate(0.6, 0.5, 0.69), Estimate(0.7, 0.6, 0.79)
    assert mean_score([one]) == one
    estimate = mean_score([one, other])
    seeds = t.ppf(0.975, 1) * np.std([0.6, 0.7], ddof=1) / np.sqrt(2)
    assert estimate.value == pytest.approx(0.65) and (estimate.lower, estimate.upper) == pytest.approx(
        (max(0, 0.65 - np.hypot(0.1, seeds)), 1)
    )
    estimate = mean_score([one], [0.58, 0.60, 0.62])
    halves = t.ppf(0.975, 2) * 0.02
    assert (estimate.lower, estimate.upper) == pytest.approx((0.6 - np.hypot(0.1, halves), 0.6 + np.hypot(0.09, halves)))
    right = np.arange(100) < 60
    interval = wilson(60, 100)
    assert mean_accuracy(right) == interval == mean_accuracy([right])
    estimate = mean_accuracy(right, halves=[0.58, 0.60, 0.62])
    assert (0.6 - estimate.lower, estimate.upper - 0.6) == pytest.approx(
        (np.hypot(0.6 - interval.lower, halves), np.hypot(interval.upper - 0.6, halves))
    )
    assert mean_accuracy(right, halves=[0.3]) == interval, "one fit has no variance"


def test_equal_seeds_add_nothing_and_seeds_that_differ_do():
    right = np.arange(100) < 60
    same = mean_accuracy([right, right, right])
    assert (same.lower, same.upper) == pytest.approx((wilson(60, 100).lower, wilson(60, 100).upper), abs=0.005)
    apart = mean_accuracy([np.arange(100) < k for k in (55, 60, 65)])
    assert apart.value == pytest.approx(0.6) and apart.upper - apart.lower > 1.2 * (same.upper - same.lower)


columns = st.integers(1, 3).flatmap(
    lambda s: st.lists(st.tuples(*[st.tuples(st.booleans(), st.booleans())] * s), min_size=5, max_size=40)
)


@settings(deadline=None, max_examples=60)
@given(columns, st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=6), st.booleans())
def test_the_test_and_the_interval_of_a_difference_say_the_same(items, halves, grouped):
    """0 is outside of the interval where p < 0.05; the other way round it is the same with the other sign."""
    both = np.array(items).transpose(1, 2, 0)  # (seeds, a or b, n)
    groups = np.arange(both.shape[2]) // 2 if grouped else None
    interval, p = compare(both[:, 0], both[:, 1], groups, halves)
    assert (p < 0.05) == (not interval.lower <= 0 <= interval.upper)
    swapped, same = compare(both[:, 1], both[:, 0], groups, [-x for x in halves])
    assert (swapped.value, swapped.lower, swapped.upper, same) == pytest.approx(
        (-interval.value, -interval.upper, -interval.lower, p)
    )
    assert interval.value == pytest.approx(np.diff(both.mean((0, 2)))[0] * -1)


def test_one_seed_without_halves_is_the_exact_test():
    a, b = np.arange(200) < 150, np.arange(200) % 10 > 2
    assert compare(a, b)[1] == mcnemar(a, b) == compare([a], [b], None, [0.01])[1]
    assert compare(a, a)[1] == 1 and compare(a, a)[0].upper == pytest.approx(t.ppf(0.975, 199) / 200)
    with pytest.raises(ValueError, match="different items"):
        compare([a, a], [b])


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("deviation", [0.05, 0.4])
def test_intervals_over_seeds_hold_the_expected_accuracy(n_seeds, deviation):
    """Items and seeds are drawn anew: a classifier is right where ability of the seed, of the item and noise are above 0."""
    rng, n, runs = np.random.default_rng(n_seeds), 200, 200
    covered = separated = alone = 0
    for _ in range(runs):
        a, b = (
            0.8 + rng.standard_normal(n) + deviation * rng.standard_normal((n_seeds, 1)) + 0.3 * rng.standard_normal((n_seeds, n))
            > 0
            for _ in range(2)
        )
        truth = norm.cdf(0.8 / np.sqrt(1 + deviation**2 + 0.3**2))
        estimate = mean_accuracy(a)
        covered += estimate.lower <= truth <= estimate.upper
        separated += compare(a, b)[1] < 0.05
        alone += wilson(int(a[0].sum()), n).lower <= truth <= wilson(int(a[0].sum()), n).upper
    assert covered / runs >= 0.93 and separated / runs <= 0.08
    if deviation > 0.1:
        assert alone / runs < 0.75, "the interval of one seed does not hold the variance between seeds"


@pytest.mark.shared
def test_errors_of_clusters_and_sign_flips_agree_with_the_reference_values(shared):
    cases = json.loads((shared / "oracles/probes.json").read_text())
    for case in cases["cluster_se"]["cases"]:
        right, cluster = (np.array(case["given"][name]) for name in ("right", "cluster"))
        assert right.mean() == pytest.approx(case["expected"]["accuracy"], abs=1e-6)
        assert standard_error(right, cluster) == pytest.approx(case["expected"]["se_clustered"], abs=1e-6)
    for case in cases["mcnemar"]["cases"]:
        a, b, cluster = (np.array(case["given"][name]) for name in ("a_right", "b_right", "cluster"))
        expected = case["expected"]
        assert mcnemar(a, b) == pytest.approx(expected["exact_p"], abs=1e-6)
        assert mcnemar(a, b, cluster) == pytest.approx(expected["sign_flip_p"], abs=1e-6)
        difference = a.astype(float) - b
        assert difference.mean() == pytest.approx(expected["difference"], abs=1e-6)
        if "se_clustered_difference" in expected:  # not where one cluster alone differs
            assert standard_error(difference, cluster) == pytest.approx(expected["se_clustered_difference"], abs=1e-6)
