"""Checks that a built task has no leaks: shared sentences or forms, and labels that word counts or length predict.

No sentence in two splits and no group of a task that is split by form in two splits (`shared`); a bag of words, which
sees neither order nor the corpus' own statistics, at chance on bigram shift, coordination inversion and odd man out
(`bag_of_words`: naive Bayes on unigram tf-idf, the floor of Conneau et al. 2018); length alone no better than the
largest class on tree depth (`length_alone`: logistic regression on the number of tokens and its square). Classifiers
have the library's defaults, are fitted on tr and scored on va and te together; intervals are Wilson's, 95 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.data.builders.sampling import Row
from probing.data.readers.files import read_text
from probing.data.readers.formats import SPLITS, read_senteval
from probing.evaluation.statistics import wilson
from probing.types import Estimate

CODES = {name: code for code, name in SPLITS.items()}


def read_rows(path: Path) -> list[Row]:
    """The rows of a task's file, with the groups that stand beside it."""
    lines, beside = list(read_senteval(path)), path.with_suffix(".groups.txt")
    groups = read_text(beside).removesuffix("\n").split("\n") if beside.is_file() else [""] * len(lines)
    return [
        Row(CODES[line.split], line.label, tuple(line.sentence.split(" ")), group)
        for line, group in zip(lines, groups, strict=True)
    ]


def shared(parts: Iterable[tuple[str, str]]) -> set[str]:
    """Sentences or forms that occur in two splits, of pairs (split, sentence or form)."""
    first: dict[str, str] = {}
    return {item for split, item in parts if first.setdefault(item, split) != split}


def majority(rows: Sequence[Row]) -> Estimate:
    """Held-out accuracy of the class that is largest in tr."""
    labels = [row.label for row in rows if row.split == "tr"]
    largest = max(sorted(set(labels)), key=labels.count)
    held = [row.label == largest for row in rows if row.split != "tr"]
    return wilson(sum(held), len(held))


def bag_of_words(rows: Sequence[Row], lowercase: bool = True) -> Estimate:
    """Held-out accuracy of naive Bayes on unigram tf-idf."""
    model = make_pipeline(TfidfVectorizer(token_pattern=r"\S+", lowercase=lowercase), MultinomialNB())
    return held_out(model, rows, [" ".join(row.tokens) for row in rows])


def length_alone(rows: Sequence[Row]) -> Estimate:
    """Held-out accuracy of a linear classifier on the number of tokens."""
    lengths = np.array([[len(row.tokens), len(row.tokens) ** 2] for row in rows], dtype=float)  # (n, 2)
    return held_out(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), rows, lengths)


def held_out(model, rows: Sequence[Row], features) -> Estimate:
    """Fits on tr and scores on va and te."""
    train = [i for i, row in enumerate(rows) if row.split == "tr"]
    held = [i for i, row in enumerate(rows) if row.split != "tr"]
    labels = np.array([row.label for row in rows])
    array = isinstance(features, np.ndarray)
    model.fit(features[train] if array else [features[i] for i in train], labels[train])
    answers = model.predict(features[held] if array else [features[i] for i in held])
    return wilson(int((answers == labels[held]).sum()), len(held))
