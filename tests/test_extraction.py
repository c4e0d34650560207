"""Batches lose nothing and pooling sees only real tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyEncoder

from probing.encoders.base import States, pool
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError
from probing.store.extraction import batches, extract
from probing.types import Representation

OF_TOKENS = ("cls", *TOKEN_POOLINGS)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 200))
def test_batches_hold_every_sentence_once_within_the_budget(lengths, budget):
    cut = batches(lengths, budget)
    assert sorted(i for batch in cut for i in batch) == list(range(len(lengths)))
    for batch in cut:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_batches_of_a_large_set_hardly_pad():
    lengths = np.random.default_rng(0).integers(5, 40, size=5000).tolist()
    padded = sum(len(b) * max(lengths[i] for i in b) for b in batches(lengths))
    assert sum(lengths) / padded > 0.97


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 7))
def test_pooling_equals_a_loop_over_real_tokens(seed, n, longest):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(n, longest, 4)).astype(np.float32)
    mask = rng.random((n, longest)) < 0.6
    mask[np.arange(n), rng.integers(0, longest, n)] = True
    given_states = States([torch.from_numpy(states)], torch.from_numpy(mask))
    for i in range(n):
        real = states[i][mask[i]]
        expected = {"cls": states[i, 0], "mean": real.mean(0), "max": real.max(0), "last": real[-1]}
        for pooling in OF_TOKENS:
            np.testing.assert_allclose(pool(given_states, pooling)[0][i], expected[pooling], atol=1e-6)


def test_last_of_features_that_read_backwards_is_the_state_at_the_first_token():
    states = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    [last] = pool(States([states], mask, [torch.tensor([False, True])]), "last")
    assert last.tolist() == [[states[0, 1, 0], states[0, 0, 1]], [states[1, 2, 0], states[1, 1, 1]]]


def test_vectors_do_not_depend_on_the_company_of_a_sentence():
    encoder = ToyEncoder()
    texts = ["a b c", "d", "e f g h i j k l", "a b", "m n o p"]
    together = extract(encoder, encoder.tokenize(texts)[0], OF_TOKENS)
    for i, text in enumerate(texts):
        alone = extract(encoder, encoder.tokenize([text])[0], OF_TOKENS)
        for column, vectors in together.items():
            np.testing.assert_allclose(vectors[i], alone[column][0], atol=1e-6)


def test_states_that_are_not_finite_are_refused_and_named():
    encoder = ToyEncoder(poison="bad")
    items, _ = encoder.tokenize(["fine", "a bad one", "fine too"])
    with pytest.raises(EncoderError, match=r"layer 0 \(mean\) is not finite .* for 1 of 3 sentences, the first at row 1"):
        extract(encoder, items, ["mean"])


def test_a_sentence_without_tokens_is_refused():
    with pytest.raises(EncoderError, match="no token at all, the first at row 1"):
        extract(ToyEncoder(), [[1, 2], []], ["mean"])


def test_every_layer_and_pooling_comes_from_one_pass():
    encoder = ToyEncoder()
    vectors = extract(encoder, encoder.tokenize(["a b", "c d"])[0], OF_TOKENS)
    assert set(vectors) == {Representation(layer, p) for layer in range(3) for p in OF_TOKENS}
    assert encoder.calls == 1
