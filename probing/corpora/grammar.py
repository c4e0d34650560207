"""The built-in corpus: a seeded English grammar that yields sentences of 5-28 tokens with their Penn-style trees, without any file.

It has number and tense with agreement, transitive, ditransitive, intransitive and copular verbs, passives, perfect, progressive,
modals and negation, complement clauses, questions and infinitives, relative clauses, adverbial clauses, coordination of clauses
and of noun phrases, prepositional phrases, adverbs, imperatives, questions and fragments: every one of the ten tasks finds its
classes. Verbs choose subjects and objects by class, and a second clause often speaks of the first one's subject by a pronoun, so
that odd man out and coordination inversion can be answered at all. How deep a sentence nests is drawn apart from its length.

Lengths are drawn evenly over the six bins of the length task. No two sentences differ in a single token only, and none in case.
Any number from it is named `grammar`, and never stands beside a paper's.

Left out: meaning beyond word classes; punctuation inside of sentences but one comma; contractions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probing.corpora import lexicon
from probing.corpora.treebank import Node, Sentence, from_tree
from probing.errors import DataError

BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
PATTERNS = {
    "plain": 22, "clauses": 9, "clauses_comma": 8, "PP": 4, "ADVP": 4, "CC": 3, "CC ADVP": 2.5, "adverb": 4, "SBAR": 4, "SBAR ,": 2,
    "IN": 2.5, "RB": 2.5, "imperative": 4, "why": 3.5, "who": 3.5, "VBD": 3, "VBZ": 2.5, "MD": 2.5, "fragment": 2.5, "NP": 3, "gerund": 2.5,
    "SBAR imperative": 2.5, "ADVP imperative": 2, "INTJ": 1, "VBP": 1.5, "CC PP": 1, "PP imperative": 1, "CC imperative": 1,
}  # fmt: skip
WHERE = "in near behind beside outside opposite".split()
BEING = ("woman", "man", "worker", "animal")


def sentences(n: int = 20_000, seed: int = 0) -> list[Sentence]:
    """n distinct sentences in random order, each with its tree.

    Raises:
        DataError: more are asked for than the lexicon can give without near-duplicates.
    """
    if n < 1:
        raise DataError(f"n={n}: ask the grammar for one sentence or more")
    grammar = Grammar(np.random.default_rng(seed))
    room = [n // 6 + (k < n % 6) for k in range(6)]
    found: list[Sentence] = []
    seen: set[tuple[str, ...]] = set()
    tries = 0
    while len(found) < n:
        tries += 1
        if tries > 50 * n + 1000:
            raise DataError(f"n={n} is more than the grammar gives without near-duplicates ({len(found)} were found); ask for fewer")
        bins = [k for k in range(6) if room[k]]
        low, high = BINS[grammar.pick(bins)]
        sentence = from_tree(grammar.tree(grammar.between(low, high)))
        assert sentence is not None
        size = len(sentence.tokens)
        k = next((k for k in bins if BINS[k][0] <= size <= BINS[k][1]), None)
        if k is None:
            continue
        lower = tuple(token.lower() for token in sentence.tokens)
        masked = [(*lower[:i], "", *lower[i + 1 :]) for i in range(size)]
        if seen.isdisjoint(masked):
            seen.update(masked)
            room[k] -= 1
            found.append(sentence)
    return found


def forms(entries: str) -> tuple[lexicon.Verb, ...]:
    return tuple(lexicon.verb(entry) for entry in entries.split())


INTRANSITIVE = {kind: forms(words) for kind, words in lexicon.INTRANSITIVE.items()}
TRANSITIVE = {
    subject: {kind: forms(words) for kind, words in objects.items()} for subject, objects in lexicon.TRANSITIVE.items()
}
SAYING, ASKING, WANTING, GIVING = map(forms, (lexicon.SAYING, lexicon.ASKING, lexicon.WANTING, lexicon.GIVING))
HAVE = lexicon.Verb("have", "has", "had", "had", "having")
DO = lexicon.Verb("do", "does", "did", "done", "doing")


def phrase(label: str, *children: Node) -> Node:
    return Node(label, children)


def leaf(tag: str, word: str) -> Node:
    return Node(tag, word=word)


class Grammar:
    """Draws trees; `budget` is about how many tokens a phrase may have, `deep` (0-1) how readily it nests."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.numbers: list[float] = []
        self.deep = self.past = 0.5
        self.conjoin = True
        names, weights = zip(*PATTERNS.items(), strict=True)
        self.patterns = [name for name, weight in zip(names, weights, strict=True) for _ in range(int(2 * weight))]

    def uniform(self) -> float:
        if not self.numbers:
            self.numbers = self.rng.random(8192).tolist()
        return self.numbers.pop()

    def chance(self, p: float) -> bool:
        return self.uniform() < p

    def between(self, low: int, high: int) -> int:
        return low + int(self.uniform() * (high - low + 1)) if high > low else low

    def pick(self, items: Sequence, skew: float = 1.0):
        """One of the items; with a skew above 1 rather an early one."""
        return items[int(self.uniform() ** skew * len(items))]

    def word(self, words: str, skew: float = 1.4) -> str:
        return self.pick(words.split(), skew)

    # noun phrases: (node, class, number), number is the tag NN or NNS, or a pronoun's person for agreement

    def noun_phrase(self, kind: str, budget: int, bare: bool = True) -> tuple[Node, str, str]:
        """A noun phrase of a class or group of classes; `bare`: names and pronouns may do."""
        kind = self.pick(lexicon.GROUPS.get(kind, (kind,)))
        if bare and kind in BEING[:3] and budget <= 3 and self.chance(0.5):
            if self.chance(0.5):
                return phrase("NP", leaf("NNP", self.word(lexicon.NAMES))), "person", "NN"
            pronoun = self.pick("she he they we I you".split())
            return phrase("NP", leaf("PRP", pronoun)), "person", "NN" if pronoun in ("he", "she") else pronoun
        number = "NNS" if self.chance(0.5) else "NN"
        extra = budget - 2
        flat = self.between(0, min(2, extra)) if extra > 0 and (extra < 3 or not self.chance(self.deep)) else 0
        node, extra = self.simple(kind, number, flat), extra - flat
        if extra >= 3 and self.conjoin and self.chance(0.5 * (1 - self.deep)):
            other, _, _ = self.noun_phrase(kind, extra - 1, bare=False)
            return phrase("NP", node, leaf("CC", self.pick(("and", "and", "or"))), other), kind, "NNS"
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
        return phrase("SBAR", phrase("WHNP", leaf(*who)), phrase("S", self.predicate(kind, number, budget - 1)))

    # verb phrases

    def finite(self, verb: lexicon.Verb, number: str) -> Node:
        tag = "VBD" if self.past else ("VBZ" if number == "NN" else "VBP")
        return leaf(tag, getattr(verb, tag))

    def be(self, number: str) -> Node:
        if self.past:
            return leaf("VBD", "was" if number in ("NN", "I") else "were")
        return leaf("VBZ", "is") if number == "NN" else leaf("VBP", "am" if number == "I" else "are")

    def predicate(self, kind: str, number: str, budget: int, plain: bool = False) -> Node:
        """A finite verb phrase that agrees with its subject, with or without an auxiliary; `plain` has none."""
        if budget >= 3 and not plain and self.chance(0.3):
            way = self.between(0, 3)
            if way == 0:
                modal = self.pick("could would might should".split() if self.past else "can will must may".split())
                return phrase("VP", leaf("MD", modal), self.verb_phrase("VB", kind, budget - 1))
            if way == 1:
                return phrase("VP", self.finite(HAVE, number), self.verb_phrase("VBN", kind, budget - 1))
            if way == 2:
                return phrase("VP", self.be(number), self.verb_phrase("VBG", kind, budget - 1))
            return phrase("VP", self.finite(DO, number), leaf("RB", "not"), self.verb_phrase("VB", kind, budget - 2))
        if budget >= 2 and not plain and self.chance(0.12):
            return self.copula(kind, number, budget)
        tag = "VBD" if self.past else ("VBZ" if number == "NN" else "VBP")
        return self.verb_phrase(tag, kind, budget)

    def copula(self, kind: str, number: str, budget: int) -> Node:
        """To be with an adjective, or somewhere, or done to."""
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
        """A verb in the form of the tag with what it governs, and adjuncts for what the budget leaves."""
        subject = "person" if kind in (*BEING[:3], "person") else kind
        head = INTRANSITIVE.get(subject, INTRANSITIVE["thing"])
        inner, parts, spent = budget - 1, (), 0
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
        """that-clause, indirect question, or infinitive, with the verbs that take it."""
        way = self.uniform()
        if way < 0.3:
            return WANTING, (phrase("S", phrase("VP", leaf("TO", "to"), self.verb_phrase("VB", "person", budget - 1))),)
        if way < 0.45:
            return ASKING, (phrase("SBAR", leaf("IN", self.pick(("whether", "if"))), phrase("S", *self.clause(budget - 1))),)
        if way < 0.6:
            place = phrase("WHADVP", leaf("WRB", self.pick("why when where how".split())))
            return ASKING, (phrase("SBAR", place, phrase("S", *self.clause(budget - 1))),)
        return SAYING, (phrase("SBAR", leaf("IN", "that"), phrase("S", *self.clause(budget - 1))),)

    def adjuncts(self, budget: int) -> list[Node]:
        """Places, manners, times and adverbial clauses, one beside the other."""
        found: list[Node] = []
        manner = time = False
        while budget > 0:
            if budget >= 6 and self.chance(0.2 + 0.3 * self.deep):
                found.append(self.adverbial(budget))
                break
            if budget >= 3 and self.chance(0.75):
                node = self.location(budget if self.chance(self.deep) else self.between(3, min(5, budget)))
                found.append(node)
                budget -= len(node.leaves())
            elif budget >= 2 and not time and self.chance(0.5):
                first, last = self.pick(lexicon.PAST_TIME if self.past else lexicon.PRESENT_TIME).split()
                tag = "JJ" if first == "last" else "DT"
                found.append(phrase("NP-TMP", leaf(tag, first), leaf("NN", last)))
                budget, time = budget - 2, True
            elif not manner:
                found.append(phrase("ADVP", leaf("RB", self.word(lexicon.MANNER))))
                budget, manner = budget - 1, True
            else:
                budget -= 1
        return found

    def adverbial(self, budget: int) -> Node:
        """because, although, before ... and a clause; when is an adverb in it."""
        word = self.pick("because when although while before after if until".split())
        first = phrase("WHADVP", leaf("WRB", word)) if word == "when" else leaf("IN", word)
        return phrase("SBAR", first, phrase("S", *self.clause(budget - 1)))

    def clause(self, budget: int, plain: bool = False) -> tuple[Node, Node]:
        """Subject and predicate."""
        subject, kind, number = self.subject(budget)
        return subject, self.predicate(kind, number, budget - len(subject.leaves()), plain)

    def subject(self, budget: int) -> tuple[Node, str, str]:
        kind = self.pick(("person", "person", "person", "being", "thing", "abstract"))
        share = budget - 2 if self.chance(0.15) else max(2, int(budget * 0.5 * self.uniform()))
        return self.noun_phrase(kind, max(1, min(share, budget - 1)))

    # sentences

    def tree(self, budget: int) -> Node:
        """A sentence of about `budget` tokens, under ROOT."""
        self.deep, self.past, self.conjoin = self.uniform(), float(self.chance(0.5)), True
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
        """What stands before the subject, or before the verb of an imperative."""
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

    def time(self) -> Node:
        first, last = self.pick(lexicon.PAST_TIME if self.past else lexicon.PRESENT_TIME).split()
        return phrase("NP-TMP", leaf("JJ" if first == "last" else "DT", first), leaf("NN", last))

    def two_clauses(self, budget: int, comma: bool) -> Node:
        """Two clauses under one root; the second often has a pronoun for the first one's subject."""
        self.conjoin = False
        budget = max(6, budget - 1 - comma)
        share = min(budget - 3, max(3, int(budget * (0.3 + 0.4 * self.uniform()))))
        subject, kind, number = self.subject(share)
        first = phrase("S", subject, self.predicate(kind, number, share - len(subject.leaves())))
        left = max(2, budget - len(first.leaves()))
        opening = (phrase("ADVP", leaf("RB", "then")),) if left > 4 and self.chance(0.2) else ()
        left -= len(opening)
        if self.chance(0.6) and number in ("NN", "NNS") and subject.children[-1].label in ("NN", "NNS", "SBAR"):
            word = "they" if number == "NNS" else lexicon.PRONOUN.get(kind, "it" if kind not in BEING[:3] else "he")
            second = phrase("S", *opening, phrase("NP", leaf("PRP", word)), self.predicate(kind, number, left - 1))
        else:
            second = phrase("S", *opening, *self.clause(left))
        joint = (leaf(",", ","),) if comma else ()
        return phrase("S", first, *joint, leaf("CC", self.pick(("and", "but", "or", "and"))), second, leaf(".", "."))

    def question(self, pattern: str, budget: int) -> Node:
        """Yes-no questions with an auxiliary, why and where, who."""
        end = leaf(".", "?")
        if pattern == "who":
            inner = phrase("SQ", self.predicate("worker", "NN", budget - 1))
            return phrase("SBARQ", phrase("WHNP", leaf("WP", "who")), inner, end)
        self.past = float(pattern == "VBD" or (pattern in ("why", "MD") and self.chance(0.5)))
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
