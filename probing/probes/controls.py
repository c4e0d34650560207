"""Control tasks, which keep the sentences and replace the labels of all splits; and their ceilings, which read the text alone.

`permuted` shuffles the labels within each split: a leak check. A sentence that occurs in several splits (`word_form`) has one
shuffled label in all of them. A probe that scores above the majority rate on such test labels has seen them: a copy of the
sentence in train or dev, or an error in the set-up. Near-copies with other words have labels of their own, and stay unseen.

`word` is a control task in the sense of Hewitt & Liang (2019): the label of a sentence is a random label of one of its words,
so that it can be learned by remembering words, and in no other way. Their tasks label words; here each sentence has one
deciding word, of a list chosen on the train sentences alone (`deciding_words`). Selectivity is the score minus the score on this
task. `CEILINGS` reach on it the score of knowing the words alone; below `LOW_CEILING` it is hard to learn, and selectivity may be
too large. Numbers and sets of labels are those of a train sentence that is drawn for each word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from probing.data.task import Task
from probing.probes.floors import by_type, constant, label_by_label, linear_on
from probing.probes.senteval import logistic
from probing.types import Labels, Targets

MINIMUM = 10
"""Train sentences that a word decides at least, so that its label can be learned."""

SHARE = 0.05
"""Share of the train sentences that a word decides at most, and 1 / K of K classes where that is less."""

DECIDED = 0.9
"""Share of the train sentences that must have a deciding word."""

LOW_CEILING = 0.9
"""A bag-of-words ceiling below this is marked in tables."""

LEAK_ALPHA = 0.001
"""A table is marked as wrong if permuted labels are scored above the majority rate at this level; chance must not cause it."""


def control_task(task: Task, kind: str, seed: int) -> Task:
    """Return the task with control labels of a kind in every split, drawn by the seed; of a cross-validated task call it for each
    fold."""
    if kind not in CONTROLS:
        raise ValueError(f"unknown control {kind!r}; allowed: {', '.join(CONTROLS)}")
    drawn = zip(task.splits.items(), CONTROLS[kind].labels(task, seed), strict=True)
    splits = {name: replace(split, labels=y) for (name, split), y in drawn}
    return replace(task, train=splits["train"], dev=splits["dev"], test=splits["test"])


def unsuited(task: Task, kind: str) -> str:
    """Return why the task cannot have this control, as a clause; empty if it can."""
    return CONTROLS[kind].unsuited(task)


def control_version(task: Task, kind: str) -> int:
    """Return the part of a cell's key that says which labels the kind draws for this task."""
    return CONTROLS[kind].version + CONTROLS[kind].later(task)


def _shuffled(task: Task, seed: int) -> list[Labels]:
    rng = np.random.default_rng(seed)
    labels = [rng.permutation(split.labels) for split in task.splits.values()]
    label_of: dict[str, Any] = {}
    for split, drawn in zip(task.splits.values(), labels, strict=True) if task.shared_forms else ():
        for row, form in enumerate(split.forms):
            if form in task.shared_forms:
                drawn[row] = label_of.setdefault(form, drawn[row].copy())
    return labels


def _sentences_in_several_splits(task: Task) -> bool:
    return any(part.shared_forms for part in task.parts)


def _by_word(task: Task, seed: int) -> list[Targets]:
    if task.of_words:
        return labels_of_types(task, seed)
    rng = np.random.default_rng(seed)
    words = deciding_words(task.train.texts, _n_classes(task))
    word_of = [_deciding_word(split.texts, words) for split in task.splits.values()]
    if task.kind != "classification":
        own = task.train.labels[rng.integers(len(task.train), size=len(words) + 1)]
        return [own[word] for word in word_of]
    sizes = np.bincount(word_of[0], minlength=len(words) + 1)
    label_of = _draw_labels(sizes, np.bincount(task.train.labels, minlength=len(task.classes)), rng)
    return [label_of[word] for word in word_of]


