"""Trees that imitate a classifier: planted rules, floors, classifiers without one, and the study from the command line."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import processes
import pytest

from probing.attributions.surrogate import properties, surrogate, word_presence
from probing.errors import DataError

SIZES = {"train": 400, "dev": 100, "test": 100}


def texts(seed=0):
    rng = np.random.default_rng(seed)
    words = ["good", "bad", "Very", *(f"w{k}" for k in range(20))]
    return {split: [" ".join(rng.choice(words, 5, replace=False)) for _ in range(n)] for split, n in SIZES.items()}


def predicted(sentences, rule):
    return {split: np.array([int(rule(set(text.lower().split()))) for text in own]) for split, own in sentences.items()}


def test_a_rule_of_one_word_is_recovered_by_one_question():
    sentences = texts()
    tree = surrogate(word_presence(sentences), predicted(sentences, lambda words: "very" in words), ("no", "yes"))
    assert (tree.fidelity, tree.depth, tree.leaves) == (1.0, 1, 2) and tree.one_question.all() and tree.majority.mean() < 0.95
    assert tree.text == "|--- word very: no\n|   |--- class: no\n|--- word very: yes\n|   |--- class: yes\n"


def test_a_rule_of_two_words_needs_two_questions():
    sentences = texts()
    answers = predicted(sentences, lambda words: ("good" in words) and ("bad" not in words))
    tree = surrogate(word_presence(sentences), answers, ("no", "yes"))
    assert tree.fidelity == 1.0 and tree.depth == 2 and tree.one_question.mean() < 1


def test_random_answers_have_no_fidelity_above_the_floors():
    sentences, rng = texts(), np.random.default_rng(1)
    answers = {split: rng.integers(0, 2, n) for split, n in SIZES.items()}
    tree = surrogate(word_presence(sentences), answers, ("no", "yes"))
    assert tree.fidelity - max(tree.majority.mean(), tree.one_question.mean()) < 0.15  # 3 standard errors of 100 answers


def test_words_are_those_of_train_that_are_often_enough():
    sentences = {"train": ["A b"] * 5 + ["c"] * 4, "dev": ["a"], "test": ["b c d"]}
    features = word_presence(sentences)
    assert features.names == ("word a", "word b") and features.of_split["test"].tolist() == [[False, True]]
    assert word_presence(sentences, most=1).names in (("word a",), ("word b",))


def test_properties_are_asked_value_by_value():
    labels = {"Tense": {"train": ["PAST", "PRES"] * 10, "dev": ["PAST"], "test": ["PRES", "FUT"]}}
    features = properties(labels)
    assert features.names == ("Tense PAST", "Tense PRES") and features.of_split["test"].tolist() == [[False, True], [False, False]]
    tree = surrogate(features, {"train": np.arange(20) % 2, "dev": np.array([0]), "test": np.array([1, 1])}, ("a", "b"))
    assert tree.agrees.tolist()[0] and tree.depth == 1


def test_a_classifier_of_one_class_and_no_question_are_refused():
    sentences = texts()
    with pytest.raises(DataError, match="the classifier gives all train sentences yes"):
        surrogate(word_presence(sentences), {split: np.ones(n, int) for split, n in SIZES.items()}, ("no", "yes"))
    rare = {split: [f"{split}{k}" for k in range(n)] for split, n in SIZES.items()}
    with pytest.raises(DataError, match="no question is left"):
        surrogate(word_presence(rare), predicted(sentences, lambda words: "good" in words), ("no", "yes"))


def test_the_study_reads_words_and_properties(tmp_path):
    data, words = tmp_path / "data", {"I": ["cat", "dog", "cow"], "O": ["red", "blue", "pink"]}
    data.mkdir()
    splits = ["tr"] * 60 + ["va"] * 20 + ["te"] * 20
    lines = [(part, label, f"{words[label][k // 2 % 3]} n{k}") for k, part in enumerate(splits) for label in ["IO"[k % 2]]]
    (data / "bigram_shift.txt").write_text("".join("\t".join(line) + "\n" for line in lines))
    options = ("encoder=lstm", "encoder.embedding_dim=8", "encoder.hidden=8", "data=senteval", f"data.root={data}", "run.name=one")
    made = processes.run(
        "-m", "probing", "run", "+experiment=surrogate", *options, f"study.properties={data}",
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "probing-out/runs/one"
    rows = pd.read_csv(folder / "rows.csv")
    trees = rows[rows.kind == "tree"].set_index("questions")
    assert set(trees.index) == {"words", "properties"} and rows[rows.kind == "property"].property.tolist() == ["bigram_shift"]
    assert trees.fidelity["properties"] >= 0.9  # the property is the class
    table = (folder / "table.md").read_text()
    assert "How well the probes read the properties" in table and "|--- bigram_shift " in (folder / "trees.txt").read_text()
