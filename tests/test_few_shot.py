"""MTEB's few-shot protocol: draws and scores of the reference file, a plain loop beside the table, and its data source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from toys import ToyEncoder

from probing import Store, evaluate, load_probe
from probing.data import mteb
from probing.errors import ConfigError
from probing.probes.few_shot import draw, order_of, scores


def cases(group):
    import os

    folder = os.environ.get("PROBING_SHARED")
    read = json.loads(Path(folder, "oracles", "probes.json").read_text()) if folder else {}
    return read[group]["cases"] if read else [pytest.param({}, marks=pytest.mark.shared)]


@pytest.mark.parametrize("case", cases("few_shot_draws"), ids=lambda case: case.get("name", "none"))
def test_draws_are_those_of_the_reference(case):
    labels, k = case["given"]["labels"], case["given"]["samples_per_label"]
    assert order_of(len(labels), 0).tolist() == case["expected"]["permutation"]
    own = [draw(labels, k, number).tolist() for number in range(10)]
    assert own == case["expected"]["selected"]
    assert own[0] == case["expected"]["not_carried"] and own[1] != own[0]  # the common mistake gives ten equal draws


@pytest.mark.parametrize("case", cases("few_shot_scores"), ids=lambda case: case.get("name", "none"))
def test_scores_are_those_of_the_reference(case):
    own, expected = scores(case["given"]["labels"], case["given"]["predictions"]), case["expected"]
    assert own["mean_accuracy"] == pytest.approx(expected["mean_accuracy"], abs=1e-6)
    assert own["sd"] == pytest.approx(expected["sd"], abs=1e-6)
    for one, other in zip(own["draws"], expected["draws"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_label_with_few_sentences_gives_all_and_no_row_comes_twice():
    labels = np.array([0] * 30 + [1] * 3 + [2] * 12)
    rows = draw(labels, 8, 4)
    assert len(set(rows.tolist())) == len(rows) and np.bincount(labels[rows]).tolist() == [8, 3, 8]


@pytest.fixture
def folder(tmp_path):
    """Two tasks in the form of the hub's files: one with a validation split, one without; the label is a word of the sentence."""
    rng, words = np.random.default_rng(0), [f"w{k}" for k in range(40)]
    for name, splits in (
        ("Banking77Classification", ("train", "test")),
        ("EmotionClassification", ("train", "validation", "test")),
    ):
        (tmp_path / "mteb" / name).mkdir(parents=True)
        for split in splits:
            lines = []
            for i in range({"train": 90, "validation": 30, "test": 60}[split]):
                text = " ".join([*rng.choice(words, 5), "abc"[i % 3], f"{split}{i}"])
                lines.append(json.dumps({"text": text, "label": i % 3, "label_text": "xyz"[i % 3]}))
            (tmp_path / "mteb" / name / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "mteb"


def test_the_source_holds_out_no_train_sentence(folder):
    """Or the draws would be others than mteb's."""
    banking, emotion = mteb.MtebSource(str(folder)).tasks(None)
    assert [task.name for task in (banking, emotion)] == ["Banking77Classification", "EmotionClassification"]
    assert len(banking.train) == 90 and banking.dev.texts == banking.train.texts and len(emotion.dev) == 30
    with pytest.raises(ConfigError, match="did you mean 'Banking77Classification'"):
        mteb.MtebSource(str(folder)).tasks(["Banking77"])


def test_the_mean_over_ten_draws_is_a_plain_loop(folder, tmp_path):
    """scikit-learn on the vectors of the encoder itself, k = 5 of each label."""
    [task] = mteb.MtebSource(str(folder)).tasks(["Banking77Classification"])
    encoder = ToyEncoder()
    table = evaluate(
        [task], [encoder], store=Store(tmp_path / "store"), probe=load_probe("mteb", k=5), poolings="mean", layers=1,
        seeds=range(10), floors=["majority"], controls=[],
    )  # fmt: skip
    from probing.encoders.base import pool

    x, y = {}, {}
    for name, split in task.splits.items():
        x[name] = pool(encoder.forward(encoder.tokenize(split.texts)[0]), "mean")[1].numpy()
        y[name] = split.labels
    accuracies = []
    for number in range(10):
        rows = draw(y["train"], 5, number)
        model = LogisticRegression(random_state=42, max_iter=100).fit(x["train"][rows], y["train"][rows])
        accuracies.append(float((model.predict(x["test"]) == y["test"]).mean()))
    [line] = table.best().itertuples()
    assert line.seeds == 10 and line.accuracy == pytest.approx(
        np.mean(accuracies), abs=1 / 600
    )  # a tie of float32 may fall otherwise
    assert line.seed_sd == pytest.approx(np.std(accuracies, ddof=1), abs=0.01) and np.std(accuracies) > 0


def test_options_out_of_range_are_refused():
    for wrong in ({"k": 0}, {"max_iter": 0}, {"k_of": {"EmotionClassification": -1}}):
        with pytest.raises(ConfigError):
            load_probe("mteb", **wrong)
    assert load_probe("mteb").settings("EmotionClassification")["k"] == 16 and load_probe("mteb").settings("other")["k"] == 8
