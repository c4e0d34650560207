"""Labels of a task: classes, numbers (`kind: regression`), or sets of labels (`kind: multilabel`).

classification  names; arrays of class indices, (n,); `ordered: true` numbers them in their order, not by the alphabet
regression      finite numbers; arrays of float64, (n,)
multilabel      a list of names for each sentence, or one text with "|" between them; arrays of 0 and 1, (n, K)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from probing.errors import DataError, did_you_mean
from probing.types import Labels, Targets

Place = Callable[[str, int], str]
"""Names row i of a split in error messages."""

DECILES = 10
"""Numbers are drawn stratified by so many ranges of equal size."""


def arrays_of(
    labels: Mapping[str, Sequence[Any]], card: Mapping[str, Any], place: Place, where: str
) -> tuple[tuple[str, ...], dict[str, Targets]]:
    """The names of the classes (of numbers none), and the labels of each split as an array, of the card's `kind`.

    Raises:
        DataError: a label that is none of its kind, or that train lacks; a train split in which nothing can be learned.
    """
    kind = card.get("kind", "classification")
    if kind == "regression":
        numbers = {split: np.array([_number(one, place, split, i) for i, one in enumerate(own)]) for split, own in labels.items()}
        if len(set(numbers["train"].tolist())) < 2:
            raise DataError(f"{where}: the train split holds one number only ({numbers['train'][0]:g}); nothing can be probed")
        return (), numbers
    if kind == "multilabel":
        sets = {split: [_names(one, place, split, i) for i, one in enumerate(own)] for split, own in labels.items()}
        classes = tuple(sorted({name for own in sets["train"] for name in own}))
        if len(classes) < 2:
            raise DataError(f"{where}: the train split holds {len(classes)} label(s); sets of labels need two or more")
    else:
        sets = {split: [(label_text(one, place, split, i),) for i, one in enumerate(own)] for split, own in labels.items()}
        classes = _classes({name for own in sets["train"] for name in own}, card, where)
    index = {name: k for k, name in enumerate(classes)}
    for split, own in sets.items():
        for i, names in enumerate(own):
            for name in names:
                if name not in index:
                    near = _KIND if kind == "classification" and _has_decimals(name) else did_you_mean(name, classes)
                    raise DataError(f"{place(split, i)}: label {name!r} of the {split} split does not occur in train{near}")
    if kind == "multilabel":
        return classes, {s: np.array([[k in own for k in classes] for own in map(set, rows)], np.int64) for s, rows in sets.items()}
    return classes, {split: np.array([index[name] for [name] in own], dtype=np.int64) for split, own in sets.items()}


def _classes(names: set[str], card: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The classes in the order of their indices: by the alphabet, or, if they are ordered, as the card lists them or as numbers."""
    if len(names) < 2:
        raise DataError(f"{where}: the train split holds one label only ({min(names)!r}); nothing can be probed")
    if not card.get("ordered"):
        return tuple(sorted(names))
    if card.get("classes"):
        listed = tuple(map(str, card["classes"]))
        if set(listed) != names:
            raise DataError(f"{where}: ordered classes {list(listed)} are not the labels of train, {sorted(names)}")
        return listed
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        raise DataError(
            f"{where}: ordered labels must be numbers, or be listed in their order (classes: [low, middle, high]); "
            f"train has {', '.join(sorted(names)[:5])}"
        ) from None


_KIND = "; if labels are numbers, say kind: regression (in Python Task.from_lists(…, kind='regression'))"


def _has_decimals(name: str) -> bool:
    try:
        return not float(name).is_integer()
    except (ValueError, OverflowError):
        return False


def label_text(label: Any, place: Place, split: str, i: int) -> str:
    """A label as the name of its class: text as it is, whole numbers and truth values in digits and words.

    Raises:
        DataError: it is empty, or a number with decimals.
    """
    if isinstance(label, str):
        if label.strip():
            return label
    elif isinstance(label, bool | np.bool_ | int | np.integer):
        return str(label)
    elif isinstance(label, float | np.floating) and label == label:
        if float(label).is_integer():
            return str(int(label))
        raise DataError(f"{place(split, i)}: the label is {label}, but classes are text or whole numbers{_KIND}")
    elif label is not None and not isinstance(label, float | np.floating):
        more = " (kind=multilabel: lists)" if isinstance(label, list | tuple | set | frozenset | np.ndarray) else ""
        raise DataError(f"{place(split, i)}: the label is {label!r}, but classes are text or whole numbers{more}")
    raise DataError(f"{place(split, i)}: the label is empty; remove the row or mend it")


def _number(label: Any, place: Place, split: str, i: int) -> float:
    try:
        if isinstance(label, bool | np.bool_):
            raise ValueError
        number = float(label)
    except (TypeError, ValueError):
        raise DataError(f"{place(split, i)}: the label is {label!r}, but kind=regression takes numbers") from None
    if not abs(number) < 1e100:
        raise DataError(
            f"{place(split, i)}: the label is {label!r}; kind=regression takes finite numbers: remove the row or mend it"
        )
    return number


def _names(label: Any, place: Place, split: str, i: int) -> tuple[str, ...]:
    if isinstance(label, np.ndarray) and label.ndim == 1 and label.dtype.kind in "biuf" and np.isin(label, (0, 1)).all():
        return tuple(str(k) for k in np.flatnonzero(label))  # a row of scikit-learn's form, a column of 0 and 1 for each label
    if isinstance(label, str):
        label = [part.strip() for part in label.split("|") if part.strip()]
    if not isinstance(label, list | tuple | set | frozenset | np.ndarray):
        raise DataError(
            f"{place(split, i)}: the label is {label!r}, but kind=multilabel takes a list of labels, or one text with | between "
            "them (empty: none)"
        )
    return tuple(sorted({label_text(part, place, split, i) for part in label}))


def strata(labels: Targets) -> Labels:
    """The classes that stratified draws keep the shares of, (n,): of numbers their deciles; of a set of labels its rarest one (K of
    an empty set)."""
    if labels.ndim == 2:
        rarity = np.where(labels > 0, labels.sum(0), len(labels) + 1)
        return np.where(labels.any(1), rarity.argmin(1), labels.shape[1])
    if labels.dtype.kind == "f":
        return np.argsort(np.argsort(labels, kind="stable")) * DECILES // max(1, len(labels))
    return labels


def counts_of(labels: Mapping[str, Targets], classes: Sequence[str]) -> dict[str, Any]:
    """The entries of the data card on labels, by split: sentences of each class or label; mean, standard deviation and range of
    numbers; `majority`: the share of the largest class (of sets of labels, of the most frequent label)."""
    train = labels["train"]
    if train.dtype.kind == "f":
        facts = {s: {"mean": y.mean(), "sd": y.std(), "min": y.min(), "max": y.max()} for s, y in labels.items()}
        return {"numbers": {split: {name: float(value) for name, value in one.items()} for split, one in facts.items()}}
    counts = {s: y.sum(0) if y.ndim == 2 else np.bincount(y, minlength=len(classes)) for s, y in labels.items()}
    return {
        "n_classes": len(classes),
        "classes": {
            s: {c: int(k) for c, k in zip(classes, count, strict=True)}
            if len(classes) <= 30
            else {"smallest": int(count.min()), "largest": int(count.max())}
            for s, count in counts.items()
        },
        "majority": {s: float(count.max() / len(labels[s])) for s, count in counts.items()},
    }
