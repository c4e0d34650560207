"""Scores of sentences: reference values of every convention, and the laws of batches and of what is computed once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_language_models import NETWORKS, corpus, lstm_oracle, trained, with_heads  # noqa: F401

from probing.behaviour.base import LanguageModel
from probing.behaviour.models import language_model, language_models
from probing.behaviour.reading import rows_of, tokens_of
from probing.behaviour.scores import MASKINGS, Convention, score
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.errors import ConfigError


@pytest.fixture(scope="module")
def oracle(shared):
    return json.loads((shared / "oracles" / "behaviour.json").read_text())


@pytest.fixture(scope="module")
def masked(shared):
    return language_model(HuggingFaceEncoder(str(shared / "oracles" / "behaviour_models" / "mlm")))


@pytest.fixture(scope="module")
def causal(shared):
    return language_model(HuggingFaceEncoder(str(shared / "oracles" / "behaviour_models" / "causal")))


def whole(texts):
    return [(text, None) for text in texts]


@pytest.mark.shared
@pytest.mark.parametrize("masking", MASKINGS)
def test_masked_scores_are_the_reference_values(oracle, masked, masking):
    sentences = oracle["sentences"]
    scores = score(masked, whole(s["text"] for s in sentences), Convention(masking=masking))
    for sentence, log_p, ids in zip(sentences, scores.log_p, scores.ids, strict=True):
        wanted = sentence["masked"][masking]
        assert log_p == pytest.approx(wanted["tokens"], abs=1e-4)
        assert log_p.sum() == pytest.approx(wanted["sum"], abs=1e-3)
        assert masked.pieces(ids.tolist()) == sentence["masked"]["pieces"]
        assert abs(log_p.sum() - sentence["masked"]["unmasked_trap"]["sum"]) > 1e-2, "the masks were put"


@pytest.mark.shared
def test_causal_scores_are_the_reference_values(oracle, causal):
    sentences = oracle["sentences"]
    texts = whole(s["text"] for s in sentences)
    plain, ended, bare = (score(causal, texts, Convention(**c)) for c in ({}, {"end": "score"}, {"start": "none"}))
    for k, sentence in enumerate(sentences):
        wanted = sentence["causal"]
        assert plain.log_p[k] == pytest.approx(wanted["tokens_after_bos"], abs=1e-4)
        assert ended.log_p[k].sum() == pytest.approx(wanted["sum_with_eos"], abs=1e-3)
        assert bare.log_p[k].sum() == pytest.approx(wanted["sum_without_bos"] or 0, abs=1e-3)
    assert set(bare.lost) == {1} and not plain.lost.any()


@pytest.mark.shared
def test_scores_of_an_lstm_and_of_pairs_are_the_reference_values(oracle, lstm_oracle, masked, causal):  # noqa: F811
    lstm, texts = language_model(lstm_oracle), whole(s["text"] for s in oracle["sentences"])
    for k, log_p in enumerate(score(lstm, texts, Convention()).log_p):
        assert log_p == pytest.approx(oracle["sentences"][k]["lstm"]["tokens"], abs=1e-4)
    models = {"masked": masked, "causal": causal, "lstm": lstm}
    for name, pairs in oracle["pairs"].items():
        kind, _, masking = name.partition(" ")
        sums = [x.sum() for x in score(models[kind], texts, Convention(masking=masking or "original")).log_p]
        for pair in pairs:
            right, wrong = map(int, pair["pair"].split(">"))
            assert sums[right] - sums[wrong] == pytest.approx(pair["difference"], abs=1e-3)


def models(trained, tiny, tmp_path):  # noqa: F811
    encoders = [CheckpointEncoder(str(trained(kind))) for kind in NETWORKS]
    encoders += [CheckpointEncoder(str(trained("lstm", "subwords")))]
    return [m for e in [*encoders, *(e for e, _ in with_heads(tiny, tmp_path))] for m in language_models(e)]


TEXTS = [
    "the dog sees a cat .",
    "the dog sees a cat",
    "the dog sees a dog .",
    "a cat",
    "the big dog runs .",
    "the dog sees a cat .",
]


def test_a_batch_gives_what_each_sentence_gives_alone_in_any_order(trained, tiny, tmp_path):  # noqa: F811
    for model in models(trained, tiny, tmp_path):
        together = score(model, whole(TEXTS), Convention())
        turned = score(model, whole(TEXTS[::-1]), Convention())
        for k, text in enumerate(TEXTS):
            alone = score(model, whole([text]), Convention()).log_p[0]
            assert len(alone) >= len(text.split()) and np.isfinite(alone).all(), model.name
            assert together.log_p[k] == pytest.approx(alone, abs=1e-5), (model.name, model.direction)
            assert turned.log_p[len(TEXTS) - 1 - k] == pytest.approx(alone, abs=1e-5)
            assert score(model, [(text, 1)], Convention()).log_p[0].sum() == pytest.approx(
                sum(x for x, w in zip(alone, words_of(model, text), strict=True) if w == 1), abs=1e-5
            )
        assert (together.log_p[0] == together.log_p[5]).all(), "a sentence is scored once"


def words_of(model, text):
    return [w for w in model.word_ids([text])[0] if w is not None]


class Counting(LanguageModel):
    """Counts the rows and places that a model is asked for."""

    def __init__(self, inner):
        super().__init__(inner.encoder)
        self.inner, self.rows, self.places = inner, 0, 0
        for name in ("kind", "direction", "begin", "end", "mask", "unknown", "special", "starts", "limit", "company"):
            setattr(self, name, getattr(inner, name))
        for name in ("tokenize", "word_ids", "pretokens", "targets"):
            setattr(self, name, getattr(inner, name))

    def picked(self, items, places, targets):
        self.rows, self.places = self.rows + len(items), self.places + sum(map(len, places))
        return self.inner.picked(items, places, targets)


def test_what_coincides_is_computed_once(trained, tiny, tmp_path):  # noqa: F811
    [bert, gpt] = (Counting(language_model(e)) for e, _ in with_heads(tiny, tmp_path))
    pair = ["the dog sees a cat .", "the dog sees a dog ."]  # six words, of which one differs
    score(bert, whole(pair), Convention())
    assert (bert.rows, bert.places) == (11, 12)  # the row that masks the fifth word is one, with two targets
    score(gpt, whole(pair), Convention())
    assert (gpt.rows, gpt.places) == (2, 6 - gpt_lost(gpt) + 2), "after the first different token"
    lstm = Counting(language_model(CheckpointEncoder(str(trained("lstm")))))
    sums = [x.sum() for x in score(lstm, whole(pair), Convention()).log_p]
    assert (lstm.rows, lstm.places) == (2, 6 + 2)
    apart = [score(lstm, whole([text]), Convention()).log_p[0].sum() for text in pair]
    assert sums == pytest.approx(apart, abs=1e-5)


def gpt_lost(model):
    return int(model.begin is None)


def test_a_sentence_that_is_too_long_is_not_scored(trained):  # noqa: F811
    model = language_model(CheckpointEncoder(str(trained("lstm")), max_length=5))
    scores = score(model, whole(["the dogs are lost", "the dogs are"]), Convention())
    assert scores.cut.tolist() == [True, False] and [len(x) for x in scores.log_p] == [0, 3]


def test_conventions_that_a_model_cannot_keep_are_refused(trained):  # noqa: F811
    masked, forward = (language_model(CheckpointEncoder(str(trained(kind)))) for kind in ("masked", "lstm"))
    with pytest.raises(ConfigError, match=r"masking='all' is unknown \(allowed: original, within_word_l2r"):
        Convention(masking="all")
    with pytest.raises(ConfigError, match="is a masked model, whose marks always stand there"):
        score(masked, whole(["a"]), Convention(end="score"))
    with pytest.raises(ConfigError, match=r"has no word 3, which is to be scored \(the first is 0\)"):
        score(forward, [("the dogs", 3)], Convention())
    assert Convention(masking="original").named(masked) == "masked, original"
    assert Convention(end="score").named(forward) == "forward, start=mark, end=score"


def test_a_masked_sentence_is_not_read_without_its_mask(trained):  # noqa: F811
    """Mutant: rows without masks would be one row."""
    model = language_model(CheckpointEncoder(str(trained("masked"))))
    read, _ = tokens_of(model, whole(["the dogs are"]), Convention())
    rows = rows_of(model, read, Convention())
    assert len(rows) == 3 and all(row.item.count(model.mask) == 1 for row in rows)


@pytest.mark.parametrize(("kind", "inputs"), [("lstm", 1), ("masked", 1)])
def test_texts_that_differ_at_the_last_scored_word_share_the_input_of_a_forward_model(trained, kind, inputs):  # noqa: F811
    """Of a masked model, too, which does not see the word. Each text alone has the same score."""
    model = language_model(CheckpointEncoder(str(trained(kind))))
    texts = [("the dogs are here", 2), ("the dogs is here", 2)]
    together = score(model, texts, Convention())
    assert len(rows_of(model, tokens_of(model, texts, Convention())[0], Convention())) == inputs
    for (text, place), log_p in zip(texts, together.log_p, strict=True):
        [alone] = score(model, [(text, None)], Convention()).log_p
        assert log_p.tolist() == pytest.approx([alone[place]], abs=1e-5)
    assert together.log_p[0] != together.log_p[1]


class Spelling(LanguageModel):
    """Words read by their letters, and predicted among one known word and all others: p depends on the letters before."""

    starts, unknown = True, 0

    def __init__(self):
        super().__init__(None)

    def tokenize(self, texts):
        return [[tuple(map(ord, word)) for word in text.split()] for text in texts], 0

    def targets(self, texts):
        return [[int(word == "the") for word in text.split()] for text in texts]

    def word_ids(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def log_probabilities(self, items):
        sums = [torch.tensor([0.0, *(sum(map(sum, item[:t])) % 7 for t in range(1, len(item)))]) for item in items]
        return [torch.stack([row, -row], 1).log_softmax(1) for row in sums]


def test_unknown_words_that_are_read_by_their_letters_are_no_shared_beginning():
    texts = whole(["the cat the dog", "the dog the dog"])
    together = score(Spelling(), texts, Convention())
    assert together.ids[0].tolist() == together.ids[1].tolist()
    for text, log_p in zip(texts, together.log_p, strict=True):
        assert log_p == pytest.approx(score(Spelling(), [text], Convention()).log_p[0])
    assert not np.allclose(*together.log_p)
