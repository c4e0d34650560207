"""Parts of edge probing (Tenney et al. 2019) and of the control task of dependencies (Hewitt & Liang 2019).

    span pooling    a_t = v · x_t + c, softmax within the half-open span, Σ weights x_t
    edge scores     K sigmoids for each target; a label is predicted where its logit is at least 0; micro F1 over all cells

In the control task each word type draws one of three heads, 1/3 each: the word itself, the first, or the last word of the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from probing.types import Labels, Values

BEHAVIOURS = ("itself", "first", "last")
"""Heads of the control task, by number."""


def pool_spans(x: torch.Tensor, v: torch.Tensor, c: torch.Tensor, spans: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one vector for each span, (n, d), and the weights of the words, (n, T), 0 outside of the span.

    Args:
        x: (n, T, d), the words of each span's sentence.
        v, c: (d,) and a number.
        spans: (n, 2), half open; a span holds a word at least.
    """
    place = torch.arange(x.shape[1], device=x.device)
    inside = (place >= spans[:, :1]) & (place < spans[:, 1:])  # (n, T)
    weights = (x @ v + c).masked_fill(~inside, -torch.inf).softmax(1)
    return (weights[..., None] * x).sum(1), weights


class EdgeScores(NamedTuple):
    """Scores of edge probing: counts over target × label cells, shares 0-1 (NaN if the divisor is 0), the share of targets whose
    highest logit is the label's, targets for which no label is predicted, and the mean binary cross-entropy of the cells in
    nats."""

    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    accuracy_argmax: float
    without_label: int
    loss: float


def edge_scores(logits: Values, labels: Labels) -> EdgeScores:
    """Return the scores of logits (n, K) for labels: numbers (n,), or 0 and 1 for each label (n, K); of several labels the argmax
    is right if it is one of them."""
    logits = np.asarray(logits, float)
    gold = np.eye(logits.shape[1], dtype=int)[labels] if np.ndim(labels) == 1 else np.asarray(labels)
    predicted = logits >= 0
    tp, fp, fn = (int((a & b).sum()) for a, b in ((predicted, gold == 1), (predicted, gold == 0), (~predicted, gold == 1)))
    precision, recall, f1 = (a / b if b else np.nan for a, b in ((tp, tp + fp), (tp, tp + fn), (2 * tp, 2 * tp + fp + fn)))
    loss = float((np.logaddexp(0, logits) - gold * logits).mean())
    right = gold[np.arange(len(gold)), logits.argmax(1)]
    return EdgeScores(tp, fp, fn, precision, recall, f1, float(right.mean()), int((~predicted.any(1)).sum()), loss)


def control_heads(behaviour: Sequence[int]) -> Labels:
    """Return the head of each word of a sentence, (n,), from the number of its type's behaviour (`BEHAVIOURS`)."""
    kind, place = np.asarray(behaviour, np.int64), np.arange(len(behaviour))
    return np.choose(kind, [place, np.zeros_like(place), np.full_like(place, len(place) - 1)])


def legacy_undirected(predicted: Labels, gold: Labels, scored: np.ndarray | None = None) -> tuple[int, int]:
    """Return what the released program counts in a sentence: right edges and edges, without direction. Right edges are the
    intersection of sets, edges the length of a list, so that first → last and last → first are two edges of which one can be
    right."""
    words = np.arange(len(gold)) if scored is None else np.flatnonzero(scored)

    def edges(heads: Labels) -> list[tuple[int, int]]:
        return [tuple(sorted((int(word), int(heads[word])))) for word in words]  # type: ignore[misc]

    return len(set(edges(predicted)) & set(edges(gold))), len(words)
