"""Attention: what its pooling and weights of sentences are, exact adversaries against random search, gradients, and the study."""

from __future__ import annotations

import json
import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.spatial.distance import jensenshannon
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from probing.attributions.attention import adversarial, jsd, permuted
from probing.data.sources import SentEvalFolder
from probing.data.split import Split
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.convolutional import CNN
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError, EncoderError
from probing.interactions.text.heads import head_of, no_head
from probing.report.attention import published
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.attention import AttentionStudy, gradients, sentence_row
from probing.training.attention import Attention
from probing.training.classification import Classification, influence_weights, weights_of
from probing.training.train import load_model, train


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000), st.floats(0.3, 6))
def test_no_weights_within_the_bound_are_further_than_the_adversary(n, seed, size):
    rng = np.random.default_rng(seed)
    weights, scores, intercept = rng.dirichlet(np.ones(n)), size * rng.normal(size=n), rng.normal()
    far, other = adversarial(weights, scores, intercept)
    given_output = expit(weights @ scores + intercept)
    assert abs(other.sum() - 1) < 1e-9 and other.min() >= 0 and abs(far - jsd(weights, other[None])[0]) < 1e-12
    assert abs(expit(other @ scores + intercept) - given_output) <= 0.05 + 1e-9 and 0 <= far <= np.log(2) + 1e-12
    tried = np.concatenate([rng.dirichlet(np.full(n, a), 300) for a in (0.05, 0.3, 1)])
    tried = tried[np.abs(expit(tried @ scores + intercept) - given_output) <= 0.05]
    assert not len(tried) or jsd(weights, tried).max() <= far + 1e-9


def test_adversaries_by_hand():
    weights = np.array([0.9, 0.1])
    assert adversarial(weights, np.zeros(2), 0.0)[1].tolist() == [0, 1]  # all tokens say the same: any weights will do
    far, other = adversarial(weights, np.array([8.0, -8.0]), 0.0)  # the tokens disagree: the weights can hardly move
    assert far < 0.1 and other[0] > 0.6


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(0, 1000))
def test_divergence_is_that_of_scipy(n, seed):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(n), 2)
    q[0], q = 0.0, q
    q /= q.sum()
    np.testing.assert_allclose(jsd(p, q[None])[0], jensenshannon(p, q) ** 2, atol=1e-12)


def test_shuffled_weights_change_nothing_where_tokens_or_weights_are_the_same():
    rng = np.random.default_rng(0)
    assert permuted(np.array([0.7, 0.2, 0.1]), np.ones(3), 0.5, 50, rng) < 1e-12
    assert permuted(np.full(3, 1 / 3), rng.normal(size=3), 0.5, 50, rng) < 1e-12
    assert permuted(np.array([1.0, 0, 0, 0]), np.array([9.0, -9, -9, -9]), 0.0, 100, rng) > 0.9


@pytest.mark.parametrize("kind", ["attention", "attention-dot", "attention-frozen"])
def test_weights_sum_to_one_and_leave_padding_out(kind):
    torch.manual_seed(0)
    attend, states = Attention(kind, 6), torch.randn(2, 5, 6)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    weights = attend(states, mask)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[1, 3:] == 0).all()
    torch.testing.assert_close(attend(states[1:, :3], mask[1:, :3]), weights[1:, :3])  # alone as in a batch
    assert any(p.requires_grad for p in attend.parameters()) == (kind != "attention-frozen")


@pytest.mark.parametrize("kind", ["class", "length"])
def test_weights_of_sentences(kind):
    train_split = Split(("a b", "a b c d", "a", "a b c d"), np.array([0, 0, 0, 1]))
    weights = weights_of(train_split, kind)
    assert abs(weights.mean() - 1) < 1e-12
    totals = np.bincount(train_split.labels, weights) if kind == "class" else weights * train_split.lengths
    assert np.ptp(totals) < 1e-12 and (weights_of(train_split, "none") == 1).all()


def test_weights_by_influence_are_small_where_labels_are_wrong_and_know_no_scale():
    rng = np.random.default_rng(0)
    x, x_dev = rng.normal(size=(400, 6)), rng.normal(size=(200, 6))
    y, y_dev = (x[:, 0] > 0).astype(int), (x_dev[:, 0] > 0).astype(int)
    wrong = rng.random(400) < 0.1
    weights = influence_weights(x, np.where(wrong, 1 - y, y), x_dev, y_dev, 2)
    assert abs(weights.mean() - 1) < 1e-12 and weights.min() > 0
    assert roc_auc_score(~wrong, weights) > 0.9
    scale, shift = 10.0 ** np.arange(-3, 3), rng.normal(size=6)
    moved = [np.c_[part * scale + shift, np.full(len(part), 7.0)] for part in (x, x_dev)]  # and a dim that is no feature
    again = influence_weights(moved[0], np.where(wrong, 1 - y, y), moved[1], y_dev, 2)
    np.testing.assert_allclose(again, weights, atol=1e-5)
    wide, three = np.ones((4, 2000)), np.array([0, 1, 2, 0])
    with pytest.raises(ConfigError, match=r"^objective.weights=influence .* 3 x 2001 weights .* at most 6,000: .*=class\|length$"):
        influence_weights(wide, three, wide, three, 3)


