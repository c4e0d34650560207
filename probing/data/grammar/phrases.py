"""Noun and verb phrases of the built-in grammar (`probing.data.grammar.grammar`): agreement, government, adjuncts, nesting.

Every method draws a phrase of about `budget` tokens. Verbs choose subjects and objects by class (`probing.data.grammar.lexicon`);
`deep` (0-1) is the tendency of phrases to nest rather than to grow side by side. There are no object relatives, no particles and no
quantifier scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from probing.data.grammar import lexicon
from probing.data.readers.parsed import Node

WHERE = "in near behind beside outside opposite".split()
T = TypeVar("T")
BEING = ("woman", "man", "worker", "animal")


def forms(entries: str) -> tuple[lexicon.Verb, ...]:
    return tuple(lexicon.verb(entry) for entry in entries.split())


INTRANSITIVE = {kind: forms(words) for kind, words in lexicon.INTRANSITIVE.items()}
TRANSITIVE = {subject: {kind: forms(words) for kind, words in objects.items()} for subject, objects in lexicon.TRANSITIVE.items()}
SAYING, ASKING, WANTING, GIVING = map(forms, (lexicon.SAYING, lexicon.ASKING, lexicon.WANTING, lexicon.GIVING))
HAVE = lexicon.Verb("have", "has", "had", "had", "having")
DO = lexicon.Verb("do", "does", "did", "done", "doing")


def phrase(label: str, *children: Node) -> Node:
    return Node(label, children)


def leaf(tag: str, word: str) -> Node:
    return Node(tag, word=word)


class Phrases:
    """Draws phrases; `past` is the tense, `conjoin` permits coordinated noun phrases, `flat` forbids phrases inside of them."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.numbers: list[float] = []
        self.deep, self.past, self.conjoin, self.flat = 0.5, False, True, False

    def uniform(self) -> float:
        if not self.numbers:
            self.numbers = self.rng.random(8192).tolist()
        return self.numbers.pop()

    def chance(self, p: float) -> bool:
        return self.uniform() < p

    def between(self, low: int, high: int) -> int:
        return low + int(self.uniform() * (high - low + 1)) if high > low else low

    def pick(self, items: Sequence[T], skew: float = 1.0) -> T:
        """One of the items; a skew above 1 favours early ones."""
        return items[int(self.uniform() ** skew * len(items))]

    def word(self, words: str, skew: float = 1.4) -> str:
        return self.pick(words.split(), skew)

    # noun phrases: (node, class, number); number is the tag NN or NNS, or the pronoun, for agreement

    def noun_phrase(self, kind: str, budget: int, bare: bool = True) -> tuple[Node, str, str]:
        """A noun phrase of a class or group of classes; `bare` permits a name or a pronoun."""
        kind = self.pick(lexicon.GROUPS.get(kind, (kind,)))
        if bare and kind in BEING[:3] and budget <= 3 and self.chance(0.5):
            if self.chance(0.5):
                return phrase("NP", leaf("NNP", self.word(lexicon.NAMES))), "person", "NN"
            pronoun = self.pick("she he they we I you".split())
            return phrase("NP", leaf("PRP", pronoun)), "person", "NN" if pronoun in ("he", "she") else pronoun
        number = "NNS" if self.chance(0.5) else "NN"
        extra = budget - 2
        flat = self.between(0, min(3 if self.flat else 2, extra)) if extra > 0 and not self.chance(self.deep) else 0
        node, extra = self.simple(kind, number, flat), extra - flat
        if self.flat:
            other = self.beside(node, kind, number) if extra >= 2 and self.conjoin else ()
            return phrase("NP", *node.children, *other), kind, "NNS" if other else number
        if extra >= 3 and self.conjoin and self.chance(0.5 * (1 - self.deep)):
            second, _, _ = self.noun_phrase(kind, extra - 1, bare=False)
            return phrase("NP", node, leaf("CC", self.pick(("and", "and", "or"))), second), kind, "NNS"
        if extra >= 3 and self.chance(0.35 + 0.65 * self.deep):
            tail = self.relative(kind, number, extra) if self.chance(0.5) else self.location(extra, kind)
            node = phrase("NP", node, tail)
        return node, kind, number

    def simple(self, kind: str, number: str, adjectives: int) -> Node:
        """Determiner or possessive, adjectives, noun."""
        noun = self.pick(lexicon.NOUN_TABLE[kind], 1.6)
        table = lexicon.ADJECTIVES[lexicon.ADJECTIVE_OF.get(kind, "object")]
        qualities = list(dict.fromkeys(self.word(table) for _ in range(adjectives)))
        words = [leaf("JJ", quality) for quality in qualities]
        words.append(leaf(number, noun.singular if number == "NN" else noun.plural))
        if self.chance(0.15):
            first = leaf("PRP$", self.word(lexicon.POSSESSIVES, 1.0))
        else:
            first = leaf("DT", self.word(lexicon.DETERMINERS[number], 1.0))
            if first.word in ("many", "several", "few"):
                first = leaf("JJ", first.word)
        if first.word == "a":
            first = leaf("DT", lexicon.article(words[0].word or ""))
        return phrase("NP", first, *words)

    def beside(self, node: Node, kind: str, number: str) -> tuple[Node, ...]:
        """A second noun in one flat phrase: the old lamps (and boxes)."""
        noun = self.pick(lexicon.NOUN_TABLE[kind], 1.6)
        word = noun.singular if number == "NN" else noun.plural
        return () if word == node.children[-1].word else (leaf("CC", "and"), leaf(number, word))

    def location(self, budget: int, kind: str = "place") -> Node:
        """A prepositional phrase; documents and ideas are about something, people come with something."""
        if kind in ("document", "abstract") and self.chance(0.6):
            node, _, _ = self.noun_phrase(self.pick(("being", "location", "abstract")), budget - 1, bare=False)
            return phrase("PP", leaf("IN", "about"), node)
        if kind in BEING and self.chance(0.4):
            node, _, _ = self.noun_phrase("object", budget - 1, bare=False)
            return phrase("PP", leaf("IN", "with"), node)
        if budget <= 2:
            return phrase("PP", leaf("IN", "in"), phrase("NP", leaf("NNP", self.word(lexicon.PLACE_NAMES))))
        node, _, _ = self.noun_phrase("location", budget - 1, bare=False)
        return phrase("PP", leaf("IN", self.pick(WHERE, 1.4)), node)

    def relative(self, kind: str, number: str, budget: int) -> Node:
        """A relative clause whose subject is the noun."""
        who = ("WP", "who") if kind in BEING[:3] else ("WDT", self.pick(("that", "which")))
        with self.own_tense():
            inner = self.predicate(kind, number, budget - 1)
        return phrase("SBAR", phrase("WHNP", leaf(*who)), phrase("S", inner))

    # verb phrases

    @contextmanager
    def own_tense(self) -> Iterator[None]:
        """A clause whose tense is drawn anew, so that it tells nothing of the main clause's."""
        outer, self.past = self.past, self.chance(0.5)
        yield
        self.past = outer

    def finite(self, verb: lexicon.Verb, number: str) -> Node:
        tag = "VBD" if self.past else ("VBZ" if number == "NN" else "VBP")
        return leaf(tag, getattr(verb, tag))

    def be(self, number: str) -> Node:
        if self.past:
            return leaf("VBD", "was" if number in ("NN", "I") else "were")
        return leaf("VBZ", "is") if number == "NN" else leaf("VBP", "am" if number == "I" else "are")

    def predicate(self, kind: str, number: str, budget: int) -> Node:
        """A finite verb phrase that agrees with its subject."""
        if budget >= 3 and self.chance(0.3):
            way = self.between(0, 3)
            if way == 0:
                modal = self.pick("could would might should".split() if self.past else "can will must may".split())
                return phrase("VP", leaf("MD", modal), self.verb_phrase("VB", kind, budget - 1))
            if way == 1:
                return phrase("VP", self.finite(HAVE, number), self.verb_phrase("VBN", kind, budget - 1))
            if way == 2:
                return phrase("VP", self.be(number), self.verb_phrase("VBG", kind, budget - 1))
            return phrase("VP", self.finite(DO, number), leaf("RB", "not"), self.verb_phrase("VB", kind, budget - 2))
        if budget >= 2 and self.chance(0.12):
            return self.copula(kind, number, budget)
        tag = "VBD" if self.past else ("VBZ" if number == "NN" else "VBP")
        return self.verb_phrase(tag, kind, budget)

    def copula(self, kind: str, number: str, budget: int) -> Node:
        """A form of to be with an adjective, with a place, or in a passive."""
        quality = leaf("JJ", self.word(lexicon.ADJECTIVES[lexicon.ADJECTIVE_OF.get(kind, "object")]))
        if budget >= 4 and self.chance(0.4):
            verbs = TRANSITIVE["person"].get(kind, TRANSITIVE["person"]["person"])
            agent, _, _ = self.noun_phrase("person", budget - 3)
            agent = phrase("NP", leaf("PRP", "them")) if agent.children[0].label == "PRP" else agent
            done = phrase("VP", leaf("VBN", self.pick(verbs, 1.4).VBN), phrase("PP", leaf("IN", "by"), agent))
            return phrase("VP", self.be(number), done)
        if budget >= 4 and self.chance(0.5):
            return phrase("VP", self.be(number), self.location(budget - 1, "thing"))
        degree = (leaf("RB", self.pick(("very", "too", "quite", "rather"))),) if budget >= 3 else ()
        return phrase("VP", self.be(number), phrase("ADJP", *degree, quality), *self.adjuncts(budget - 3))

    def verb_phrase(self, tag: str, kind: str, budget: int) -> Node:
        """A verb in the form of the tag with its complements, and adjuncts for the rest of the budget."""
        subject = "person" if kind in (*BEING[:3], "person") else kind
        head = INTRANSITIVE.get(subject, INTRANSITIVE["thing"])
        inner, spent = budget - 1, 0
        parts: tuple[Node, ...] = ()
        if subject == "person" and inner >= 5 and self.chance(0.15 + 0.55 * self.deep):
            head, parts = self.complement(inner)
            spent = inner
        elif inner >= 5 and subject == "person" and self.chance(0.1):
            head = GIVING
            thing, _, _ = self.noun_phrase("object", max(2, inner // 2), bare=False)
            person, _, _ = self.noun_phrase("person", max(2, inner - inner // 2 - 1), bare=False)
            parts, spent = (thing, phrase("PP", leaf("TO", "to"), person)), inner
        elif inner >= 2 and subject in TRANSITIVE and self.chance(0.85):
            table = TRANSITIVE[subject]
            target = self.pick(tuple(table))
            head = table[target]
            share = inner if self.chance(self.deep) else self.between(2, inner)
            node, _, _ = self.noun_phrase(target, share, bare=False)
            parts, spent = (node,), len(node.leaves())
        verb = leaf(tag, getattr(self.pick(head, 1.5), tag))
        return phrase("VP", verb, *parts, *self.adjuncts(inner - spent))

    def complement(self, budget: int) -> tuple[tuple[lexicon.Verb, ...], tuple[Node, ...]]:
        """A that-clause, an indirect question or an infinitive, with the verbs that govern it."""
        way = self.uniform()
        if way < 0.3:
            return WANTING, (phrase("S", phrase("VP", leaf("TO", "to"), self.verb_phrase("VB", "person", budget - 1))),)
        with self.own_tense():
            inner = phrase("S", *self.clause(budget - 1))
        if way < 0.45:
            return ASKING, (phrase("SBAR", leaf("IN", self.pick(("whether", "if"))), inner),)
        if way < 0.6:
            place = phrase("WHADVP", leaf("WRB", self.pick("why when where how".split())))
            return ASKING, (phrase("SBAR", place, inner),)
        return SAYING, (phrase("SBAR", leaf("IN", "that"), inner),)

    def adjuncts(self, budget: int) -> list[Node]:
        """Places, manners, times and adverbial clauses, side by side."""
        nodes: list[Node] = []
        manner = time = False
        while budget > 0:
            if budget >= 6 and self.chance(0.05 + 0.4 * self.deep):
                nodes.append(self.adverbial(budget))
                break
            if budget >= 3 and self.chance(0.2 if self.flat else 0.75):
                node = self.location(budget if self.chance(self.deep) else self.between(3, min(5, budget)))
                nodes.append(node)
                budget -= len(node.leaves())
            elif budget >= 2 and not time and self.chance(0.5):
                nodes.append(self.time())
                budget, time = budget - 2, True
            elif budget >= 2 and not manner and self.chance(0.4):
                degree = leaf("RB", self.pick(("very", "so", "quite", "rather")))
                nodes.append(phrase("ADVP", degree, leaf("RB", self.word(lexicon.MANNER))))
                budget, manner = budget - 2, True
            elif not manner:
                nodes.append(phrase("ADVP", leaf("RB", self.word(lexicon.MANNER))))
                budget, manner = budget - 1, True
            else:
                budget -= 1
        return nodes

    def time(self) -> Node:
        first, last = self.pick(lexicon.PAST_TIME if self.past else lexicon.PRESENT_TIME).split()
        return phrase("NP-TMP", leaf("JJ" if first == "last" else "DT", first), leaf("NN", last))

    def adverbial(self, budget: int) -> Node:
        """A clause after because, although, before and the like; when is an adverb inside of the clause."""
        word = self.pick("because when although while before after if until".split())
        first = phrase("WHADVP", leaf("WRB", word)) if word == "when" else leaf("IN", word)
        with self.own_tense():
            return phrase("SBAR", first, phrase("S", *self.clause(budget - 1)))

    def clause(self, budget: int) -> tuple[Node, Node]:
        """Subject and predicate."""
        subject, kind, number = self.subject(budget)
        return subject, self.predicate(kind, number, budget - len(subject.leaves()))

    def subject(self, budget: int) -> tuple[Node, str, str]:
        kind = self.pick(("person", "person", "person", "being", "thing", "abstract"))
        share = budget - 2 if self.chance(0.15) else max(2, int(budget * 0.5 * self.uniform()))
        return self.noun_phrase(kind, max(1, min(share, budget - 1)))
