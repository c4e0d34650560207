"""The tasks of Adi et al. 2017 (ICLR) made from any text, one sentence a line: length, word content, word order, their controls.

A row of the last two is a sentence and its words, written `sentence ||| w` or `sentence ||| w1 w2`; `probing.encoders.words` reads
that as [sentence vector; word vectors]. Sentences of 5 to 70 tokens, each form of words once; splits share no sentence.

    adi_length    one of eight bins of tokens (`BINS`), in their natural frequencies
    adi_content   is w in the sentence? Of each sentence one word that is in it, and one that is not. The words of the negative rows
                  of a split are those of its positive rows in another order, so that the word alone says nothing: a classifier of w
                  alone is right in exactly half of the rows.
    adi_order     does w1 come before w2? Two words at different places, each once in its sentence, in both orders
    …_permuted    the words of each sentence in random order, in train, dev and test; labels as before
    …_words       the words without the sentence: what a probe knows without the encoder

The paper is silent on what a word is: here a token with a letter or a digit, compared in lower case. The two rows of a sentence are
a group. The paper's sentences (Wikipedia) were not released.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from probing.data.readers.text import sentences
from probing.data.rows import Rows, task_of_rows
from probing.data.split import word_form
from probing.data.task import Task
from probing.errors import ConfigError, DataError, did_you_mean
from probing.files import file_sha256
from probing.log import info

WORDS = " ||| "
"""What stands between a sentence and its words."""

BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 29), (30, 33), (34, 70))
"""Fewest and most tokens of each class of `adi_length`."""

KINDS = {"length": "Length (8 bins)", "content": "Word content (binary)", "order": "Word order (binary)"}
CONTROLS = {"": KINDS, "_permuted": KINDS, "_words": {name: KINDS[name] for name in ("content", "order")}}
NAMES = tuple(f"adi_{kind}{control}" for control, kinds in CONTROLS.items() for kind in kinds)
SHARES = (0.75, 0.125)
"""Of train and dev, as in the paper (150,000 / 25,000 / 25,000)."""

TRIES = 2000
"""Exchanges that are tried for a negative word that is in its sentence."""


@dataclass
class AdiText:
    """The tasks from a file of sentences.

    Args:
        path: one sentence a line, tokens with blanks between them; plain, .gz or .xz; or CoNLL-U.
        sizes: sentences in train, dev and test (the paper: [150000, 25000, 25000]); null: all of the file, in these shares.
        data_seed: of the order of the sentences, and of all draws.
        train_size: train on a stratified subset of about this size; null: on all.
        name: name of the source in the names of runs.
    """

    path: str
    sizes: list[int] | None = None
    data_seed: int = 0
    train_size: int | None = None
    name: str = "adi2017"

    reads_words: ClassVar[bool] = True
    """Rows name words beside their sentence: the encoder is read as `probing.encoders.words.WithWords`."""

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name; None: all of `NAMES`.

        Raises:
            ConfigError: another name, sizes that are no three numbers above 0.
            DataError: a file that cannot be read, or that has too few sentences.
        """
        for name in names or ():
            if name not in NAMES:
                raise ConfigError(f"task={name} is none of data=adi2017{did_you_mean(name, NAMES)} (allowed: {', '.join(NAMES)})")
        if self.sizes is not None and (len(self.sizes) != 3 or min(self.sizes) < 1):
            raise ConfigError(f"data.sizes={self.sizes} must be three numbers above 0: sentences of train, dev and test")
        path = Path(self.path).expanduser()
        splits = _splits(list(sentences(path, longest=10**9)), self.sizes, self.data_seed, str(path))
        return [_task(name, splits, self.data_seed, path) for name in names or NAMES]


def _splits(texts: Sequence[str], sizes: Sequence[int] | None, seed: int, where: str) -> dict[str, list[str]]:
    """The sentences of 5 to 70 tokens in random order, each form once, by split."""
    fits = [text for text in texts if BINS[0][0] <= len(text.split()) <= BINS[-1][1] and WORDS.strip() not in text.split()]
    first = dict(zip(map(word_form, reversed(fits)), reversed(fits), strict=True))  # the first sentence of each form
    pool = list(first.values())[::-1]
    info(f"{where}: {len(pool)} of {len(texts)} sentences have {BINS[0][0]} to {BINS[-1][1]} tokens and occur once")
    sizes = sizes or (n := [int(share * len(pool)) for share in SHARES]) + [len(pool) - sum(n)]
    if sum(sizes) > len(pool) or min(sizes) < 2:
        raise DataError(
            f"{where} has {len(pool)} usable sentences, too few for splits of {', '.join(map(str, sizes))} (data.sizes)"
        )
    order, ends = np.random.default_rng(seed).permutation(len(pool)), np.cumsum(sizes)
    parts = np.split(order[: ends[-1]], ends[:-1])
    return {name: [pool[i] for i in part] for name, part in zip(("train", "dev", "test"), parts, strict=True)}


