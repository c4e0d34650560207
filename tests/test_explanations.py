"""The study `explanations`: its rows, what is kept, its controls and layers, and the numbers of its report."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from explanation_nets import OracleNet, text_of
from scipy.stats import kendalltau, permutation_test

from probing.attributions.methods import explain
from probing.attributions.ranks import tau, taus
from probing.attributions.sanity import Agreement
from probing.data.task import Task
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError
from probing.evaluation.sign_flips import by_cluster, sign_flips
from probing.evaluation.statistics import mean_ci
from probing.interactions.text.heads import LinearHead
from probing.report.explanation_numbers import GOLD, MEANS, agreement, agreements, comparisons, of_scores, summary
from probing.report.explanations import blocks
from probing.report.orders import of_orders
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.explanations import Explanations

KEYS = (3, 4)
"""Words that decide the class: 3 or 4, and no sentence has both."""


def planted(seed: int = 0) -> OracleNet:
    """Class 1 if word 4 is there and class 0 if word 3 is: their vectors are far out on one axis, which the net reads."""

    def weights(rng):
        table = 0.3 * rng.normal(size=(16, 4))
        table[KEYS[0], 0], table[KEYS[1], 0] = -3, 3
        table[:2, 0] = 0  # the mask says nothing
        return {
            "E": table,
            "W1": rng.normal(size=(4, 5)),
            "b1": rng.normal(size=5),
            "W2": rng.normal(size=(5, 2)),
            "b2": np.zeros(2),
        }

    own, other = weights(np.random.default_rng(seed)), weights(np.random.default_rng(seed + 1))
    other["E"] = np.random.default_rng(seed + 2).normal(size=(16, 4))
    return OracleNet(net="mlp", weights=own, other=other, embedding_dim=4)


class Source:
    """Sentences of 4 to 6 words with one word that decides, which two annotators mark; a third marks the first word."""

    name = "planted"

    def __init__(self):
        rng, rows = np.random.default_rng(3), []
        for k in range(120):
            words = rng.integers(5, 16, size=rng.integers(4, 7))
            words[rng.integers(len(words))] = KEYS[k % 2]
            rows.append((text_of(words.tolist()), "no yes".split()[k % 2]))
        rows = list(dict(rows).items())
        cuts = {"train": rows[:60], "dev": rows[60:80], "test": rows[80:]}
        splits = [name for name, part in cuts.items() for _ in part]
        self.task = Task.from_lists([t for t, _ in rows], [y for _, y in rows], splits=splits, name="planted")

    def gold(self, text):
        own = [word in (f"w{KEYS[0]}", f"w{KEYS[1]}") for word in text.split()]
        return SimpleNamespace(marks=[own, own, [True] + [False] * (len(own) - 1)])


def context(home: Path, encoder: OracleNet, source: Source) -> Context:
    results = ResultStore(home / "cells")
    return Context(lambda: encoder, lambda: [source.task], (0,), results, Store(home / "store"), home, lambda: source)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A study on 8 sentences, its folder, and the number of batches that the encoder read in a second run."""
    home, source = tmp_path_factory.mktemp("explanations"), Source()
    study = Explanations(
        sentences=8, words=[4, 6], maskings=["zero", "delete"], controls=["twin", "labels"], layers=True,
        methods=["shapley", "loo", "ig", "gradient", "random", "length"],
    )  # fmt: skip
    frame = study.measure(context(home, planted(), source))
    study.report(frame, home / "report")
    again, batches = planted(), []
    forward = again.forward
    again.forward = lambda items: batches.append(1) or forward(items)
    second = study.measure(context(home, again, source))
    return frame, home / "report", second, len(batches)


