"""The tasks of Adi et al. 2017: laws of the rows, the encoder that reads words, and the probe on words alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ToyEncoder

from probing import Store, evaluate, load_encoder
from probing.data import adi2017
from probing.data.adi2017 import BINS, NAMES, WORDS, AdiText, content_rows, order_rows
from probing.encoders.base import pooled, pooled_states
from probing.encoders.words import WithWords
from probing.errors import ConfigError, DataError

COMMON = ["the", "The", "of", ",", "."]


def text_file(folder, n=300, seed=0):
    """Sentences with frequent and rare words, of 3 to 75 tokens."""
    rng, path = np.random.default_rng(seed), folder / "text.txt"
    words = [*COMMON, *(f"w{k}" for k in range(900))]
    share = np.array([9, 2, 4, 4, 6, *(60 / (k + 30) for k in range(900))])
    lines = [" ".join(rng.choice(words, rng.integers(3, 76), p=share / share.sum())) for _ in range(n)]
    path.write_text("\n".join([*lines, lines[0], "a ||| b c d e"]) + "\n")
    return path


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return {task.name: task for task in AdiText(str(text_file(tmp_path_factory.mktemp("adi")))).tasks(None)}


def test_the_eight_tasks_are_there_and_splits_share_no_sentence(tasks):
    assert tuple(tasks) == NAMES and len(NAMES) == 8
    for task in tasks.values():
        if "words" not in task.name:
            seen = [{text.partition(WORDS)[0] for text in split.texts} for split in task.splits.values()]
            assert not seen[0] & seen[1] and not (seen[0] | seen[1]) & seen[2]


def test_bins_hold_their_lengths(tasks):
    labels = tasks["adi_length"].classes
    assert sorted(labels) == list(labels) and len(labels) == 8
    for split in tasks["adi_length"].splits.values():
        for text, label in zip(split.texts, split.labels, strict=True):
            least, most = BINS[label]
            assert least <= len(text.split()) <= most and "|||" not in text


def parts(split):
    for text, label, group in zip(split.texts, split.labels, split.groups, strict=True):
        sentence, _, words = text.partition(WORDS)
        yield sentence, words.split(), int(label), group


def test_the_word_alone_says_nothing_of_content(tasks):
    """In each split every word is as often positive as negative; each sentence has one row of each kind, which are a group."""
    task = tasks["adi_content"]
    assert task.classes == ("I", "O")
    for split in task.splits.values():
        counts, groups = Counter(), Counter()
        for sentence, [word], label, group in parts(split):
            assert (word.lower() in sentence.lower().split()) == (label == 0)
            counts[word] += 1 - 2 * label
            groups[group] += 1
        assert not any(counts.values()) and set(groups.values()) == {2}
    assert any(word == "the" for _, [word], _, _ in parts(task.train))  # frequent words are among them


def test_order_is_that_of_the_sentence_and_both_orders_are_there(tasks):
    for split in tasks["adi_order"].splits.values():
        for sentence, (first, second), label, _ in parts(split):
            tokens = sentence.split()
            assert (tokens.index(first) < tokens.index(second)) == (label == 0)
            assert all(sentence.lower().split().count(word.lower()) == 1 for word in (first, second))
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2


def test_controls_change_the_sentence_alone(tasks):
    for kind in ("length", "content", "order"):
        plain, other = tasks[f"adi_{kind}"].test, tasks[f"adi_{kind}_permuted"].test
        assert plain.labels.tolist() == other.labels.tolist() and plain.texts != other.texts
        for one, two in zip(plain.texts, other.texts, strict=True):
            (a, _, words), (b, _, same) = one.partition(WORDS), two.partition(WORDS)
            assert sorted(a.split()) == sorted(b.split()) and words == same
    for one, two in zip(tasks["adi_order"].test.texts, tasks["adi_order_words"].test.texts, strict=True):
        assert two == "||| " + one.partition(WORDS)[2]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefghijkl"), min_size=3, max_size=6), min_size=20, max_size=40), st.integers(0, 99))
def test_negatives_are_a_permutation_of_positives(sentences, seed):
    texts = [" ".join(words) for words in sentences]
    try:
        rows, labels, _ = content_rows(texts, np.random.default_rng(seed))
    except DataError:  # a word that is in nearly every sentence
        return
    words = {kind: Counter(r.partition(WORDS)[2] for r, own in zip(rows, labels, strict=True) if own == kind) for kind in "IO"}
    assert words["I"] == words["O"] and sum(words["I"].values()) == len(texts)


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(DataError, match="'a' is in too many"):
        content_rows(["a a a"] * 4, np.random.default_rng(0))
    with pytest.raises(DataError, match="two words that occur once"):
        order_rows(["a a a , ,"] * 4, np.random.default_rng(0))
    path = text_file(tmp_path)
    with pytest.raises(DataError, match="too few for splits of 900, 1, 2"):
        AdiText(str(path), [900, 1, 2]).tasks(None)
    with pytest.raises(ConfigError, match="three numbers"):
        AdiText(str(path), [9, 1]).tasks(None)
    with pytest.raises(ConfigError, match="did you mean 'adi_content'"):
        AdiText(str(path)).tasks(["adi_contents"])


def test_the_vector_is_that_of_the_sentence_with_those_of_the_words(tiny):
    """Against the encoder itself: sentence, words read alone, zeros where a word or the sentence is not there."""
    for plain in (ToyEncoder(), load_encoder("bilstm", hidden=6, embedding_dim=5), load_encoder("hf", name=str(tiny("bert")))):
        encoder, texts = WithWords(plain), ["the cat ran", "the cat ran ||| dog cat", "||| dog", "a big dog sees it ||| runs"]
        items, _ = encoder.tokenize(texts)
        own = pooled_states(encoder.forward(items), encoder.poolings)
        d0 = plain.dims[0]
        for pooling in encoder.poolings:
            for k, (vectors, dim) in enumerate(zip(own.vectors[pooling], plain.dims, strict=True)):
                alone = pooled_states(plain.forward(plain.tokenize(["the cat ran"])[0]), [pooling]).vectors[pooling][k][0]
                assert torch.allclose(vectors[0, :dim], alone, atol=1e-5) and torch.allclose(vectors[1, :dim], alone, atol=1e-5)
                assert not vectors[0, dim:].any() and not vectors[2, :dim].any() and not vectors[2, dim + d0 :].any()
                assert torch.allclose(vectors[1, dim : dim + d0], vectors[2, dim : dim + d0]) and vectors[2, dim : dim + d0].any()
        shared = pooled(encoder, items, encoder.poolings)
        again = pooled(encoder, items[::-1], encoder.poolings)  # from kept vectors
        for pooling in encoder.poolings:
            for one, two, three in zip(own.vectors[pooling], shared.vectors[pooling], again.vectors[pooling], strict=True):
                assert torch.allclose(one, two, atol=1e-5) and torch.equal(two, three.flip(0))
        assert (shared.counted > 0).all()
        states = plain.forward(plain.tokenize(["dog"])[0]).layers[0][0]
        places = [i for i, word in enumerate(plain.word_ids(["dog"])[0]) if word is not None]
        assert torch.allclose(own.vectors["mean"][0][2, d0 : 2 * d0], states[places].mean(0), atol=1e-5)


def test_the_probe_on_the_word_alone_is_right_in_exactly_half(tasks, tmp_path):
    """And the probe that has the sentence is above it: a bag of words knows its words."""
    table = evaluate(
        [tasks["adi_content_words"], tasks["adi_content"], tasks["adi_order_words"]], [WithWords(ToyEncoder(width=40))],
        store=Store(tmp_path / "store"), poolings="mean", layers=[0, 1], floors=[], controls=[],
    )  # fmt: skip
    score = table.frame.set_index(["task", "layer"]).accuracy
    assert score["adi_content_words", 0] == score["adi_content_words", 1] == 0.5
    assert table.frame.n_groups.eq(table.frame.n_test / 2).all()


def test_a_sentence_is_read_once_for_all_of_its_rows(tasks, tmp_path):
    plain = ToyEncoder()
    encoder, names = WithWords(plain), ("adi_length", "adi_content", "adi_order")
    texts = list(dict.fromkeys(text for name in names for split in tasks[name].splits.values() for text in split.texts))
    Store(tmp_path / "store").vectors(encoder, texts, ["mean"])
    sentences = {text.partition(WORDS)[0] for text in texts}
    words = {word for text in texts for word in text.partition(WORDS)[2].split()}
    assert len(texts) > 3 * len(sentences) and plain.sentences == len(sentences) + len(words)


def test_the_words_of_published_values_are_ours():
    assert set(adi2017.KINDS.values()) == {"Length (8 bins)", "Word content (binary)", "Word order (binary)"}
