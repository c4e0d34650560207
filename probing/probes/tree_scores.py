"""Scores of predicted distances and depths against dependency trees (Hewitt & Manning 2019, as released).

UUAS: edges of the minimum spanning tree of the predicted distances that are edges of that of the gold ones, both over the words
that a punctuation rule keeps, summed over sentences; edges are taken in the order (distance, i, j). DSpr: Spearman correlation of
each word's predicted and gold distances, its own zero included; NSpr: of a sentence's depths; both averaged over the sentences of
one length, then over lengths. Root accuracy: the least predicted depth among the kept words is the root's.

Not here: directed or labelled attachment, and trees that are no minimum spanning trees.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.stats import rankdata, t

from probing.data.trees import Pairs, Trees
from probing.types import Estimate, Labels, Values

RULES = ("listed", "punct", "all")
"""Words that UUAS and root accuracy score: without the seven listed Penn tags (released rule), without UPOS PUNCT, all words."""
LENGTHS = (5, 50)
"""The shortest and the longest sentence that DSpr and NSpr read."""


def kept(trees: Trees, rule: str) -> np.ndarray:
    """Return which words the rule keeps: (N,)."""
    return ~{"listed": trees.listed, "punct": trees.punct, "all": np.zeros(len(trees.heads), bool)}[rule].astype(bool)


def minimum_spanning(distances: Values, pairs: Pairs, keep: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
    """Return which pairs are edges of the minimum spanning trees over the kept words of each sentence: (P,).

    Args:
        distances: of `pairs`, (P,).
        keep: which words take part, (N,).
        last: pairs that come after the others of the same distance, (P,); then, and without it, ties go by (i, j).
    """
    inside = np.flatnonzero(keep[pairs.i] & keep[pairs.j])
    order = np.argsort(distances[inside], kind="stable")  # row-major within a sentence, so that ties go by (i, j)
    if last is not None:
        order = order[np.lexsort((last[inside][order], distances[inside][order]))]
    rank = np.empty(len(inside))
    rank[order] = np.arange(1, len(inside) + 1)  # no two edges alike: scipy breaks ties in an order of its own
    n = len(keep)
    graph = coo_array((rank, (pairs.i[inside], pairs.j[inside])), shape=(n, n)).tocsr()
    chosen = np.zeros(len(distances), bool)
    weights = minimum_spanning_tree(graph).data
    chosen[inside[order[weights.astype(np.int64) - 1]]] = True
    return chosen


class Overlap(NamedTuple):
    """The edges that predicted trees share with gold ones: of the tree by (distance, i, j), and the least and the most that any of
    the minimum trees shares, over all sentences; `tied`: the sentences where these differ."""

    right: int
    least: int
    most: int
    tied: int


def overlap(distances: Values, pairs: Pairs, keep: np.ndarray, gold: np.ndarray, sentence: np.ndarray) -> Overlap:
    """Return how many of the gold edges (P,) the minimum trees of the distances (P,) have; `sentence`: of each word (N,).

    With edges of one distance taken gold first, a minimum tree shares as many as any (spanning trees are a matroid)."""
    counts = [minimum_spanning(distances, pairs, keep, last)[gold] for last in (None, gold, ~gold)]
    right, least, most = (int(count.sum()) for count in counts)
    where = sentence[pairs.i[gold]]
    n = int(sentence[-1]) + 1 if len(sentence) else 0
    tied = int(np.count_nonzero(np.bincount(where[counts[1]], minlength=n) != np.bincount(where[counts[2]], minlength=n)))
    return Overlap(right, least, most, tied)


def number_of_trees(matrix: Values) -> int:
    """Return how many spanning trees of a complete graph, distances (n, n), have the least weight: the product over distances of
    the spanning trees (Kirchhoff 1847) of the components that edges of that distance join, all shorter edges contracted."""
    matrix = np.asarray(matrix, float)
    n, number = len(matrix), 1
    part = np.arange(n)  # the component of each word
    i, j = np.triu_indices(n, 1)
    for distance in np.unique(matrix[i, j]):
        same = matrix[i, j] == distance
        a, b = part[i[same]], part[j[same]]
        a, b = a[a != b], b[a != b]
        if not len(a):
            continue
        size = int(part.max()) + 1
        count = np.zeros((size, size), np.int64)
        np.add.at(count, (a, b), 1)
        count += count.T
        _, joined = connected_components(count, directed=False)
        for component in range(int(joined.max()) + 1):
            inside = np.flatnonzero(joined == component)
            within = count[np.ix_(inside, inside)]
            number *= determinant((np.diag(within.sum(1)) - within)[1:, 1:])
        part = joined[part]
    return number


def determinant(matrix: np.ndarray) -> int:
    """Return the determinant of whole numbers (n, n), exactly; 1 of an empty matrix."""
    rows = [[Fraction(int(x)) for x in row] for row in matrix]
    value = Fraction(1)
    for k in range(len(rows)):
        pivot = next((r for r in range(k, len(rows)) if rows[r][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            rows[k], rows[pivot], value = rows[pivot], rows[k], -value
        value *= rows[k][k]
        for row in rows[k + 1 :]:
            factor = row[k] / rows[k][k]
            row[k:] = [x - factor * y for x, y in zip(row[k:], rows[k][k:], strict=True)]
    return int(value)


def above(edges: np.ndarray, pairs: Pairs, keep: np.ndarray, trees: Trees) -> np.ndarray:
    """Return for each word the number of the pair that is its edge upward, in trees with the first kept word of each sentence on
    top: (N,), -1 for that word and for words that are not kept. Every edge belongs to one word."""
    n, rows = len(keep), np.flatnonzero(keep)
    upward = np.full(n, -1)
    if not len(rows):
        return upward
    tops = rows[np.unique(trees.sentence[rows], return_index=True)[1]]
    i, j = (np.r_[side[edges], other] for side, other in ((pairs.i, tops), (pairs.j, np.full(len(tops), n))))
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(n + 1, n + 1)).tocsr()
    _, parents = breadth_first_order(graph, n, directed=False)
    number = {(int(pairs.i[k]), int(pairs.j[k])): k for k in np.flatnonzero(edges).tolist()}
    for word in rows.tolist():
        if (parent := int(parents[word])) < n:
            upward[word] = number[min(word, parent), max(word, parent)]
    return upward


def spearman(predicted: Values, gold: Values, itself: bool = True) -> Values:
    """Return Spearman correlations with average ranks along the last axis; NaN where a row is constant or has no entry.

    Args:
        predicted, gold: (..., n).
        itself: False: of square matrices (..., n, n), without the diagonal.
    """
    a, b = np.asarray(predicted, float), np.asarray(gold, float)
    if not itself:
        off = ~np.eye(a.shape[-1], dtype=bool)
        a, b = (x[..., off].reshape(*x.shape[:-1], x.shape[-1] - 1) for x in (a, b))
    if not a.shape[-1]:
        return np.full(a.shape[:-1], np.nan)
    a, b = (rankdata(x, axis=-1) - (x.shape[-1] + 1) / 2 for x in (a, b))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


class ByLength(NamedTuple):
    """A mean over lengths of means over values; `weights`: of each value in it, (n,), 0 where it is undefined or too short or long;
    `undefined`: values of the lengths read that are undefined; `lengths`: how many lengths occur."""

    value: float
    weights: np.ndarray
    undefined: int
    lengths: int


def by_length(values: Values, lengths: Labels, between: tuple[int, int] = LENGTHS) -> ByLength:
    """Return the mean over the lengths `between` (both included) that have a defined value of the mean of their values, (n,)."""
    x, n = np.asarray(values, float), np.asarray(lengths)
    inside = (n >= between[0]) & (n <= between[1])
    used = inside & ~np.isnan(x)
    counts = np.bincount(n[used], minlength=1)
    occurring = int(np.count_nonzero(counts))
    weights = np.zeros(len(x))
    weights[used] = 1 / (counts[n[used]] * occurring)
    value = float(weights[used] @ x[used]) if occurring else np.nan
    return ByLength(value, weights, int((inside & ~used).sum()), occurring)


def length_interval(mean: ByLength, values: Values, lengths: Labels, groups: Labels) -> Estimate:
    """Return a mean over lengths with its 95 % t interval over groups of values (numbers, (n,)).

    The deviations of values from the mean of their length, times their weights, are summed over groups (linearisation), and
    enlarged by m / (m - 1) for m sentences of that length in m groups; where a length has one group, deviations are from the mean
    over all lengths, which is too large (as surveys treat a stratum with one unit)."""
    used = mean.weights > 0
    x, n, w = np.asarray(values, float)[used], np.asarray(lengths)[used], mean.weights[used]
    g = np.unique(np.asarray(groups)[used], return_inverse=True)[1] if used.any() else np.zeros(0, np.int64)
    m = int(g.max()) + 1 if len(g) else 0
    if m < 2:
        return Estimate(mean.value, np.nan, np.nan)
    own = np.bincount(n, w * x) / np.maximum(np.bincount(n, w), 1e-300)
    cells = np.unique(np.stack([n, g]), axis=1)
    size = np.bincount(cells[0], minlength=len(own))
    centre = np.where(size > 1, own, mean.value)
    factor = np.sqrt(np.where(size > 1, size / np.maximum(size - 1, 1), 1))
    e = np.bincount(g, w * (x - centre[n]) * factor[n])
    half = float(t.ppf(0.975, m - 1) * np.sqrt((e @ e) * m / (m - 1)))
    return Estimate(mean.value, mean.value - half, mean.value + half)


def roots(depths: Values, trees: Trees, keep: np.ndarray) -> np.ndarray:
    """Return the root that each sentence's depths (N,) name: the word of the least one among the kept words, the first on ties;
    among all words where none is kept: (S,), numbers of words within their sentence."""
    none = ~np.bincount(trees.sentence, keep, minlength=len(trees)).astype(bool)
    x = np.where(keep | none[trees.sentence], np.asarray(depths, float), np.inf)
    order = np.lexsort((x, trees.sentence))  # stable: the first on ties
    return order[trees.starts[:-1]] - trees.starts[:-1]


def squares(z: np.ndarray, pairs: Pairs, chunk: int = 50_000) -> Values:
    """Return the squared distances of the pairs of projected words z (N, r): (P,)."""
    parts = [slice(k, k + chunk) for k in range(0, len(pairs.i), chunk)]
    return np.concatenate([np.zeros(0), *(((z[pairs.i[p]].astype(float) - z[pairs.j[p]]) ** 2).sum(1) for p in parts)])


def matrices(pair_values: Values, trees: Trees, sentences: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return symmetric matrices with a zero diagonal of m sentences of one length n from values of `Trees.pairs`: (m, n, n);
    `first`: the first pair of each sentence, (S,)."""
    n = int(trees.lengths[sentences[0]])
    i, j = np.triu_indices(n, 1)
    made = np.zeros((len(sentences), n, n))
    made[:, i, j] = made[:, j, i] = pair_values[first[sentences, None] + np.arange(len(i))]
    return made