def test_rows_of_the_study(measured):
    frame, *_ = measured
    scores = frame[frame.kind == "scores"]
    methods = scores.method.nunique()
    assert methods == 6 and len(scores) == 8 * 2 * 3 * methods
    some = of_scores(frame)
    assert set(some.n) <= {4, 5, 6} and (some[some.method == "shapley"].gap < 1e-9).all()
    path = some[(some.method == "ig") & (some.masking == "zero")]
    assert len(path) and (path.gap < 1e-3).all()
    shapley = some[(some.method == "shapley") & (some.masking == "zero")].set_index(["control", "sentence"])
    path = path.set_index(["control", "sentence"])
    np.testing.assert_allclose(path.whole - path.empty, (shapley.whole - shapley.empty)[path.index], atol=1e-4)
    note = scores[scores.note.notna()]
    assert {(row.method, row.masking) for row in note.itertuples()} == {("ig", "delete")}
    for text, own in zip(some.text, some.scores, strict=True):
        assert len(json.loads(own)) == len(text.split())
    layers = frame[frame.kind == "layer"]
    assert len(layers) == 8 * 2 * 2 and (layers.control == "").all()
    assert (layers[(layers.layer == 0) & (layers.masking == "zero")]["T"].abs() < 1e-9).all()  # a mean of words does not interact
    assert set(frame[frame.kind == "probe"].layer) == {0, 1}
    orders = frame[frame.kind == "order"]
    assert all(
        list(part.order) == list(range(int(part.n.iloc[0]) - 1)) for _, part in orders.groupby(["masking", "sentence", "layer"])
    )
    still = (orders.layer == 0) & (orders.masking == "zero")
    assert (orders[still].strength < 1e-9).all(), "a mean of words does not interact"
    assert (orders[orders.masking == "delete"].groupby("layer").strength.max() > 1e-3).all()
    assert (orders.signed.abs() <= orders.strength + 1e-12).all()


def test_curves_of_sentences_of_different_lengths_meet_at_shares_of_the_other_words():
    """Strengths that are a line over the share of the words are that line, at all lengths; rounding has no profile."""
    rows = [
        {"kind": "order", "data": "d", "encoder": "e", "masking": "m", "layer": layer, "sentence": n, "cluster": n, "n": n,
         "order": m, "strength": size * m / (n - 2)}
        for layer, size in ((0, 1e-9), (1, 2.0)) for n in range(3, 11) for m in range(n - 1)
    ]  # fmt: skip
    lines = of_orders(pd.DataFrame(rows))
    lines = lines.set_index(["layer", "share"])
    assert (lines.sentences == 7).all(), "three words have two orders, which are no curve"
    for share in (0, 0.25, 0.5, 0.75, 1):
        one = lines.loc[(1, share)]
        assert one.strength == pytest.approx(2 * share) and one.profile == pytest.approx(2 * share)
        assert one.strength_low == pytest.approx(one.strength) and np.isnan(lines.loc[(0, share)].profile)


def test_a_finished_part_is_not_measured_again(measured):
    frame, _, second, batches = measured
    assert batches == 0
    pd.testing.assert_frame_equal(frame[frame.kind != "probe"], second[second.kind != "probe"])


def test_the_deciding_word_is_found(measured):
    """The planted word is gold: a faithful method ranks it first, random scores do not."""
    lines = summary(of_scores(measured[0])).set_index(["masking", "control", "method"])
    for method in ("shapley", "loo", "ig"):
        assert lines.loc[("zero", "", method), "gold_average_precision"] > 0.9, method
        assert lines.loc[("zero", "", method), "gold_above_chance_low"] > 0, method
    assert lines.loc[("zero", "", "shapley"), "comprehensiveness_scaled"] > 0.8
    assert lines.loc[("zero", "", "random"), "gold_above_chance_low"] <= 0 or lines.loc[("zero", "", "random"), "right"] < 5
    assert (lines.human_average_precision.dropna() < 1).all()  # the third annotator marks another word


