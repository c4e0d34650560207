"""The built-in grammar: distinct, of the lengths it promises, in agreement, and the same for the same seed."""

from collections import Counter

import pytest

from probing.data.builders import clause, syntactic
from probing.data.grammar import grammar, lexicon
from probing.errors import DataError


@pytest.fixture(scope="module")
def sample():
    return grammar.sentences(3000, seed=1)


def test_lengths_are_even_over_the_bins(sample):
    counts = Counter(next(k for k, (a, b) in enumerate(grammar.BINS) if a <= len(s.tokens) <= b) for s in sample)
    assert counts == {k: 500 for k in range(6)}


def test_no_two_sentences_differ_in_one_token(sample):
    masked = Counter(
        (*(t.lower() for t in s.tokens[:i]), None, *(t.lower() for t in s.tokens[i + 1 :]))
        for s in sample
        for i in range(len(s.tokens))
    )
    assert max(masked.values()) == 1


def test_tree_and_tokens_are_the_same_sentence(sample):
    for s in sample:
        leaves = s.tree.leaves()
        assert s.tree.label == "ROOT" and len(s.tree.children) == 1
        assert (s.tokens, s.tags) == (tuple(leaf.word for leaf in leaves), tuple(leaf.label for leaf in leaves))
        assert s.tokens[0][0].isupper() and s.tokens[-1] in ".?"


def test_subject_and_verb_agree(sample):
    checked = 0
    for s in sample:
        head, verb = clause.subject_head(s.tree), clause.finite_verb(s.tree)
        if head and verb and head.label in ("NN", "NNS") and verb.label in ("VBZ", "VBP"):
            assert (head.label == "NN") == (verb.label == "VBZ"), s.text
            checked += 1
    assert checked > 300


def test_article_fits_the_next_word(sample):
    pairs = {(a.lower(), b) for s in sample for a, b in zip(s.tokens, s.tokens[1:], strict=False) if a.lower() in ("a", "an")}
    assert pairs and all(lexicon.article(b) == a for a, b in pairs)
    assert [lexicon.article(word) for word in ("uniform", "umbrella", "apple", "pear")] == ["a", "an", "an", "a"]


def test_every_task_has_its_classes(sample):
    depths = Counter(s.tree.depth for s in sample)
    assert min(depths[d] for d in range(5, 13)) >= 100
    sequences = Counter("_".join(syntactic.top_sequence(s.tree)) for s in sample)
    assert sum(n >= 40 for name, n in sequences.items() if syntactic.proper_sequence(name.split("_"))) >= 19
    tags = Counter(verb.label for s in sample if (verb := clause.finite_verb(s.tree)))
    assert min(tags[t] for t in ("VBD", "VBZ", "VBP", "MD")) > 50
    objects = Counter(head.label for s in sample if (head := clause.object_head(s.tree)))
    assert min(objects["NN"], objects["NNS"]) > 200


def test_seed_decides(sample):
    assert [s.text for s in grammar.sentences(50, 7)] == [s.text for s in grammar.sentences(50, 7)]
    assert not {s.text for s in grammar.sentences(200, 7)} & {s.text for s in grammar.sentences(200, 8)} - {s.text for s in sample}


def test_too_many_or_too_few_asked():
    with pytest.raises(DataError, match="n=0"):
        grammar.sentences(0)


@pytest.mark.parametrize(("entry", "forms"), [
    ("carry", "carry carries carried carried carrying"),
    ("kiss", "kiss kisses kissed kissed kissing"),
    ("write/wrote/written", "write writes wrote written writing"),
    ("plan", "plan plans planned planned planning"),
    ("agree", "agree agrees agreed agreed agreeing"),
    ("obey", "obey obeys obeyed obeyed obeying"),
])  # fmt: skip
def test_verb_forms(entry, forms):
    verb = lexicon.verb(entry)
    assert [verb.VB, verb.VBZ, verb.VBD, verb.VBN, verb.VBG] == forms.split()


def test_noun_forms():
    assert [lexicon.noun(n, "tool").plural for n in ("box", "lady", "key", "rose", "knife/knives")] == [
        "boxes", "ladies", "keys", "roses", "knives",
    ]  # fmt: skip
