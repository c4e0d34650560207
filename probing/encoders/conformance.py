"""Checks whether an encoder keeps the rules on which the store of vectors relies:

    print(check(my_encoder))        # or on the command line: probing check encoder=python encoder.target=my_file.py:make

The store computes the vectors of each sentence once, in some batch; so they may depend on nothing but the sentence and the
fingerprint. `check` tries each rule (`probing.encoders.rules`) on a few sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probing.encoders.base import Encoder
from probing.encoders.rules import ODD, Rules
from probing.errors import described

TEXTS = (
    "the cat runs .",
    "dogs",
    "the big dog sees the small cat because they run .",
    "It ran , and they saw Mr. Smith-Jones 's 1,000 books !",
)


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
    """Tries every rule on an encoder.

    Args:
        encoder: the encoder, or better a function that makes it, so that two instances can be compared.
        changed: the same encoder with a changed weight; its fingerprint and its states must differ.
        texts: at least two sentences of different length that the encoder can read.
    """
    make = (lambda: encoder) if isinstance(encoder, Encoder) and not isinstance(encoder, type) else encoder
    rules = Rules(make(), tuple(texts))
    named = [
        ("has the attributes and methods of the protocol", rules.protocol),
        ("as many layers as names and dims, each of its width, finite", rules.shapes),
        ("states carry no gradient", rules.no_gradient),
        ("the same batch twice gives the same bits", rules.deterministic),
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