def test_the_report(measured):
    folder = measured[1]
    text = (folder / "table.md").read_text()
    assert "tau twin (null)" in text and "tau other masking" in text and "n/a: ig" in text and "## Layers" in text
    agreed = pd.read_csv(folder / "agreements.csv")
    twin = agreed[(agreed.other == "twin") & (agreed.method == "length")]
    assert (twin.tau.dropna() == 1).all()  # what reads no model agrees with any
    assert "## Interactions of pairs" in text and "orders.csv" in {path.name for path in folder.iterdir()}
    assert {
        "summary.csv",
        "comparisons.csv",
        "agreements.csv",
        "layers.csv",
        "figure-explanations-0.svg",
        "figure-orders-1.svg",
    } <= {path.name for path in folder.iterdir()}
    pairs = pd.read_csv(folder / "comparisons.csv")
    assert (pairs.p_holm >= pairs.p).all() and set(pairs.measure) == {
        "comprehensiveness_scaled",
        "sufficiency_scaled",
        "gold_average_precision",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": [4, 13]}, "at most 12 words, which have 4,096 coalitions"),
        ({"methods": ["shaply"]}, "study.methods: 'shaply' is unknown; did you mean 'shapley'"),
        ({"methods": ["loo", "loo"]}, "a list of different names"),
        ({"controls": ["twins"]}, "study.controls: 'twins' is unknown; did you mean 'twin'"),
        ({"methods": {"loo": 1}}, "must be a name, or a list of names"),
        ({"maskings": []}, "must be a list of different maskings"),
        ({"gold": "soft"}, "study.gold='soft' is unknown"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Explanations(**options)


def test_a_masking_that_is_not_possible(tmp_path):
    with pytest.raises(ConfigError, match="study.maskings: 'atention' is not possible for mlp \\(allowed: mask, pad"):
        Explanations(maskings=["atention"]).measure(context(tmp_path, planted(), Source()))


def test_sign_flips_are_all_patterns_or_drawn_ones():
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, size=(9, 3))
    d[:2, 1] = np.nan
    exact = sign_flips(d)
    for column, p in zip(d.T, exact, strict=True):
        known = column[~np.isnan(column)]
        patterns = np.array(list(itertools.product([1, -1], repeat=len(known)))) @ known
        assert p == pytest.approx((np.abs(patterns) >= abs(known.sum()) - 1e-9).mean())
    reference = permutation_test((d[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert exact[0] == pytest.approx(reference.pvalue)
    many = np.tile(d[:, :1], (3, 1)) + rng.normal(0, 0.01, (27, 1))
    drawn = [sign_flips(many, seed=seed)[0] for seed in range(3)]
    assert np.ptp(drawn) < 0.02 and min(drawn) >= 1e-4
    assert np.isnan(sign_flips(np.full((5, 1), np.nan))).all()


def test_twins_count_once():
    values = np.array([[1.0], [3.0], [10.0], [np.nan]])
    assert by_cluster(values, np.array([0, 0, 7, 8]))[:2].tolist() == [[2], [10]] and np.isnan(by_cluster(values, np.arange(4))[3])
    x = np.random.default_rng(1).normal(size=40)
    once = mean_ci(x, np.arange(40))
    twice = mean_ci(np.repeat(x, 2), np.repeat(np.arange(40), 2))
    np.testing.assert_allclose(
        [twice.lower, twice.upper], [once.lower, once.upper], rtol=1e-12
    )  # copies of sentences make no interval narrower
    assert np.isnan(mean_ci([1.0], [0]).lower) and np.isnan(mean_ci([np.nan], [0]).value)


def rows_of(scores, method: str, sentence_of=lambda k: k) -> list[dict]:
    return [
        {"kind": "scores", "data": "d", "encoder": "e", "masking": "mask", "control": "", "method": method, "sentence": k,
         "cluster": sentence_of(k), "n": len(own), "scores": json.dumps(list(own)), "ranks": True, "label": 1, "predicted": 1,
         "comprehensiveness_scaled": float(own[0])} for k, own in enumerate(scores)
    ]  # fmt: skip


def test_comparisons_are_by_units():
    """Eight sentences in four pairs of twins: of four units no pattern has a p-value below 2 / 16."""
    scores = np.random.default_rng(2).normal(size=(8, 4))
    alone = comparisons(of_scores(pd.DataFrame(rows_of(scores + 5, "a") + rows_of(scores, "b"))))
    twins = comparisons(
        of_scores(pd.DataFrame(rows_of(scores + 5, "a", lambda k: k // 2) + rows_of(scores, "b", lambda k: k // 2)))
    )
    assert alone.p.tolist() == [2 / 2**8] and twins.p.tolist() == [2 / 2**4]
    assert alone.difference.tolist() == pytest.approx([5])


def test_few_units_have_no_intervals_and_no_marks():
    """Five sentences far above chance, and ten that are five pairs of twins: no interval, no mark; six have them."""
    scores, rng = np.random.default_rng(5).normal(size=(10, 4)), np.random.default_rng(6)
    for n, twins, marked in ((5, False, False), (6, False, True), (10, True, False)):
        rows = pd.DataFrame(rows_of(scores[:n], "a", (lambda k: k // 2) if twins else (lambda k: k)))
        for name, sign in (("a", 1), ("b", -1)):
            own = {"comprehensiveness_scaled": sign * (0.5 + 0.01 * rng.random(n)), "sufficiency_scaled": 0.5, "method": name}
            own |= {"gold_average_precision": 0.9 + 0.01 * rng.random(n), "chance_average_precision": 0.5}
            rows = rows.assign(**own) if name == "a" else pd.concat([rows, rows.assign(**own)])
        rows = of_scores(rows.assign(accuracy=1.0, **dict.fromkeys(UNUSED, 1.0)).reset_index(drop=True))
        lines = summary(rows)
        assert (lines.filter(like="_low").notna().to_numpy() == marked).all(), n
        first, second = (_text(lines, rows, method) for method in ("a", "b"))
        assert ("0.90*" in first or "0.91*" in first) == marked and "†" not in first and ("†" in second) == marked
        assert ("No intervals and no marks" in first) == (not marked)


UNUSED = (
    "gap",
    "rows",
    "infidelity",
    "beta",
    "words_to_flip",
    *MEANS,
    *(name for name in GOLD if name.startswith(("human", "gold"))),
)


def _text(lines: pd.DataFrame, rows: pd.DataFrame, method: str) -> str:
    """The head and the line of a method in the main table."""
    text = next(blocks_of(lines, rows))
    return "\n".join(line for line in text.split("\n") if not line.startswith("|") or line.startswith(f"| {method} "))


def blocks_of(lines: pd.DataFrame, rows: pd.DataFrame):
    yield "\n".join(itertools.islice(blocks(rows, lines, comparisons(rows), agreements(rows), pd.DataFrame()), 3))


def test_a_method_of_part_of_the_sentences_is_in_no_comparison():
    """Method c applies to the six sentences where it is good: its line says so, and it has no letter and no test."""
    scores = np.random.default_rng(7).normal(size=(20, 4))
    rows = pd.DataFrame(rows_of(scores + 5, "a") + rows_of(scores, "b") + rows_of(scores + 9, "c"))
    rows = rows.assign(sufficiency_scaled=0.5, accuracy=1.0, note=None, **dict.fromkeys(UNUSED, 1.0))
    rows = rows.drop(columns=[name for name in rows if name.startswith(("gold", "human"))])
    none = (rows.method == "c") & (rows.sentence >= 6)
    rows.loc[none, ["scores", "note"]] = [None, "its gap is too large"]
    kept = of_scores(rows)
    pairs, lines = comparisons(kept), summary(kept)
    assert set(pairs.a) | set(pairs.b) == {"a", "b"} and lines.set_index("method").loc["c", ["sentences", "of"]].tolist() == [6, 20]
    text = "\n".join(blocks(rows, lines, pairs, agreements(kept), pd.DataFrame()))
    own = next(line for line in text.split("\n") if line.startswith("| c (6 of 20)"))
    assert own.split("|")[2].strip().endswith("]") and "20 sentences, 20 units" in text and "(14 sentences)" in text


def test_tau_and_its_null():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 4, size=(5, 6)).astype(float), rng.normal(size=(4, 6))
    expected = [[kendalltau(x, y).statistic for y in b] for x in a]
    np.testing.assert_allclose(taus(a, b), expected, atol=1e-12)
    assert np.isnan(tau(np.ones(4), np.arange(4.0)))
    own = pd.DataFrame(rows_of(rng.normal(size=(20, 6)), "a"))
    same = agreement(own, own)
    assert same["tau"] == 1 and same["first"] == 1 and same["null_high"] < 0.5
    alone = pd.DataFrame(rows_of([rng.normal(size=n) for n in range(3, 9)], "a"))  # no other sentence of the length: no null
    line = agreement(alone, alone)
    assert line["tau"] == 1 and line["pairs"] == 6 and np.isnan([line["null"], line["null_low"], line["p"]]).all()
    outside = 0
    for seed in range(60):
        x, y = (pd.DataFrame(rows_of(np.random.default_rng([seed, k]).normal(size=(8, 5)), "a")) for k in range(2))
        outside += agreement(x, y, seed)["p"] < 0.05
    assert outside <= 8


def test_the_null_of_agreement_has_other_sentences_alone():
    """Of four sentences and one more of another length: the band and the p-value are those of all pairings, by brute force; a
    sentence that is alone is in neither, and what agrees with itself by its places alone is not above."""
    rng = np.random.default_rng(8)
    scores = [*rng.normal(size=(5, 5)), rng.normal(size=3)]
    line = agreement(*(pd.DataFrame(rows_of(x, "a")) for x in (scores, scores)))
    level = taus(np.array(scores[:5]), np.array(scores[:5]))
    ways = [(way, np.mean([level[k, j] for k, j in enumerate(way)])) for way in itertools.permutations(range(5))]
    apart = [value for way, value in ways if all(k != j for k, j in enumerate(way))]
    assert (line["pairs"], line["alone"], line["tau"]) == (5, 1, 1)
    assert min(apart) - 1e-12 <= line["null_low"] < line["null_high"] <= max(apart) + 1e-12 < 1
    assert line["null"] == pytest.approx(np.mean(apart)) == pytest.approx(level[~np.eye(5, dtype=bool)].mean())
    p = 2 * np.mean([value >= 1 - 1e-12 for _, value in ways])
    assert line["p"] == pytest.approx(p, abs=0.02) and p < 0.05
    assert line["null"] == pytest.approx(np.nanmean(Agreement.of(scores, scores).null[:5]))  # one null for both studies
    few = agreement(*(pd.DataFrame(rows_of(scores[1:4], "a")) for _ in "ab"))
    assert few["tau"] == 1 and np.isnan([few["p"], few["null_low"]]).all()  # 2 / 3! is above 0.05
    places = pd.DataFrame(rows_of(np.tile(-np.arange(5.0), (8, 1)), "position"))
    assert agreement(places, places)["p"] == 1


def test_a_twin_is_not_another_sentence():
    rng = np.random.default_rng(9)
    scores = np.repeat(rng.normal(size=(6, 5)), 2, 0) + 1e-3 * rng.normal(size=(12, 5))
    line = agreement(*(pd.DataFrame(rows_of(scores, "a", lambda k: k // 2)) for _ in "ab"))
    assert line["pairs"] == 6 and line["null"] == pytest.approx(np.mean(Agreement.of(scores[::2], scores[::2]).null))
    twins = Agreement.of(scores, scores, np.arange(12) // 2)
    assert (
        np.mean(twins.null) == pytest.approx(line["null"], abs=0.02)
        and np.mean(Agreement.of(scores, scores).null) > 0.08 + line["null"]
    )


def test_gradients_of_a_network_that_a_forward_made():
    """The tables run first, in inference mode, and make the network; gradients through it come after."""
    encoder = LSTM(embedding_dim=6, hidden=4)
    [item], _ = encoder.tokenize(["a b c"])
    width = encoder.forward([item]).layers[-1].shape[2]
    head = LinearHead(np.eye(2, width), np.zeros(2), ("no", "yes"), len(encoder.dims) - 1, "mean")
    assert explain(encoder, head, "a b c", "ig", "pad").gap < 1e-3


def test_two_runs_are_compared():
    """Two encoders that score alike agree above the null of other sentences; one that scores at random does not."""
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(20, 6))
    one = pd.DataFrame(rows_of(scores, "a"))
    like = pd.DataFrame(rows_of(scores + 0.1 * rng.normal(size=(20, 6)), "a")).assign(encoder="like")
    other = pd.DataFrame(rows_of(rng.normal(size=(20, 6)), "a")).assign(encoder="other")
    lines = agreements(pd.concat([one, like, other])).set_index(["encoder", "other"])
    assert set(lines.kind) == {"encoders"} and len(lines) == 3
    assert lines.loc[("e", "like"), "tau"] > 0.7 > lines.loc[("e", "like"), "null_high"] and lines.loc[("e", "like"), "first"] > 0.7
    assert lines.loc[("e", "like"), "p"] < 0.05 <= lines.loc[("e", "other"), "p"]
