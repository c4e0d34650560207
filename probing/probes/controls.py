"""Floors, control tasks and their ceilings: what a number must beat before it says anything about an encoder.

Floors (`FLOORS`) read the text, not the encoder: majority class, sentence length alone with a linear classifier, naive Bayes on
unigram and on unigram + bigram tf-idf (the baselines of Conneau et al. 2018). Control tasks (`control_task`) keep the sentences
and replace the labels of all splits.

`permuted` shuffles the labels within each split, so that every split keeps its histogram. There is nothing to learn: a probe that
scores above the majority rate on such test labels has seen them, which is an error in the set-up. This is a leak check; it says
nothing about memorising.

`word` is a control task in the sense of Hewitt & Liang (2019): the label of a sentence is a random label of one of its words, so
that it can be learned by remembering words, and by that alone. Selectivity is accuracy minus accuracy on this control task. Their
tasks label words; here a sentence has one deciding word, of a list chosen on the train sentences alone (`deciding_words`): words
with at least `MINIMUM` train sentences to learn them from, that share few sentences with one another, so that a linear probe of a
bag of words can represent the rule. Each word draws a label, so that sentences have the task's label histogram.

Ceilings (`CEILINGS`) are what knowing the words alone reaches on the control task. A look-up of the deciding word reaches 100 %,
since each decides train sentences. Logistic regression on the bag of words reaches 92 to 95 % on five two-class tasks of English
Wikipedia (14,000 train sentences of Ravishankar et al. 2019; 190 to 267 deciding words) and 88 to 92 % on two of five and six
classes (7,000; 148 and 165). Below `LOW_CEILING` the control is hard to learn, and selectivity may be too large.

Two further floors are encoders, and live in `probing.evaluation.evaluate`: the same architecture with random weights, and the mean
of the layer-0 states (static vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.data.task import Split, Task
from probing.probes.senteval import liblinear
from probing.types import Labels

CONTROL_VERSIONS = {"permuted": 1, "word": 2}
"""Part of a cell's key: raise one when the same task and seed would give other labels of that kind."""

CONTROLS = tuple(CONTROL_VERSIONS)

MINIMUM = 10
"""Train sentences that a word decides at least, so that its label can be learned."""

SHARE = 0.05
"""Share of the train sentences that a word decides at most, and 1 / K of K classes where that is less."""

DECIDED = 0.9
"""Share of the train sentences that must have a deciding word."""

LOW_CEILING = 0.9
"""A bag-of-words ceiling below this is marked in tables."""

LEAK_ALPHA = 0.001
"""A table whose permuted labels are scored above the majority rate at this level is marked: it is called wrong, so chance must not
do it."""


def majority(task: Task) -> tuple[Labels, Labels]:
    """The most frequent train class for every dev and test sentence (of equally frequent ones the first)."""
    top = np.bincount(task.train.labels).argmax()
    return np.full(len(task.dev), top), np.full(len(task.test), top)


