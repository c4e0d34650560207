"""Options that papers need: so many sentences of each class, the encoder's own pooling, the last layer by -1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyEncoder

from probing import Store, evaluate, load_encoder, load_task
from probing.data.draws import first_of_each
from probing.errors import ConfigError
from probing.evaluation.request import Request, own_pooling


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 9))
def test_so_many_of_each_class_and_draws_are_nested(labels, size, seed):
    y = np.array(labels)
    rows, more = (first_of_each(y, n, np.random.default_rng(seed)) for n in (size, size + 1))
    counts = np.bincount(y)
    assert len(set(rows)) == len(rows) and np.bincount(y[rows], minlength=len(counts)).tolist() == np.minimum(counts, size).tolist()
    assert set(rows) <= set(more)


def test_each_seed_draws_its_own_sentences_and_the_rest_of_the_task_stays(toy_root, tmp_path):
    task = load_task("bigram_shift", toy_root)

    def table(**options):
        more = {"store": Store(tmp_path / "store"), "layers": 0, "poolings": "mean", "controls": [], "floors": []}
        return evaluate([task], [ToyEncoder()], **{**more, **options}).frame

    drawn = table(per_class=30, seeds=[0, 1])
    assert drawn.n_train.tolist() == [60, 60] and drawn.data_sha256.nunique() == 2 and drawn.test_sha256.nunique() == 1
    whole = table(per_class=10**6, seeds=[0, 1])
    assert whole.cell.tolist() == table(seeds=[0, 1]).cell.tolist() and len(whole) == 1  # all of train is no draw


def test_it_is_a_number_above_0_and_alone():
    usual = ("fast", None, None, (0,), (), ())
    for wrong in (0, -1, True, "12"):
        with pytest.raises(ConfigError, match="per_class="):
            Request.of(*usual, per_class=wrong)
    with pytest.raises(ConfigError, match="exclude each other"):
        Request.of(*usual, per_class=3, train_size=10)


def test_own_is_the_pooling_of_the_encoders_sentence_vectors(tiny):
    expected = {"bilstm-last": "last", "bilstm": "max", "gated-cnn": "max"}
    for name, pooling in expected.items():
        encoder = load_encoder(name)
        assert own_pooling(encoder, encoder.poolings) == pooling
    assert own_pooling(load_encoder("hf", name=str(tiny("bert"))), ("cls", "mean", "max", "last")) == "mean"
    assert own_pooling(ToyEncoder(), ("cls", "mean", "sentence")) == "sentence" and own_pooling(ToyEncoder(), ("cls",)) == "cls"


def test_minus_one_is_the_last_layer(toy_root, tmp_path):
    task, more = load_task("bigram_shift", toy_root), {"store": Store(tmp_path / "store"), "controls": [], "floors": []}
    last = evaluate([task], [ToyEncoder()], layers=-1, poolings="own", **more).frame
    plain = evaluate([task], [ToyEncoder()], layers=2, poolings="mean", **more).frame
    assert last.layer.tolist() == [2] and last.pooling.tolist() == ["mean"] and last.cell.tolist() == plain.cell.tolist()
    both = evaluate([task], [ToyEncoder()], layers=[-1, 2, 0], poolings=["mean", "own"], **more).frame
    assert sorted(both.layer) == [0, 2]  # each column once
    with pytest.raises(ConfigError, match=r"layer=-4: toy has the layers 0 \(embeddings\) to 2, -1 is the last"):
        evaluate([task], [ToyEncoder()], layers=-4, **more)
