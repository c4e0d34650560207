"""Trees, their scores, dependency controls and edge probing against reference values (PROBING_SHARED/oracles/probes.json)."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from probing.data.conllu import LISTED
from probing.data.readers.treebank import read_conllu
from probing.data.trees import Trees, tree_depths, tree_distances
from probing.evaluation.tree_table import Gold
from probing.probes import edges, structural, tree_scores
from probing.probes.tree_scores import RULES

pytestmark = pytest.mark.shared
NAMES = {"xpos_seven": "listed", "upos_punct": "punct", "all_words": "all"}


@cache
def cases(group):
    path = Path(os.environ.get("PROBING_SHARED", "")) / "oracles" / "probes.json"
    return json.loads(path.read_text())[group]["cases"] if path.is_file() else []


def each(group):
    return pytest.mark.parametrize("case", cases(group), ids=lambda case: case["name"])


def close(value, expected):
    given = np.array([np.nan if x is None else x for x in np.ravel(np.array(expected, dtype=object))], float)
    np.testing.assert_allclose(np.ravel(np.asarray(value, float)), given, atol=1e-6, rtol=0)


def trees_of(*parses):
    """The trees of parses, each with heads from 1, upos and xpos."""
    heads = [np.array(one["heads"]) - 1 for one in parses]
    starts = np.cumsum([0, *map(len, heads)])
    listed = [tag in LISTED for one in parses for tag in one["xpos"]]
    return Trees(
        np.concatenate(heads), starts, np.array(listed), np.array([tag == "PUNCT" for one in parses for tag in one["upos"]])
    )


def pair_values(*matrices):
    return np.concatenate([np.array(m, float)[np.triu_indices(len(m), 1)] for m in matrices])


def squared(vectors):
    x = np.array(vectors)
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def distances_of(given):
    return np.array(given["distances"]) if "distances" in given else squared(given["vectors"])


def edge_list(chosen, pairs, distances=None):
    order = np.flatnonzero(chosen)
    if distances is not None:
        order = order[np.argsort(distances[order], kind="stable")]
    return [[int(pairs.i[k]), int(pairs.j[k])] for k in order]


@each("structural")
def test_structural(case):
    given, expected = case["given"], case["expected"]
    trees, matrix = trees_of(given), distances_of(given)
    predicted, depths, pairs = pair_values(matrix), np.array(given["depths"], float), trees.pairs
    close(trees.depths, expected["gold_depths"])
    if "gold_distances" in expected:
        close(trees.distances[0], expected["gold_distances"])
    close(tree_scores.distance_losses(predicted, trees), expected["distance_loss_l1"])
    close(tree_scores.depth_losses(depths, trees), expected["depth_loss_l1"])
    close(tree_scores.distance_correlations(predicted, trees), expected["dspr_by_word"])
    close(tree_scores.distance_correlations(predicted, trees, itself=False), expected["dspr_by_word_without_itself"])
    close(tree_scores.depth_correlations(depths, trees), expected["nspr"])
    for name, rule in NAMES.items():
        own, keep = expected[name], tree_scores.kept(trees, rule)
        gold = tree_scores.minimum_spanning(trees.pair_distances, pairs, keep)
        chosen = tree_scores.minimum_spanning(predicted, pairs, keep)
        assert edge_list(gold, pairs, trees.pair_distances) == own["gold_edges"]
        assert edge_list(chosen, pairs, predicted) == own["predicted_edges"]
        assert [(gold & chosen).sum(), gold.sum()] == own["uuas"]
        arcs = tree_scores.is_edge(trees, pairs) & keep[pairs.i] & keep[pairs.j]
        assert [(arcs & chosen).sum(), arcs.sum()] == own["against_dependencies"]
        chain = tree_scores.minimum_spanning(tree_scores.chain(pairs), pairs, keep)
        assert [(gold & chain).sum(), gold.sum()] == own["linear_baseline"]
        root = tree_scores.roots(depths, trees, keep)
        assert [int(root[0]), int(trees.heads[root[0]] == -1)] == [own["root"], own["root_right"]]


@each("structural_corpus")
def test_structural_corpus(case):
    parses, expected = [one["given"] for one in cases("structural")], case["expected"]
    assert len(parses) == case["given"]["trees"]
    trees, predicted = trees_of(*parses), pair_values(*map(distances_of, parses))
    depths, pairs = np.concatenate([one["depths"] for one in parses]), trees.pairs
    assert trees.lengths.tolist() == case["given"]["lengths"]
    of_word = trees.lengths[trees.sentence]
    words = tree_scores.distance_correlations(predicted, trees)
    dspr = tree_scores.by_length(words, of_word)
    close(np.nan if dspr.undefined else dspr.value, expected["dspr"])
    close(dspr.value, expected["dspr_defined"])
    assert dspr.undefined == expected["dspr_undefined_words"]
    without = tree_scores.distance_correlations(predicted, trees, itself=False)
    close(tree_scores.by_length(without, of_word).value, expected["dspr_without_itself_defined"])
    close(tree_scores.by_length(words, of_word, (1, 10**6)).value, expected["dspr_all_lengths_defined"])
    close(np.nanmean(words), expected["dspr_word_mean_defined"])
    nspr = tree_scores.by_length(tree_scores.depth_correlations(depths, trees), trees.lengths)
    close(np.nan if nspr.undefined else nspr.value, expected["nspr"])
    close([nspr.value, nspr.undefined], [expected["nspr_defined"], expected["nspr_undefined"]])
    close(tree_scores.distance_losses(predicted, trees).mean(), expected["distance_loss_batch"])
    close(tree_scores.depth_losses(depths, trees).mean(), expected["depth_loss_batch"])
    for name, rule in NAMES.items():
        own, keep = expected[name], tree_scores.kept(trees, rule)
        gold = tree_scores.minimum_spanning(trees.pair_distances, pairs, keep)
        hit = tree_scores.minimum_spanning(predicted, pairs, keep) & gold
        assert [hit.sum(), gold.sum()] == [own["right"], own["edges"]]
        close(hit.sum() / gold.sum(), own["uuas"])
        edges_of, right = (np.bincount(trees.sentence[pairs.i[one]], minlength=len(trees)) for one in (gold, hit))
        close((right[edges_of > 0] / edges_of[edges_of > 0]).mean(), own["uuas_sentence_mean"])
        assert (edges_of == 0).sum() == own["sentences_without_edges"]
        root = tree_scores.roots(depths, trees, keep) + trees.starts[:-1]
        close((trees.heads[root] == -1).mean(), own["root_accuracy"])
        arcs = tree_scores.is_edge(trees, pairs) & keep[pairs.i] & keep[pairs.j]
        chosen = tree_scores.minimum_spanning(predicted, pairs, keep)
        assert [(arcs & chosen).sum(), arcs.sum()] == own["against_dependencies"]
        line = tree_scores.minimum_spanning(tree_scores.chain(pairs), pairs, keep)
        assert [(gold & line).sum(), gold.sum()] == own["linear_baseline"]
    assert set(NAMES.values()) == set(RULES)


@each("spanning_tree_ties")
def test_spanning_tree_ties(case):
    given, expected = case["given"], case["expected"]
    n = given["n"]
    values = np.array(given["upper_triangle_rows"], float)
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = values
    matrix += matrix.T
    words = np.zeros(n, bool)
    pairs = Trees(np.r_[-1, np.arange(n - 1)], np.array([0, n]), words, words).pairs
    chosen = tree_scores.minimum_spanning(values, pairs, ~words)
    assert sorted(edge_list(chosen, pairs)) == sorted(map(sorted, expected["edges"]))
    close(values[chosen].sum(), expected["weight"])
    assert tree_scores.number_of_trees(matrix) == expected["number"]
    gold = np.array([[i, j] in given["gold"] for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)])
    shared = tree_scores.overlap(values, pairs, ~words, gold, np.zeros(n, int))
    assert [shared.least, shared.most] == expected["gold_overlap"]
    assert shared.tied == (shared.least != shared.most)


@each("structural_loss")
def test_structural_loss(case):
    given, expected = case["given"], case["expected"]
    h, B = torch.tensor(given["h"], dtype=torch.float64), torch.tensor(given["B"], dtype=torch.float64)
    heads = np.array(given["heads"]) - 1
    z = (h @ B.T).numpy()
    close(squared(z), expected["distances"])
    close((z**2).sum(1), expected["depths"])
    for kind, gold in (("distance", tree_distances(heads)), ("depth", tree_depths(heads))):
        loss, gradient = structural.loss_and_gradient(kind, B, [h], [gold])
        close(loss, expected[f"{kind}_loss"])
        close(gradient, expected[f"{kind}_gradient"])


@each("control_dependencies")
def test_control_dependencies(case):
    given, expected = case["given"], case["expected"]
    gold = edges.control_heads(given["behaviour"])
    assert gold.tolist() == expected["gold"]
    predicted = np.array(given["predicted"])
    n = len(gold)
    keep = np.ones(n, bool) if "scored" not in given else np.array(given["scored"], bool)
    assert [int((predicted == gold)[keep].sum()), int(keep.sum())] == expected["directed"]
    assert list(edges.legacy_undirected(predicted, gold, keep)) == expected["undirected_released"]
    assert list(edges.legacy_undirected(gold, gold, keep)) == expected["undirected_perfect_prediction"]


@each("span_pooling")
def test_span_pooling(case):
    given, expected = case["given"], case["expected"]
    x, v = torch.tensor(given["x"], dtype=torch.float64), torch.tensor(given["v"], dtype=torch.float64)
    pooled, weights = edges.pool_spans(x[None], v, torch.tensor(given["c"]), torch.tensor([given["span"]]))
    a, b = given["span"]
    close(weights[0, a:b], expected["weights"])
    close(weights.sum(), 1)
    close(pooled[0], expected["pooled"])


@each("edge_probing_f1")
def test_edge_probing_f1(case):
    given, expected = case["given"], case["expected"]
    scores = edges.edge_scores(np.array(given["logits"]), np.array(given["labels"]))
    assert [scores.tp, scores.fp, scores.fn] == expected["tp_fp_fn"]
    for name in ("precision", "recall", "f1", "accuracy_argmax", "loss"):
        close(getattr(scores, name), expected[name])
    assert scores.without_label == expected["targets_without_label"]


@each("conllu")
def test_conllu(case, tmp_path):
    path = tmp_path / "case.conllu"
    path.write_text(case["given"]["text"], encoding="utf-8")
    sentences, expected = list(read_conllu(path)), case["expected"]["sentences"]
    assert len(sentences) == len(expected)
    for sentence, own in zip(sentences, expected, strict=True):
        parse = sentence.dependencies
        assert list(parse.forms) == own["words"] and list(parse.upos) == own["upos"] and list(parse.relations) == own["relation"]
        assert [head + 1 for head in parse.heads] == own["heads"]
        assert [parse.relation(word) for word in range(len(parse.forms))] == own["relation_universal"]
        assert tree_depths(parse.heads).tolist() == own["depths"] and tree_distances(parse.heads).tolist() == own["distances"]
        assert list(sentence.tokens) == own["surface"]
        assert [[w for w, t in enumerate(parse.token) if t == k] for k in range(len(sentence.tokens))] == own["word_of_surface"]
        assert [parse.ranges, parse.empty] == [own["range_lines"], own["empty_nodes"]]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ud_en_ewt/en_ewt-dev.conllu.xz", {"listed": 42.97, "punct": 43.09, "all": 40.44}),
        ("ud_de_gsd/de_gsd-ud-dev.conllu.xz", {"listed": 40.29, "punct": 43.60, "all": 40.29}),
    ],
)
def test_the_linear_chain_of_two_treebanks(path, expected, shared):
    """UUAS in percent of |i - j| under the three rules, as counted for the protocols by the released functions."""
    parses = [sentence.dependencies for sentence in read_conllu(shared / "data" / path)]
    trees = trees_of(*({"heads": np.array(one.heads) + 1, "upos": one.upos, "xpos": one.xpos} for one in parses))
    for rule, uuas in expected.items():
        assert 100 * np.nanmean(Gold(trees, rule).chain[0]) == pytest.approx(uuas, abs=0.005)
