"""Vectors of absent words that are learned for a sentence, so that few AND and OR terms make up its value.

    min over b  sum |I|,  I the AND and OR terms (`and_or`) of v(S; b), where the tokens of words outside S have the vectors b

b has a vector for each token of a word. It begins with the vector of a masking, and stays within a box around it: in each dimension
`radius` standard deviations of the encoder's word vectors. Steps go against the sign of the subgradient sign(I)' dI/dv dv/db, with
lengths from 0.1 to 0.01 of the box, spaced evenly in their logarithm; of all steps the b of the smallest sum is kept, so that the
sum never rises. (Ren et al. 2023, CVPR, with AND terms alone and plain steps within a box.)

Without a box the optimum is no absence at all: if b is the words themselves, v is the same for all sets and has no terms. Then the
sum is smaller because the effect v(N) - v(empty) is, and not because the explanation is simpler. Read the sum as a share of the
effect, and beside fixed maskings.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from probing.attributions.and_or import and_or
from probing.attributions.word_function import WordFunction
from probing.encoders.base import Encoder
from probing.encoders.gradients import check_gradients, gradients
from probing.errors import ConfigError
from probing.interactions.game import all_coalitions
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.masking import with_vectors
from probing.types import Values

MOST_WORDS = 8
"""Of a sentence: in each step the graph of all sets of its words is held at once."""
RADIUS, STEPS = 0.25, 50


def check_learned(encoder: Encoder) -> None:
    """ConfigError for an encoder for which no vectors of absent words can be learned."""
    check_gradients(encoder)
    if "mean" not in with_vectors(encoder):
        raise ConfigError(
            f"{encoder.name} has no table of word vectors, whose spread says how far learned vectors may go: take fixed maskings, "
            "or take an encoder that has one (lstm, cnn, gated-cnn, transformer, checkpoint, hf)"
        )


def learned(
    encoder: Encoder,
    head: LinearHead,
    text: str,
    masking: str,
    target: str = "predicted",
    radius: float = RADIUS,
) -> tuple[Values, Values]:
    """Values v of all sets of words under the masking, and under the learned vectors, (2^n,) each.

    Raises:
        ConfigError: an encoder without gradients or without word vectors of its own, a sentence of more than `MOST_WORDS` words.
        NotApplicable: a masking without vectors.
    """
    check_learned(encoder)
    f = WordFunction(encoder, head, text, masking, target)
    if f.n > MOST_WORDS:
        raise ConfigError(
            f"{f.n} words: vectors of absent words are learned for at most {MOST_WORDS}, of which all sets are read at once"
        )
    sets = all_coalitions(f.n)
    absent = torch.from_numpy(np.stack([np.zeros(len(sets), bool) if w is None else ~sets[:, w] for w in f.sentence.owners], 1))
    terms = torch.from_numpy(_terms_of(f.n))  # (terms, sets)
    table = _word_vectors(f)
    first = f.baseline_like(table[0]).expand(len(f.item), table.shape[1]).clone()
    box = radius * table.std(0)
    b, values, sums = first, list[Values](), list[float]()
    for step in [*np.geomspace(0.1, 0.01, STEPS), 0.0]:
        leaf = b.clone().requires_grad_()
        v = _values(f, absent, leaf)
        strengths = terms @ v.detach()
        values.append(v.detach().numpy())
        sums.append(float(strengths.abs().sum()))
        [slope] = torch.autograd.grad(v @ (terms.T @ strengths.sign()), leaf)
        b = (b - step * box * slope.sign()).clamp(first - box, first + box)
    return values[0], values[int(np.argmin(sums))]


def _values(f: WordFunction, absent: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """v of all sets, (sets,), float64 on the CPU, with the graph to b (tokens, d); absent: (sets, tokens)."""
    parts = []
    for rows in absent.split(f.at_once):

        def change(given: torch.Tensor, rows: torch.Tensor = rows) -> torch.Tensor:
            return torch.where(rows[..., None].to(given.device), b.to(given), given.detach())

        with gradients(), f.encoder.lookup_changed_by(change):
            parts.append(f.value(f.logits(f.forward([f.item] * len(rows)))).cpu())
    return torch.cat(parts)


def _word_vectors(f: WordFunction) -> torch.Tensor:
    """All word vectors of the encoder, (ids, d), as it looks them up."""
    lookup = f.encoder.lookup
    ids = torch.arange(lookup.weight.shape[0], device=lookup.weight.device)
    with torch.no_grad():
        return torch.cat([lookup(part) for part in ids.split(4096)]).float().cpu()


@cache
def _terms_of(n: int) -> Values:
    """The matrix that makes the AND and then the OR terms of a table, (2^(n+1), 2^n)."""
    columns = (and_or(unit) for unit in np.eye(2**n))
    return np.stack([np.concatenate([one.conjunctions, one.disjunctions]) for one in columns], 1)
