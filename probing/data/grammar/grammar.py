"""The built-in corpus: a seeded English grammar that yields sentences of 5-28 tokens with their Penn-style trees.

All classes of the ten tasks occur. Verbs choose subjects and objects by class, and the second of two clauses often refers to the
subject of the first by a pronoun, so that odd man out and coordination inversion can be answered. The depth of a sentence is drawn
independently of its length, lengths evenly over the six bins of the length task. No two sentences differ in a single token or in
case only. There is no meaning beyond word classes, no contraction, and no punctuation inside of a sentence except one comma.
Results on this corpus are named `grammar` and compare with no paper's.
"""

from __future__ import annotations

import hashlib

import numpy as np

from probing.data.grammar import lexicon
from probing.data.grammar.phrases import BEING, DO, TRANSITIVE, Phrases, leaf, phrase
from probing.data.readers.parsed import Corpus, Node, Sentence
from probing.errors import DataError

BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
PATTERNS = {
    "plain": 22, "clauses": 18, "clauses_comma": 16, "PP": 4, "ADVP": 4, "CC": 3, "CC ADVP": 2.5, "adverb": 4,
    "SBAR": 4, "SBAR ,": 2, "IN": 2.5, "RB": 2.5, "imperative": 4, "why": 3.5, "who": 3.5, "VBD": 3, "VBZ": 2.5,
    "MD": 2.5, "fragment": 2.5, "NP": 3, "gerund": 2.5, "SBAR imperative": 2.5, "ADVP imperative": 2, "INTJ": 1,
    "VBP": 1.5, "CC PP": 1, "PP imperative": 1, "CC imperative": 1,
}  # fmt: skip
"""Patterns of sentences and their weights in the draw."""


