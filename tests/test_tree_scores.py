"""Trees as numbers, and the scores of predicted ones, against brute force and scipy."""

from collections import deque
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, log_loss

from probing.data.split import Split
from probing.data.trees import Trees, ancestors, tree_depths, tree_distances
from probing.errors import DataError
from probing.evaluation.paired_tests import paired
from probing.evaluation.tree_table import Gold, Projected, weighted
from probing.probes import edges, tree_scores


def random_heads(rng, n):
    """A tree on n words whose root is any of them."""
    order, heads = rng.permutation(n), np.full(n, -1)
    for k in range(1, n):
        heads[order[k]] = order[rng.integers(k)]
    return heads


def corpus(rng, lengths, punctuation=0.2):
    heads = [random_heads(rng, n) for n in lengths]
    listed, punct = rng.random((2, sum(lengths))) < punctuation
    return Trees(np.concatenate(heads), np.cumsum([0, *lengths]), listed, punct)


def by_walking(heads):
    """Distances by breadth-first search over arcs."""
    n = len(heads)
    near = [[j for j in range(n) if heads[i] == j or heads[j] == i] for i in range(n)]
    made = np.zeros((n, n), int)
    for start in range(n):
        seen, queue = {start: 0}, deque([start])
        while queue:
            word = queue.popleft()
            for other in near[word]:
                if other not in seen:
                    seen[other] = seen[word] + 1
                    queue.append(other)
        made[start] = [seen[word] for word in range(n)]
    return made


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_distances_are_those_of_a_walk_and_of_vectors_of_ancestors(n, seed):
    heads = random_heads(np.random.default_rng(seed), n)
    walked = by_walking(heads)
    assert (tree_distances(heads) == walked).all() and (tree_depths(heads) == walked[heads.tolist().index(-1)]).all()
    a = ancestors(heads).astype(int)
    assert (((a[:, None] - a[None]) ** 2).sum(-1) == walked).all() and np.linalg.matrix_rank(a - a[0]) == n - 1


@pytest.mark.parametrize("heads", [[1, 0], [-1, 2, 1], [-1, -1], [-1, 5], [1, -2], [0, -1]])
def test_heads_that_are_no_tree_are_refused(heads):
    with pytest.raises(DataError, match="do not make one tree"):
        tree_depths(heads)


def kruskal(distances, words):
    """The edges of the minimum spanning tree over `words`, in the order (distance, i, j)."""
    part, chosen = {word: word for word in words}, set()
    for _, i, j in sorted((distances[i][j], i, j) for i, j in combinations(sorted(words), 2)):
        if part[i] != part[j]:
            chosen.add((i, j))
            old, new = part[i], part[j]
            part = {word: new if own == old else own for word, own in part.items()}
    return chosen


@pytest.mark.parametrize("rule", tree_scores.RULES)
@pytest.mark.parametrize("seed", range(10))
def test_uuas_and_dspr_are_those_of_a_loop_over_sentences(rule, seed):
    rng = np.random.default_rng(seed)
    lengths = [*rng.integers(2, 9, 6).tolist(), 1, 51]
    trees = corpus(rng, lengths)
    z = rng.integers(-2, 3, (len(trees.heads), 2)).astype(np.float32)  # whole numbers, so that distances are tied
    gold = Gold(trees, rule)
    table = gold.table(Projected(z, z), Projected(z[:, :1], z))
    right = total = 0
    rows, depth_rows, found_roots = {}, {}, []
    for s, (a, b) in enumerate(zip(trees.starts, trees.starts[1:], strict=False)):
        distances, own = ((z[a:b, None] - z[None, a:b]) ** 2).sum(-1), by_walking(trees.heads[a:b])
        words = [
            word
            for word in range(b - a)
            if {"listed": not trees.listed[a + word], "punct": not trees.punct[a + word]}.get(rule, True)
        ]
        reference = kruskal(own, words)
        right, total = right + len(kruskal(distances, words) & reference), total + len(reference)
        depths = (z[a:b] ** 2).sum(1)
        root = min(words or range(b - a), key=lambda word: (depths[word], word))
        found_roots.append(trees.heads[a + root] == -1)
        if 5 <= b - a <= 50:
            some = [spearmanr(distances[k], own[k]).statistic for k in range(b - a) if distances[k].any()]
            rows.setdefault(b - a, []).extend(some)
            if len(set(depths.tolist())) > 1:
                depth_rows.setdefault(b - a, []).append(spearmanr(depths, trees.depths[a:b]).statistic)
        assert (trees.distances[s] == own).all()
    assert table.scores["uuas"].value == pytest.approx(right / total)
    assert table.scores["dspr"].value == pytest.approx(np.mean([np.mean(own) for own in rows.values()]))
    assert table.scores["nspr"].value == pytest.approx(np.mean([np.mean(own) for own in depth_rows.values()]))
    assert table.scores["root_accuracy"].value == pytest.approx(np.mean(found_roots))
    for name, values in table.items.items():  # the means of what is kept by word are the scores
        assert np.nanmean(values) == pytest.approx(table.scores[name].value)
    difference = table.scores["uuas_above_chain"].value
    assert difference == pytest.approx(table.scores["uuas"].value - table.scores["uuas_chain"].value)


