"""Tasks of words: every item is a word of a sentence, a span of words, or a pair of them.

Encoders read the words of a sentence joined by blanks. A word with a blank inside is a span of several words of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probing.data.rows import task_of_rows
from probing.data.task import Task
from probing.errors import DataError

Item = tuple[Sequence[int], Any]
"""The words of an item, two numbers or four, half open; and its label."""


@dataclass
class Columns:
    """The items of one split, column by column; `facts`: see `Split`."""

    texts: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    spans: list[list[int]] = field(default_factory=list)
    facts: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, forms: Sequence[str], group: str, items: Iterable[Item]) -> None:
        """The items of one sentence, whose words are `forms`."""
        parts = [form.split() for form in forms]
        starts = np.concatenate([[0], np.cumsum([len(words) for words in parts])]).tolist()
        text = " ".join(word for words in parts for word in words)
        for words, label in items:
            self.texts.append(text)
            self.labels.append(label)
            self.groups.append(group)
            self.spans.append([starts[word] for word in words])

    def take(self, rows: Iterable[int]) -> Columns:
        """The items of these numbers."""
        rows = list(rows)

        def own(column: Sequence[Any]) -> list[Any]:
            return [column[row] for row in rows]

        facts = {name: own(values) for name, values in self.facts.items()}
        return Columns(own(self.texts), own(self.labels), own(self.groups), own(self.spans), facts)


def task_of_columns(
    columns: Mapping[str, Columns],
    card: Mapping[str, Any],
    notes: Sequence[str],
    source: str,
    dev_from_train: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Task:
    """The task of the columns of its splits; without dev this share of the groups of train is dev. Items of dev and test whose
    label train lacks are left out, and counted in the notes. `options`: of `task_of_rows`."""
    columns = dict(columns)
    if "dev" not in columns:
        train, groups = columns["train"], list(dict.fromkeys(columns["train"].groups))
        if not 0 < dev_from_train <= 0.5 or len(groups) < 2:
            raise DataError(
                f"{card['name']}: no dev split, and dev_from_train={dev_from_train} of {len(groups)} group(s) of train: give "
                "a dev split, or a share above 0 and at most 0.5 of two groups or more"
            )
        drawn = np.random.default_rng([seed, 6]).permutation(len(groups))[: max(1, round(dev_from_train * len(groups)))]
        of_dev = {groups[k] for k in drawn}
        columns["train"], columns["dev"] = (
            train.take(row for row, group in enumerate(train.groups) if (group in of_dev) == wanted) for wanted in (False, True)
        )
        notes = [
            *notes,
            f"dev is {len(of_dev)} of {len(groups)} groups of the train split, drawn with seed {seed}: there is no dev split",
        ]
    if card.get("kind", "classification") == "classification":
        known, before = set(columns["train"].labels), sum(len(own.labels) for own in columns.values())
        if "classes" in card:
            card = {**card, "classes": [label for label in card["classes"] if label in known]}
        for split in ("dev", "test"):
            own = columns[split]
            columns[split] = own.take(row for row, label in enumerate(own.labels) if label in known)
        if lost := before - sum(len(own.labels) for own in columns.values()):
            notes = [*notes, f"{lost} word(s) of dev and test are left out: train lacks their labels"]
    return task_of_rows(
        card["name"],
        {split: (own.texts, own.labels) for split, own in columns.items()},
        source=source,
        card={**card, "notes": notes},
        groups={split: own.groups for split, own in columns.items()},
        spans={split: np.array(own.spans, dtype=np.int64) for split, own in columns.items()},
        facts={split: {fact: np.array(values) for fact, values in own.facts.items()} for split, own in columns.items()},
        **options,
    )


def task_of_tags(
    rows: Mapping[str, tuple[Sequence[Sequence[str]], Sequence[Sequence[Any]]]],
    card: Mapping[str, Any],
    source: str,
    place: Callable[[str, int], str],
    **options: Any,
) -> Task:
    """The task of sentences as lists of words with a tag for each (None: the word is no item); groups are the sentences.

    Raises:
        DataError: another number of tags than of words, an empty word, labels that are no task.
    """
    columns = {}
    for split, (sentences, tags) in rows.items():
        columns[split] = Columns()
        for i, (words, own) in enumerate(zip(sentences, tags, strict=True)):
            if len(words) != len(own):
                raise DataError(f"{place(split, i)}: {len(words)} words and {len(own)} tags; give one tag for each word, or None")
            if empty := [k for k, word in enumerate(words) if not isinstance(word, str) or not word.strip()]:
                raise DataError(
                    f"{place(split, i)}: word {empty[0]} is {words[empty[0]]!r}, which is no text; mend it or remove the row"
                )
            items = (((k, k + 1), tag) for k, tag in enumerate(own) if tag is not None)
            columns[split].add(words, f"sentence {i}", items)
    notes = ["items are words; encoders read the words of a sentence joined by blanks"]
    return task_of_columns(columns, card, notes, source, groups_from="sentences", **options)
