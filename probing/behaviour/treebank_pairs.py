"""Pairs about one property, made from the trees of a treebank in CoNLL-U: a word and the same word in the other form.

    number          a finite verb in the present, third person, behind its noun subject: the verb in the other number
    object_number   an object behind a determiner or numeral that decides its number (this, these, a, two): the other number
    tense           a finite verb behind another finite verb of the same tense: the other tense of present and past
    word_order      two neighbouring words of a sentence change places

The other form is the most frequent one of the treebank's words with the same lemma, part of speech, and features but the one that
changes; a word without one is no item. What was written is taken as right, which of tense is a preference and no rule. The facets
of number are attractors (nouns of the other number between subject and verb) and distance (words from subject to verb), as in
Linzen et al. (2016).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from probing.behaviour.items import Facet, Item, Pairs
from probing.data.conllu import FILE_SPLITS, corpora_of
from probing.data.readers.parsed import Corpus, Dependencies
from probing.errors import ConfigError, DataError, did_you_mean

Forms = Mapping[tuple[object, ...], Counter[str]]
Candidate = tuple[int, str, dict[str, Facet]]
"""Place of the word, its other form, facets."""

LONGEST = 40
"""Words of a sentence of which two change places, at most; 5 at least."""

OTHER = {"Sing": "Plur", "Plur": "Sing", "Pres": "Past", "Past": "Pres"}
NOUNS = ("NOUN", "PROPN")


def forms_of(trees: Sequence[Dependencies]) -> Forms:
    """Word forms in lower case, counted by lemma, part of speech and features."""
    forms: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for tree in trees:
        for word, form in enumerate(tree.forms):
            forms[_key(tree, word)][form.lower()] += 1
    return forms


def _key(tree: Dependencies, word: int, **changed: str) -> tuple[object, ...]:
    features = {**tree.features[word], **changed}
    return tree.lemmas[word], tree.upos[word], tuple(sorted(features.items()))


def _other(tree: Dependencies, word: int, feature: str, forms: Forms) -> str | None:
    """The word with the other value of the feature, with its capital; None where the treebank has no such word of letters alone, or
    the form is the same."""
    own, value = tree.forms[word], OTHER.get(tree.features[word].get(feature, ""), "")
    known = forms.get(_key(tree, word, **{feature: value}), Counter[str]())
    other = next((form for form, _ in known.most_common() if form.isalpha()), own.lower())
    if not own.isalpha() or other == own.lower():
        return None
    return other.capitalize() if own[:1].isupper() else other


def _is_finite(tree: Dependencies, word: int, *tenses: str) -> bool:
    own = tree.features[word]
    return tree.upos[word] in ("VERB", "AUX") and own.get("VerbForm") == "Fin" and own.get("Tense") in tenses


def _number(tree: Dependencies, forms: Forms) -> Iterator[Candidate]:
    for verb in range(len(tree.forms)):
        if not _is_finite(tree, verb, "Pres") or tree.features[verb].get("Person") != "3":
            continue
        clause = tree.heads[verb] if tree.upos[verb] == "AUX" and tree.relation(verb) in ("aux", "cop") else verb
        subjects = [w for w in tree.children(clause) if tree.relation(w) == "nsubj" and w < verb and tree.upos[w] in NOUNS]
        number, others = (
            tree.features[verb].get("Number"),
            [w for w in tree.children(clause) if tree.relation(w) == "aux" and w < verb],
        )
        if len(subjects) != 1 or tree.features[subjects[0]].get("Number") != number or others:
            continue
        if other := _other(tree, verb, "Number", forms):
            between = range(subjects[0] + 1, verb)
            attractors = sum(tree.upos[w] in NOUNS and tree.features[w].get("Number") == OTHER[str(number)] for w in between)
            yield verb, other, {"attractors": attractors, "distance": len(between) + 1}


def _object_number(tree: Dependencies, forms: Forms) -> Iterator[Candidate]:
    for noun in range(len(tree.forms)):
        if tree.relation(noun) != "obj" or tree.upos[noun] != "NOUN":
            continue
        decided = [n for w in tree.children(noun) if w < noun and (n := _decides(tree, w))]
        if decided and set(decided) == {tree.features[noun].get("Number")} and (other := _other(tree, noun, "Number", forms)):
            yield noun, other, {"number": decided[0]}


def _decides(tree: Dependencies, word: int) -> str | None:
    """The number that a determiner or numeral asks of its noun."""
    own, relation = tree.features[word], tree.relation(word)
    if relation == "det":
        return own.get("Number") or ("Sing" if own.get("Definite") == "Ind" else None)
    if relation == "nummod" and own.get("NumType") == "Card":
        return "Sing" if tree.lemmas[word].lower() in ("one", "1", "ein", "eins") else "Plur"
    return None


def _tense(tree: Dependencies, forms: Forms) -> Iterator[Candidate]:
    before: str | None = None
    for verb in range(len(tree.forms)):
        if _is_finite(tree, verb, "Pres", "Past"):
            tense = tree.features[verb]["Tense"]
            if tense == before and (other := _other(tree, verb, "Tense", forms)):
                yield verb, other, {"tense": tense}
            before = tense


PROPERTIES: dict[str, Callable[[Dependencies, Forms], Iterator[Candidate]] | None] = {
    "number": _number, "object_number": _object_number, "tense": _tense, "word_order": None
}  # fmt: skip


@dataclass
class TreebankPairs(Pairs):
    """Pairs about `property` (see the module) from the sentences of `splits`; forms come from all files (`corpora_of`).

    Of word order each sentence of 5 to `LONGEST` words gives one pair; which neighbours change places is drawn with `seed`, never
    two equal words, punctuation or clitics.
    """

    root: str
    property: str = "number"
    splits: list[str] = field(default_factory=lambda: ["test"])
    n: int | None = None
    seed: int = 0
    name: str = "treebank_pairs"

    tokenised = True

    def __post_init__(self) -> None:
        if self.property not in PROPERTIES:
            near = did_you_mean(self.property, PROPERTIES)
            raise ConfigError(f"data.property={self.property!r} is unknown{near} (allowed: {', '.join(PROPERTIES)})")
        if not self.splits or not set(self.splits) <= set(FILE_SPLITS):
            raise ConfigError(f"data.splits={list(self.splits)} must hold some of {', '.join(FILE_SPLITS)}")

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The files; what has read them already may set them."""
        return corpora_of(Path(self.root).expanduser())

    def read(self, root: Path) -> Iterator[Item]:
        sentences = [sentence for corpus in self.corpora for sentence in corpus.sentences]
        if not any(s.dependencies and s.dependencies.heads for s in sentences):
            raise DataError(f"{root} holds no trees in CoNLL-U (files ….conllu, plain, .gz or .xz)")
        trees = [(s.dependencies, s.split) for s in sentences if s.dependencies and s.dependencies.heads]
        codes = {FILE_SPLITS[name] for name in self.splits}
        if not any(split in codes for _, split in trees):
            raise DataError(f"{root} has no sentence of {', '.join(self.splits)}: name the files …-test.conllu, or set data.splits")
        make = PROPERTIES[self.property]
        forms = forms_of([tree for tree, _ in trees]) if make else {}
        rng = np.random.default_rng(self.seed)
        for tree, split in trees:
            if split in codes and all(" " not in form for form in tree.forms):
                if make is None:
                    yield from self._swapped(tree, rng)
                else:
                    for word, other, facets in make(tree, forms):
                        wrong = [*tree.forms[:word], other, *tree.forms[word + 1 :]]
                        yield self._item(tree.forms, wrong, word, facets)

    def _swapped(self, tree: Dependencies, rng: np.random.Generator) -> Iterator[Item]:
        words = [form.lower() for form in tree.forms]
        marks = [upos in ("PUNCT", "SYM", "X") or not word.isalnum() for upos, word in zip(tree.upos, words, strict=True)]
        places = [k for k in range(len(words) - 1) if words[k] != words[k + 1] and not marks[k] and not marks[k + 1]]
        if 5 <= len(words) <= LONGEST and places:
            k = int(rng.choice(places))
            a, b = tree.forms[k], tree.forms[k + 1]
            if k == 0 and a != "I":  # the first word of a sentence has a capital
                a, b = (a.lower() if tree.upos[0] != "PROPN" else a), b[:1].upper() + b[1:]
            yield self._item(tree.forms, [*tree.forms[:k], b, a, *tree.forms[k + 2 :]], None, {"place": k})

    def _item(self, right: Sequence[str], wrong: Sequence[str], word: int | None, facets: dict[str, Facet]) -> Item:
        texts = " ".join(right), " ".join(wrong)
        return Item(0, self.property, self.property, texts[0], (texts[1],), target=word, facets=facets)