def spanning_trees(n):
    pairs = list(combinations(range(n), 2))
    for some in combinations(pairs, n - 1):
        part = list(range(n))
        for i, j in some:
            part = [part[j] if own == part[i] else own for own in part]
        if len(set(part)) == 1:
            yield set(some)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_ties_are_those_of_all_spanning_trees(n, levels, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(1, levels + 1, (n, n))
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    pairs = Trees(np.r_[-1, np.zeros(n - 1, int)], np.array([0, n]), *np.zeros((2, n), bool)).pairs
    values = matrix[pairs.i, pairs.j].astype(float)
    gold = tree_scores.minimum_spanning(rng.random(len(values)), pairs, np.ones(n, bool))
    own = {(i, j) for i, j, edge in zip(pairs.i.tolist(), pairs.j.tolist(), gold, strict=True) if edge}
    weights = [(sum(matrix[i, j] for i, j in some), len(some & own)) for some in spanning_trees(n)]
    least = min(weight for weight, _ in weights)
    shared = [count for weight, count in weights if weight == least]
    result = tree_scores.overlap(values, pairs, np.ones(n, bool), gold, np.zeros(n, int))
    assert [result.least, result.most] == [min(shared), max(shared)] and result.least <= result.right <= result.most
    assert tree_scores.number_of_trees(matrix) == len(shared)


def test_a_large_number_of_trees_is_exact():
    assert tree_scores.number_of_trees(np.ones((30, 30))) == 30**28  # Cayley


def test_no_score_depends_on_the_order_of_sentences_or_on_a_rotation():
    rng = np.random.default_rng(3)
    trees = corpus(rng, rng.integers(1, 12, 40).tolist())
    z = rng.standard_normal((len(trees.heads), 4))
    turned = z @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    order = rng.permutation(len(trees))
    other, words = trees.take(order)
    table = Gold(trees, "listed").table(Projected(z, z), Projected(z[:, :2], z))
    same = Gold(other, "listed").table(Projected(turned[words], turned[words]), Projected(z[words, :2], z))
    for name, score in table.scores.items():
        assert same.scores[name].value == pytest.approx(score.value), name
        assert same.scores[name].lower == pytest.approx(score.lower, nan_ok=True), name


def test_the_interval_of_a_mean_over_lengths_is_as_wide_as_its_bootstrap():
    rng = np.random.default_rng(0)
    n_groups = 80
    lengths = np.repeat(rng.integers(5, 10, n_groups), 5)
    groups = np.repeat(np.arange(n_groups), 5)
    values = 0.1 * lengths + 0.3 * np.repeat(rng.standard_normal(n_groups), 5) + 0.1 * rng.standard_normal(len(groups))
    mean = tree_scores.by_length(values, lengths)
    score = tree_scores.length_interval(mean, values, lengths, groups)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(n_groups, size=n_groups)])
        drawn.append(tree_scores.by_length(values[rows], lengths[rows]).value)
    assert score.value == pytest.approx(np.mean([values[lengths == n].mean() for n in np.unique(lengths)]))
    assert (score.upper - score.lower) / (2 * 1.99 * np.std(drawn)) == pytest.approx(1, abs=0.15)
    naive = tree_scores.length_interval(mean, values, lengths, np.arange(len(values)))
    assert naive.upper - naive.lower < 0.6 * (score.upper - score.lower), "words of a group go together"
    assert np.nanmean(weighted(mean, values)) == pytest.approx(mean.value)