def length(task: Task) -> tuple[Labels, Labels]:
    """Multinomial logistic regression on the number of space-delimited tokens, nearly unregularised (C = 10,000)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=5000))
    model.fit(task.train.lengths[:, None], task.train.labels)
    return model.predict(task.dev.lengths[:, None]), model.predict(task.test.lengths[:, None])


def _naive_bayes(n: int) -> Callable[[Task], tuple[Labels, Labels]]:
    def floor(task: Task) -> tuple[Labels, Labels]:
        words = TfidfVectorizer(ngram_range=(1, n), token_pattern=r"\S+", lowercase=False)
        x = words.fit_transform(task.train.texts)
        dev, test = (words.transform(split.texts) for split in (task.dev, task.test))
        return naive_bayes(x, task.train.labels, dev), naive_bayes(x, task.train.labels, test)

    floor.__doc__ = f"Multinomial naive Bayes (add-one) on tf-idf of 1- to {n}-grams of space-delimited tokens."
    return floor


def naive_bayes(x: csr_matrix, y: Labels, fresh: csr_matrix) -> Labels:
    """Predictions of `sklearn.naive_bayes.MultinomialNB(alpha=1)`, without its dense (classes, words) arrays.

    log p(w | k) = log(1 + N_kw) - log(N_k + V) is nonzero in its first part only where class k has word w: with 1,000 classes
    and 10^5 bigrams the dense arrays take gigabytes, the sparse ones megabytes.

    Args:
        x: tf-idf of the train sentences, (n, V); y: their class indices; fresh: tf-idf of others, (m, V).
    """
    n_classes = int(y.max()) + 1
    member = csr_matrix((np.ones(len(y)), (y, np.arange(len(y)))), shape=(n_classes, len(y)))
    counts = (member @ x).tocsr()  # (classes, V)
    totals = np.asarray(counts.sum(1)).ravel() + x.shape[1]
    counts.data = np.log1p(counts.data)
    with np.errstate(divide="ignore"):
        prior = np.log(np.bincount(y, minlength=n_classes) / len(y))
    scores = (fresh @ counts.T).toarray() - np.outer(np.asarray(fresh.sum(1)).ravel(), np.log(totals)) + prior
    return scores.argmax(1)


FLOORS: dict[str, Callable[[Task], tuple[Labels, Labels]]] = {
    "majority": majority,
    "length": length,
    "nb-unigram": _naive_bayes(1),
    "nb-bigram": _naive_bayes(2),
}
"""Name -> function of a task to its dev and test predictions (class indices)."""


def control_task(task: Task, kind: str, seed: int) -> Task:
    """The task with control labels in every split.

    Args:
        kind: "permuted" or "word" (see the module's text); not of a cross-validated task, but of each of its folds.
        seed: of the draw. The deciding words do not depend on it.
    """
    rng = np.random.default_rng(seed)
    if kind == "permuted":
        labels = [rng.permutation(split.labels) for split in task.splits.values()]
    elif kind == "word":
        words = deciding_words(task.train.texts, len(task.classes))
        decided = [_decided(split.texts, words) for split in task.splits.values()]
        sizes = np.bincount(decided[0], minlength=len(words) + 1)
        drawn = _drawn(sizes, np.bincount(task.train.labels, minlength=len(task.classes)), rng)
        labels = [drawn[word] for word in decided]
    else:
        raise ValueError(f"unknown control {kind!r}; allowed: {', '.join(CONTROLS)}")
    splits = {name: Split(split.texts, own) for (name, split), own in zip(task.splits.items(), labels, strict=True)}
    return replace(task, **splits)


def unsuited(task: Task, kind: str) -> str:
    """Why the task cannot have this control, as a clause; empty where it can."""
    if kind != "word":
        return ""
    needed = max(20, 2 * len(task.classes))
    for part in task.parts:
        words = deciding_words(part.train.texts, len(task.classes))
        share = float((_decided(part.train.texts, words) < len(words)).mean())
        if len(words) < needed or share < DECIDED:
            return (
                f"{len(words)} words that decide {100 * share:.0f} % of its {len(part.train)} train sentences are too few for "
                f"{len(task.classes)} classes (needed: {needed} words, {100 * DECIDED:.0f} %)"
            )
    return ""


@lru_cache(64)
def deciding_words(texts: tuple[str, ...], n_classes: int) -> tuple[str, ...]:
    """The words that decide control labels: of those in a sentence the first of this list does.

    Greedy, as for a set cover: the next word is the one with the largest share of sentences that hold no word chosen before, of
    words with at least `MINIMUM` and at most `SHARE` of such sentences. The share is fresh / (all + n / 1000), so that of rare
    words with equal shares the more frequent is chosen; ties go by the alphabet. Neither the order of words nor that of sentences
    matters.

    Args:
        texts: the n train sentences.
    """
    counter = CountVectorizer(binary=True, token_pattern=r"\S+", lowercase=False, dtype=np.float32)
    holds = counter.fit_transform(texts).T.tocsr()  # (words, n)
    frequent = np.flatnonzero(np.diff(holds.indptr) >= MINIMUM)
    holds, words = holds[frequent], counter.get_feature_names_out()[frequent]
    shrunk = np.diff(holds.indptr) + len(texts) / 1000
    undecided, chosen = np.ones(len(texts), dtype=np.float32), []
    while True:
        fresh = holds @ undecided
        allowed = (fresh >= MINIMUM) & (fresh <= min(SHARE, 1 / n_classes) * len(texts))
        if not allowed.any():
            return tuple(chosen)
        best = int(np.where(allowed, fresh / shrunk, -1).argmax())
        chosen.append(str(words[best]))
        undecided[holds.indices[holds.indptr[best] : holds.indptr[best + 1]]] = 0


def _decided(texts: Sequence[str], words: Sequence[str]) -> Labels:
    """The number of each sentence's deciding word; of sentences without one `len(words)`."""
    number = {word: k for k, word in enumerate(words)}
    return np.array([min((number.get(word, len(words)) for word in text.split()), default=len(words)) for text in texts])


def _drawn(sizes: Labels, counts: Labels, rng: np.random.Generator) -> Labels:
    """A label for each word, so that labels of sentences have the histogram `counts`.

    From the largest word to the smallest: a class is drawn in proportion to what is left of its quota, among the classes with room
    for the word; where none has, the one with most left.

    Args:
        sizes: train sentences that each word decides.
        counts: train sentences of each class of the task.
    """
    left = counts * (sizes.sum() / counts.sum())
    drawn = np.zeros(len(sizes), dtype=np.int64)
    for word in np.argsort(-sizes, kind="stable"):
        room = np.where(left >= sizes[word], left, 0)
        drawn[word] = rng.choice(len(left), p=room / room.sum()) if room.any() else left.argmax()
        left[drawn[word]] -= sizes[word]
    return drawn


def look_up(control: Task) -> tuple[Labels, Labels]:
    """For every dev and test sentence of a `word` control the label that train shows for its deciding word, else majority."""
    words = deciding_words(control.train.texts, len(control.classes))
    shown = np.full(len(words) + 1, np.bincount(control.train.labels).argmax())
    shown[_decided(control.train.texts, words)] = control.train.labels  # one label for each word
    return shown[_decided(control.dev.texts, words)], shown[_decided(control.test.texts, words)]


def bag_of_words(control: Task) -> tuple[Labels, Labels]:
    """L2 logistic regression, one-vs-rest, on which words of at least `MINIMUM` train sentences occur; C = 1, 10, 100 on dev."""
    counter = CountVectorizer(binary=True, token_pattern=r"\S+", lowercase=False, min_df=MINIMUM)
    train = counter.fit_transform(control.train.texts)
    dev, test = (counter.transform(split.texts) for split in (control.dev, control.test))
    models = [liblinear(C, 1000, len(control.classes)).fit(train, control.train.labels) for C in (1, 10, 100)]
    best = max(models, key=lambda model: (model.predict(dev) == control.dev.labels).sum())
    return best.predict(dev), best.predict(test)


CEILINGS: dict[str, Callable[[Task], tuple[Labels, Labels]]] = {"word look-up": look_up, "word bag": bag_of_words}
"""Name -> function of a `word` control task to its dev and test predictions (class indices)."""
