"""The suite's own networks: against torch and hand-written references, and what may not leak between tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from probing import load_encoder
from probing.encoders import conformance
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.networks.network import Network, padded, reversed_within, run
from probing.encoders.networks.recurrent import LSTM, STATES
from probing.encoders.networks.transformer import Transformer
from probing.encoders.networks.vocabulary import (
    CLOSE,
    MASK,
    OPEN,
    PAD,
    SPECIAL,
    UNKNOWN,
    HashedWords,
    TrainedVocabulary,
    train_vocabulary,
)
from probing.errors import EncoderError

SMALL = {
    "lstm": {"embedding_dim": 6, "hidden": 5, "layers": 2},
    "bilstm": {"embedding_dim": 6, "hidden": 5},
    "bilstm-last": {"embedding_dim": 6, "hidden": 5},
    "gated-cnn": {"embedding_dim": 6, "channels": 5, "layers": 3},
    "cnn": {"embedding_dim": 6, "filters": 3, "widths": [2, 3, 4]},
    "elmo-style": {"embedding_dim": 4, "hidden": 6, "character_dim": 3, "filters": [4, 4], "characters": 12},
    "transformer": {"embedding_dim": 8, "layers": 2, "heads": 2, "feedforward": 12},
}
READERS = ("lstm", "gated-cnn", "transformer")
TEXT = "the big dog sees the small cat because they run ."


def small(name, **options):
    return load_encoder(name, **{"buckets": 97, **SMALL[name], **options})


def states_of(encoder, text):
    return [layer[0] for layer in encoder.forward(encoder.tokenize([text])[0]).layers]


@pytest.mark.parametrize("name", SMALL)
def test_every_network_conforms(name):
    encoder = small(name)
    assert isinstance(encoder, Encoder)
    report = conformance.check(lambda: small(name), changed=small(name, init_seed=1))
    assert report.ok and report.difference < 1e-5, str(report)
    untried = {"random twins follow their seed"}
    if name == "elmo-style":  # its layer 0 is called "token (char CNN)"
        untried.add("layer 0 is called embeddings only if it does not depend on other words")
    assert {c.rule for c in report.checks if c.held is None} == untried


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("reads", ["forward", "backward", "both"])
def test_a_causal_reader_sees_nothing_to_come_and_all_that_was(name, reads):
    encoder = small(name, reads=reads)
    n = len(TEXT.split())
    before = states_of(encoder, TEXT)
    for k in range(n):
        words = TEXT.split()
        words[k] = "giraffe"
        after = states_of(encoder, " ".join(words))
        width = encoder.architecture.state_width
        for layer in range(1, len(before)):
            moved = (before[layer] - after[layer]).abs() > 1e-7  # (tokens, dims)
            parts = {"forward": moved[:, :width], "backward": moved[:, -width:]}
            if reads != "backward":
                assert not parts["forward"][:k].any() and parts["forward"][k].any()
            if reads != "forward":
                assert not parts["backward"][k + 1 :].any() and parts["backward"][k].any()
            if name != "gated-cnn" and reads != "backward":  # a convolution has a reach
                assert parts["forward"][-1].any()


@pytest.mark.parametrize("name", ["gated-cnn", "transformer"])
def test_a_network_that_reads_all_sees_both_sides(name):
    encoder = small(name, reads="all", layers=2)
    before, after = states_of(encoder, TEXT), states_of(encoder, TEXT.replace("small", "tiny"))
    moved = (before[-1] - after[-1]).abs().amax(1) > 1e-7
    at = TEXT.split().index("small")
    assert moved[at - 1] and moved[at + 1] and moved[at]
    assert not torch.equal(before[0][at], after[0][at]) and torch.equal(before[0][at - 1], after[0][at - 1])


def test_two_directions_are_torchs_bidirectional_lstm():
    encoder = small("bilstm")
    reference = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
    for suffix, stack in (("", encoder.network.forwards), ("_reverse", encoder.network.backwards)):
        for name, value in stack.layers[0].named_parameters():
            getattr(reference, name + suffix).data.copy_(value)
    ids, lengths = padded(encoder.tokenize([TEXT, "a dog", "they run ."])[0], "cpu")
    packed = nn.utils.rnn.pack_padded_sequence(encoder.network.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        expected = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)[0]
        last = reference(packed)[1][0]  # (2, batch, 5): the final states of Conneau et al.'s BiLSTM-last
    states = run(encoder.network, encoder.tokenize([TEXT, "a dog", "they run ."])[0])
    inside = torch.arange(ids.shape[1])[None] < lengths[:, None]
    assert torch.allclose(states.layers[1][inside], expected[inside], atol=1e-6)
    from probing.encoders.base import pool

    assert torch.allclose(pool(states, "last")[1], torch.cat([last[0], last[1]], 1), atol=1e-6)


def test_inner_states_of_an_lstm_obey_its_equations():
    encoder = small("lstm", states=list(STATES), layers=1)
    x, h, c, i, f, o, g = (layer.double().numpy() for layer in states_of(encoder, TEXT))
    [layer] = encoder.network.forwards.layers
    w, u, b = (p.detach().double().numpy() for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0))
    hidden, cell = np.zeros(5), np.zeros(5)
    for t in range(len(x)):  # torch packs the gates as i, f, g, o
        wi, wf, wg, wo = np.split(w @ x[t] + u @ hidden + b, 4)
        gates = [1 / (1 + np.exp(-z)) for z in (wi, wf, wo)]
        cell = gates[1] * cell + gates[0] * np.tanh(wg)
        hidden = gates[2] * np.tanh(cell)
        for value, expected in zip((i[t], f[t], o[t], g[t], c[t], h[t]), (*gates, np.tanh(wg), cell, hidden), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-6)
    assert encoder.layer_names == ("embeddings", *(f"lstm 1 {name}" for name in STATES))


def test_a_gated_block_is_its_equation():
    encoder = small("gated-cnn", layers=1)
    x = states_of(encoder, TEXT)[0].double()
    stack = encoder.network.forwards
    h = (x @ stack.enter.weight.T.double() + stack.enter.bias.double()).detach()
    kernel, bias = stack.blocks[0].weight.detach().double(), stack.blocks[0].bias.detach().double()  # (10, 5, 3)
    around = torch.cat([torch.zeros(1, 5), h, torch.zeros(1, 5)]).double()
    ab = torch.stack([torch.einsum("oiw,wi->o", kernel, around[t : t + 3]) + bias for t in range(len(h))])
    expected = (h + ab[:, :5] * ab[:, 5:].sigmoid()) / 2**0.5
    assert torch.allclose(states_of(encoder, TEXT)[1].double(), expected, atol=1e-6)


def test_max_over_time_of_the_cnn_is_kims_sentence_vector():
    encoder = small("cnn")
    x = states_of(encoder, TEXT)[0]
    expected = []
    with torch.no_grad():
        for convolution in encoder.network.forwards.convolutions:
            reach = convolution.kernel_size[0] - 1
            wide = nn.functional.pad(x.T[None], (reach // 2, reach - reach // 2))
            expected.append(convolution(wide).relu().amax(-1)[0])
    assert torch.allclose(states_of(encoder, TEXT)[1].amax(0), torch.cat(expected), atol=1e-6)


def test_a_transformer_block_is_pre_norm_attention():
    encoder = small("transformer", layers=1, heads=1)
    network = encoder.network
    from probing.encoders.networks.transformer import positions

    x = states_of(encoder, TEXT)[0]
    with torch.no_grad():
        h = x * 8**0.5 + positions(len(x), 8, x.device)
        block = network.forwards.blocks[0]
        q, k, v = (block.norm1(h) @ block.self_attn.in_proj_weight.T + block.self_attn.in_proj_bias).chunk(3, 1)
        mixed = (q @ k.T / 8**0.5).softmax(1) @ v
        h = h + mixed @ block.self_attn.out_proj.weight.T + block.self_attn.out_proj.bias
        h = h + block.linear2(block.linear1(block.norm2(h)).relu())
        expected = network.forwards.norm(h)
    assert torch.allclose(states_of(encoder, TEXT)[1], expected, atol=1e-5)
    angles = positions(3, 4, x.device)
    np.testing.assert_allclose(angles[2], [np.sin(2), np.sin(2 / 100), np.cos(2), np.cos(2 / 100)], atol=1e-6)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_reversal_stays_within_each_sentence_and_undoes_itself(lengths):
    x = torch.arange(len(lengths) * 6 * 2.0).reshape(len(lengths), 6, 2)
    once = reversed_within(x, torch.tensor(lengths))
    for row, n in enumerate(lengths):
        assert torch.equal(once[row, :n], x[row, :n].flip(0)) and torch.equal(once[row, n:], x[row, n:])
    assert torch.equal(reversed_within(once, torch.tensor(lengths)), x)


def test_drawing_weights_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = Network(LSTM(embedding_dim=4, hidden=3), 20, 5)
    assert torch.equal(torch.rand(1), expected)
    second = Network(LSTM(embedding_dim=4, hidden=3), 20, 5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_names_tell_the_encoders_of_a_sweep_apart():
    names = {load_encoder("bilstm", **options).name for options in ({}, {"hidden": 4}, {"hidden": 8}, {"max_length": 9})}
    assert names == {"bilstm (untrained 0)", *(f"bilstm[{x}] (untrained 0)" for x in ("hidden=4", "hidden=8", "max_length=9"))}
    assert load_encoder("bilstm", label="mine", hidden=4).name == "mine (untrained 0)"


def test_only_what_decides_the_vectors_is_in_the_fingerprint():
    one = fingerprint(small("lstm"))
    assert one == fingerprint(small("lstm", dropout=0.1, pooling="max", label="mine", device="auto"))
    for changed in ({"hidden": 6}, {"reads": "both"}, {"init_seed": 1}, {"buckets": 98}, {"lowercase": False}, {"max_length": 9}):
        assert fingerprint(small("lstm", **changed)) != one, changed


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstm", {"reads": "all"}, r"encoder.reads='all' is unknown \(allowed: forward, backward, both\)"),
        ("lstm", {"states": ["hiden"]}, "must name some of hidden, cell"),
        ("lstm", {"states": []}, "must name some of"),
        ("lstm", {"layers": 0}, "encoder.layers=0 must be at least 1"),
        ("lstm", {"dropout": 1.0}, "at least 0 and below 1"),
        ("cnn", {"layers": 2}, "one layer of convolutions"),
        ("cnn", {"widths": []}, "window widths"),
        ("gated-cnn", {"width": 4}, "must be odd"),
        ("gated-cnn", {"channels": 0}, "encoder.channels=0"),
        ("transformer", {"heads": 3}, "multiple of encoder.heads=3"),
        ("transformer", {"device": "tpu"}, r"encoder.device='tpu' is unknown"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(EncoderError, match=message):
        small(name, **options)


# Vocabularies.

TEXTS = ["The cat sat .", "the cat ran <unk> away", "A dog ran .", "the the"]


def test_words_are_numbered_by_frequency_after_the_special_ones():
    vocabulary = train_vocabulary(TEXTS, min_count=2)
    assert vocabulary.size == len(SPECIAL) + 4  # the 4, "." "cat" "ran" 2 each
    assert vocabulary.ids(["the CAT flew", ""]) == [[5, vocabulary.ids(["cat"])[0][0], UNKNOWN], []]
    assert vocabulary.ids(["<unk>"]) == [[UNKNOWN]]
    assert vocabulary.word_ids(["the  cat flew", ""]) == [[0, 1, 2], []]
    closed = train_vocabulary(TEXTS, ends=True)
    assert closed.ids(["the"]) == [[OPEN, 5, CLOSE]] and closed.word_ids(["the cat"]) == [[None, 0, 1, None]]
    assert (PAD, MASK) == (0, 4)


def test_marks_in_a_text_are_words_like_any_other():
    vocabulary = train_vocabulary([*TEXTS, "a <s> b </s>"] * 2, ends=True)
    [ids] = vocabulary.ids(["the <pad> cat </s> a</s>b <mask> <unk> x<unk>"])
    assert ids[0] == OPEN and ids[-1] == CLOSE and not {OPEN, CLOSE, PAD, MASK} & set(ids[1:-1])
    assert len(ids) == 2 + 8 and ids[7] == UNKNOWN
    assert vocabulary.word_ids(["the <pad> cat </s> a</s>b"]) == [[None, 0, 1, 2, 3, 4, None]]


def test_subwords_spell_any_word_and_know_where_they_came_from():
    vocabulary = train_vocabulary(TEXTS * 5, kind="subwords", size=300)
    [ids] = vocabulary.ids(["the zebra é"])
    assert UNKNOWN not in ids and vocabulary.word_ids(["the zebra é"])[0] == sorted(vocabulary.word_ids(["the zebra é"])[0])
    assert set(vocabulary.word_ids(["the zebra é"])[0]) == {0, 1, 2}
    again = TrainedVocabulary(vocabulary.saved)
    assert again.ids(["the zebra é"]) == [ids] and again.description == vocabulary.description


def test_hashed_words_know_every_word():
    vocabulary = HashedWords(11)
    assert vocabulary.ids(["Cat cat", ""]) == [vocabulary.ids(["cat"])[0] * 2, []]
    assert all(len(SPECIAL) <= i < vocabulary.size for i in vocabulary.ids([" ".join(map(str, range(200)))])[0])


def test_a_vocabulary_that_is_none_is_refused():
    with pytest.raises(EncoderError, match="cannot be read"):
        TrainedVocabulary("{")
    from tokenizers import Tokenizer, models

    with pytest.raises(EncoderError, match="must number <pad>"):
        TrainedVocabulary(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str())
    for size, kind in ((5, "words"), (261, "subwords")):
        with pytest.raises(EncoderError, match=f"a vocabulary of {size} has no room beside its {size}"):
            train_vocabulary(TEXTS, kind, size)
    with pytest.raises(EncoderError, match="tokens='letters' is unknown"):
        train_vocabulary(TEXTS, kind="letters")


def test_sentence_marks_are_read_but_not_pooled():
    network = Network(Transformer(embedding_dim=8, heads=2, feedforward=8), 20, 0).eval()
    states = run(network, [[OPEN, 7, 8, CLOSE], [OPEN, 9, CLOSE]])
    assert states.mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    bare = run(network, [[7, 8]])
    assert not torch.allclose(states.layers[-1][0, 1], bare.layers[-1][0, 0], atol=1e-3)
