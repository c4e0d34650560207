"""Scores of words from a table of coalitions, their faithfulness, rules and plausibility: laws, hand cases, and an oracle file."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from explanation_nets import Numbered, OracleNet, head_of_net, nets, text_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from probing.attributions.coalitions import CoalitionTable, coalition_table, contrast, exact
from probing.attributions.faithfulness import bins_of, bounds, deletion, faithfulness, infidelity, log_probabilities, monotonicity
from probing.attributions.indices import GAMES, add_one_in, banzhaf, least_squares, leave_one_out, lime, lime_sampling, lime_weights
from probing.attributions.plausibility import MEASURES, ceiling, chance, gold_of, plausibility
from probing.attributions.ranks import order, tau
from probing.attributions.rules import anchors, flipping_sets, interval_probabilities, keeping_sets
from probing.attributions.sampling import sampled
from probing.errors import ConfigError, DataError
from probing.interactions.game import all_coalitions, harsanyi, shapley
from probing.interactions.text.game import TextGame
from probing.store.results import ResultStore

GAME_NAMES = {
    "shapley": "shapley",
    "banzhaf": "banzhaf",
    "loo": "leave_one_out",
    "add-one": "add_one_in",
    "lime": "lime_population",
}
METRICS = {
    "comprehensiveness": "aopc_comprehensiveness_1_to_n_minus_1",
    "sufficiency": "aopc_sufficiency_1_to_n_minus_1",
    "comprehensiveness_eraser": "aopc_comprehensiveness_eraser_bins_ceil",
    "sufficiency_eraser": "aopc_sufficiency_eraser_bins_ceil",
    "comprehensiveness_scaled": "comprehensiveness_between_chance_and_best",
    "sufficiency_scaled": "sufficiency_between_chance_and_best",
    "words_to_flip": "words_to_flip",
    "infidelity": "infidelity",
    "infidelity_least": "infidelity_normalised",
    "beta": "beta",
    "tau_loo": "kendall_tau_b_to_leave_one_out",
    "tau_shapley": "kendall_tau_b_to_shapley",
}
PLAUSIBLE = {
    "average_precision": "average_precision",
    "trapezoid": "auprc_trapezoid_with_point_0_1",
    "auroc": "auroc",
    "f1": "f1_top_k_of_gold_size",
    "jaccard": "iou_top_k_of_gold_size",
}

values = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.integers(-1000, 1000), min_size=2**n, max_size=2**n).map(lambda v: np.array(v) / 100)
)


def held_of(logits) -> CoalitionTable:
    logits = np.asarray(logits, float)
    n = int(math.log2(len(logits)))
    classes = tuple("abcdef"[: logits.shape[1]])
    return CoalitionTable(tuple(f"w{k}" for k in range(n)), "mask", classes, logits, (), np.zeros((len(logits), 0)), len(logits))


def random_logits(n: int, classes: int = 3, seed: int = 0):
    return np.random.default_rng(seed).normal(size=(2**n, classes))


@pytest.fixture(scope="module")
def oracle(shared):
    return json.loads((shared / "oracles" / "explanations.json").read_text())


@pytest.mark.shared
def test_all_numbers_of_the_oracle(oracle):
    """The tables come from the stored weights; scores, metrics, anchors, sets and plausibility from the tables."""
    encoders = nets(oracle)
    compared = 0

    def same(own, stored, *where):
        nonlocal compared
        expected = np.array([math.nan if x is None else x for x in np.ravel(np.array(stored, dtype=object))], float)
        np.testing.assert_allclose(np.ravel(np.asarray(own, float)), expected, atol=1e-8, rtol=0, err_msg=str(where))
        compared += expected.size

    for study, known in oracle["studies"].items():
        net, sentence = study.split("/")
        encoder, gold = encoders[net], oracle["gold"][sentence]
        for masking, game in known["games"].items():
            held = coalition_table(encoder, head_of_net(encoder), text_of(known["ids"]), masking)
            v = held.value()
            same(held.logits, game["logits_by_set"], study, masking)
            same(harsanyi(v), game["harsanyi"], study, masking)
            assert held.predicted == known["target"] and held.masking == masking
            for own, stored in GAME_NAMES.items():
                scored = exact(held, own)
                same(scored.scores, game["attributions"][stored], study, masking, own)
                same([scored.whole, scored.empty], [v[-1], v[0]])
            for name, ridge in (("lime_all_sets_near_weight", 0.0), ("lime_all_sets_near_weight_ridge_1", 1.0)):
                same(least_squares(v, lime_weights(len(gold)), ridge), game["attributions"][name], study, masking, name)
            limits = bounds(np.exp(log_probabilities(held.logits)[:, held.predicted]))
            for name in ("chance_comprehensiveness", "best_comprehensiveness", "chance_sufficiency", "best_sufficiency"):
                same(getattr(limits, name), game["bounds"][f"{name}_by_k"], study, masking, name)
            own_anchors = anchors(held.logits)
            same(own_anchors.by_set, game["anchors"]["precision_by_set"])
            same(own_anchors.precision[0], game["anchors"]["best_precision"])
            same(own_anchors.coverage, game["anchors"]["coverage"])
            assert list(own_anchors.words[0]) == game["anchors"]["best_words"]
            for sets, name in (
                (keeping_sets(held.logits), "smallest_sets_that_keep_the_class"),
                (flipping_sets(held.logits), "smallest_removals_that_change_the_class"),
            ):
                assert sorted(map(list, sets)) == sorted(game[name])
            for method, stored in game["metrics"].items():
                scores = np.array(game["attributions"].get(method) or known["attributions"].get(method))
                curve, measures, marks = deletion(held.logits, scores), faithfulness(held, scores), plausibility(scores, gold)
                where = (study, masking, method)
                assert curve.order.tolist() == stored["order"]
                same(curve.comprehensiveness, stored["comprehensiveness_by_k"], *where)
                same(curve.sufficiency, stored["sufficiency_by_k"], *where)
                same(curve.log_odds, stored["log_odds_drop_by_k"], *where)
                same(scores.sum() - (v[-1] - v[0]), stored["completeness_gap"], *where)
                for own, name in METRICS.items():
                    same(measures[own], stored[name], *where, own)
                for own, name in PLAUSIBLE.items():
                    same(marks[own], stored[f"plausibility_{name}"], *where, own)
                if (study, masking) != ("linear/b", "mask"):  # one word twice: there the file counts equal gains by their rounding
                    same(measures["monotonicity"], stored["monotonicity"], *where)
    assert compared > 17_000
    ties = oracle["ties"]
    own = plausibility(np.array(ties["scores"]), ties["gold"])
    for name, stored in PLAUSIBLE.items():
        same(own[name], ties[stored])


def test_a_linear_game_has_one_answer():
    """f = 2a - b + .5c: every method gives the coefficients, and the measures say that they are perfect."""
    v = all_coalitions(3) @ np.array([2.0, -1.0, 0.5]) + 7
    for name, method in GAMES.items():
        np.testing.assert_allclose(method(v), [2, -1, 0.5], atol=1e-12, err_msg=name)
    error = infidelity(v, np.array([2, -1, 0.5]))
    assert error.raw == pytest.approx(0, abs=1e-24) and error.beta == pytest.approx(1)
    np.testing.assert_allclose(error.by_size, [1, 1])
    assert infidelity(v, np.array([4, -2, 1.0])).beta == pytest.approx(0.5)
    assert monotonicity(v, np.array([2, -1, 0.5])) == 1


@pytest.mark.parametrize(("v", "phi", "loo", "one"), [([0, 0, 0, 1], 0.5, 1, 0), ([0, 1, 1, 1], 0.5, 0, 1)], ids=["and", "or"])
def test_and_or(v, phi, loo, one):
    v = np.array(v, float)
    assert shapley(v).tolist() == [phi] * 2 and leave_one_out(v).tolist() == [loo] * 2 and add_one_in(v).tolist() == [one] * 2


def test_parity_of_three():
    v = all_coalitions(3).sum(1) % 2.0
    np.testing.assert_allclose(shapley(v), 1 / 3)
    np.testing.assert_allclose(banzhaf(v), 0, atol=1e-15)
    np.testing.assert_allclose(least_squares(v, np.ones(4)), 0, atol=1e-12)


def test_the_linear_net_agrees_but_for_delete():
    """Masked in place a mean of words is linear in presence; deleted words change the divisor."""
    rng = np.random.default_rng(1)
    weights = {"E": rng.normal(size=(9, 4)), "W": rng.normal(size=(4, 2)), "b": rng.normal(size=2)}
    encoder = OracleNet(net="linear", weights=weights, embedding_dim=4)
    head, text = head_of_net(encoder), text_of([3, 5, 8, 2])
    for masking in ("zero", "mask", "pad", "mean", "unknown"):
        held = coalition_table(encoder, head, text, masking)
        for method in GAMES:
            np.testing.assert_allclose(exact(held, method).scores, leave_one_out(held.value()), atol=1e-12, err_msg=masking)
    deleted = coalition_table(encoder, head, text, "delete")
    assert np.abs(exact(deleted, "shapley").scores - exact(deleted, "loo").scores).max() > 0.01


@given(values)
@settings(max_examples=40, deadline=None)
def test_shapley_is_efficient_and_banzhaf_and_lime_are_least_squares(v):
    n = int(math.log2(len(v)))
    assert abs(shapley(v).sum() - (v[-1] - v[0])) < 1e-10
    x = all_coalitions(n).astype(float)
    np.testing.assert_allclose(banzhaf(v), LinearRegression().fit(x, v).coef_, atol=1e-8)
    if n > 1:
        weight = (lime_weights(n) * lime_sampling(n))[x.sum(1).astype(int)]
        np.testing.assert_allclose(lime(v), LinearRegression().fit(x, v, sample_weight=weight).coef_, atol=1e-7)
    assert lime_sampling(n) @ [math.comb(n, s) for s in range(n + 1)] == pytest.approx(1)


def test_brute_force_over_orders():
    v = np.random.default_rng(2).normal(size=2**5)
    gains = np.zeros(5)
    for perm in itertools.permutations(range(5)):
        mask = 0
        for i in perm:
            gains[i] += v[mask | 1 << i] - v[mask]
            mask |= 1 << i
    np.testing.assert_allclose(shapley(v), gains / 120, atol=1e-12)


def test_a_null_player_and_symmetric_players():
    base = np.random.default_rng(3).normal(size=4)
    present = all_coalitions(4)
    pair = present[:, 0].astype(int) + present[:, 1]  # words 0 and 1 count alike, word 3 not at all
    v = base[pair] * (1 + present[:, 2])
    for name in ("shapley", "banzhaf", "loo", "add-one"):  # LIME's least squares give a null player a score
        scores = GAMES[name](v)
        assert scores[0] == pytest.approx(scores[1]) and scores[3] == pytest.approx(0, abs=1e-12), name


def test_columns_are_scored_side_by_side():
    logits = random_logits(4)
    for name, method in GAMES.items():
        np.testing.assert_allclose(method(logits), np.stack([method(column) for column in logits.T], 1), atol=1e-12, err_msg=name)


def test_the_best_order_at_each_size_is_one_and_random_orders_are_zero():
    logits = random_logits(5, seed=4)
    p = np.exp(log_probabilities(logits)[:, logits[-1].argmax()])
    scaled = [deletion(logits, np.array(perm, float)).scaled(p) for perm in itertools.permutations(range(5))]
    np.testing.assert_allclose(np.mean(scaled, 0), 0, atol=1e-12)  # all orders: each set of a size equally often
    assert np.max(scaled) <= 1 + 1e-12
    for k in range(1, 5):
        best = min(itertools.combinations(range(5), k), key=lambda gone: p[31 - sum(2**i for i in gone)])
        scores = np.zeros(5)
        scores[list(best)] = 1
        assert deletion(logits, scores).comprehensiveness[k - 1] == pytest.approx(bounds(p).best_comprehensiveness[k - 1])
    flat = np.tile([1.0, 0.0, 0.0], (32, 1))  # nothing matters: no scale
    assert math.isnan(faithfulness(held_of(flat), np.arange(5.0))["comprehensiveness_scaled"])


def test_deletion_by_hand():
    """Two words, two classes: class a at p = .8; without word 0 .3, without word 1 .6; with none .4."""
    p = np.array([0.4, 0.6, 0.3, 0.8])
    logits = np.log(np.stack([p, 1 - p], 1))
    curve = deletion(logits, np.array([2.0, 1.0]))
    np.testing.assert_allclose(curve.comprehensiveness, [0.5, 0.4])
    np.testing.assert_allclose(curve.sufficiency, [0.2, 0])
    np.testing.assert_allclose(curve.log_odds, [math.log(4) - math.log(3 / 7), math.log(4) - math.log(2 / 3)])
    assert curve.words_to_flip == 1 and deletion(logits, np.array([1.0, 2.0])).words_to_flip == 2
    np.testing.assert_allclose(curve.scaled(p), [1, 1])
    np.testing.assert_allclose(curve.aopc("eraser", "down"), [0.5 / 5, (4 * 0.4 + 0.2) / 5])
    assert bins_of(6, "eraser").tolist() == [1, 1, 1, 2, 3] and bins_of(20, "eraser", "down").tolist() == [0, 1, 2, 4, 10]
    with pytest.raises(ConfigError, match="allowed are all and eraser"):
        bins_of(6, "some")


def test_scores_of_another_size_rank_alike():
    logits, scores = random_logits(4, seed=5), np.array([0.3, -0.2, 0.3, 0.1])
    for factor in (1e-15, 1e9):
        assert order(scores * factor).tolist() == [0, 2, 3, 1]
        assert tau(scores, scores * factor) == 1
        np.testing.assert_allclose(deletion(logits, scores * factor).comprehensiveness, deletion(logits, scores).comprehensiveness)
    assert math.isnan(tau(scores, np.ones(4)))


def test_anchors_equal_enumeration():
    logits = random_logits(5, classes=2, seed=6)
    keeps = logits.argmax(1) == logits[-1].argmax()
    own = anchors(logits, 0.8)
    for mask in range(32):
        holds = [s for s in range(32) if s & mask == mask]
        assert own.by_set[mask] == pytest.approx(keeps[holds].mean())
    size = min(bin(mask).count("1") for mask in range(32) if own.by_set[mask] >= 0.8)
    assert all(len(words) == size for words in own.words) and own.coverage == 0.5**size
    assert len(own.words) == sum(own.by_set[m] >= 0.8 and bin(m).count("1") == size for m in range(32))
    for words in keeping_sets(logits):
        assert keeps[sum(2**i for i in words)]
    for words in flipping_sets(logits):
        assert not keeps[31 - sum(2**i for i in words)]
    assert flipping_sets(np.tile([1.0, 0.0], (8, 1))) == () and keeping_sets(np.tile([1.0, 0.0], (8, 1))) == ((),)


def test_probabilities_of_intervals():
    logits = random_logits(4, seed=7)
    heat = interval_probabilities(logits)
    np.testing.assert_allclose(heat[1, 3], np.exp(log_probabilities(logits))[0b0110])
    np.testing.assert_allclose(heat[0, 4].sum(), 1)
    assert np.isnan(heat[2, 2]).all() and heat.shape == (4, 5, 3)


@pytest.mark.parametrize(("n", "k"), [(4, 1), (5, 3)])
def test_chance_is_the_mean_over_all_orders(n, k):
    gold = np.arange(n) < k
    every = [plausibility(np.array(perm, float), gold) for perm in itertools.permutations(range(n))]
    for name in MEASURES:
        assert np.mean([one[name] for one in every]) == pytest.approx(chance(n, k)[name], abs=1e-12), name


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=9))
@settings(max_examples=30, deadline=None)
def test_plausibility_is_that_of_scikit_learn(words):
    scores, gold = np.array([score for score, _ in words], float), np.array([mark for _, mark in words])
    if not 0 < gold.sum() < len(gold):
        return
    own = plausibility(scores, gold)
    precision, recall, _ = precision_recall_curve(gold, scores)
    assert own["average_precision"] == pytest.approx(average_precision_score(gold, scores))
    assert own["trapezoid"] == pytest.approx(auc(recall, precision))
    assert own["auroc"] == pytest.approx(roc_auc_score(gold, scores))


def test_plausibility_of_ties_and_of_no_gold():
    tied = plausibility(np.array([0.5, 0.5, 0.1]), [False, True, False])
    assert tied["average_precision"] == 0.5 and tied["pointing"] == 0.5  # one threshold for both
    assert all(math.isnan(x) for x in plausibility(np.arange(3.0), [False] * 3).values())
    assert all(math.isnan(x) for x in chance(3, 3).values())
    with pytest.raises(DataError, match="3 scores and 2 gold marks"):
        plausibility(np.arange(3.0), [True, False])
    large = chance(30, 6)["trapezoid"]  # drawn, not enumerated: between the share and average precision's chance
    assert 0.2 < large < chance(30, 6)["average_precision"]


def test_the_ceiling_of_annotators():
    alike = np.array([[1, 0, 0, 1]] * 3, bool)
    assert ceiling(alike)["average_precision"] == 1 and ceiling(alike)["pairwise_f1"] == 1
    marks = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], bool)
    assert ceiling(marks)["pairwise_f1"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert gold_of(marks).tolist() == [True, False, False, False] and gold_of(marks, "union").tolist() == [True, True, False, True]
    np.testing.assert_allclose(gold_of(marks, "soft"), [2 / 3, 1 / 3, 0, 1 / 3])
    assert math.isnan(ceiling(marks[:1])["f1"])


def test_targets():
    logits = random_logits(3, seed=8)
    held = held_of(logits)
    np.testing.assert_allclose(held.value("b-a"), logits[:, 1] - logits[:, 0])
    np.testing.assert_allclose(held.value("c"), logits[:, 2])
    assert exact(held, "loo", "b-a").target == "b-a" and exact(held, "loo").target == "abc"[held.predicted]
    assert contrast(("semi-final", "final", "semi"), "semi-final", 0).tolist() == [1, 0, 0]  # a class before a difference
    with pytest.raises(ConfigError, match="target='d' is no class.*allowed: predicted, a, b, c, or two classes as a-c"):
        held.value("d")
    with pytest.raises(ConfigError, match="method='shaply' is no game; did you mean 'shapley'"):
        exact(held, "shaply")


def small_net(seed: int = 0, n_words: int = 16):
    rng = np.random.default_rng(seed)
    weights = {"E": rng.normal(size=(n_words, 4)), "W1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5)}
    weights |= {"W2": rng.normal(size=(5, 2)), "b2": rng.normal(size=2)}
    return OracleNet(net="mlp", weights=weights, embedding_dim=4)


def test_a_table_is_kept_and_has_the_layers_of_the_same_rows(tmp_path):
    encoder, results, counted = small_net(), ResultStore(tmp_path), []
    head, text = head_of_net(encoder), text_of([3, 5, 8, 2, 9])
    first = coalition_table(encoder, head, text, "zero", layers=(0, 1), results=results, advance=counted.append)
    assert first.rows == 32 == sum(counted) and first.v_f.shape == (32, 2)
    np.testing.assert_allclose(first.v_f[-1], 1)
    again = coalition_table(encoder, head, text, "zero", layers=(0, 1), results=results, advance=counted.append)
    assert sum(counted) == 32  # no row more
    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(again.v_f, first.v_f)
    assert (again.masking, again.classes, again.words) == (first.masking, first.classes, first.words)
    other = coalition_table(small_net(1), head, text, "zero", layers=(0, 1), results=results)
    assert np.abs(other.logits - first.logits).max() > 0.01  # other weights are another key
    with pytest.raises(ConfigError, match="13 words have 2\\^13 = 8,192 coalitions, the limit is 12 words"):
        coalition_table(encoder, head, text_of([3] * 13), "zero")


@pytest.mark.parametrize("method", sorted(GAMES))
def test_sampled_scores_cover_the_exact_ones(method):
    """A sampled score lies within 6 standard errors of the exact one, and these have the size of the spread over seeds."""
    encoder, text = small_net(2), text_of([3, 5, 8, 2, 9, 14])
    head = head_of_net(encoder)
    expected = exact(coalition_table(encoder, head, text, "mask"), method)
    game = TextGame(encoder, text, "logit", "mask", target="all", head=head)
    draws = [sampled(game, method, budget=240, seed=seed) for seed in range(20)]
    assert draws[0].target == expected.target and draws[0].whole == pytest.approx(expected.whole)
    scores = np.array([draw.scores for draw in draws])
    if method in ("loo", "add-one"):
        np.testing.assert_allclose(scores, np.tile(expected.scores, (20, 1)), atol=1e-12)
        assert draws[0].stderr is None and draws[0].rows == 8
        return
    errors = np.array([draw.stderr for draw in draws])
    assert (np.abs(scores - expected.scores) < 6 * errors + 1e-9).mean() > 0.95
    wide = scores.std(0, ddof=1)
    assert (wide < 3 * errors.mean(0)).all() and (wide > errors.mean(0) / 4).all()
    if method == "shapley":
        assert all(draw.gap < 1e-10 for draw in draws)
    with pytest.raises(ConfigError, match="budget=10: method=.* needs at least 240 model rows on 6 words"):
        sampled(game, method, budget=10)


def test_the_nets_read_alone_what_they_read_in_a_batch():
    encoder = small_net(3)
    items, cut = encoder.tokenize([text_of([3, 5]), text_of([4, 9, 2, 11])])
    assert cut == 0 and Numbered(16).size == 21
    both, alone = encoder.forward(items).layers[1], encoder.forward(items[:1]).layers[1]
    np.testing.assert_allclose(both[0, 0], alone[0, 0], atol=1e-14)
