"""Checks whether an encoder keeps the rules on which the store of vectors relies:

    print(check(my_encoder))        # or on the command line: probing check encoder=python encoder.target=my_file.py:make

The store computes the vectors of each sentence once, in some batch; so they may depend on nothing but the sentence and the
fingerprint. `check` tries each rule on a few sentences.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from probing.encoders.base import Encoder, States, fingerprint, pool, pooled, pooled_states
from probing.encoders.laws import TOLERANCE, tried
from probing.encoders.pooling import POOLINGS
from probing.errors import EncoderError, described

TEXTS = (
    "the cat runs .",
    "dogs",
    "the big dog sees the small cat because they run .",
    "It ran , and they saw Mr. Smith-Jones 's 1,000 books !",
)
ODD = (
    "a <pad> b </s> c <mask> <s> a</s>b",
    "\u732b \u304c \u8d70\u308b",
    "\U0001f600 na\u00efve \u00e9t\u00e9",
    "zzxqj \u0007 \u200b w",
    "  spaced   out  ",
)
MANY = 48
"""Sentences in a batch of one length."""


@dataclass(frozen=True)
class Check:
    """The outcome of one rule; `held` is None where it does not apply to the encoder."""

    rule: str
    held: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Conformance:
    """The outcome of all rules. `difference` is the largest relative difference between states that should be equal."""

    encoder: str
    checks: tuple[Check, ...]
    difference: float

    @property
    def ok(self) -> bool:
        return all(check.held is not False for check in self.checks)

    def __str__(self) -> str:
        marks = {True: "holds", False: "FAILS", None: "not tried"}
        lines = [f"{self.encoder}: {'conforms' if self.ok else 'does not conform'}, largest difference {self.difference:.1e}"]
        return "\n".join(lines + [f"  {marks[c.held]:9}  {c.rule}{': ' + c.detail if c.detail else ''}" for c in self.checks])


def check(encoder: Encoder | Callable[[], Encoder], changed: Encoder | None = None, texts: Sequence[str] = TEXTS) -> Conformance:
    """Tries every rule on an encoder, or better a function that makes it, so that two instances can be compared.

    `changed` is the same encoder with a changed weight; `texts` are at least two sentences of different length that it can read.
    """
    make = (lambda: encoder) if isinstance(encoder, Encoder) and not isinstance(encoder, type) else encoder
    rules = Rules(make(), tuple(texts))
    named = [
        ("has the attributes and methods of the protocol", rules.protocol),
        ("as many layers as names and dims, each of its width, finite", rules.shapes),
        ("states carry no gradient", lambda: (not any(layer.requires_grad for layer in rules.run(rules.texts).layers), "")),
        ("the same batch twice gives the same bits", lambda: (_same_bits(rules.run(rules.texts), rules.run(rules.texts)), "")),
        ("a sentence alone equals the sentence in a padded batch", rules.padding),
        ("a sentence alone equals the sentence among many of its length", rules.batch_of_equal_lengths),
        ("the order of sentences and what was read before do not matter", rules.order),
        ("layer 0 is called embeddings only if it does not depend on other words", rules.embeddings),
        ("tokens do not depend on the other sentences", rules.tokens),
        ("every token knows its word, and every word has a token", rules.words),
        ("an empty sentence gives no token, finite states, or a clear error", lambda: rules.survives("")),
        ("a sentence of 2,000 words gives finite states or a clear error", lambda: rules.survives("the cat runs " * 667)),
        ("unknown symbols give finite states or a clear error", lambda: rules.survives(*ODD)),
        ("released and loaded again, it gives the same bits", rules.released),
        ("made again, it has the same fingerprint and states", lambda: rules.same(make())),
        ("random twins follow their seed", rules.twins),
        ("a changed weight changes states and fingerprint", lambda: rules.changed(changed)),
    ]
    if getattr(rules.encoder, "pooled", None):
        named.append(("the poolings that it makes itself are those of its states", rules.pooled))
    if getattr(rules.encoder, "changed_by", None):
        named.append(("interventions obey their laws", lambda: tried(rules.encoder, rules.texts, rules.first_word_changed())))
    checks: list[Check] = []
    for rule, attempt in named:
        try:
            checks.append(Check(rule, *attempt()))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # an encoder under test may raise anything
            checks.append(Check(rule, False, described(error)))
            if not checks[0].held:
                break
    return Conformance(getattr(rules.encoder, "name", "?"), tuple(checks), rules.difference)


class Rules:
    """An encoder under test; each method tries one rule, and returns whether it held (None: it does not apply) and a detail."""

    def __init__(self, encoder: Encoder, texts: tuple[str, ...]):
        self.encoder, self.texts = encoder, texts
        self.difference = 0.0

    def run(self, texts: Sequence[str], encoder: Encoder | None = None) -> States:
        encoder = encoder or self.encoder
        return encoder.forward(encoder.tokenize(list(texts))[0])

    def distance(self, a: States, rows_a: Sequence[int], b: States, rows_b: Sequence[int]) -> float:
        """Largest relative difference between rows of two batches: token states where the mask is, and every pooling."""
        worst = 0.0
        for layer, (x, y) in enumerate(zip(a.layers, b.layers, strict=True)):
            scale = max(1.0, float(x[a.mask].abs().max()))
            for i, j in zip(rows_a, rows_b, strict=True):
                u, v = x[i][a.mask[i]], y[j][b.mask[j]]
                if u.shape != v.shape:
                    raise EncoderError(
                        f"layer {layer} has {u.shape[0]} tokens of a sentence in one batch and {v.shape[0]} in another"
                    )
                worst = _larger(worst, (u.float() - v.float()).abs() / scale)
        for pooling in self.encoder.poolings:
            for x, y in zip(pool(a, pooling), pool(b, pooling), strict=True):
                worst = _larger(worst, (x[list(rows_a)] - y[list(rows_b)]).abs() / max(1.0, float(x.abs().max())))
        self.difference = max(self.difference, worst)
        return worst

    def equal(self, distance: float) -> tuple[bool, str]:
        return distance <= TOLERANCE, f"largest difference {distance:.1e}"

    def protocol(self) -> tuple[bool, str]:
        if not isinstance(self.encoder, Encoder):
            members = [name for name in (*Encoder.__annotations__, "tokenize", "word_ids", "forward", "release", "random_twin")]
            return False, f"missing: {', '.join(name for name in members if not hasattr(self.encoder, name))}"
        encoder = self.encoder
        if not encoder.poolings or not set(encoder.poolings) <= set(POOLINGS):
            return False, f"poolings={encoder.poolings} must be some of {', '.join(POOLINGS)}"
        if len(set(encoder.layer_names)) != len(encoder.layer_names):
            return False, f"layer names are not distinct: {', '.join(encoder.layer_names)}"
        json.dumps(dict(encoder.description))
        return True, f"{len(encoder.dims)} layers, poolings {', '.join(encoder.poolings)}"

    def shapes(self) -> tuple[bool, str]:
        states, encoder = self.run(self.texts), self.encoder
        if not len(states.layers) == len(encoder.dims) == len(encoder.layer_names):
            return False, f"{len(states.layers)} states, {len(encoder.dims)} dims, {len(encoder.layer_names)} names"
        if states.mask.dtype != torch.bool or states.mask.shape[0] != len(self.texts):
            return False, f"mask is {states.mask.dtype} of shape {tuple(states.mask.shape)}"
        for name, dim, layer in zip(encoder.layer_names, encoder.dims, states.layers, strict=True):
            if tuple(layer.shape) != (*states.mask.shape, dim) or not layer.is_floating_point():
                return False, f"{name} is {layer.dtype} of shape {tuple(layer.shape)}, expected {(*states.mask.shape, dim)}"
            if not layer[states.mask].isfinite().all():
                return False, f"{name} is not finite"
        if states.backward is not None and [len(back) for back in states.backward] != list(encoder.dims):
            return False, "backward does not say for each dim which way it reads"
        return True, ", ".join(map(str, encoder.dims))

    def padding(self) -> tuple[bool, str]:
        together = self.run(self.texts)
        return self.equal(max(self.distance(together, [i], self.run([text]), [0]) for i, text in enumerate(self.texts)))

    def batch_of_equal_lengths(self) -> tuple[bool, str]:
        first = [self.texts[0]]
        return self.equal(self.distance(self.run(first), [0], self.run(first * MANY), [MANY - 1]))

    def embeddings(self) -> tuple[bool | None, str]:
        name = self.encoder.layer_names[0]
        if not name.startswith("embeddings"):
            return None, f"it is called {name!r}"
        try:
            texts = self.first_word_changed()
        except EncoderError as error:
            return None, str(error)
        if texts is None:
            return None, "no two test sentences of one length differ in their first word alone"
        states = self.run(texts)
        owners = self.encoder.word_ids(list(texts))[0]
        kept = [k for k, word in enumerate(owners) if word]  # tokens of all words but the first
        moved = (states.layers[0][0, kept] - states.layers[0][1, kept]).abs().max()
        return bool(moved <= TOLERANCE * states.layers[0][0].abs().max()), f"another first word moves it by {float(moved):.1e}"

    def first_word_changed(self) -> tuple[str, str] | None:
        """A sentence, and the same with another first word, of as many tokens."""
        words = [word for text in self.texts for word in text.split()]
        for text in self.texts:
            first, _, rest = text.partition(" ")
            for word in words if rest else ():
                pair = (text, f"{word} {rest}")
                ids = [list(item) for item in self.encoder.tokenize(list(pair))[0]]
                if len(ids[0]) == len(ids[1]) and ids[0] != ids[1] and word != first:
                    return pair
        return None

    def order(self) -> tuple[bool, str]:
        rows = range(len(self.texts))
        return self.equal(self.distance(self.run(self.texts), rows, self.run(self.texts[::-1]), rows[::-1]))

    def tokens(self) -> tuple[bool, str]:
        together, _ = self.encoder.tokenize(list(self.texts))
        alone = [self.encoder.tokenize([text])[0][0] for text in self.texts]
        return [list(item) for item in together] == [list(item) for item in alone], f"{sum(map(len, together))} tokens"

    def words(self) -> tuple[bool | None, str]:
        try:
            owners = self.encoder.word_ids(list(self.texts))
        except EncoderError as error:
            return None, str(error)
        items, _ = self.encoder.tokenize(list(self.texts))
        truncated = [self.encoder.tokenize([text])[1] for text in self.texts]
        if not any(word is not None for ids in owners or () for word in ids):
            return None, "it has no tokens that are parts of words"
        mask = self.run(self.texts).mask
        skips = getattr(self.encoder, "unknown", "") == "skip"  # then words without a vector are not in the mask
        for row, (text, item, ids) in enumerate(zip(self.texts, items, owners, strict=True)):
            words = [word for word in ids if word is not None]
            expected = set(range(max(words, default=0) + 1 if truncated[row] else len(text.split())))
            if len(ids) != len(item):
                return False, f"{len(item)} tokens but {len(ids)} word indices for {text!r}"
            if words != sorted(words) or set(words) != expected:
                return False, f"word indices {words} for the {len(text.split())} words of {text!r}"
            if not skips and not all(mask[row, k] for k, word in enumerate(ids) if word is not None):
                return False, f"a token of a word is not in the mask for {text!r}"
        return True, ""

    def survives(self, *texts: str) -> tuple[bool, str]:
        try:
            items, truncated = self.encoder.tokenize([*texts, self.texts[0]])
            full = [item for item in items if len(item)]
            states = self.encoder.forward(full)
            if not all(layer[states.mask].isfinite().all() for layer in states.layers):
                return False, "states are not finite"
            alone = self.encoder.forward(items[-1:])
            distance = self.distance(alone, [0], states, [len(full) - 1])
        except EncoderError as error:
            return True, f"refused: {str(error).splitlines()[0]}"
        lengths = "+".join(str(len(item)) for item in items[:-1])
        return distance <= TOLERANCE, f"{lengths} tokens{', cut' if truncated else ''}"

    def pooled(self) -> tuple[bool, str]:
        items, _ = self.encoder.tokenize(list(self.texts))
        own, states = pooled(self.encoder, items, self.encoder.poolings), self.encoder.forward(items)
        expected = pooled_states(states, self.encoder.poolings)
        if own.counted.tolist() != expected.counted.tolist():
            return False, f"{own.counted.tolist()} tokens counted, {expected.counted.tolist()} expected"
        worst = 0.0
        for pooling in self.encoder.poolings:
            for x, y in zip(own.vectors[pooling], expected.vectors[pooling], strict=True):
                worst = _larger(worst, (x.cpu() - y.cpu()).abs() / max(1.0, float(y.abs().max())))
        return self.equal(worst)

    def released(self) -> tuple[bool, str]:
        before = self.run(self.texts)
        self.encoder.release()
        return _same_bits(before, self.run(self.texts)), ""

    def same(self, again: Encoder) -> tuple[bool | None, str]:
        if again is self.encoder:
            return None, "give a function that makes the encoder"
        if fingerprint(again) != fingerprint(self.encoder):
            return False, "the fingerprints differ"
        return _same_bits(self.run(self.texts), self.run(self.texts, again)), fingerprint(again)[:12]

    def twins(self) -> tuple[bool | None, str]:
        one, again, other = (self.encoder.random_twin(seed) for seed in (11, 11, 12))
        if one is None or again is None or other is None:
            return None, "it has no weights to draw"
        if len({fingerprint(one), fingerprint(other), fingerprint(self.encoder)}) < 3:
            return False, "two of the fingerprints of the encoder and its twins are the same"
        if fingerprint(one) != fingerprint(again) or not _same_bits(self.run(self.texts, one), self.run(self.texts, again)):
            return False, "one seed gave two twins"
        return not _same_bits(self.run(self.texts, one), self.run(self.texts, other)), ""

    def changed(self, changed: Encoder | None) -> tuple[bool | None, str]:
        if changed is None:
            return None, "give an encoder with a changed weight"
        if _same_bits(self.run(self.texts), self.run(self.texts, changed)):
            return False, "the states are the same"
        return fingerprint(changed) != fingerprint(self.encoder), ""


def _larger(worst: float, differences: torch.Tensor) -> float:
    """The maximum of `worst` and the differences; infinite where one of them is NaN."""
    largest = float(differences.max()) if differences.numel() else 0.0
    return float("inf") if math.isnan(largest) else max(worst, largest)


def _same_bits(a: States, b: States) -> bool:
    same = torch.equal(a.mask, b.mask) and len(a.layers) == len(b.layers)
    return same and all(x.shape == y.shape and torch.equal(x[a.mask], y[b.mask]) for x, y in zip(a.layers, b.layers, strict=True))
