"""Floors: baselines that read the text and no encoder, those of Conneau et al. (2018), which a probe must beat before its score
says anything about an encoder. Of numbers and of sets of labels (`Task.kind`) they are the same ideas for these labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.data.split import Split
from probing.data.task import Task
from probing.probes.base import set_f1
from probing.probes.fitted import class_scores
from probing.types import Labels, Targets, Values

Scores = tuple[Values, Values]
"""Of dev and test: (n, K), of which the highest is the prediction."""

Predictions = tuple[Targets, Targets]
"""Of dev and test, each as the labels of the split."""

ALPHAS = (0.1, 1.0, 10.0, 100.0)
"""Penalties of ridge regression on words, chosen on dev."""


def majority(task: Task) -> Scores:
    """The shares of the classes in train: of equally frequent classes the first is predicted."""
    counts = np.bincount(task.train.labels, minlength=len(task.classes)).astype(float)
    return np.tile(counts, (len(task.dev), 1)), np.tile(counts, (len(task.test), 1))


def length(task: Task) -> Scores:
    """Multinomial logistic regression on the number of space-delimited tokens, nearly unregularised (C = 10,000)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=5000))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # of word content, on a sample
        model.fit(task.train.lengths[:, None], task.train.labels)
    dev, test = (class_scores(model, split.lengths[:, None], len(task.classes)) for split in (task.dev, task.test))
    return dev, test


def ngrams(n: int, task: Task) -> Scores:
    """Multinomial naive Bayes (add-one) on tf-idf of 1- to n-grams of space-delimited tokens."""
    train, dev, test = _tf_idf(n, task)
    return naive_bayes(train, task.train.labels, dev), naive_bayes(train, task.train.labels, test)


def _tf_idf(n: int, task: Task) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    vectorizer = TfidfVectorizer(ngram_range=(1, n), token_pattern=r"\S+", lowercase=False)
    return vectorizer.fit_transform(task.train.texts), *(vectorizer.transform(split.texts) for split in (task.dev, task.test))


def naive_bayes(x: csr_matrix, y: Labels, x_new: csr_matrix) -> Values:
    """Return the logarithms of the probabilities, (m, K), of `sklearn.naive_bayes.MultinomialNB(alpha=1)`, fitted on tf-idf x
    (n, V) and class indices y, for x_new (m, V), without its dense (classes, words) arrays: log p(w | k) = log(1 + N_kw) -
    log(N_k + V) is nonzero in its first part only where class k has word w."""
    n_classes = int(y.max()) + 1
    member = csr_matrix((np.ones(len(y)), (y, np.arange(len(y)))), shape=(n_classes, len(y)))
    counts = (member @ x).tocsr()  # (classes, V)
    totals = np.asarray(counts.sum(1)).ravel() + x.shape[1]
    counts.data = np.log1p(counts.data)
    with np.errstate(divide="ignore"):
        prior = np.log(np.bincount(y, minlength=n_classes) / len(y))
    joint = (x_new @ counts.T).toarray() - np.outer(np.asarray(x_new.sum(1)).ravel(), np.log(totals)) + prior
    return log_softmax(joint, axis=1)


SCORES: dict[str, Callable[[Task], Scores]] = {
    "majority": majority,
    "length": length,
    "nb-unigram": partial(ngrams, 1),
    "nb-bigram": partial(ngrams, 2),
}
"""Name -> function of a task with classes to the scores of them."""


def _highest(name: str, task: Task) -> tuple[Labels, Labels]:
    dev, test = SCORES[name](task)
    return dev.argmax(1), test.argmax(1)


FLOORS: dict[str, Callable[[Task], Predictions]] = {name: partial(_highest, name) for name in SCORES}
"""Name -> function of a task with classes to its dev and test predictions (class indices)."""


def constant(task: Task) -> Any:
    """The best constant prediction of the train split: the most frequent class (of equally frequent ones the first), the mean
    number, or of the sets that hold the k most frequent labels the one with the highest mean F1."""
    return constant_of(task.train.labels, task.kind)


def constant_of(y: Targets, kind: str) -> Any:
    """The best constant prediction of labels of a kind: see `constant`."""
    if kind == "regression":
        return np.asarray(y.mean())
    if kind == "classification":
        return np.asarray(np.bincount(y).argmax())
    return best_set(y)


def best_set(y: Labels) -> Labels:
    """The set, (K,), with the highest mean F1 against y, (n, K), of those that hold the k most frequent labels."""
    order = np.argsort(-y.sum(0), kind="stable")
    sets = np.tri(y.shape[1] + 1, y.shape[1], -1, dtype=np.int64)[:, np.argsort(order)]
    return sets[np.argmax([set_f1(y, np.broadcast_to(own, y.shape)).mean() for own in sets])]


def constant_score(gold: Targets, own: Any) -> float:
    """The score of a constant prediction: the share of a class, the mean F1 of a set, and of numbers 0 (R² of the mean)."""
    if gold.dtype.kind == "f":
        return 0.0
    return float((gold == own).mean() if gold.ndim == 1 else set_f1(gold, np.broadcast_to(own, gold.shape)).mean())