def first_pairs(trees: Trees) -> np.ndarray:
    """Return the first of `Trees.pairs` of each sentence: (S,)."""
    counts = trees.lengths * (trees.lengths - 1) // 2
    return np.cumsum(counts) - counts


def distance_correlations(predicted: Values, trees: Trees, itself: bool = True) -> Values:
    """Return the Spearman correlation of each word's predicted distances (of `Trees.pairs`) with its gold ones: (N,)."""
    made, first = np.full(len(trees.heads), np.nan), first_pairs(trees)
    for sentences, words in trees.by_length():
        step = max(1, 2_000_000 // words.shape[1] ** 2)
        for k in range(0, len(sentences), step):
            part = sentences[k : k + step]
            gold = np.stack([trees.distances[row] for row in part])
            made[words[k : k + step]] = spearman(matrices(predicted, trees, part, first), gold, itself)
    return made


def depth_correlations(predicted: Values, trees: Trees) -> Values:
    """Return the Spearman correlation of each sentence's predicted depths (N,) with the gold ones: (S,)."""
    made = np.full(len(trees), np.nan)
    for sentences, words in trees.by_length():
        made[sentences] = spearman(np.asarray(predicted)[words], trees.depths[words])
    return made


def distance_losses(predicted: Values, trees: Trees) -> Values:
    """Return for each sentence the sum over all n² cells of |predicted - gold distance|, over n²: (S,)."""
    where = trees.sentence[trees.pairs.i]
    return 2 * np.bincount(where, np.abs(predicted - trees.pair_distances), minlength=len(trees)) / trees.lengths**2


def depth_losses(predicted: Values, trees: Trees) -> Values:
    """Return for each sentence the mean over words of |predicted - gold depth|: (S,)."""
    return np.bincount(trees.sentence, np.abs(predicted - trees.depths), minlength=len(trees)) / trees.lengths


def chain(pairs: Pairs) -> Values:
    """Return the distances of the linear chain, |i - j|: (P,)."""
    return (pairs.j - pairs.i).astype(float)


def is_edge(trees: Trees, pairs: Pairs) -> np.ndarray:
    """Return which pairs are dependencies, a word and its head: (P,)."""
    return trees.pair_distances == 1
