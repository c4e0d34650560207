"""Floors and controls: what a number must beat before it says anything about an encoder.

Floors read the text, not the encoder (`FLOORS`): majority class, sentence length alone with a linear classifier, naive Bayes on
unigram and on unigram + bigram tf-idf (the baselines of Conneau et al. 2018). Controls keep the features and take the meaning
out of the labels (`control_labels`); selectivity is accuracy minus control accuracy (Hewitt & Liang 2019).

`permuted` shuffles the labels within each split, so that every split keeps its histogram. There is nothing to learn, and what a
probe scores above the majority rate is an error in the set-up. `word` gives every word type a label drawn from the train
histogram and every sentence the label of its rarest train word (of equal ones the first): learnable from word identity alone,
as in Hewitt & Liang, so that selectivity says how far the probe outruns the memory for words. On tasks whose classes are words
(WordContent) such a control would be the task itself under other names; `permuted` serves there.

Two further floors are encoders, and live in `probing.evaluation`: the same architecture with random weights, and the mean of the
layer-0 states (static vectors).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.probes.protocols import LabelSet
from probing.task import Task, lengths
from probing.types import Labels

CONTROL_VERSIONS = {"permuted": 1, "word": 1}
"""Part of a cell's key: raise one when the same task and seed would give other labels of that kind."""

CONTROLS = tuple(CONTROL_VERSIONS)


def majority(task: Task) -> tuple[Labels, Labels]:
    """The most frequent train class for every dev and test sentence (of equally frequent ones the first)."""
    top = np.bincount(task.train.labels).argmax()
    return np.full(len(task.dev), top), np.full(len(task.test), top)


def length(task: Task) -> tuple[Labels, Labels]:
    """Multinomial logistic regression on the number of space-delimited tokens, nearly unregularised (C = 10,000)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=5000))
    model.fit(lengths(task.train)[:, None], task.train.labels)
    return model.predict(lengths(task.dev)[:, None]), model.predict(lengths(task.test)[:, None])


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


def control_labels(task: Task, kind: str, seed: int) -> tuple[LabelSet, Labels]:
    """Control labels of train and dev, and of test.

    Args:
        kind: "permuted" or "word" (see the module's text).
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    if kind == "permuted":
        train, dev, test = (rng.permutation(split.labels) for split in task.splits.values())
    elif kind == "word":
        counts = Counter(word for text in task.train.texts for word in set(text.split()))
        types = sorted(counts)
        drawn = dict(zip(types, rng.choice(task.train.labels, size=len(types)), strict=True))
        fallback = int(np.bincount(task.train.labels).argmax())

        def labels(texts: tuple[str, ...]) -> Labels:
            rarest = (min((w for w in text.split() if w in counts), key=counts.__getitem__, default=None) for text in texts)
            return np.array([drawn.get(word, fallback) for word in rarest], dtype=np.int64)

        train, dev, test = (labels(split.texts) for split in task.splits.values())
    else:
        raise ValueError(f"unknown control {kind!r}; allowed: {', '.join(CONTROLS)}")
    return LabelSet(train, dev), test