def test_the_root_of_a_sentence_of_punctuation_is_the_least_of_all_words():
    yes, no = np.ones(2, bool), np.zeros(2, bool)
    trees = Trees(np.array([1, -1]), np.array([0, 2]), yes, no)
    assert tree_scores.roots(np.array([2.0, 1.0]), trees, tree_scores.kept(trees, "listed")).tolist() == [1]


def test_paired_tests_of_items_that_go_together_count_their_groups():
    d = np.random.default_rng(0).standard_normal(30) + 0.4
    groups = np.repeat(np.arange(30), 5)
    (one, p), (many, p_groups) = paired(d), paired(np.repeat(d, 5), groups=groups)
    assert p_groups == pytest.approx(p) and (many.lower, many.upper) == pytest.approx((one.lower, one.upper))
    holes = np.r_[np.repeat(d, 5), np.nan]
    assert paired(holes, groups=np.r_[groups, 30])[1] == pytest.approx(p), "an item without a value is left out"
    assert paired(np.zeros(4), groups=np.arange(4))[1] == 1 and np.isnan(paired(d, groups=np.zeros(30, int))[1])


def test_undefined_correlations_are_counted():
    trees = corpus(np.random.default_rng(1), [5, 6, 7])
    flat = np.zeros((18, 2))
    table = Gold(trees, "all").table(Projected(flat, flat), Projected(flat, flat))
    assert table.facets["undefined_dspr"] == 18 and table.facets["undefined_nspr"] == 3 and np.isnan(table.scores["dspr"].value)
    assert table.facets["tied_sentences"] == 3 and table.facets["uuas_least"] < table.facets["uuas_most"]


def split_of(trees, **changed):
    """A split whose items are the words of the trees; all sentences have other words."""
    texts = [" ".join(f"s{s}w{k}" for k in range(n)) for s, n in enumerate(trees.lengths.tolist())]
    places = np.concatenate([np.arange(n) for n in trees.lengths])
    facts = {"sentence": trees.sentence, "head": trees.heads, "listed": trees.listed, "punct": trees.punct} | changed
    groups = tuple(f"s{s}" for s in trees.sentence)
    return Split(
        tuple(texts[s] for s in trees.sentence), trees.depths.astype(float), groups, np.stack([places, places + 1], 1), facts
    )


def test_a_split_gives_its_trees_and_refuses_half_sentences():
    trees = corpus(np.random.default_rng(5), [3, 1, 4])
    split = split_of(trees)
    read = Trees.of(split)
    assert (read.heads == trees.heads).all() and read.lengths.tolist() == [3, 1, 4] and (read.depths == split.labels).all()
    for rows in ([0, 1, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7], [0, 2, 3, 4, 5, 6, 7]):
        with pytest.raises(DataError, match="words of a sentence are absent"):
            Trees.of(split.take(rows))
    with pytest.raises(DataError, match="x: the heads do not make one tree"):
        Trees.of(split_of(trees, head=np.zeros(8, int)), "x")
    with pytest.raises(DataError, match="lack head"):
        Trees.of(Split(("a",), np.zeros(1)))
    spread = Split(
        ("New York is", "New York is"), np.zeros(2), None, np.array([[0, 2], [2, 3]]), {k: v[:2] for k, v in split.facts.items()}
    )
    spread.facts["head"][:] = [1, -1]
    assert Trees.of(spread).lengths.tolist() == [2], "a form with a blank is one word"


def test_edge_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 4)), rng.integers(4, size=50)
    scores = edges.edge_scores(logits, labels)
    cells = np.eye(4, dtype=int)[labels]
    assert scores.f1 == pytest.approx(f1_score(cells, logits >= 0, average="micro"))
    assert scores.accuracy_argmax == pytest.approx((logits.argmax(1) == labels).mean())
    assert scores.loss == pytest.approx(log_loss(cells.ravel(), 1 / (1 + np.exp(-logits.ravel()))))
    assert edges.edge_scores(logits, cells) == scores
    assert np.isnan(edges.edge_scores(-np.ones((2, 3)), np.zeros(2, int)).precision)


def test_in_the_dependency_control_first_and_last_are_one_undirected_edge():
    heads = edges.control_heads([2, 0, 1])
    assert heads.tolist() == [2, 1, 0] and edges.legacy_undirected(heads, heads) == (2, 3)