def _task(name: str, splits: dict[str, list[str]], seed: int, path: Path) -> Task:
    kind, _, control = name.removeprefix("adi_").partition("_")
    make: Callable[[list[str], np.random.Generator], tuple[list[str], list[str], list[str]]]
    make = {"length": length_rows, "content": content_rows, "order": order_rows}[kind]
    rows, groups = dict[str, Rows](), dict[str, list[str]]()
    for k, (split, texts) in enumerate(splits.items()):
        made, labels, groups[split] = make(texts, np.random.default_rng([seed, k, 7]))  # the same words in all controls
        if control == "permuted":
            made = [
                _permuted(text, np.random.default_rng([seed, k, 8, int(own)]))
                for text, own in zip(made, groups[split], strict=True)
            ]
        elif control == "words":
            made = [WORDS.lstrip() + text.rpartition(WORDS)[2] for text in made]
        rows[split] = (made, labels)
    card = {"name": name, "paper_name": KINDS[kind] + (f", {control}" if control else ""), "group": "adi2017"}
    return task_of_rows(
        name, rows, source=path.name, card=card, groups=groups, groups_from="the sentence of a row", file_sha256=file_sha256(path)
    )


def length_rows(texts: list[str], rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Rows, labels and groups of `adi_length`: each sentence with its bin, such as 05-08."""
    lengths = [len(text.split()) for text in texts]
    labels = [next(f"{least:02}-{most:02}" for least, most in BINS if least <= n <= most) for n in lengths]
    return list(texts), labels, list(map(str, range(len(texts))))


def content_rows(texts: list[str], rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Rows, labels (I: in it, O: not) and groups of `adi_content`; DataError where no order of the words gives negatives."""
    usable = [(i, words) for i, text in enumerate(texts) if (words := _words(text))]
    positive = [words[rng.integers(len(words))] for _, words in usable]
    has = [{word.lower() for word in words} for _, words in usable]
    negative, n = [positive[i] for i in rng.permutation(len(positive))], len(positive)
    for i in range(n):
        for _ in range(TRIES):
            if negative[i].lower() not in has[i]:
                break
            j = int(rng.integers(n))
            if negative[j].lower() not in has[i] and negative[i].lower() not in has[j]:
                negative[i], negative[j] = negative[j], negative[i]
        else:
            raise DataError(
                f"adi_content: the word {negative[i]!r} is in too many of {n} sentences to be the negative word of another one: "
                "give more sentences (data.sizes)"
            )
    rows = [f"{texts[i]}{WORDS}{word}" for (i, _), *both in zip(usable, positive, negative, strict=True) for word in both]
    return rows, ["I", "O"] * n, [str(i) for i, _ in usable for _ in "IO"]


def order_rows(texts: list[str], rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Rows, labels (I: in order, O: swapped) and groups of `adi_order`; sentences without two words that occur once are out."""
    rows, groups = list[str](), list[str]()
    for i, text in enumerate(texts):
        lower = text.lower().split()
        once = [word for word in _words(text) if lower.count(word.lower()) == 1]
        if len(once) < 2:
            continue
        first, second = (once[k] for k in sorted(rng.choice(len(once), 2, replace=False)))
        rows += [f"{text}{WORDS}{first} {second}", f"{text}{WORDS}{second} {first}"]
        groups += [str(i), str(i)]
    if not rows:
        raise DataError("adi_order: no sentence has two words that occur once")
    return rows, ["I", "O"] * (len(rows) // 2), groups


def _words(text: str) -> list[str]:
    """The tokens of a sentence that have a letter or a digit, in order."""
    return [token for token in text.split() if any(map(str.isalnum, token))]


def _permuted(text: str, rng: np.random.Generator) -> str:
    """The row with the tokens of its sentence in random order; both rows of a sentence get the same one."""
    sentence, mark, words = text.partition(WORDS)
    return " ".join(rng.permutation(sentence.split())) + mark + words
