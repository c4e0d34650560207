"""Counting preferences and their floors: reference values, laws, and the facts of BLiMP and of Linzen's items."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_language_models import corpus  # noqa: F401

from probing.behaviour import counting
from probing.behaviour.floors import DISCOUNT, NGram
from probing.behaviour.readers import Blimp, Linzen
from probing.behaviour.scores import Convention, score
from probing.data.readers.text import sentences
from probing.encoders.networks.vocabulary import train_vocabulary
from probing.evaluation.statistics import mean_of_accuracies, wilson


@pytest.mark.shared
def test_counting_gives_the_reference_values(shared):
    oracle = json.loads((shared / "oracles" / "behaviour.json").read_text())["counting"]
    names = [name for name, pairs in oracle["pairs"].items() for _ in pairs]
    right, wrong = np.array([pair for pairs in oracle["pairs"].values() for pair in pairs]).T
    credit = counting.credits_of(right, wrong)
    for rule, values in (("half", credit), ("strict", counting.strict(credit)), ("first_wins_trap", counting.first_wins(credit))):
        wanted = oracle[rule]
        assert counting.by(values, names) == pytest.approx(wanted["paradigms"])
        assert counting.micro(values) == pytest.approx(wanted["micro"], abs=1e-8)
        assert counting.macro(values, names) == pytest.approx(wanted["macro"], abs=1e-8)
    sets = oracle["sets"]["reference_must_beat_all"]
    scores = np.array(sets["scores"])
    assert counting.strict(counting.credits_of(scores[:, 0], scores[:, 1:])).tolist() == sets["correct"]
    for text, (low, high) in oracle["wilson_95"].items():
        k, n = map(int, text.split(" of "))
        assert (wilson(k, n).lower, wilson(k, n).upper) == pytest.approx((low, high), abs=1e-6)


@given(st.lists(st.tuples(st.integers(-9, 0), st.integers(-9, 0)), min_size=1, max_size=40))
def test_right_and_wrong_exchanged_give_one_less_the_accuracy(pairs):
    right, wrong = np.array(pairs, float).T
    credit, turned = counting.credits_of(right, wrong), counting.credits_of(wrong, right)
    assert counting.micro(turned) == pytest.approx(1 - counting.micro(credit), abs=1e-12)
    assert counting.micro(counting.credits_of(right, right)) == 0.5, "a constant model"
    assert counting.micro(counting.first_wins(counting.credits_of(right, right))) == 1, "the trap"


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_constant_model_has_exactly_chance(k):
    """Of k + 1 texts that tie each has the same share, as if one were drawn."""
    right, wrong = np.zeros(3), np.zeros((3, k))
    assert counting.credits_of(right, wrong).tolist() == [1 / (k + 1)] * 3
    assert counting.shorter(["ab"] * 3, [["cd"] * k] * 3).tolist() == [1 / (k + 1)] * 3
    wrong[:, 0] = [1, -1, np.nan]
    assert counting.credits_of(right, wrong)[:2].tolist() == [0.0, 1 / k] and np.isnan(counting.credits_of(right, wrong)[2])


@pytest.mark.parametrize("n", [5, 10, 20, 50])
def test_the_interval_of_a_mean_over_paradigms_holds_it(n):
    rng, p = np.random.default_rng(n), np.resize([0.5, 0.7, 0.9], 67)
    intervals = [mean_of_accuracies(rng.binomial(n, p), np.full(67, n)) for _ in range(1000)]
    assert 0.94 <= np.mean([x.lower <= p.mean() <= x.upper for x in intervals]) <= 0.985
    assert mean_of_accuracies([n - 1], [n]) == wilson(n - 1, n) and mean_of_accuracies([n, n], [n, n]).lower < 1


def test_sums_in_another_order_tie():
    x = np.random.default_rng(0).normal(-8, 3, (200, 9))
    right, wrong = (np.array([row.sum(dtype=float) for row in rows]) for rows in (x, x[:, ::-1]))
    assert (right != wrong).any() and counting.micro(counting.credits_of(right, wrong)) == 0.5
    assert np.isnan(counting.credits_of(np.array([np.nan]), np.array([1.0]))).all()


def test_normalisation_by_hand():
    log_p, texts = [np.array([-1.0, -3.0]), np.array([-2.0])], ["é ab", "abcd"]
    wanted = {"sum": [-4, -2], "token": [-2, -2], "character": [-1, -0.5], "byte": [-0.8, -0.5], "word": [-2, -2]}
    for how, values in wanted.items():
        assert counting.normalised(log_p, texts, how).tolist() == values
    assert counting.normalised(log_p, texts, "slor", [np.array([-2.0, -4.0]), np.array([-5.0])]).tolist() == [1, 3]


@pytest.fixture(scope="module")
def text(corpus):  # noqa: F811
    lines = list(sentences(corpus, 64))
    return train_vocabulary(lines, min_count=2, ends=True), lines


def test_an_n_gram_is_a_distribution_by_its_formula(text):
    vocabulary, lines = text
    ids = vocabulary.ids(lines)
    for order in (1, 2, 3):
        model = NGram(vocabulary, ids, order)
        items, _ = model.tokenize(["the dogs are zzz .", "cat"])
        for item, row in zip(items, model.log_probabilities(items), strict=True):
            assert row[1:].exp().sum(1).numpy() == pytest.approx(1, abs=1e-9)
            values = model.picked([item], [range(1, len(item))], [item[1:]])[0]
            assert values.numpy() == pytest.approx(row[range(1, len(item)), item[1:]].numpy())
        assert model.perplexity(ids) < model.size
    flat = [number for row in ids for number in row[1:]]
    [the] = vocabulary.ids(["the"])[0][1:-1]
    unigram = (flat.count(the) - DISCOUNT) / len(flat) + DISCOUNT * len(set(flat)) / len(flat) / model.size
    assert NGram(vocabulary, ids, 1).probability((the,)) == pytest.approx(unigram, rel=1e-12)
    after = [b for row in ids for a, b in zip(row, row[1:], strict=False) if a == the]
    first = after[0]
    lower = NGram(vocabulary, ids, 1).probability((first,))
    bigram = (after.count(first) - DISCOUNT + DISCOUNT * len(set(after)) * lower) / len(after)
    assert NGram(vocabulary, ids, 2).probability((the, first)) == pytest.approx(bigram, rel=1e-12)
    trigram = NGram(vocabulary, ids, 3)
    assert trigram.probability((2, 2, ids[0][1])) > trigram.probability((ids[0][1],)), "the mark of the beginning is a context"
    assert math.isclose(sum(trigram.counts[1].values()), len(flat))


@pytest.mark.shared
def test_blimp_s_ties_of_a_unigram_model_are_its_pairs_of_the_same_words(shared):
    """Counted twice: by the scores of a unigram model that knows all words, and by the multisets of words."""
    items = [item.split() for item in Blimp(str(shared / "data" / "blimp")).items]
    assert len(items) == 67_000 and len({item.paradigm for item in items}) == 67 and len({item.group for item in items}) == 12
    assert sum(item.identical for item in items) == 7
    some = items[::20]
    vocabulary = train_vocabulary((text for item in some for text in item.texts), size=50_000, min_count=1, ends=True)
    model, drawn = NGram(vocabulary, [[2, 3]], 1), np.random.default_rng(0).uniform(1e-6, 1e-3, vocabulary.size)
    model.probability = lambda gram: drawn[gram[-1]]  # no two words have the same
    sums = counting.normalised(score(model, [(t, None) for i in some for t in i.texts], Convention()).log_p, [], "sum").reshape(
        -1, 2
    )
    credit = counting.credits_of(sums[:, 0], sums[:, 1])
    same = [sorted(a.lower().split()) == sorted(b.lower().split()) for a, b in (item.texts for item in items)]
    assert sum(same) == 12_163
    assert ((credit == 0.5) == np.array(same)[::20]).all()
    assert counting.micro(counting.first_wins(credit)) - counting.micro(counting.strict(credit)) == pytest.approx(
        sum(same[::20]) / len(some)
    )
    assert counting.micro(counting.shorter([i.right for i in items], [i.wrong for i in items])) == pytest.approx(0.486, abs=5e-3)


@pytest.mark.shared
def test_the_trigram_falls_below_chance_from_one_attractor_on(shared):
    """Trained on EWT alone, 200,000 words."""
    lines = [line.lower() for line in sentences(shared / "data" / "ud_en_ewt" / "en_ewt-train.conllu.xz", 64)]
    vocabulary = train_vocabulary(lines, size=15_000, min_count=2, ends=True)
    trigram = NGram(vocabulary, vocabulary.ids(lines), 3)
    items = [item.cut() for item in Linzen(str(shared / "data" / "linzen_agreement")).items]
    scores = score(trigram, [(t, i.target) for i in items for t in i.texts], Convention())
    sums = counting.normalised(scores.log_p, [], "sum").reshape(-1, 2)
    credit = counting.credits_of(sums[:, 0], sums[:, 1])
    of = counting.by(credit, [str(item.facets["attractors"]) for item in items])
    assert of["0"] > 0.55 and all(of[k] < 0.5 for k in "1234"), of
