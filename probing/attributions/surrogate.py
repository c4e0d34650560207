"""Decision trees that imitate a classifier: its predicted class from words that are there, or from properties of the sentence.

Fidelity is the share of held-out sentences to which the tree gives the classifier's class. It says something only above its floors:
the class that the classifier gives most often, and a tree of a single question. Reference: Craven and Shavlik 1996 (NIPS), with
scikit-learn's trees in the place of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from probing.errors import DataError
from probing.types import Labels

DEPTHS = (1, 2, 3, 4, 6, 8, 12)
LEAST = 5
"""Training sentences that a leaf has, and a word occurs in, at least."""


class Features(NamedTuple):
    """Truth values of the sentences of each split, (n, k), and the question that each column answers."""

    of_split: Mapping[str, NDArray[np.bool_]]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Surrogate:
    """A tree, and how it does on test sentences.

    Attributes:
        depth, leaves: of the tree; the depth is best on dev, of equals the smallest.
        agrees: whether the tree gives the classifier's class, (n_test,).
        majority, one_question: the same of the floors: the commonest predicted class of train, and a tree of depth 1.
        text: the tree, one question a line.
    """

    depth: int
    leaves: int
    agrees: NDArray[np.bool_]
    majority: NDArray[np.bool_]
    one_question: NDArray[np.bool_]
    text: str

    @property
    def fidelity(self) -> float:
        """0-1."""
        return float(self.agrees.mean())


def surrogate(
    features: Features, predicted: Mapping[str, Labels], classes: Sequence[str], depths: Sequence[int] = DEPTHS
) -> Surrogate:
    """The tree that imitates predictions.

    Args:
        predicted: the classifier's class of the sentences of train, dev and test, (n,) each.

    Raises:
        DataError: no question, or a classifier that gives one class alone.
    """
    from sklearn.tree import DecisionTreeClassifier, export_text

    x = {split: np.asarray(table, np.float32) for split, table in features.of_split.items()}
    given = np.unique(predicted["train"])
    if not features.names or len(given) < 2:
        what = "no question is left" if not features.names else f"the classifier gives all train sentences {classes[given[0]]}"
        raise DataError(f"a tree cannot imitate the classifier: {what}")

    def fitted(depth: int) -> Any:
        tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=LEAST, random_state=0)
        return tree.fit(x["train"], predicted["train"])

    trees = [fitted(depth) for depth in sorted(depths)]
    tree = max(trees, key=lambda one: one.score(x["dev"], predicted["dev"]))
    stump, test = fitted(1), predicted["test"]
    text = export_text(tree, feature_names=list(features.names), class_names=[classes[k] for k in tree.classes_])
    return Surrogate(
        int(tree.get_depth()),
        int(tree.get_n_leaves()),
        tree.predict(x["test"]) == test,
        np.bincount(predicted["train"]).argmax() == test,
        stump.predict(x["test"]) == test,
        text.replace(" <= 0.50", ": no").replace(" >  0.50", ": yes"),
    )


def word_presence(texts: Mapping[str, Sequence[str]], most: int = 2000) -> Features:
    """Which words (`str.split`, lower case) a sentence has, of the `most` commonest that are in `LEAST` train sentences or more."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, tokenizer=str.split, token_pattern=None, min_df=LEAST, max_features=most)
    try:
        counter.fit(texts["train"])
    except ValueError:  # no word is left
        return Features({split: np.zeros((len(own), 0), bool) for split, own in texts.items()}, ())
    names = tuple(f"word {word}" for word in counter.get_feature_names_out())
    return Features({split: counter.transform(own).toarray().astype(bool) for split, own in texts.items()}, names)


def properties(labels: Mapping[str, Mapping[str, Sequence[str]]]) -> Features:
    """Which value each property has: property -> split -> a value for each sentence; values that train has."""
    questions = [(name, value) for name, own in labels.items() for value in sorted(set(own["train"]))]
    of_split = {
        split: np.stack([np.asarray(labels[name][split]) == value for name, value in questions], 1)
        for split in (next(iter(labels.values())) if labels else ())
    }
    return Features(of_split, tuple(f"{name} {value}" for name, value in questions))