def _n_classes(task: Task) -> int:
    """The number of classes; of other labels one that leaves `deciding_words` its smallest share."""
    return len(task.classes) if task.kind == "classification" else 2


def labels_of_types(task: Task, seed: int) -> list[Targets]:
    """Control labels of words (Hewitt & Liang 2019, as released): every word type of train, dev and test, with letter case, draws
    one label from the shares of the labels in train, types in an order that is drawn first, both by numpy's legacy generator. The
    type of a span or a pair is that of the words of its first span."""
    types = list(dict.fromkeys(word for split in task.splits.values() for word in split.units))
    if task.kind == "classification":
        own, shares = np.arange(len(task.classes)), np.bincount(task.train.labels, minlength=len(task.classes)) / len(task.train)
    else:
        own, shares = np.arange(len(task.train)), None
    drawn = types_drawn(types, len(own), shares, seed)
    values = own if task.kind == "classification" else task.train.labels
    return [values[np.array([drawn[word] for word in split.units])] for split in task.splits.values()]


def types_drawn(types: Sequence[str], n: int, shares: np.ndarray | None, seed: int) -> dict[str, int]:
    """A number below n for each word type, by their shares (None: equal ones)."""
    legacy, order = np.random.RandomState(seed), list(types)
    legacy.shuffle(order)
    return {word: int(legacy.choice(n, p=shares)) for word in order}


def _too_few_words(task: Task) -> str:
    if task.of_words:
        types, needed = len(set(task.train.units)), max(20, 2 * _n_classes(task))
        return "" if types >= needed else f"its train items are of {types} word types (needed: {needed})"
    n_classes = _n_classes(task)
    needed = max(20, 2 * n_classes)
    for part in task.parts:
        words = deciding_words(part.train.texts, n_classes)
        share = float((_deciding_word(part.train.texts, words) < len(words)).mean())
        if len(words) < needed or share < DECIDED:
            of = f"{n_classes} classes" if task.kind == "classification" else "its labels"
            return (
                f"{len(words)} words that decide {100 * share:.0f} % of its {len(part.train)} train sentences are too few for {of} "
                f"(needed: {needed} words, {100 * DECIDED:.0f} %)"
            )
    return ""


@lru_cache(64)
def deciding_words(texts: tuple[str, ...], n_classes: int) -> tuple[str, ...]:
    """Return the words that decide control labels, from train sentences; the first of them that a sentence holds decides its
    label. Greedy, as for a set cover: the next word is the one with the largest share of sentences that hold no word chosen
    before, of words with at least `MINIMUM` and at most `SHARE` of such sentences. The share is undecided / (all + n / 1000),
    so that of rare words with equal shares the more frequent is chosen; ties go by the alphabet.
    """
    counter = CountVectorizer(binary=True, token_pattern=r"\S+", lowercase=False, dtype=np.float32)
    holds = counter.fit_transform(texts).T.tocsr()  # (words, n)
    frequent = np.flatnonzero(np.diff(holds.indptr) >= MINIMUM)
    holds, words = holds[frequent], counter.get_feature_names_out()[frequent]
    shrunk = np.diff(holds.indptr) + len(texts) / 1000
    undecided = np.ones(len(texts), dtype=np.float32)
    chosen: list[str] = []
    while True:
        gain = holds @ undecided
        allowed = (gain >= MINIMUM) & (gain <= min(SHARE, 1 / n_classes) * len(texts))
        if not allowed.any():
            return tuple(chosen)
        best = int(np.where(allowed, gain / shrunk, -1).argmax())
        chosen.append(str(words[best]))
        undecided[holds.indices[holds.indptr[best] : holds.indptr[best + 1]]] = 0


def _deciding_word(texts: Sequence[str], words: Sequence[str]) -> Labels:
    """Return the index of each sentence's deciding word, `len(words)` for sentences without one."""
    number = {word: k for k, word in enumerate(words)}
    return np.array([min((number.get(word, len(words)) for word in text.split()), default=len(words)) for text in texts])


