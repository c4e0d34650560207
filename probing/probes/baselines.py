"""Baselines that read the text and no encoder, those of Conneau et al. (2018): a probe must beat them before its accuracy says
anything about an encoder. Two further floors, random weights and layer 0, are in `probing.evaluation.request`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.data.task import Task
from probing.types import Labels


def majority(task: Task) -> tuple[Labels, Labels]:
    """Predict the most frequent train class (of equally frequent ones the first) for every dev and test sentence."""
    top = np.bincount(task.train.labels).argmax()
    return np.full(len(task.dev), top), np.full(len(task.test), top)


def length(task: Task) -> tuple[Labels, Labels]:
    """Multinomial logistic regression on the number of space-delimited tokens, nearly unregularised (C = 10,000)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=5000))
    model.fit(task.train.lengths[:, None], task.train.labels)
    return model.predict(task.dev.lengths[:, None]), model.predict(task.test.lengths[:, None])


def ngrams(n: int, task: Task) -> tuple[Labels, Labels]:
    """Multinomial naive Bayes (add-one) on tf-idf of 1- to n-grams of space-delimited tokens."""
    vectorizer = TfidfVectorizer(ngram_range=(1, n), token_pattern=r"\S+", lowercase=False)
    x = vectorizer.fit_transform(task.train.texts)
    dev, test = (vectorizer.transform(split.texts) for split in (task.dev, task.test))
    return naive_bayes(x, task.train.labels, dev), naive_bayes(x, task.train.labels, test)


def naive_bayes(x: csr_matrix, y: Labels, x_new: csr_matrix) -> Labels:
    """Return the predictions of `sklearn.naive_bayes.MultinomialNB(alpha=1)`, without its dense (classes, words) arrays.

    log p(w | k) = log(1 + N_kw) - log(N_k + V) is nonzero in its first part only where class k has word w.

    Args:
        x: tf-idf of the train sentences, (n, V).
        y: their class indices, (n,).
        x_new: tf-idf of other sentences, (m, V).
    """
    n_classes = int(y.max()) + 1
    member = csr_matrix((np.ones(len(y)), (y, np.arange(len(y)))), shape=(n_classes, len(y)))
    counts = (member @ x).tocsr()  # (classes, V)
    totals = np.asarray(counts.sum(1)).ravel() + x.shape[1]
    counts.data = np.log1p(counts.data)
    with np.errstate(divide="ignore"):
        prior = np.log(np.bincount(y, minlength=n_classes) / len(y))
    scores = (x_new @ counts.T).toarray() - np.outer(np.asarray(x_new.sum(1)).ravel(), np.log(totals)) + prior
    return scores.argmax(1)


FLOORS: dict[str, Callable[[Task], tuple[Labels, Labels]]] = {
    "majority": majority,
    "length": length,
    "nb-unigram": partial(ngrams, 1),
    "nb-bigram": partial(ngrams, 2),
}
"""Name -> function of a task to its dev and test predictions (class indices)."""