FIRST, SECOND = "fine great lovely".split(), "awful dull poor".split()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Sentences whose label is that of one word among neutral ones; class 0 is rare."""
    folder, rng = tmp_path_factory.mktemp("sst"), np.random.default_rng(0)
    for name, n in (("train", 240), ("dev", 60), ("test", 60)):
        lines = []
        for k in range(n):
            label = int(k % 3 > 0)
            words = [*rng.choice("the a film plot cast and it was".split(), 5), rng.choice(FIRST if label else SECOND)]
            lines.append(f"{label} {' '.join(rng.permutation(words))} n{name}{k}\n")
        (folder / f"stsa.binary.{name}").write_text("".join(lines))
    return folder


OBJECTIVE = {"task": "sst2", "epochs": 8, "vocabulary": 100, "lr": 0.02, "warmup": 1, "batch_tokens": 128}


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    architecture = CNN(widths=[1], filters=8, embedding_dim=12, pooling="attention")
    return train(architecture, Classification(**OBJECTIVE), root, tmp_path_factory.mktemp("c"))


def test_a_trained_classifier_attends_to_the_words_that_decide(root, trained):
    model, prepared = load_model(trained, root)
    rows = [sentence_row(model, item, 50, k) for k, item in enumerate(prepared.items["test"][:30])]
    assert json.loads((trained / "manifest.json").read_text())["test"]["accuracy"] > 0.9
    assert max(row["adversarial"] for row in rows) <= np.log(2)
    texts = (root / "stsa.binary.test").read_text().splitlines()[:30]
    deciding = [next(k for k, word in enumerate(text.split()[1:]) if word in (*FIRST, *SECOND)) for text in texts]
    steepest = [int(gradients(model, item, np.full(7, 1 / 7)).argmax()) for item in prepared.items["test"][:30]]
    assert np.mean(np.array(steepest) == deciding) > 0.4  # chance is 1 in 7
    for row, item in zip(rows, prepared.items["test"], strict=False):
        assert abs(row["probability"] - model([item]).softmax(1)[0, 1].item()) < 1e-6
        assert abs(sum(json.loads(row["weights"])) - 1) < 1e-6
    encoder = CheckpointEncoder(str(trained))
    assert head_of(encoder) is None  # its head reads no pooled vector that an encoder has
    assert re.search(r"has no head of a pooled vector: its classifier reads encoder.pooling=attention", no_head(encoder))


def test_the_gradient_is_a_finite_difference_with_attention_held_fixed(root, trained):
    model, prepared = load_model(trained, root)
    model, item = model.double(), prepared.items["test"][0]
    with torch.no_grad():
        vectors = model.network.embedding(torch.tensor([item])).clone()

        def run_with(changed):
            hook = model.network.embedding.register_forward_hook(lambda module, given, out: changed)
            states = model.network(torch.tensor([item]), torch.tensor([len(item)]))[-1][0]
            hook.remove()
            return states

        weights = model.attend(run_with(vectors)[None], torch.ones(1, len(item), dtype=torch.bool))[0]

        def probability(changed):
            return float(model.head((weights @ run_with(changed))[None]).softmax(1)[0, 1])

        eps, expected = 1e-6, []
        for t in range(len(item)):
            ends = []
            for sign in (1, -1):
                changed = vectors.clone()
                changed[0, t] *= 1 + sign * eps
                ends.append(probability(changed))
            expected.append(abs(ends[0] - ends[1]) / (2 * eps))
    np.testing.assert_allclose(gradients(model, item, weights.numpy()), expected, atol=1e-7)


def test_weighted_training_changes_the_weights_and_no_weights_change_no_name(root, tmp_path):
    def folder(**more):
        architecture = CNN(widths=[1], filters=4, embedding_dim=6, pooling="mean")
        return train(architecture, Classification(**{**OBJECTIVE, "epochs": 1}, **more), root, tmp_path)

    plain, by_class = folder(), folder(weights="class")
    assert plain != by_class and plain == folder(weights="none")
    folders = (plain, by_class, folder(weights="influence"))
    heads = [load_file(one / "head.safetensors")["head.1.weight"] for one in folders]
    assert len(set(folders)) == 3 and not any(torch.equal(a, b) for a, b in combinations(heads, 2))
    with pytest.raises(ConfigError, match="allowed: none, class, length, influence"):
        Classification(weights="words")
    with pytest.raises(EncoderError, match="attention-dot"):
        LSTM(pooling="attend")


def test_the_study_gives_taus_adversaries_seeds_and_the_ladder(root, tmp_path, monkeypatch):
    study = AttentionStudy(networks=["average"], sentences=8, width=6, hidden=4, epochs=1, vocabulary=50, shuffles=10)
    source = SentEvalFolder(str(root), default=["sst2"])
    context = Context(
        lambda: None, lambda: source.tasks(None), (0, 1), ResultStore(tmp_path / "cells"), Store(tmp_path / "s"), tmp_path,
        lambda: source,
    )  # fmt: skip
    frame = study.measure(context)
    assert frame.kind.value_counts().to_dict() == {"sentence": 16, "accuracy": 6, "seeds": 1}
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "(0.606)" in text and "(0.623)" in text and "attention-frozen" in text  # released values for the average encoder
    monkeypatch.setattr("probing.studies.attention.sentence_row", None)
    assert len(study.measure(context)) == len(frame)  # a finished network is not measured again


def test_the_released_values_are_those_of_the_paper_s_repository():
    known = published()
    expected = {"average": (0.606, 0.623, 0.558), "cnn(1,3,5,7)": (0.477, 0.352, 0.488), "lstm": (0.351, 0.291, 0.656)}
    for network, values in expected.items():
        pairs = ("attention vs gradient", "attention vs leave-one-out", "gradient vs leave-one-out")
        assert [round(known[network, "attention", pair], 3) for pair in pairs] == list(values)
