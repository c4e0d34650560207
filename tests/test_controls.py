"""Floors are the baselines they claim to be; control tasks hang on words and on nothing else, and selectivity says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB

from probing import Store
from probing.data.loading import load
from probing.data.split import Split
from probing.evaluation.planning import plan
from probing.evaluation.request import Request
from probing.probes.controls import (
    CEILINGS,
    CONTROLS,
    LEAK_ALPHA,
    MINIMUM,
    SHARE,
    control_task,
    deciding_words,
    unsuited,
)
from probing.probes.floors import FLOORS, naive_bayes
from probing.probes.path import LogisticPath


@pytest.fixture
def task(toy_root):
    return load("bigram_shift", toy_root)


@pytest.fixture
def calibration(monkeypatch):
    """The planted tasks and encoders of scripts/calibration/controls.py."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "scripts" / "calibration")
    import controls

    return controls


@pytest.fixture
def zipf(calibration):
    """A task of 800 + 200 + 400 sentences with three unequal classes, labels drawn without a look at the words."""
    task, _ = calibration.planted("noise", 2, 0, sizes=(800, 200, 400))
    rng = np.random.default_rng(1)
    splits = {name: Split(part.texts, rng.choice(3, len(part), p=[0.5, 0.3, 0.2])) for name, part in task.splits.items()}
    return replace(task, classes=("a", "b", "c"), **splits)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_naive_bayes_is_scikit_learns(seed, k):
    rng = np.random.default_rng(seed)
    x, fresh = (rng.random((n, 12)) * (rng.random((n, 12)) < 0.3) for n in (40, 15))
    y = np.r_[np.arange(k), rng.integers(0, k, 40 - k)]
    expected = MultinomialNB().fit(x, y).predict_joint_log_proba(fresh)
    predicted = naive_bayes(csr_matrix(x), y, csr_matrix(fresh)).argmax(1)
    np.testing.assert_allclose(expected[np.arange(15), predicted], expected.max(1), atol=1e-12)


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
    for text, predicted in zip((*task.dev.texts, *task.test.texts), (*dev, *test), strict=True):
        assert by_length.setdefault(len(text.split()), predicted) == predicted


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


def test_permuted_labels_keep_every_splits_histogram(task):
    control, again, other = (control_task(task, "permuted", seed) for seed in (3, 3, 4))
    for name, split in task.splits.items():
        labels = control.splits[name].labels
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(split.labels))
        np.testing.assert_array_equal(labels, again.splits[name].labels)
        assert (labels != split.labels).any() and (labels != other.splits[name].labels).any()
        assert control.splits[name].texts == split.texts


def copied(task, n):
    """The task whose first `n` test sentences are copies of train sentences, in other letters and another order of words."""
    texts = [" ".join(reversed(text.upper().split())) for text in task.train.texts[:n]]
    return replace(task, test=replace(task.test, texts=(*texts, *task.test.texts[n:])))


def test_a_sentence_of_several_splits_keeps_one_shuffled_label_in_all_of_them(zipf):
    """By its words, whatever their order and case; every other sentence keeps the label that it has without copies."""
    plain, control = control_task(zipf, "permuted", 3), control_task(copied(zipf, 150), "permuted", 3)
    np.testing.assert_array_equal(control.test.labels[:150], control.train.labels[:150])
    assert (plain.test.labels[:150] != plain.train.labels[:150]).any()
    for split, rows in (("train", slice(None)), ("dev", slice(None)), ("test", slice(150, None))):
        np.testing.assert_array_equal(control.splits[split].labels[rows], plain.splits[split].labels[rows])
    rng = np.random.default_rng(3)
    for name, split in zipf.splits.items():
        np.testing.assert_array_equal(plain.splits[name].labels, rng.permutation(split.labels))


def test_only_a_task_with_copies_has_another_leak_check(zipf, toy_encoder):
    """The keys of all its other cells, and of tasks without copies, are as ever: version 1."""
    settings = Request(LogisticPath(), layers=(1,), poolings=("mean",), floors=())
    for task, version in ((zipf, 1), (copied(zipf, 1), 2)):
        cells = [cell for cell in plan([task], [toy_encoder], settings) if cell.row.role == "control"]
        assert {cell.row.control: cell.inputs["control_version"] for cell in cells} == {"permuted": version, "word": 2}
    assert "1 sentence(s) occur in both train/test (the same words" in " ".join(copied(zipf, 1).data_card["notes"])


