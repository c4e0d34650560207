"""Coordination inversion: the two clauses of a top coordination, in their order (O) or exchanged (I).

The one coordinating conjunction of a sentence joins two clauses directly under the root: `S [,] CC S .` in constituents, root and
conj, each with a subject of its own, in Universal Dependencies. Inverted, the comma and the conjunction stay between the clauses
and the final punctuation stays last; the clause that comes first gets a capital, the other loses it unless its first word is a
proper noun, `I`, or in capitals. Left out are sentences with double quotes, those that come in both orders, and those whose
capitals cannot be restored (inverting twice must be the identity). Definition: facebookresearch/SentEval, data/probing/README.md;
Conneau et al. 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probing.data.builders.sampling import SHARES, Built, Options, Row, check_size, shares_of, shuffled, with_trees
from probing.data.builders.syntactic import QUOTES
from probing.data.readers.parsed import Sentence

CLAUSES = ("S", "SINV")
PROPER = ("NNP", "NNPS")


@dataclass(frozen=True)
class Clause:
    """Tokens of a clause; `fixed`: its first word keeps its case at any place in the sentence."""

    tokens: tuple[str, ...]
    fixed: bool


@dataclass(frozen=True)
class Coordination:
    """first, joint (a comma or not, and the conjunction), second, end (final punctuation, perhaps none)."""

    first: Clause
    joint: tuple[str, ...]
    second: Clause
    end: tuple[str, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        return (*self.first.tokens, *self.joint, *self.second.tokens, *self.end)

    @property
    def longer(self) -> int:
        """1 if the first clause is longer, -1 if the second is, 0 if they are equal."""
        return int(np.sign(len(self.first.tokens) - len(self.second.tokens)))

    def inverted(self) -> Coordination:
        """The clauses in the other order, with the capital moved."""
        return Coordination(recased(self.second, str.upper), self.joint, recased(self.first, str.lower), self.end)

    @property
    def restorable(self) -> bool:
        return self.inverted().inverted() == self


def recased(clause: Clause, case: Callable[[str], str]) -> Clause:
    """The clause with its first letter in another case, unless it is fixed."""
    word, *rest = clause.tokens
    return clause if clause.fixed else Clause((case(word[:1]) + word[1:], *rest), False)


def keeps_case(word: str, proper: bool) -> bool:
    """Whether a word has the same case at the start and inside of a sentence: proper nouns, I, words in capitals."""
    return proper or word == "I" or word.startswith("I'") or (len(word) > 1 and word.isupper())


def coordination(sentence: Sentence) -> Coordination | None:
    """The coordination of a tree `S [,] CC S [.]` with no other CC in it, or None."""
    tree = sentence.tree
    if tree is None or len(tree.children) != 1 or tree.children[0].category != "S":
        return None
    parts = list(tree.children[0].children)
    end = [parts.pop()] if parts and parts[-1].label == "." else []
    names = ["S" if part.category in CLAUSES else part.label for part in parts]
    if names not in (["S", "CC", "S"], ["S", ",", "CC", "S"]) or any(part.word for part in (parts[0], parts[-1])):
        return None
    if [leaf.label for leaf in tree.leaves()].count("CC") != 1 or any(n.category == "CONJP" for p in parts for n in p.children):
        return None
    clauses = []
    for part in (parts[0], parts[-1]):
        leaves = part.leaves()
        words = tuple(leaf.word or "" for leaf in leaves)
        clauses.append(Clause(words, keeps_case(words[0], leaves[0].label in PROPER)))
    joint = tuple(part.word or "" for part in parts[1:-1])
    return Coordination(clauses[0], joint, clauses[1], tuple(part.word or "" for part in end))


def coordination_inversion(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Clauses of a top coordination inverted (I) or not (O), from constituents."""
    parsed = with_trees(sentences, "ud_coordination_inversion")
    coordinations = [(s, c) for s, _ in parsed if (c := coordination(s)) is not None]
    return inversion_task(coordinations, len(sentences), rng, options)


def inversion_task(
    coordinations: Sequence[tuple[Sentence, Coordination]], n: int, rng: np.random.Generator, options: Options
) -> Built:
    """Invert half of the coordinations, balanced by which clause is longer; for constituents and dependencies.

    `n` is the number of sentences in the corpus.
    """
    originals = {c.tokens for _, c in coordinations}
    able = [
        (s, c)
        for s, c in coordinations
        if c.restorable and not QUOTES & set(c.tokens) and c.inverted().tokens not in originals and s.tokens == c.tokens
    ]
    rows: list[Row] = []
    groups = {sign: [(s, c) for s, c in able if c.longer == sign] for sign in (1, -1, 0)}
    split_of: dict[tuple[str, ...], str] = {}
    each_class = min(len(groups[1]), len(groups[-1])) + len(groups[0]) / 2  # the most sentences that a class can have
    for members in groups.values():
        share = len(members) / each_class if each_class else 0.0
        least = round(options.min_per_split * share) + 1  # one is lost where a half is rounded
        for (s, _), split in zip(members, shares_of(len(members), rng, least), strict=True):
            split_of[s.tokens] = s.split or "tr" if options.official else split
    for split in SHARES:
        in_split = {sign: [(s, c) for s, c in members if split_of[s.tokens] == split] for sign, members in groups.items()}
        each = min(len(in_split[1]), len(in_split[-1])) // 2
        for sign, members in in_split.items():
            order = [members[i] for i in rng.permutation(len(members))]
            half = each if sign else len(order) // 2
            rows += [replace(Row.of(s, "O"), split=split) for s, _ in order[:half]]
            rows += [replace(Row.of(s, "I", c.inverted().tokens), split=split) for s, c in order[half : 2 * half]]
    check_size(rows, ["I", "O"], options)
    return Built(
        rows=tuple(shuffled(rows, rng)),
        definition="The only coordinating conjunction joins two clauses under the root; clauses in their order (O) or inverted "
        "(I); in both classes the first clause is longer as often as the second.",
        split=options.split,
        filters={"sentences": n, "top coordinations": len(coordinations), "eligible (no quotes, case restorable)": len(able)},
        details={"first longer, second longer, equal": [len(groups[k]) for k in (1, -1, 0)]},
    )