def _same(task: Task) -> Predictions:
    own = constant(task)
    return np.repeat(own[None], len(task.dev), axis=0), np.repeat(own[None], len(task.test), axis=0)


def label_by_label(task: Task, fit: Callable[[Labels, Labels], tuple[Labels, Labels]]) -> Predictions:
    """A classifier for each label of a set: `fit` gets its train and dev column, (n,), and gives its dev and test predictions."""
    columns = []
    for y, y_dev in zip(task.train.labels.T, task.dev.labels.T, strict=True):
        alone = len(np.unique(y)) < 2  # a label that no sentence of train has, or that all have
        columns.append((np.full(len(task.dev), y[0]), np.full(len(task.test), y[0])) if alone else fit(y, y_dev))
    dev, test = (np.stack(own, 1) for own in zip(*columns, strict=True))
    return dev, test


def linear_on(train: Any, dev: Any, test: Any, task: Task) -> tuple[Values, Values]:
    """Ridge regression on features of the text, (n, V); of `ALPHAS` the best on dev."""
    models = [Ridge(alpha=alpha).fit(train, task.train.labels) for alpha in ALPHAS]
    best = min(models, key=lambda model: float(((model.predict(dev) - task.dev.labels) ** 2).sum()))
    return best.predict(dev), best.predict(test)


def _numbers_by_length(task: Task) -> Predictions:
    """Linear regression on the number of space-delimited tokens."""
    model = LinearRegression().fit(task.train.lengths[:, None], task.train.labels)
    return model.predict(task.dev.lengths[:, None]), model.predict(task.test.lengths[:, None])


def _sets_by_length(task: Task) -> Predictions:
    def fit(y: Labels, _: Labels) -> tuple[Labels, Labels]:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=5000)).fit(task.train.lengths[:, None], y)
        return model.predict(task.dev.lengths[:, None]), model.predict(task.test.lengths[:, None])

    return label_by_label(task, fit)


def _sets_by_ngrams(n: int, task: Task) -> Predictions:
    train, dev, test = _tf_idf(n, task)
    return label_by_label(task, lambda y, _: (naive_bayes(train, y, dev).argmax(1), naive_bayes(train, y, test).argmax(1)))


_OTHER: dict[str, dict[str, tuple[str, Callable[[Task], Predictions]]]] = {
    "regression": {
        "majority": ("mean", _same),
        "length": ("length", _numbers_by_length),
        "nb-unigram": ("ridge-unigram", lambda task: linear_on(*_tf_idf(1, task), task)),
        "nb-bigram": ("ridge-bigram", lambda task: linear_on(*_tf_idf(2, task), task)),
    },
    "multilabel": {
        "majority": ("constant set", _same),
        "length": ("length", _sets_by_length),
        "nb-unigram": ("nb-unigram", partial(_sets_by_ngrams, 1)),
        "nb-bigram": ("nb-bigram", partial(_sets_by_ngrams, 2)),
    },
}
"""Kind of labels -> name of a floor -> its name in tables, and its function."""


def by_type(neighbours: bool, task: Task) -> Predictions:
    """Of words: the most frequent label in train of the word type, with letter case (ties: the first class), or the mean number; of
    types that train lacks that of all words. With neighbours: of the word and the word before it, or of a pair the words of both
    spans; where train lacks these, of the type alone."""

    def keys(split: Split) -> list[list[Any]]:
        types = list(split.units)
        return [[(a, b) for a, b in zip(types, split.beside, strict=True)], types] if neighbours else [types]

    levels = []
    for own in keys(task.train):
        rows: dict[Any, list[int]] = {}
        for row, key in enumerate(own):
            rows.setdefault(key, []).append(row)
        levels.append({key: constant_of(task.train.labels[which], task.kind) for key, which in rows.items()})
    usual = constant(task)

    def label(*own: Any) -> Any:
        return next((level[key] for level, key in zip(levels, own, strict=True) if key in level), usual)

    dev, test = (np.array([label(*own) for own in zip(*keys(split), strict=True)]) for split in (task.dev, task.test))
    return dev, test


_OF_WORDS: dict[str, tuple[str, Callable[[Task], Predictions]]] = {
    "nb-unigram": ("word type", partial(by_type, False)),
    "nb-bigram": ("word and neighbour", partial(by_type, True)),
}
"""As `_OTHER`, for a task whose items are words, beside the constant, which sets of labels have alone."""


def _shown(task: Task) -> Mapping[str, tuple[str, Callable[[Task], Predictions]]]:
    if not task.of_words:
        return {name: (name, own) for name, own in FLOORS.items()} if task.kind == "classification" else _OTHER[task.kind]
    usual = {"majority": (_OTHER[task.kind]["majority"][0] if task.kind in _OTHER else "majority", _same)}
    return usual if task.kind == "multilabel" else usual | _OF_WORDS


def shown_as(name: str, task: Task) -> str:
    """The name in tables of a floor for a task; empty if it has none for its labels (a registered one reads classes)."""
    return _shown(task).get(name, ("",))[0]


def predict(shown: str, task: Task) -> Predictions:
    """The predictions of a floor by its name in tables."""
    return {title: function for title, function in _shown(task).values()}[shown](task)