def test_planted_copies_are_marked_by_the_leak_check_and_a_task_without_is_not(calibration, tmp_path):
    """All test sentences stand in train in capitals, with the same vectors; twice as many features as train sentences."""
    task, vectors = calibration.planted("noise", 400, 0, sizes=(200, 60, 150))
    leaky = copied(task, 150)
    for name, one, own in (("fresh", task, vectors), ("copied", leaky, np.concatenate([vectors[:260], vectors[:150]]))):
        (tmp_path / name).mkdir()
        best = calibration.measured([(one, own)], tmp_path / name, floors=[], controls=["permuted"]).best()
        assert (best.leak_p[0] < LEAK_ALPHA) == (name == "copied"), name


def test_a_control_that_one_seed_cannot_have_is_left_out_for_all(zipf, toy_encoder, capfd, monkeypatch):
    """Else its mean would be over other seeds than the accuracy beside it."""
    reasons = iter(["", "too few words", ""])
    monkeypatch.setattr("probing.evaluation.planning.unsuited", lambda task, kind: next(reasons) if kind == "word" else "")
    settings = Request(LogisticPath(), layers=(1,), poolings=("mean",), floors=(), seeds=(0, 1, 2), train_size=300)
    rows = [cell.row for cell in plan([zipf], [toy_encoder], settings)]
    assert sorted((row.control, row.seed) for row in rows if row.control) == [("permuted", seed) for seed in (0, 1, 2)]
    assert capfd.readouterr().err.count(f"{zipf.name}: the control word is not measured: too few words") == 1


def chosen_by_hand(texts, n_classes):
    """The greedy choice as its description has it, word by word."""
    bags = [set(text.split()) for text in texts]
    held = {word: sum(word in bag for bag in bags) for bag in bags for word in bag}
    chosen, most = [], min(SHARE, 1 / n_classes) * len(texts)
    while True:
        fresh = dict.fromkeys(held, 0)
        for bag in bags:
            if not bag & set(chosen):
                for word in bag:
                    fresh[word] += 1
        allowed = [word for word in sorted(fresh) if MINIMUM <= fresh[word] <= most]
        if not allowed:
            return chosen
        chosen.append(max(allowed, key=lambda word: fresh[word] / (held[word] + len(texts) / 1000)))


@pytest.mark.parametrize("n_classes", [2, 30])
def test_deciding_words_are_the_greedy_choice(zipf, n_classes):
    words = deciding_words(zipf.train.texts, n_classes)
    assert list(words) == chosen_by_hand(zipf.train.texts, n_classes) and len(words) > 10


def test_word_labels_hang_on_one_word_of_the_sentence(zipf):
    """The first of the list that it holds, in every split; labels of types differ by seed, the deciding words do not."""
    words = deciding_words(zipf.train.texts, 3)
    control, again, other = (control_task(zipf, "word", seed) for seed in (0, 0, 1))
    label_of: dict[str, int] = {}
    undecided = 0
    for split in control.splits.values():
        for text, label in zip(split.texts, split.labels, strict=True):
            word = next((word for word in words if word in text.split()), None)
            undecided += word is None
            assert label_of.setdefault(word, label) == label
    assert undecided < 0.02 * 1400 and {*label_of} <= {*words, None} and set(label_of.values()) == {0, 1, 2}
    np.testing.assert_array_equal(control.test.labels, again.test.labels)
    assert (control.train.labels != other.train.labels).mean() > 0.3


def test_word_labels_do_not_read_the_order_of_words_or_sentences(zipf):
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(zipf.train))
    texts = tuple(" ".join(rng.permutation(zipf.train.texts[i].split())) for i in rows)
    other = control_task(replace(zipf, train=Split(texts, zipf.train.labels[rows])), "word", 0)
    control = control_task(zipf, "word", 0)
    np.testing.assert_array_equal(other.train.labels, control.train.labels[rows])
    np.testing.assert_array_equal(other.test.labels, control.test.labels)


@pytest.mark.parametrize("seed", range(5))
def test_word_labels_have_the_tasks_histogram(zipf, seed):
    drawn, true = (np.bincount(split.labels, minlength=3) / 800 for split in (control_task(zipf, "word", seed).train, zipf.train))
    np.testing.assert_allclose(drawn, true, atol=MINIMUM / 800)


def test_the_ceilings_know_words_and_nothing_else(zipf):
    """The look-up is right wherever the deciding word stands in train; the bag beats its floor; neither depends on the order."""
    control = control_task(zipf, "word", 0)
    dev, test = CEILINGS["word look-up"](control)
    np.testing.assert_array_equal(dev, control.dev.labels)
    np.testing.assert_array_equal(test, control.test.labels)
    bag = (CEILINGS["word bag"](control)[1] == control.test.labels).mean()
    assert 0.8 < bag < 1
    noise = (CEILINGS["word bag"](zipf)[1] == zipf.test.labels).mean()
    assert noise < 0.6, "the labels of this task are not in its words"


