"""The dynamic programme against all partitions, ties, link names, and trees."""

import brute
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.errors import ConfigError
from probing.interactions.partition import best_partition, coefficients, interaction_tree, links, partition_of


def interval_table(m, seed, ties):
    values = np.triu(np.random.default_rng([m, seed]).normal(size=(m, m)))
    return np.round(values * 2) if ties else values


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 10), st.integers(0, 10_000), st.booleans(), st.sampled_from([1, -1]))
def test_the_best_partition_is_that_of_brute_force(m, seed, ties, sign):
    phi = interval_table(m, seed, ties)
    sums = {p: sum(phi[i, j - 1] for i, j in p) for p in brute.partitions(0, m)}
    top = max(sign * total for total in sums.values())
    wanted = {p for p, total in sums.items() if sign * total > top - 1e-9}
    found = best_partition(phi, sign)
    assert found.value == pytest.approx(sign * top, abs=1e-9)
    assert set(found.all) == wanted and len(found.all) == len(wanted)
    assert found.finest == found.all[0] and len(found.finest) == max(map(len, wanted))
    assert coefficients(found.finest, m) @ phi[np.triu_indices(m)] == pytest.approx(found.value, abs=1e-9)


def test_ties_go_to_the_finest_and_then_to_the_earliest_cut():
    additive = np.triu(np.subtract.outer(-np.arange(5.0), -np.arange(5.0)) + 1)  # phi = number of players: every partition ties
    found = best_partition(additive)
    assert found.finest == tuple((i, i + 1) for i in range(5)) and len(found.all) == 16
    phi = np.zeros((3, 3))
    phi[0, 1] = phi[1, 2] = 1.0  # either pair, not both
    assert best_partition(phi).finest == ((0, 1), (1, 3)) and set(best_partition(phi).all) == {((0, 1), (1, 3)), ((0, 2), (2, 3))}
    phi[0, 1] += 1e-6
    assert best_partition(phi).finest == ((0, 2), (2, 3)) and best_partition(phi, tolerance=1e-5).finest == ((0, 1), (1, 3))


def test_a_tolerance_is_relative_to_the_values():
    phi = interval_table(6, 1, ties=True)
    for scale in (1e-12, 1.0, 1e12):
        assert best_partition(phi * scale).all == best_partition(phi).all


def test_the_list_of_ties_is_cut_at_the_stated_number():
    """A segment of 30 that ties throughout has 2^29 partitions; the finest is first, and the rest is not gone through."""
    found = best_partition(np.zeros((30, 30)), listed=50)
    assert len(found.all) == len(set(found.all)) == 50 and len(found.finest) == 30
    coarse = -np.triu(np.ones((30, 30)))  # each part costs 1
    assert best_partition(coarse).all == (((0, 30),),)


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
def test_links_and_partitions_name_each_other(kept, start):
    partition = partition_of(np.array(kept, bool), start)
    assert links(partition).tolist() == kept and partition[0][0] == start and partition[-1][1] == start + len(kept) + 1


def test_the_gains_of_a_tree_sum_to_B():
    for seed in range(20):
        phi = interval_table(6, seed, ties=False)
        root = interaction_tree(phi, start=3)
        nodes, gains = [root], []
        while nodes:
            node = nodes.pop()
            nodes.extend(node.parts)
            gains.append(node.between)
        assert sum(gains) == pytest.approx(phi[0, -1] - np.trace(phi), abs=1e-9)
        assert root.spans()[0] == (3, 9) and len(root.spans()) == 5


def test_trees_find_a_nested_structure():
    """x0 bound to the pair x1 x2, x3 free: the pair first, then x0. Mirrored, the tree is mirrored."""
    phi = np.zeros((4, 4))
    phi[1, 2], phi[0, 2] = 1.0, 3.0
    phi[0, 3], phi[1, 3] = 3.0, 1.0
    assert set(interaction_tree(phi).spans()) == {(0, 4), (0, 3), (1, 3)}
    assert set(interaction_tree(phi[::-1, ::-1].T).spans()) == {(0, 4), (1, 4), (1, 3)}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: best_partition(np.zeros((2, 3))), r"square matrix, at least 1 by 1; given shape \(2, 3\)"),
        (lambda: best_partition(np.zeros((0, 0))), "square matrix"),
        (lambda: best_partition(np.zeros((2, 2)), sign=2), "sign is 1 or -1"),
        (lambda: best_partition(np.zeros((2, 2)), tolerance=-1), "tolerance >= 0"),
        (lambda: best_partition(np.zeros((2, 2)), listed=0), "listed >= 1"),
        (lambda: interaction_tree(np.zeros((2, 3))), "square matrix"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
