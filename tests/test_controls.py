"""Floors are the baselines they claim to be, and controls take the meaning out of labels and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB

from probing.probes.controls import FLOORS, control_labels, naive_bayes
from probing.task import load


@pytest.fixture
def task(toy_root):
    return load("bigram_shift", toy_root)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_naive_bayes_is_scikit_learns(seed, k):
    rng = np.random.default_rng(seed)
    x, fresh = (rng.random((n, 12)) * (rng.random((n, 12)) < 0.3) for n in (40, 15))
    y = np.r_[np.arange(k), rng.integers(0, k, 40 - k)]
    expected = MultinomialNB().fit(x, y).predict_joint_log_proba(fresh)
    found = naive_bayes(csr_matrix(x), y, csr_matrix(fresh))
    np.testing.assert_allclose(expected[np.arange(15), found], expected.max(1), atol=1e-12)


@pytest.mark.parametrize(("name", "n"), [("nb-unigram", 1), ("nb-bigram", 2)])
def test_the_text_floors_are_a_scikit_learn_pipeline(task, name, n):
    words = TfidfVectorizer(ngram_range=(1, n), token_pattern=r"\S+", lowercase=False)
    model = MultinomialNB().fit(words.fit_transform(task.train.texts), task.train.labels)
    dev, test = FLOORS[name](task)
    np.testing.assert_array_equal(dev, model.predict(words.transform(task.dev.texts)))
    np.testing.assert_array_equal(test, model.predict(words.transform(task.test.texts)))
    assert (test == task.test.labels).mean() > 0.75, "the label of this task is in its words"


def test_majority_is_the_most_frequent_train_class(task):
    dev, test = FLOORS["majority"](task)
    assert set(dev) == set(test) == {np.bincount(task.train.labels).argmax()}


def test_length_reads_the_length_and_nothing_else(task):
    dev, test = FLOORS["length"](task)
    by_length = {}
    for text, said in zip((*task.dev.texts, *task.test.texts), (*dev, *test), strict=True):
        assert by_length.setdefault(len(text.split()), said) == said


def test_length_solves_length_bins(tmp_path):
    from toys import write_task

    rng = np.random.default_rng(0)
    rows = []
    for split, n in (("tr", 600), ("va", 100), ("te", 100)):
        for i in range(n):
            size = int(rng.integers(5, 29))
            rows.append((split, str(np.searchsorted([8, 12, 16, 20, 25], size)), " ".join(f"{split}{i}" for _ in range(size))))
    write_task(tmp_path / "sentence_length.txt", rows)
    task = load("sentence_length", tmp_path)
    assert (FLOORS["length"](task)[1] == task.test.labels).mean() > 0.97


@pytest.mark.parametrize("kind", ["permuted", "word"])
def test_control_labels_are_seeded_and_keep_the_classes(task, kind):
    one, again, other = (control_labels(task, kind, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[0].train, again[0].train)
    assert (one[0].train != other[0].train).any()
    assert set(one[0].train) | set(one[1]) <= set(range(len(task.classes)))


def test_permuted_labels_keep_every_splits_histogram(task):
    control, test = control_labels(task, "permuted", 3)
    for drawn, split in ((control.train, task.train), (control.dev, task.dev), (test, task.test)):
        np.testing.assert_array_equal(np.bincount(drawn), np.bincount(split.labels))
        assert (drawn != split.labels).any()


def test_word_labels_hang_on_one_word_type(task):
    """Sentences that share their rarest train word share their label, in every split; the labels follow the train histogram."""
    control, test = control_labels(task, "word", 0)
    counts = {}
    for text in task.train.texts:
        for word in set(text.split()):
            counts[word] = counts.get(word, 0) + 1
    seen: dict[str, int] = {}
    for split, drawn in ((task.train, control.train), (task.dev, control.dev), (task.test, test)):
        for text, label in zip(split.texts, drawn, strict=True):
            rarest = min((w for w in text.split() if w in counts), key=counts.__getitem__)
            assert seen.setdefault(rarest, label) == label


def test_an_unknown_control_is_refused(task):
    with pytest.raises(ValueError, match="allowed: permuted, word"):
        control_labels(task, "shuffled", 0)