def _draw_labels(sizes: Labels, counts: Labels, rng: np.random.Generator) -> Labels:
    """Draw a label for each word, so that labels of sentences have the histogram `counts` of the classes: from the largest word
    to the smallest (`sizes`: train sentences that it decides), in proportion to the rest of the classes' quotas, among the
    classes with room for the word; if none has room, the one with the largest rest."""
    quota = counts * (sizes.sum() / counts.sum())
    labels = np.zeros(len(sizes), dtype=np.int64)
    for word in np.argsort(-sizes, kind="stable"):
        room = np.where(quota >= sizes[word], quota, 0)
        labels[word] = rng.choice(len(quota), p=room / room.sum()) if room.any() else quota.argmax()
        quota[labels[word]] -= sizes[word]
    return labels


class Control(NamedTuple):
    """A kind of control task: a function of a task and the seed of the draw to the labels of its splits, in their order; see
    `unsuited` for the next. Raise `version`, part of a cell's key, when the same task and seed would give other labels; `later`:
    whether a task has the labels of the next version already, so that only its cells are measured again."""

    version: int
    labels: Callable[[Task, int], Sequence[Targets]]
    unsuited: Callable[[Task], str] = lambda task: ""
    later: Callable[[Task], bool] = lambda task: False


CONTROLS = {"permuted": Control(1, _shuffled, later=_sentences_in_several_splits), "word": Control(2, _by_word, _too_few_words)}
"""To add a kind, write a function of its labels and name it in this dict."""


def look_up(control: Task) -> tuple[Targets, Targets]:
    """Predict for dev and test sentences of a `word` control the train label of their deciding word, else the best constant; for
    words the train label of their type."""
    if control.of_words:
        return by_type(False, control)
    words = deciding_words(control.train.texts, _n_classes(control))
    label_of = np.repeat(constant(control)[None], len(words) + 1, axis=0)
    label_of[_deciding_word(control.train.texts, words)] = control.train.labels  # one label for each word
    return label_of[_deciding_word(control.dev.texts, words)], label_of[_deciding_word(control.test.texts, words)]


def bag_of_words(control: Task) -> tuple[Targets, Targets]:
    """L2 logistic regression, one-vs-rest, on which words of at least `MINIMUM` train sentences occur; C = 1, 10, 100 on dev. Of
    numbers ridge regression (`linear_on`)."""
    counter = CountVectorizer(binary=True, token_pattern=r"\S+", lowercase=False, min_df=MINIMUM)
    train = counter.fit_transform(control.train.texts)
    dev, test = (counter.transform(split.texts) for split in (control.dev, control.test))
    if control.kind == "regression":
        return linear_on(train, dev, test, control)
    if control.kind == "multilabel":
        return label_by_label(control, lambda y, y_dev: _best_logistic(train, y, dev, y_dev, test, 2))
    return _best_logistic(train, control.train.labels, dev, control.dev.labels, test, len(control.classes))


def _best_logistic(
    train: csr_matrix, y: Labels, dev: csr_matrix, y_dev: Labels, test: csr_matrix, n_classes: int
) -> tuple[Labels, Labels]:
    models = [logistic("liblinear", C, 1000, n_classes).fit(train, y) for C in (1, 10, 100)]
    best = max(models, key=lambda model: (model.predict(dev) == y_dev).sum())
    return best.predict(dev), best.predict(test)


def ceilings_of(task: Task) -> tuple[str, ...]:
    """The ceilings that a task has: of words the look-up of their types alone."""
    return ("word look-up",) if task.of_words else tuple(CEILINGS)


CEILINGS: dict[str, Callable[[Task], tuple[Targets, Targets]]] = {"word look-up": look_up, "word bag": bag_of_words}
"""Name -> function of a `word` control task to its dev and test predictions."""