def sentences(n: int = 20_000, seed: int = 0) -> list[Sentence]:
    """n distinct sentences in random order, each with its tree.

    Raises:
        DataError: `n` is more than the lexicon gives without near-duplicates.
    """
    if n < 1:
        raise DataError(f"n={n}: ask the grammar for one sentence or more")
    grammar = Grammar(np.random.default_rng(seed))
    room = [n // 6 + (k < n % 6) for k in range(6)]
    drawn: list[Sentence] = []
    seen: set[tuple[str, ...]] = set()
    tries = 0
    while len(drawn) < n:
        tries += 1
        if tries > 50 * n + 1000:
            raise DataError(
                f"n={n} is more than the grammar gives without near-duplicates ({len(drawn)} were found); ask for fewer"
            )
        bins = [k for k in range(6) if room[k]]
        low, high = BINS[grammar.pick(bins)]
        tree = grammar.tree(grammar.between(low, high))
        leaves = tree.leaves()
        sentence = Sentence(tuple(node.word or "" for node in leaves), tuple(node.label for node in leaves), tree)
        size = len(sentence.tokens)
        k = next((k for k in bins if BINS[k][0] <= size <= BINS[k][1]), None)
        if k is None:
            continue
        lower = tuple(token.lower() for token in sentence.tokens)
        masked = [(*lower[:i], "", *lower[i + 1 :]) for i in range(size)]
        if seen.isdisjoint(masked):
            seen.update(masked)
            room[k] -= 1
            drawn.append(sentence)
    return drawn


def corpus(n: int = 20_000, seed: int = 0) -> Corpus:
    """The sentences as a corpus: its name is `grammar`, its sha256 that of the trees."""
    drawn = tuple(sentences(n, seed))
    return Corpus("grammar", hashlib.sha256("\n".join(str(s.tree) for s in drawn).encode()).hexdigest(), drawn)


class Grammar(Phrases):
    """Draws whole sentences."""

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        names, weights = zip(*PATTERNS.items(), strict=True)
        self.patterns = [name for name, weight in zip(names, weights, strict=True) for _ in range(int(2 * weight))]

    def tree(self, budget: int) -> Node:
        """A sentence of about `budget` tokens, under ROOT."""
        self.flat = self.chance(0.2) and budget <= 18
        self.deep = 0.0 if self.flat else 0.3 * self.uniform() + 0.7 * self.chance(0.6)
        self.past, self.conjoin = self.chance(0.5), True
        pattern, budget = self.pick(self.patterns), budget - 1
        if pattern in ("clauses", "clauses_comma"):
            top = self.two_clauses(budget, pattern.endswith("comma"))
        elif pattern in ("why", "who", "VBD", "VBZ", "VBP", "MD"):
            top = self.question(pattern, budget)
        elif pattern == "fragment":
            self.conjoin = False
            node, kind, _ = self.noun_phrase(self.pick(("person", "object", "abstract")), max(2, budget // 3), bare=False)
            top = phrase("NP", node, self.location(max(3, budget - len(node.leaves())), kind), leaf(".", "."))
        elif pattern.endswith("imperative"):
            opening = self.opening(pattern.removesuffix("imperative").strip(), budget)
            left = max(3, budget - sum(len(node.leaves()) for node in opening))
            top = phrase("S", *opening, self.verb_phrase("VB", "person", left), leaf(".", "."))
        elif pattern == "gerund":
            share = max(3, budget // 2)
            first = phrase("S", self.verb_phrase("VBG", "person", share))
            pleased = TRANSITIVE["abstract"]["person"]
            person, _, _ = self.noun_phrase("person", max(2, budget - share - 1), bare=False)
            predicate = phrase("VP", self.finite(self.pick(pleased), "NN"), person)
            top = phrase("S", first, predicate, leaf(".", "."))
        else:
            opening = self.opening(pattern, budget) if pattern not in ("plain", "adverb") else []
            left = max(4, budget - sum(len(node.leaves()) for node in opening) - (pattern == "adverb"))
            subject, predicate = self.clause(left)
            middle = [phrase("ADVP", leaf("RB", self.word(lexicon.FREQUENCY)))] if pattern == "adverb" else []
            top = phrase("S", *opening, subject, *middle, predicate, leaf(".", "."))
        return capitalised(phrase("ROOT", top))

    def opening(self, pattern: str, budget: int) -> list[Node]:
        """The words before the subject, or before the verb of an imperative."""
        share = max(4, budget // 2)
        made = {
            "PP": lambda: self.location(max(3, budget // 3)),
            "ADVP": lambda: phrase("ADVP", leaf("RB", self.word(lexicon.OPENING))),
            "CC": lambda: leaf("CC", self.pick(("but", "and", "yet"))),
            "SBAR": lambda: self.adverbial(share),
            ",": lambda: leaf(",", ","),
            "IN": lambda: leaf("IN", "so"),
            "RB": lambda: leaf("RB", self.pick(("then", "now", "maybe"))),
            "INTJ": lambda: phrase("INTJ", leaf("UH", self.pick(("well", "yes", "oh")))),
            "NP": self.time,
        }
        return [made[part]() for part in pattern.split()]

    def two_clauses(self, budget: int, comma: bool) -> Node:
        """Two clauses under one root; the second often has a pronoun for the first one's subject."""
        self.conjoin = False
        budget = max(6, budget - 1 - comma)
        share = min(budget - 3, max(3, int(budget * (0.3 + 0.4 * self.uniform()))))
        subject, kind, number = self.subject(share)
        first = phrase("S", subject, self.predicate(kind, number, share - len(subject.leaves())))
        left = max(2, budget - len(first.leaves()))
        with self.own_tense():
            second = phrase("S", *(self.clause_about(kind, number, left) if self.chance(0.6) else self.clause(left)))
        joint = (leaf(",", ","),) if comma else ()
        return phrase("S", first, *joint, leaf("CC", self.pick(("and", "but", "or", "and"))), second, leaf(".", "."))

    def clause_about(self, kind: str, number: str, budget: int) -> tuple[Node, Node]:
        """A clause whose object is a pronoun for a subject named before."""
        words = {"NN": {"woman": "her", "man": "him", "worker": "him", "person": "him"}.get(kind, "it"), "NNS": "them"}
        words |= {"I": "me", "we": "us"}
        subject, _, person = self.noun_phrase("person", max(1, budget // 2 - 2))
        group = "person" if kind in BEING[:3] else kind
        verb = self.pick(TRANSITIVE["person"].get(group, TRANSITIVE["person"]["person"]), 1.5)
        target = phrase("NP", leaf("PRP", words.get(number, number)))
        left = budget - len(subject.leaves()) - 2
        return subject, phrase("VP", self.finite(verb, person), target, *self.adjuncts(left))

    def question(self, pattern: str, budget: int) -> Node:
        """Yes-no questions with an auxiliary, why and where, who."""
        end = leaf(".", "?")
        if pattern == "who":
            inner = phrase("SQ", self.predicate("worker", "NN", budget - 1))
            return phrase("SBARQ", phrase("WHNP", leaf("WP", "who")), inner, end)
        self.past = pattern == "VBD" or (pattern in ("why", "MD") and self.chance(0.5))
        for _ in range(20):
            subject, kind, number = self.subject(budget - 1)
            if pattern not in ("VBZ", "VBP") or (number == "NN") == (pattern == "VBZ"):
                break
        auxiliary = self.finite(DO, number)
        if pattern == "MD":
            auxiliary = leaf("MD", self.pick("could would should".split() if self.past else "can will must".split()))
        left = max(2, budget - 1 - (pattern == "why") - len(subject.leaves()))
        parts = (auxiliary, subject, self.verb_phrase("VB", kind, left))
        if pattern == "why":
            why = phrase("WHADVP", leaf("WRB", self.pick("why when where how".split())))
            return phrase("SBARQ", why, phrase("SQ", *parts), end)
        return phrase("SQ", *parts, end)


def capitalised(node: Node) -> Node:
    """The tree with a capital at its first word."""
    if node.word is not None:
        return leaf(node.label, node.word[:1].upper() + node.word[1:])
    return Node(node.label, (capitalised(node.children[0]), *node.children[1:]))
