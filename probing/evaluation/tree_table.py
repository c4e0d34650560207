"""Scores of a structural probe on one split, with intervals, beside its baselines under the same punctuation rule."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from probing.data.trees import Trees
from probing.evaluation.statistics import mean_accuracy, mean_ci, n_units
from probing.probes import tree_scores as scores
from probing.types import Estimate, Labels, Values


class Projected(NamedTuple):
    """Projected words of a split: by the map of the distance probe (N, r), and by that of the depth probe (N, r)."""

    for_distance: np.ndarray
    for_depth: np.ndarray


class TreeTable(NamedTuple):
    """Scores with intervals; counts; and values by word whose mean (of those that are not NaN) is the score."""

    scores: Mapping[str, Estimate]
    facets: Mapping[str, Any]
    items: Mapping[str, np.ndarray]


class Gold:
    """The gold trees of a split under one punctuation rule.

    Every edge of a gold minimum spanning tree belongs to one word (`tree_scores.above`), so that UUAS, a ratio of sums over
    sentences, is the mean of 0 and 1 over words that have an edge; its interval goes over `groups` of words (numbers 0..m-1, (N,);
    None: sentences).
    """

    def __init__(self, trees: Trees, rule: str, groups: Labels | None = None):
        self.trees, self.rule = trees, rule
        self.groups = trees.sentence if groups is None else groups
        self.keep = scores.kept(trees, rule)
        self.edges = scores.minimum_spanning(trees.pair_distances, trees.pairs, self.keep)
        self.upward = scores.above(self.edges, trees.pairs, self.keep, trees)

    def hits(self, distances: Values) -> np.ndarray:
        """Of each word whether its gold edge is one of the predicted tree's: (N,), 1, 0, or NaN where it has none."""
        chosen = scores.minimum_spanning(distances, self.trees.pairs, self.keep)
        hits = np.full(len(self.keep), np.nan)
        hits[self.upward >= 0] = chosen[self.upward[self.upward >= 0]]
        return hits

    @cached_property
    def chain(self) -> tuple[np.ndarray, float]:
        """`hits` of the linear chain, and its DSpr."""
        line = scores.chain(self.trees.pairs)
        words = scores.distance_correlations(line, self.trees)
        return self.hits(line), scores.by_length(words, self.trees.lengths[self.trees.sentence]).value

    def uuas(self, projected: np.ndarray) -> float:
        """UUAS of words projected by the distance probe's map: (N, r)."""
        hits = self.hits(scores.squares(projected, self.trees.pairs))
        return float(np.nanmean(hits)) if (self.upward >= 0).any() else np.nan

    def table(self, probe: Projected, untrained: Projected) -> TreeTable:
        """The scores of a fitted probe, with those of an untrained one of the same rank and of the linear chain."""
        trees, of_word = self.trees, self.trees.lengths[self.trees.sentence]
        distances, depths = scores.squares(probe.for_distance, trees.pairs), _norms(probe.for_depth)
        random = scores.squares(untrained.for_distance, trees.pairs)
        hits, other, chain = self.hits(distances), self.hits(random), self.chain[0]
        words, sentences = scores.distance_correlations(distances, trees), scores.depth_correlations(depths, trees)
        first = trees.starts[:-1]
        dspr, nspr = scores.by_length(words, of_word), scores.by_length(sentences, trees.lengths)
        root = trees.heads[scores.roots(depths, trees, self.keep) + first] == -1
        shared = scores.overlap(distances, trees.pairs, self.keep, self.edges, trees.sentence)
        n_edges = int((self.upward >= 0).sum())
        random_words = scores.by_length(scores.distance_correlations(random, trees), of_word)
        made = {
            "uuas": share(hits, self.groups),
            "uuas_chain": share(chain, self.groups),
            "uuas_untrained": share(other, self.groups),
            "uuas_above_chain": mean_ci(hits - chain, self.groups),
            "uuas_above_untrained": mean_ci(hits - other, self.groups),
            "root_accuracy": share(root.astype(float), self.groups[first]),
            "dspr": scores.length_interval(dspr, words, of_word, self.groups),
            "dspr_chain": _plain(self.chain[1]),
            "dspr_untrained": _plain(random_words.value),
            "nspr": scores.length_interval(nspr, sentences, trees.lengths, self.groups[first]),
            "distance_loss": mean_ci(scores.distance_losses(distances, trees), self.groups[first]),
            "depth_loss": mean_ci(scores.depth_losses(depths, trees), self.groups[first]),
        }
        facets = {
            "rule": self.rule,
            "edges": n_edges,
            "sentences_without_edges": int((np.bincount(trees.sentence[self.upward >= 0], minlength=len(trees)) == 0).sum()),
            "lengths": dspr.lengths,
            "undefined_dspr": dspr.undefined,
            "undefined_nspr": nspr.undefined,
            "tied_sentences": shared.tied,
            "uuas_least": shared.least / max(1, n_edges),
            "uuas_most": shared.most / max(1, n_edges),
        }
        by_word = np.full((2, len(of_word)), np.nan)
        by_word[0, first], by_word[1, first] = root, weighted(nspr, sentences)
        items = {"uuas": hits, "dspr": weighted(dspr, words), "root_accuracy": by_word[0], "nspr": by_word[1]}
        return TreeTable(made, facets, items)


def share(right: np.ndarray, groups: Labels) -> Estimate:
    """The mean of 0 and 1, (n,), without NaN, with its interval over groups (`mean_accuracy`); NaN of nothing."""
    known = ~np.isnan(right)
    if not known.any():
        return _plain(np.nan)
    own = np.unique(groups[known], return_inverse=True)[1]
    return mean_accuracy(right[known], None if n_units(0, own) == known.sum() else own)


def weighted(mean: scores.ByLength, values: Values) -> np.ndarray:
    """Values times their weight in a mean over lengths, so that their plain mean is that mean; NaN where they are not in it."""
    used = mean.weights > 0
    return np.where(used, np.where(used, values, 0) * mean.weights * used.sum(), np.nan)


def _plain(value: float) -> Estimate:
    return Estimate(float(value), np.nan, np.nan)


def _norms(z: np.ndarray) -> Values:
    return np.square(z.astype(float)).sum(1)
