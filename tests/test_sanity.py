"""Controls of explanations: cascades of random weights, transplanted heads, planted words, and agreement with its null level."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from probing import load_encoder
from probing.attributions.methods import Settings, counted, explain
from probing.attributions.ranks import taus
from probing.attributions.sanity import Agreement, first, permuted, planted, rare_words, transplanted
from probing.data.frames import task_of_lists
from probing.encoders.base import fingerprint
from probing.encoders.networks.checkpoint import CheckpointEncoder, save
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.networks.transformer import Transformer
from probing.encoders.networks.vocabulary import train_vocabulary
from probing.encoders.redrawn import cascade
from probing.errors import ConfigError, DataError, EncoderError
from probing.interactions.game import shapley, table
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead, fit_head
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.sanity import HEAD, Sanity, _agreement

TEXTS = ["the cat sees a dog", "a big dog ran", "they run or they see"]
KINDS = {
    "lstm": LSTM(embedding_dim=8, hidden=6, layers=2, reads="both"),
    "transformer": Transformer(embedding_dim=8, layers=2, heads=2, feedforward=12, reads="all"),
}


def checkpoint(kind, folder):
    words = train_vocabulary(
        [*TEXTS, "The old man who came in late did not see that the small dogs had gone ."] * 3, size=100, min_count=1
    )
    save(folder, KINDS[kind], KINDS[kind].network_of(words.size, 5), words)
    return CheckpointEncoder(str(folder))


def states(encoder):
    return encoder.forward(encoder.tokenize(TEXTS[:1])[0]).layers


@pytest.mark.parametrize("kind", ["lstm", "transformer", "bert"])
def test_a_step_of_the_cascade_changes_its_layer_and_those_above(kind, tiny, tmp_path):
    encoder = load_encoder("hf", name=str(tiny("bert"))) if kind == "bert" else checkpoint(kind, tmp_path)
    whole, twin, marks = states(encoder), states(encoder.random_twin(3)), [fingerprint(encoder)]
    steps = list(cascade(encoder, 3))
    assert [layer for layer, _ in steps] == list(reversed(range(len(encoder.dims))))
    for layer, redrawn in steps:
        for k, (after, before) in enumerate(zip(states(redrawn), whole, strict=True)):
            assert (k < layer) == torch.allclose(after, before, atol=1e-6), (layer, k)
        redrawn.release()
        assert not torch.allclose(states(redrawn)[-1], whole[-1], atol=1e-6)  # read anew, it has the same weights
        marks.append(fingerprint(redrawn))
        assert isinstance(redrawn, type(encoder)) and f"from layer {layer}" in redrawn.name
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(states(redrawn), twin, strict=True))  # the last step is the twin
    assert all(torch.equal(a, b) for a, b in zip(states(encoder), whole, strict=True)) and len(set(marks)) == len(marks)


def test_encoders_without_weights_to_draw_are_refused(toy_encoder):
    untrained = LSTM(embedding_dim=8, hidden=6)
    for call in (lambda: list(cascade(untrained, 0)), lambda: transplanted(untrained, 0)):
        with pytest.raises(EncoderError, match="has no random-weights twin"):
            call()


@pytest.mark.shared
def test_the_stored_agreement_with_a_random_twin(shared):
    for own in json.loads((shared / "oracles/explanations.json").read_text())["random_twin"].values():
        for name, stored in own["tau_b"].items():
            [[tau]] = taus(np.array([own["trained"][name]]), np.array([own["other"][name]]))
            assert abs(tau - stored) <= 1e-9


def test_agreement_of_a_method_with_itself_its_opposite_and_chance():
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=n) for n in (4, 5, 6) for _ in range(60)]
    same = Agreement.of(scores, scores)
    np.testing.assert_allclose(same.tau, 1)
    opposite = Agreement.of(scores, [-x for x in scores])
    np.testing.assert_allclose(opposite.tau, -1)
    np.testing.assert_allclose(opposite.absolute, 1)
    by_chance = Agreement.of(scores, [rng.normal(size=len(x)) for x in scores])
    spread = np.sqrt(np.mean([2 * (2 * n + 5) / (9 * n * (n - 1)) for n in (4, 5, 6)]) / len(scores))  # Kendall's null variance
    for level in (by_chance.tau, by_chance.null, same.null):
        assert abs(level.mean()) < 3.5 * spread
    by_length = [np.arange(len(x)) + 0.01 * x for x in scores]  # a method that reads places alone: other sentences agree as well
    assert (Agreement.of(by_length, by_length).null > 0.9).all()


def test_scores_that_do_not_rank_and_lengths_that_are_alone_have_no_agreement():
    agreement = Agreement.of([np.ones(4), np.array([1.0]), np.arange(3.0)], [np.arange(4.0), np.array([2.0]), np.arange(3.0)])
    assert np.isnan(agreement.tau[:2]).all() and abs(agreement.tau[2] - 1) < 1e-12 and np.isnan(agreement.null).all()
    with pytest.raises(ConfigError, match="on the same sentences"):
        Agreement.of([np.ones(4)], [np.ones(3)])


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10_000))
def test_taus_are_those_of_scipy(n, seed):
    a, b = np.random.default_rng(seed).integers(0, 4, (2, 3, n)).astype(float)  # with ties
    for i, j in product(range(3), range(3)):
        np.testing.assert_allclose(taus(a, b)[i, j], kendalltau(a[i], b[j]).statistic, atol=1e-12)


def corpus(n=240, seed=0):
    rng = np.random.default_rng(seed)
    words = [*"the a cat dog cats dogs sees see saw big small and or because it they".split(), *(f"w{k}" for k in range(40)), "ran"]
    texts = [" ".join(rng.choice(words, 6, replace=False)) for _ in range(n)]
    splits = ["train"] * (n // 2) + ["dev"] * (n // 4) + ["test"] * (n // 4)
    return task_of_lists(texts, [str(k % 2) for k in range(n)], splits, name="pairs")


def test_planted_words_alone_decide_the_labels():
    task = corpus()
    words = rare_words(task, 2)
    assert all(word.isalpha() and sum(word in text.split() for text in task.train.texts) >= 5 for word in words)
    made = planted(task, words, seed=1, sentences=40)
    for name, split in made.splits.items():
        assert len(split) <= 40 and abs(int(split.labels.sum()) * 2 - len(split)) <= 1
        for text, label in zip(split.texts, split.labels, strict=True):
            own = [word for word in text.split() if word in words]
            assert own == [words[label]]
            rest = text.split()
            rest.remove(own[0])
            assert " ".join(rest) in task.splits[name].texts
    assert made.sha256 != task.sha256
    with pytest.raises(ConfigError, match="1 different words cannot stand for the 2 classes"):
        planted(task, ["cat", "cat"], 0)
    with pytest.raises(DataError, match="are to be planted"):
        rare_words(task, 100)


def by_shapley(encoder, head, text):
    return shapley(table(TextGame(encoder, text, "logit", "zero", head=head)))


def test_shapley_names_planted_words_first_and_controls_do_not(tmp_path):
    """A bag of words (layer 0, mean): a head of planted words is explained by them, one of permuted labels is not, and neither a
    random twin under the trained head nor word frequency passes for it."""
    task = corpus(480)
    words = train_vocabulary(task.train.texts * 3, size=100, min_count=1)
    bag = LSTM(embedding_dim=80, hidden=4)  # more dims than words, so that each word has a direction of its own
    save(tmp_path, bag, bag.network_of(words.size, 5), words)
    encoder = CheckpointEncoder(str(tmp_path))
    own = rare_words(task, 2)
    made = planted(task, own, seed=1)
    head = fit_head(encoder, made, layer=0)
    texts = made.test.texts[:40]

    def named(explain, under, of=encoder):
        scores = [explain(of, under, text) for text in texts]
        return scores, np.mean([first(x, text, own) for x, text in zip(scores, texts, strict=True)])

    trained, share = named(by_shapley, head)
    assert head.made["test"] > 0.95 and share >= 0.95
    assert named(by_shapley, permuted(encoder, made, head, 0))[1] < 0.5
    twin, of_twin = named(by_shapley, head, transplanted(encoder, 4))
    assert of_twin < 0.5
    agreement = Agreement.of(trained, twin)
    assert abs(np.nanmean(agreement.tau) - np.nanmean(agreement.null)) < 4 * np.nanstd(agreement.tau) / np.sqrt(len(texts))
    plain = Settings(counts=counted(made.train.texts))
    scores = [explain(encoder, head, text, "frequency", settings=plain).scores for text in texts]
    again = [explain(transplanted(encoder, 4), head, text, "frequency", settings=plain).scores for text in texts]
    assert np.nanmin(Agreement.of(scores, again).tau) > 1 - 1e-12  # it reads no model


def test_few_units_have_no_interval_and_no_p():
    """Ten sentences that are five pairs of twins, all far above the null; and twelve that are six pairs."""
    for units, known in ((5, False), (6, True)):
        numbers = np.arange(2 * units)
        own = {"text": [f"t{k}" for k in numbers], "cluster": numbers // 2, "tau": 0.9 + 0.01 * numbers}
        frame = pd.DataFrame(own | {"seed": 0, "null": 0.0, "absolute": 0.5, "null_absolute": 0.1})
        row = _agreement(frame)
        assert all((not np.isnan(row[name])) == known for name in ("tau_low", "over_low", "p")) and row["over"] > 0.9


def test_a_draw_that_agrees_in_all_sentences_at_once_is_one_unit():
    """Where few words decide every sentence, each random twin agrees with all of them or with none: ten draws are ten units."""
    rng, wrong = np.random.default_rng(0), {"draws": 0, "sentences": 0}
    for _ in range(200):
        tau = rng.normal(0, 0.4, (10, 1)) + rng.normal(0, 0.1, (10, 24))
        frame = pd.DataFrame([{"seed": s, "text": k, "cluster": k, "tau": tau[s, k]} for s in range(10) for k in range(24)])
        frame = frame.assign(null=0.0, absolute=0.0, null_absolute=0.0)
        wrong["draws"] += _agreement(frame)["p"] <= 0.05
        wrong["sentences"] += _agreement(frame[frame.seed < 3])["p"] <= 0.05
    assert wrong["draws"] <= 20  # of 200; 19 are exceeded once in 100 at 5 %
    assert wrong["sentences"] > 100, "three draws have no test over draws: the table shows the lowest and the highest"
    row = _agreement(frame.assign(tau=frame.tau + 1))
    assert row["p"] < 0.001 and row["draws"] == 10 and row["by draw"].count(" to ") == 1


def test_ties_for_the_first_place_share_it():
    assert first(np.array([1.0, 2, 2]), "a b c", ["b"]) == 0.5
    assert first(np.array([1.0, 2, 0]), "a b c", ["b"]) == 1 and first(np.array([3.0, 2, 0]), "a b c", ["b"]) == 0


def test_a_head_of_permuted_labels_knows_nothing(toy_encoder):
    task = corpus(400)
    own = fit_head(toy_encoder, task, layer=0)
    made = permuted(toy_encoder, task, own, 0)
    assert isinstance(made, LinearHead) and (made.layer, made.pooling) == (own.layer, own.pooling)
    assert abs(made.made["test"] - 0.5) < 0.2 and not np.allclose(made.coef, own.coef)


def test_the_study_compares_controls_with_their_null_and_goes_on_where_it_was(tmp_path, monkeypatch):
    task, folder = corpus(480), tmp_path / "lstm"
    folder.mkdir()
    words = train_vocabulary(task.train.texts * 3, size=100, min_count=1)
    save(folder, KINDS["lstm"], KINDS["lstm"].network_of(words.size, 5), words)
    study = Sanity(sentences=8, words=[6, 7], seeds=1, planted=60, masking="zero", methods=["shapley", "ig", "frequency"])
    results = ResultStore(tmp_path / "cells")
    encoder = CheckpointEncoder(str(folder))
    context = Context(lambda: encoder, lambda: [task], (0,), results, Store(tmp_path / "store"), tmp_path)
    frame = study.measure(context)
    agreement = frame[frame.kind == "tau"]
    assert set(agreement.control) == {"transplanted", "refitted", "permuted", "cascade"}
    assert (agreement[agreement.method == "frequency"].tau > 1 - 1e-9).all()
    assert sorted(set(agreement.layer.dropna())) == [0, 1, 2]
    last = agreement[(agreement.control == "cascade") & (agreement.layer == 0)].set_index(["text", "method"]).tau
    twin = agreement[agreement.control == "transplanted"].set_index(["text", "method"]).tau
    assert np.allclose(last, twin.loc[last.index])  # both have the seed 0
    planted_rows = frame[frame.kind == "planted"]
    assert set(planted_rows["head"]) == {"planted", "clean"} and planted_rows["first"].between(0, 1).all()
    study.report(frame, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert (
        "Planted words" in text
        and "| cascade " in text
        and len(text.splitlines()) == len(HEAD.splitlines()) + 2 + 3 * 6 + 8 + 2 * 3 + 2
    ), text
    monkeypatch.setattr("probing.studies.sanity.explain", None)  # a finished sentence is not measured again
    again = study.measure(context)
    assert np.allclose(again[agreement.columns].tau.dropna(), frame.tau.dropna())
