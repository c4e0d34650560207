"""Checks that a made task cannot be solved by what it should not be solvable by. Each of them can fail.

No sentence in two splits and no target form in two splits (`shared`); a bag of words, which sees neither order nor the
corpus' own statistics, at chance on bigram shift and coordination inversion (`bag_of_words`: naive Bayes on unigram
tf-idf, the floor of Conneau et al. 2018); length alone no better than the largest class on tree depth (`length_alone`:
logistic regression on the number of tokens and its square). Classifiers are fitted on tr and scored on va and te
together; intervals are Wilson's, 95 %.

Left out: hyperparameters; the floors are what the library's defaults give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probing.builders import clause, ud
from probing.builders.sampling import Row
from probing.corpora.parsed import Sentence
from probing.corpora.senteval import SPLITS, read_lines
from probing.types import Estimate

PENN_TARGETS = {
    "past_present": clause.finite_verb,
    "subj_number": clause.subject_head,
    "obj_number": clause.object_head,
}
UD_TARGETS = {"ud_past_present": ud.finite_word, "ud_subj_number": ud.subject, "ud_obj_number": ud.direct_object}
CODES = {name: code for code, name in SPLITS.items()}


def read_rows(path: Path) -> list[Row]:
    """The rows of a task's file."""
    return [Row(CODES[line.split], line.label, tuple(line.sentence.split(" "))) for line in read_lines(path)]


def shared(parts: Iterable[tuple[str, str]]) -> set[str]:
    """What is met in two splits, of pairs (split, sentence or form)."""
    first: dict[str, str] = {}
    return {what for split, what in parts if first.setdefault(what, split) != split}


def target_forms(name: str, sentences: Iterable[Sentence], rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Split and target form of every row of a tense or number task; of odd man out, of every row with a replacement.

    The replacement is where the row differs in one token from a sentence of the corpus that is no row itself.
    """
    if name in PENN_TARGETS:
        trees = {s.tokens: s.tree for s in sentences if s.tree}
        words = [(row.split, PENN_TARGETS[name](trees[row.tokens])) for row in rows]
        return [(split, (word.word or "").lower()) for split, word in words if word is not None]
    if name in UD_TARGETS:
        parses = {s.tokens: s.dependencies for s in sentences if s.dependencies}
        places = [(row.split, parses[row.tokens], UD_TARGETS[name](parses[row.tokens])) for row in rows]
        return [(split, tree.forms[word].lower()) for split, tree, word in places if word is not None]
    if not name.endswith("odd_man_out"):
        return []
    used = {row.tokens for row in rows}
    holes = {hole for s in sentences if s.tokens not in used for hole in with_holes(s.tokens)}
    changed = [(row, [hole in holes for hole in with_holes(row.tokens)]) for row in rows if row.label == "C"]
    return [(row.split, row.tokens[where.index(True)]) for row, where in changed if where.count(True) == 1]


def with_holes(tokens: tuple[str, ...]) -> list[tuple[str | None, ...]]:
    """The sentence with each of its tokens taken out in turn."""
    return [(*tokens[:i], None, *tokens[i + 1 :]) for i in range(len(tokens))]


def accuracy(right: int, n: int) -> Estimate:
    """Share of right answers (0-1) with Wilson's interval."""
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return Estimate(right / n, float(interval.low), float(interval.high))


def majority(rows: Sequence[Row]) -> Estimate:
    """Held-out accuracy of the class that is largest in tr."""
    labels = [row.label for row in rows if row.split == "tr"]
    largest = max(sorted(set(labels)), key=labels.count)
    held = [row.label == largest for row in rows if row.split != "tr"]
    return accuracy(sum(held), len(held))


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
    return accuracy(int((answers == labels[held]).sum()), len(held))