def test_a_word_without_train_sentences_gets_the_majority_label(zipf):
    control = control_task(zipf, "word", 0)
    fresh = replace(control, test=Split(("nobody knows these words",), np.array([0])))
    marked = replace(fresh, train=Split(fresh.train.texts, np.where(fresh.train.labels == 2, 2, 1)))
    assert CEILINGS["word look-up"](marked)[1] == np.bincount(marked.train.labels).argmax()


def test_where_train_decides_every_sentence_an_unknown_one_gets_the_majority_label(zipf):
    """No train sentence without a deciding word shows a label for those, and class 0 is not the most frequent one."""
    texts = tuple(f"w{k} once-{k}-{i}" for k in range(40) for i in range(MINIMUM))
    train = Split(texts, np.repeat(np.arange(40) > 0, MINIMUM).astype(np.int64))
    control = replace(zipf, train=train, test=Split(("nobody knows these words",), np.array([0])))
    assert set(deciding_words(texts, len(control.classes))) == {f"w{k}" for k in range(40)}
    assert CEILINGS["word look-up"](control)[1] == 1


def test_too_few_words_for_the_classes_leave_the_control_out(zipf, task, tmp_path, capfd, toy_encoder):
    """The plan has no cell of it and a line says why; `permuted` stays."""
    many = replace(zipf, classes=tuple(map(str, range(300))), name="many")
    assert not unsuited(zipf, "word") and not unsuited(many, "permuted")
    assert "too few for 300 classes (needed: 600 words, 90 %)" in unsuited(many, "word")
    assert "sentences are too few" in unsuited(task, "word")
    settings = Request(LogisticPath(), layers=(1,), poolings=("mean",), floors=(), seeds=(0, 1))
    rows = [cell.row for cell in plan([zipf, many], [toy_encoder], settings, Store(tmp_path / "store"))]
    kinds = {(row.task, row.role, row.control) for row in rows}
    ceilings = {(zipf.name, "control", "word"), (zipf.name, "ceiling", "word")}
    assert kinds == ceilings | {
        (name, role, kind) for name in (zipf.name, "many") for role, kind in (("probe", ""), ("control", "permuted"))
    }
    assert capfd.readouterr().err.count("many: the control word is not measured: ") == 1


def test_the_seed_and_the_version_of_a_control_are_in_the_keys_of_its_cells(zipf, toy_encoder, monkeypatch):
    def keys(seed):
        settings = Request(LogisticPath(), layers=(1,), poolings=("mean",), floors=(), seeds=(seed,))
        return {(c.row.role, c.row.control, c.row.encoder): c.key for c in plan([zipf], [toy_encoder], settings)}

    one, two = keys(0), keys(1)
    assert len(one) == 5 and {kind for kind in one if one[kind] == two[kind]} == {("probe", "", "toy")}
    monkeypatch.setitem(CONTROLS, "word", CONTROLS["word"]._replace(version=99))
    assert {kind for kind, key in keys(0).items() if key != one[kind]} == {kind for kind in one if kind[1] == "word"}


@pytest.mark.parametrize(
    ("kind", "d", "low", "high"),
    [
        ("target", 0, -0.05, 0.05), ("target", 200, -0.05, 0.05), ("frequent", 200, -0.05, 0.05), ("deciding", 0, -0.05, 0.05),
        ("linear", 64, 0.3, 1), ("noise", 64, -0.05, 0.05),
    ],
)  # fmt: skip
def test_selectivity_is_zero_for_memory_of_words_and_for_noise_and_high_for_a_signal(calibration, kind, d, low, high):
    """Mean of three runs: labels of word types and vectors that hold words; a linear signal beside the words; noise."""
    runs = calibration.selectivity(kind, d, runs=3)
    assert low < runs.selectivity.mean() < high
    np.testing.assert_allclose(runs.selectivity, runs.accuracy - runs.control_word)
    if kind in ("target", "deciding"):
        assert runs.accuracy.mean() > 0.7 > 0.6 > runs.control_permuted.mean()
    assert runs.ceiling_lookup.min() > 0.99 and runs.ceiling.min() > 0.8


def test_an_unknown_control_is_refused(task):
    with pytest.raises(ValueError, match="allowed: permuted, word"):
        control_task(task, "shuffled", 0)


def test_length_takes_more_classes_than_half_of_the_items_without_a_warning(tmp_path):
    from toys import write_task

    rows = [(split, f"w{k}", f"{split} w{k}" + " x" * k) for split in ("tr", "va", "te") for k in range(30)]
    write_task(tmp_path / "word_content.txt", rows)
    assert len(FLOORS["length"](load("word_content", tmp_path))[1]) == 30
