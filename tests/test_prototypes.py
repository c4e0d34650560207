"""Coalitions against constituents: planted products over phrases are found, with the right rates by chance; hand-worked counts."""

import numpy as np
import pandas as pd
import pytest
from planted import PlantedEncoder

from probing.data.loading import load
from probing.data.readers.treebank import penn_sentence
from probing.encoders.base import fingerprint
from probing.errors import ConfigError, DataError
from probing.interactions.text.constituents import boundary_kinds, compared, constituents, modifiers
from probing.interactions.text.heads import LinearHead
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.prototypes import Prototypes, scores


def tree(text):
    [sentence] = penn_sentence(text, "here")
    return sentence


BIG = tree("(S (NP (NP (DT the) (JJ big) (NN dog)) (CC and) (NP (NN cat))) (VP (VB see) (ADVP (RB very) (RB well))) (. .))")


def test_constituents_are_the_distinct_spans_that_are_neither_a_word_nor_all():
    assert constituents(BIG.tree) == {
        (0, 3): {"noun phrase"},
        (0, 5): {"noun phrase"},
        (5, 8): {"verb phrase"},
        (6, 8): {"other"},
    }
    unary = tree("(S (SBAR (S (NP (DT a) (NN b)))) (VP (VB c)))")
    assert constituents(unary.tree) == {(0, 2): {"clause", "noun phrase"}}


def test_boundaries_have_a_kind():
    assert boundary_kinds(BIG) == ["other", "other", "conjunction", "conjunction", "other", "other", "other", "punctuation"]


def test_counts_of_a_partition_are_those_worked_by_hand():
    found = {(x["measure"], x["group"]): x for x in compared(BIG, ((0, 3), (3, 6), (6, 8), (8, 9)), np.random.default_rng(0))}
    assert [found["bracket", n]["observed"] for n in "235"] == [1, 1, 0]
    assert [found["bracket", n]["number"] for n in "235"] == [1, 2, 0] and [found["bracket", n]["gold"] for n in "235"] == [1, 2, 1]
    assert found["bracket", "3"]["random"] == pytest.approx(2 * 2 / 7)  # two intervals of 3, of which each hits 2 of 7 places
    assert found["whole", "noun phrase"] | {"shuffled": 0} == found["whole", "noun phrase"] | {
        "number": 2, "observed": 1, "shuffled": 0
    }  # fmt: skip
    assert found["unbroken", "verb phrase"]["observed"] == 0 and found["unbroken", "other"]["observed"] == 1
    assert (found["cut", "conjunction"]["observed"], found["cut", "conjunction"]["number"]) == (1, 2)
    assert (found["cut", "punctuation"]["observed"], found["cut", "other"]["observed"]) == (1, 1)
    for kind in ("conjunction", "punctuation", "other"):  # 3 cuts in 8 boundaries: rates by chance sum to them
        assert 0 < found["cut", kind]["shuffled"] < found["cut", kind]["number"]
    assert sum(found["cut", kind]["shuffled"] for kind in ("conjunction", "punctuation", "other")) == pytest.approx(3)


def test_shuffling_is_the_chance_of_equal_orders():
    """Parts of 1 and 2 words: each of the two orders half the time."""
    sentence = tree("(S (NP (DT a) (NN b)) (VP (VB c)))")
    found = {(x["measure"], x["group"]): x for x in compared(sentence, ((0, 2), (2, 3)), np.random.default_rng(0))}
    assert found["bracket", "2"]["shuffled"] == pytest.approx(0.5, abs=0.12) and found["bracket", "2"]["random"] == 0.5
    whole = list(compared(sentence, ((0, 3),), np.random.default_rng(0)))
    assert all(line["number"] == 0 for line in whole if line["measure"] == "bracket")  # all in one part is no coalition


def test_modifiers_are_joined_where_the_tree_joins_them():
    n = len(BIG.tokens)
    for places, observed in (((1, 6), (1, 1)), ((0, 5), (0, 0))):  # "big dog", "very well"; or "the big", "see very"
        phi = np.zeros((n, n))
        for i in places:
            for start in range(i + 1):
                phi[start, i + 1 :] += 1  # a product of words i and i + 1
        found = {line["group"]: line for line in modifiers(BIG, phi[np.triu_indices(n)].tolist())}
        assert set(found) == {"adjective", "adverb"} and all(line["number"] == 1 for line in found.values())
        assert tuple(found[group]["observed"] for group in ("adjective", "adverb")) == observed
        assert found["adjective"]["shuffled"] == pytest.approx(1 / 3)
    unary = tree("(S (NP (PRP we)) (VP (ADVP (RB never)) (VB sing) (NP (JJ old) (NNS songs))))")
    found = {line["group"]: line for line in modifiers(unary, np.random.default_rng(0).random(15).tolist())}
    assert found["adverb"]["number"] == 1 and found["adjective"]["shuffled"] == 1 / 2  # at the end of the sentence


GRAMMAR = "(ROOT (S (NP (DT d{0}) (JJ j{0}) (NN n{0})) (VP (VB v{0}) (RB w{0}))))"


@pytest.fixture
def study(tmp_path):
    """A context whose classifier multiplies the words of each phrase, or of what `phrases` names, over 30 parsed sentences."""
    trees = tmp_path / "trees.mrg"
    trees.write_text("\n".join(GRAMMAR.format(i) for i in range(30)))
    for split in ("train", "dev", "test"):
        (tmp_path / f"stsa.binary.{split}").write_text("0 a\n1 b\n")

    def make(phrases, name):
        def value(words):
            return float(sum(set(phrase) <= {word[0] for word in words} for phrase in phrases))

        encoder = PlantedEncoder(value, name)
        LinearHead(np.array([[0.0], [1.0]]), np.zeros(2), ("0", "1"), 0, "cls", {"fingerprint": fingerprint(encoder)}).save(
            tmp_path / name
        )
        context = Context(
            lambda: encoder, lambda: [load("sst2", tmp_path)], (0,), ResultStore(tmp_path / "kept"), Store(tmp_path / "s"), tmp_path
        )
        return Prototypes(str(trees), 30, [5, 5], head=str(tmp_path / name)), context

    return make


def pick(table, **where):
    [row] = table[(table[list(where)] == list(where.values())).all(axis=1)].to_dict("records")
    return row


def test_phrases_that_a_classifier_multiplies_are_its_coalitions(study, tmp_path):
    asked, context = study(["djn", "vw"], "phrases")
    frame = asked.measure(context)
    table = scores(frame)
    for score in ("precision", "recall", "f1"):
        row = pick(table, side="max", measure="bracket", group="all", score=score)
        assert row["value"] == row["low"] == row["high"] == 1
        assert row["random"] == pytest.approx((1 / 3 + 1 / 4) / 2) and row["above_random_low"] > 0.5
        assert row["shuffled"] == pytest.approx(0.5, abs=0.05) and row["above_low"] > 0.4
    assert pick(table, side="max", measure="whole", group="noun phrase")["value"] == 1
    assert pick(table, side="max", measure="cut", group="other")["value"] == pytest.approx(1 / 4)
    assert pick(table, side="min", measure="bracket", group="all", score="recall")["value"] == 0  # ties go to single words
    before = context.encoder.sentences
    pd.testing.assert_frame_equal(asked.measure(context), frame)
    assert context.encoder.sentences == before  # kept
    frame.to_csv(tmp_path / "rows.csv", index=False)
    asked.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    said = (tmp_path / "table.md").read_text()
    assert "| sst2 | phrases | max | 30 | 2.00 | 2.00 | 0.0 | 0.0 |" in said  # all in one part has the same sum, and is not finest


def test_words_across_phrases_are_no_constituents(study):
    asked, context = study(["nv"], "across")
    row = pick(scores(asked.measure(context)), side="max", measure="bracket", group="all", score="f1")
    assert row["value"] == 0 and row["above_high"] < 0  # the control is right more often


def test_what_cannot_be_compared_is_refused(study, tmp_path):
    asked, context = study(["djn"], "refused")
    plain = tmp_path / "plain.txt"
    plain.write_text("a b c d e\n")
    for options, message in (
        ({"words": [2, 5]}, r"study.words=\[2, 5\]: give the fewest"),
        ({"words": [8, 12]}, "0 sentences of 8 to 12 words"),
        ({"trees": str(plain)}, "has no constituency trees"),
    ):
        given = Prototypes(**{"trees": asked.trees, "words": [5, 5], "head": asked.head} | options)
        with pytest.raises(ConfigError, match=message):
            given.measure(context)
    with pytest.raises(DataError):
        Prototypes(str(tmp_path / "nowhere.mrg")).measure(context)
