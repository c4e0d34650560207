"""Tables on rows made by hand: every answer can be checked on paper."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from probing.errors import ConfigError
from probing.evaluation.comparisons import letters_of
from probing.evaluation.paired_tests import DEPENDENCE, compare, mcnemar, smallest_difference
from probing.evaluation.rows import IDENTITY, SCORE, Row, frame_of
from probing.evaluation.statistics import mean_accuracy
from probing.evaluation.table import ResultTable, merge
from probing.types import Estimate

COLUMNS = frame_of([]).columns  # of a frame of probes

_count = itertools.count()


def row(layer=0, dev=0.5, test=0.5, **more) -> Row:
    """A row of a probe on a task with 100 test items; every other field by name."""
    said = {
        "role": "probe", "task": "tense", "encoder": "enc", "pooling": "mean", "probe": "logreg", "control": "", "seed": None,
        "n_train": 100, "n_dev": 50, "n_test": 100, "n_classes": 2, "majority": 0.5, "cell": f"cell{next(_count)}",
        "accuracy_low": None if test is None else test - 0.05, "accuracy_high": None if test is None else test + 0.05,
        "macro_f1": test, "macro_f1_low": test, "macro_f1_high": test,
    } | more  # fmt: skip
    said = {"paper_name": said["task"].title(), "layer_name": f"layer {layer}"} | said
    return Row.flat(layer=layer, dev_accuracy=dev, accuracy=test, **said)


def asked(right: dict[str, np.ndarray]):
    """The predictions function of a table: gold is 0, and a wrong item is 1."""
    return lambda cell: (np.zeros(len(right[cell]), int), 1 - right[cell].astype(int))


def correct(wrong, n=100) -> np.ndarray:
    found = np.ones(n, bool)
    found[list(wrong)] = False
    return found


# The best layer.


def test_the_best_layer_is_chosen_on_dev_and_never_on_test():
    best = ResultTable.of([row(0, 0.6, 0.9), row(1, 0.8, 0.7), row(2, 0.7, 0.99)]).best()
    assert len(best) == 1 and (best.layer[0], best.accuracy[0], best.dev_accuracy[0]) == (1, 0.7, 0.8)
    swapped = ResultTable.of([row(0, 0.6, 0.9), row(1, 0.7, 0.7), row(2, 0.8, 0.99)]).best()
    assert (swapped.layer[0], swapped.accuracy[0]) == (2, 0.99)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_equal_layers_the_lowest_is_taken(order):
    """In whatever order the rows come."""
    rows = [row(3, 0.8, 0.9), row(1, 0.8, 0.6), row(12, 0.8, 0.95)]
    best = ResultTable.of([rows[i] for i in order]).best()
    assert (best.layer[0], best.layer_name[0], best.accuracy[0]) == (1, "layer 1", 0.6)


def test_the_pooling_is_chosen_with_the_layer():
    best = ResultTable.of(
        [row(0, 0.6, 0.6, pooling="cls"), row(1, 0.7, 0.5, pooling="cls"), row(1, 0.69, 0.9, pooling="mean")]
    ).best()
    assert (best.layer[0], best.pooling[0], best.accuracy[0]) == (1, "cls", 0.5)


def test_tasks_encoders_and_probes_are_apart_and_failed_cells_out():
    rows = [
        row(0, 0.9, 0.9, status="failed"), row(1, 0.5, 0.6), row(0, 0.7, 0.7, task="length"), row(2, 0.8, 0.8, encoder="two"),
        row(3, 0.4, 0.4, probe="mlp"), row(0, 0.99, 0.99, role="floor", encoder="nb"),
        row(0, 0.99, 0.99, role="control", control="word"),
        row(0, 0.99, 0.99, role="random", encoder="enc random", twin_of="enc"),
    ]  # fmt: skip
    best = ResultTable.of(rows).best()
    found = set(zip(best.task, best.encoder, best.probe, best.layer, strict=True))
    expected = {
        ("tense", "enc", "logreg", 1),
        ("length", "enc", "logreg", 0),
        ("tense", "two", "logreg", 2),
        ("tense", "enc", "mlp", 3),
    }
    assert found == expected


def test_several_seeds_give_mean_and_standard_deviation():
    """Layer 1 wins by its mean dev accuracy though layer 0 has the best single seed; one interval, not the mean of three.

    Its half-widths add as squares: 5 points over items (each seed's), t_2 · 0.1 / sqrt(3) = 24.8 points over seeds.
    """
    rows = [
        row(0, 0.95, 0.5, seed=0), row(0, 0.65, 0.5, seed=1), row(0, 0.65, 0.5, seed=2),
        row(1, 0.80, 0.9, seed=2), row(1, 0.80, 0.7, seed=0), row(1, 0.80, 0.8, seed=1),
    ]  # fmt: skip
    line = ResultTable.of(rows).best().iloc[0]
    assert line.layer == 1 and line.seeds == 3
    assert line.accuracy == pytest.approx(0.8) and line.seed_sd == pytest.approx(0.1)  # sample sd of 0.7, 0.8, 0.9
    half = np.hypot(0.05, 4.302653 * 0.1 / np.sqrt(3))
    assert (line.accuracy_low, line.accuracy_high) == pytest.approx((0.8 - half, 1))
    assert (line.macro_f1_low, line.macro_f1_high) == pytest.approx((0.8 - 4.302653 * 0.1 / np.sqrt(3), 1))
    assert line.interval_over == "test items and seeds"
    assert line.cell == rows[4].cell
    one = ResultTable.of(rows[3:4]).best().iloc[0]
    assert one.seeds == 1 and np.isnan(one.seed_sd)


def test_one_solver_that_did_not_converge_marks_the_line():
    rows = [row(0, 0.9, 0.9, seed=0), row(0, 0.9, 0.9, seed=1, converged=False), row(1, 0.1, 0.1, converged=False)]
    assert not ResultTable.of(rows).best().converged[0] and ResultTable.of(rows).not_converged() == 2
    assert ResultTable.of(rows[:1]).best().converged[0] and ResultTable.of(rows[:1]).not_converged() == 0


def test_runs_on_other_train_sizes_are_not_averaged_as_if_they_were_seeds():
    """0.6 from 100 sentences and 0.9 from 10,000 are two results; their mean is none."""
    rows = [row(0, 0.6, 0.6, n_train=100, data_sha256="a"), row(0, 0.9, 0.9, n_train=10_000, data_sha256="b")]
    try:
        best = ResultTable.of(rows).best()
    except Exception as error:
        assert "n_train" in str(error) or "train" in str(error)
    else:
        assert sorted(best.accuracy) == [0.6, 0.9]


# What is not separated from the best.


def family(extra=()):
    """Layer 1 is best and always right; layers 0, 4, 3, 2 lose 10, 7, 6, 5 items to it.

    Exact McNemar: 2/2^10, 2/2^7, 2/2^6, 2/2^5 = .002, .0156, .0313, .0625. Holm over four: .008, .047, .0625, .0625.
    """
    lost = {1: 0, 0: 10, 4: 7, 3: 6, 2: 5}
    rows = [row(layer, 0.9 if layer == 1 else 0.8, 1 - n / 100, cell=f"L{layer}") for layer, n in lost.items()]
    right = {f"L{layer}": correct(range(n)) for layer, n in lost.items()}
    for made, items in extra:
        rows.append(made)
        right[made.cell] = items
    return ResultTable.of(rows, asked(right))


def means(*layers) -> list[tuple[int, str]]:
    return [(layer, "mean") for layer in layers]


def test_layers_not_separated_by_mcnemar_and_holm():
    """Uncorrected, layer 3 (p = .031) would be separated; by Bonferroni, layer 4 (4 · .0156) would not be."""
    assert family().best().not_separated[0] == means(1, 2, 3)
    assert family().best(alpha=0.03).not_separated[0] == means(1, 2, 3, 4)
    assert family().best(alpha=0.0626).not_separated[0] == means(1)
    assert family().best().n_columns[0] == 5 and family().best().better[0] == []


def test_the_family_is_the_rows_own_whatever_else_is_in_the_table():
    """One more comparison makes it five, and layer 4 (4 · .0156) would no longer be separated; so only one of the row may count."""
    n = correct(())
    for other in ({"task": "length"}, {"encoder": "two"}, {"probe": "mlp"}, {"n_train": 50}):
        added = [(row(0, 0.9, 1, cell="x", **other), n), (row(1, 0.8, 1, cell="y", **other), n)]
        found = [line.not_separated for line in family(added).best().itertuples()]
        assert sorted(found) == [means(0, 1), means(1, 2, 3)], other
        own, alone = (table.compare_layers().head(5) for table in (family(added), family()))
        pd.testing.assert_frame_equal(own, alone)
    pooling = [(row(7, 0.8, 1, pooling="cls", cell="x"), n)]
    line = family(pooling).best().iloc[0]
    assert line.not_separated == [(7, "cls"), *means(1, 2, 3, 4)] and line.n_columns == 6


def test_a_layer_that_is_better_on_test_is_named_apart_from_those_not_separated():
    """The dev-best layer loses ten items to layer 2 (p = 2/2^10), and three to layer 3."""
    right = {"a": correct(range(10)), "b": correct(()), "c": correct(range(7))}
    rows = [row(1, 0.9, 0.9, cell="a"), row(2, 0.8, 1.0, cell="b"), row(3, 0.8, 0.93, cell="c")]
    table = ResultTable.of(rows, asked(right))
    line, layers = table.best().iloc[0], table.compare_layers().set_index("layer")
    assert line.layer == 1 and line.not_separated == means(1, 3) and line.better == means(2) and line.n_columns == 3
    assert layers.difference.tolist() == pytest.approx([0, 0.1, 0.03]) and layers.better.tolist() == [False, True, False]
    assert layers.discordance.tolist() == pytest.approx([0, 0.1, 0.03])
    assert layers.difference_low[2] > 0 > layers.difference_low[3]


def test_without_predictions_nothing_is_said_of_separation_or_floors():
    line = ResultTable.of([row(0), row(1), floor("nb", 0.3)]).best().iloc[0]
    assert line.not_separated is None and line.better is None and pd.isna(line.beats_floors) and np.isnan(line.can_show)


def test_each_pair_is_compared_once_and_each_cell_read_once():
    """However often the table is asked."""
    read = []
    table = family([(row(1, 0.9, 1, encoder="two", cell="x"), correct([3])), (floor("nb", 0.5, cell="f"), correct(range(50)))])
    answer = table.predictions
    table = ResultTable(table.frame, lambda cell: read.append(cell) or answer(cell))
    for _ in range(2):
        table.best(), table.compare_layers(), table.compare_encoders()
    assert sorted(read) == ["L0", "L1", "L2", "L3", "L4", "f", "x"]


def test_what_this_test_split_can_show_is_that_of_the_first_step_of_holm():
    """100 items, four comparisons; one and the other differ on 5, 6, 7 and 10 items: the median is 6.5 %."""
    assert family().best().can_show[0] == smallest_difference(100, 0.065, 0.05 / 4)
    alone = ResultTable.of([row(1, 0.9, 0.8, cell="a")], asked({"a": correct(range(20))})).best()
    assert np.isnan(alone.can_show[0]), "a single column has nothing to be separated from"


# Floors.


def floor(name: str, test: float, **more) -> Row:
    return row(None, test, test, role="floor", encoder=name, pooling="", probe="", **more)


def twin(number: int, layer: int, dev: float, test: float, **more) -> Row:
    return row(layer, dev, test, role="random", encoder=f"enc (random {number})", twin_of="enc", seed=number, **more)


@pytest.mark.parametrize(
    ("only_line", "only_floor", "beaten"), [(5, 0, False), (6, 0, True), (20, 9, False), (21, 9, True), (9, 21, False)]
)
@pytest.mark.parametrize("kind", ["floor", "static", "random"])
def test_a_floor_is_beaten_by_a_paired_test_on_the_same_items(kind, only_line, only_floor, beaten):
    """Exact: 2/2^5 = .06, 2/2^6 = .03; P(X <= 9 of 29, 30) = .031, .021, twice .061, .043. The intervals overlap in every case."""
    items = np.arange(100)
    line_alone, floor_alone = (items >= 40) & (items < 40 + only_line), (items >= 90 - only_floor) & (items < 90)
    right = {"a": (items < 40) | line_alone, "f": (items < 40) | floor_alone, "majority": items < 10}
    score = right["f"].mean()
    made = {
        "floor": floor("nb", score, cell="f"),
        "static": row(0, 0.1, score, role="static", cell="f"),
        "random": twin(0, 2, 0.5, score, cell="f"),
    }
    rows = [row(1, 0.9, right["a"].mean(), cell="a"), made[kind], floor("majority", 0.1, cell="majority")]
    best = ResultTable.of(rows, asked(right)).best().iloc[0]
    name = {"floor": "nb", "static": "static", "random": "random weights"}[kind]
    assert (best.beats_floors, best.floor) == (beaten, name)


def test_every_floor_must_be_beaten_and_the_highest_that_is_not_is_named():
    """The highest is beaten because it never is right where the line is wrong; a lower one, less like the line, is not."""
    items = np.arange(100)
    right = {"a": items < 70, "alike": items < 62, "other": (items >= 35) & (items < 92), "low": (items >= 50) & (items < 95)}
    rows = [row(1, 0.9, 0.7, cell="a"), *(floor(name, right[name].mean(), cell=name) for name in ("low", "other", "alike"))]
    best = ResultTable.of(rows, asked(right)).best().iloc[0]
    assert mcnemar(right["a"], right["alike"]) < 0.05 < mcnemar(right["a"], right["other"])
    assert (best.beats_floors, best.floor) == (False, "other")
    best = ResultTable.of([rows[0], rows[3]], asked(right)).best().iloc[0]
    assert (best.beats_floors, best.floor) == (True, "alike")
    best = ResultTable.of(rows[:1], asked(right)).best()
    assert pd.isna(best.beats_floors[0]) and best.floor[0] == "" and len(best[best.beats_floors]) == 0


def test_the_best_static_layer_does_not_beat_the_static_floor():
    best = ResultTable.of([row(0, 0.9, 0.9, cell="a")], asked({"a": correct(range(10))})).best().iloc[0]
    assert (best.beats_floors, best.floor) == (False, "static")


def test_random_weights_are_the_mean_of_draws_each_at_its_own_dev_best():
    """Draw 0 is best on dev at layer 1, draw 1 at layer 2; their means over draws would choose layer 2 for both."""
    rows = [
        row(3, 0.9, 0.9, cell="a"), twin(0, 1, 0.70, 0.50, cell="r01"), twin(0, 2, 0.65, 0.80, cell="r02"),
        twin(1, 1, 0.40, 0.95, cell="r11"), twin(1, 2, 0.75, 0.60, cell="r12"),
    ]  # fmt: skip
    right = {one.cell: correct(range(100 - round(100 * one.scores["accuracy"].value))) for one in rows}
    line = ResultTable.of(rows, asked(right)).best().iloc[0]
    assert (line.random, line.random_n) == (pytest.approx(0.55), 2) and line.random_sd == pytest.approx(0.1 / 2**0.5)
    assert line.beats_floors and line.floor == "random weights"
    one = ResultTable.of(rows[:3], asked(right)).best().iloc[0]
    assert (one.random, one.random_n) == (0.5, 1) and np.isnan(one.random_sd)
    nearly = ResultTable.of([*rows, twin(2, 1, 0.9, 0.88, cell="r21")], asked(right | {"r21": correct(range(12))})).best().iloc[0]
    assert (nearly.beats_floors, nearly.floor) == (False, "random weights"), "each draw must be beaten"


def test_draws_beyond_the_seeds_of_the_run_are_compared_with_its_first():
    """Two train subsets: draw 1 is compared with seed 1, and draw 2, of no seed of the run, with seed 0."""
    right = {"s0": correct(range(5)), "s1": correct(range(40)), "r1": correct(range(50)), "r2": correct(range(30))}
    rows = [row(3, 0.9, 0.95, seed=0, cell="s0"), row(3, 0.9, 0.60, seed=1, cell="s1")]
    draws = [twin(1, 1, 0.5, 0.5, cell="r1"), twin(2, 1, 0.5, 0.7, cell="r2")]
    assert ResultTable.of([*rows, *draws], asked(right)).best().beats_floors[0]
    swapped = right | {"s0": right["s1"], "s1": right["s0"]}
    assert not ResultTable.of([*rows, *draws], asked(swapped)).best().beats_floors[0]


# What stands beside.


def test_control_selectivity_twin_and_static():
    """Each at its place: the control at the same layer and pooling, the twin at its own dev-best, static at layer 0, mean.

    Selectivity is accuracy minus the word control, whatever the permuted labels give; ceilings belong to the task.
    """
    control = {"role": "control", "control": "word"}
    ceiling = {"role": "ceiling", "control": "word", "layer": None, "pooling": "", "probe": "", "encoder": "word bag"}
    twin = {"role": "random", "encoder": "enc (random)", "twin_of": "enc"}
    rows = [
        row(0, 0.6, 0.61), row(2, 0.9, 0.88), row(0, 0.5, 0.55, pooling="cls"),
        row(2, 0.7, 0.58, seed=0, **control), row(2, 0.7, 0.62, seed=1, **control),
        row(0, 0.7, 0.95, **control), row(2, 0.7, 0.96, pooling="cls", **control), row(2, 0.7, 0.97, encoder="two", **control),
        row(1, 0.66, 0.64, **twin), row(2, 0.60, 0.99, **twin), row(1, 0.99, 0.98, **(twin | {"twin_of": "two"})),
        row(2, 0.5, 0.51, seed=0, **(control | {"control": "permuted"})),
        row(test=0.92, seed=0, **ceiling), row(test=0.94, seed=1, **ceiling), row(test=0.1, **(ceiling | {"task": "length"})),
        row(test=0.99, **(ceiling | {"encoder": "word look-up"})),
    ]  # fmt: skip
    table = ResultTable.of(rows)
    line = table.best().iloc[0]
    assert line.layer == 2 and table.controls == ["word", "permuted"] and table.encoders == ["enc"]
    assert line.control_word == pytest.approx(0.60) and line.selectivity == pytest.approx(0.28)
    assert line.control_permuted == pytest.approx(0.51) and np.isnan(line.leak_p), "without predictions there is no test"
    assert line.ceiling == pytest.approx(0.93) and line.ceiling_lookup == pytest.approx(0.99)
    assert line.random == pytest.approx(0.64) and line.static == pytest.approx(0.61)


def test_what_was_not_measured_is_empty_and_not_zero():
    line = ResultTable.of([row(1, 0.9, 0.9)]).best().iloc[0]
    assert np.isnan(line.random) and np.isnan(line.static)
    assert not [name for name in line.index if name.startswith(("control_", "selectivity", "ceiling", "leak"))]


def leaking(hits: dict[str, tuple[int, ...]], gold=(60, 40)) -> pd.DataFrame:
    """`best` of tasks whose probes are right on so many permuted labels, one number for each seed, of a test split like `gold`."""
    rows, right = [], {}
    labels = np.repeat(np.arange(len(gold)), gold)
    for task, counts in hits.items():
        for name, n, seed in [("", len(labels), None), *(("permuted", n, seed) for seed, n in enumerate(counts))]:
            role = "control" if name else "probe"
            rows.append(row(1, 0.9, n / len(labels), task=task, role=role, control=name, seed=seed, cell=f"{task}{name}{seed}"))
            right[rows[-1].cell] = np.arange(len(labels)) < n
    return ResultTable.of(rows, lambda cell: (labels, np.where(right[cell], labels, labels + 1))).best()


def test_the_leak_check_is_a_binomial_test_against_the_largest_class_with_holm_over_the_lines():
    """60 of 100 sentences have the largest class: 60 hits are no sign, 80 are one; seeds add up; lines share the error rate."""
    assert leaking({"a": (60,)}).leak_p[0] > 0.5 and leaking({"a": (40,)}).leak_p[0] > 0.9
    from scipy.stats import binom

    assert leaking({"a": (70,)}).leak_p[0] == pytest.approx(binom.sf(69, 100, 0.6))
    assert leaking({"a": (70, 65, 66)}).leak_p[0] == pytest.approx(binom.sf(200, 300, 0.6))
    several = leaking({"a": (70,), "b": (80,), "c": (50,)}).set_index("task").leak_p
    assert several["b"] == pytest.approx(3 * binom.sf(79, 100, 0.6)) and several["a"] == pytest.approx(2 * binom.sf(69, 100, 0.6))
    assert several["a"] < 0.05 < several["c"]


def test_floors_are_tasks_by_floors_in_the_order_of_the_tasks():
    rows = [row(task=task, role="floor", encoder=name, layer=None, pooling="", probe="", test=value)
            for task, name, value in (("tense", "majority", 0.5), ("length", "majority", 0.2), ("tense", "nb", 0.7))]  # fmt: skip
    floors = ResultTable.of([row(task="tense"), *rows]).floors()
    assert floors.index.tolist() == ["tense", "length"]
    assert floors.loc["tense"].to_dict() == {"majority": 0.5, "nb": 0.7}
    assert floors.loc["length", "majority"] == 0.2 and np.isnan(floors.loc["length", "nb"])


# Pivots.


def test_a_pivot_is_a_wide_table_with_means_over_seeds():
    rows = [row(0, 0, 0.6, seed=0), row(0, 0, 0.8, seed=1), row(1, 0, 0.9, task="length"), row(1, 0, 0.1, pooling="cls")]
    wide = ResultTable.of(rows).pivot("task", "layer", role="probe", pooling="mean")
    assert wide.index.tolist() == ["tense", "length"]
    assert wide.loc["tense", 0] == pytest.approx(0.7) and wide.loc["length", 1] == 0.9 and np.isnan(wide.loc["tense", 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("pooling", "cls"), ("probe", "mlp"), ("encoder", "two"), ("role", "floor"), ("control", "word"), ("layer", 5)],
)
def test_a_pivot_refuses_to_average_what_differs(name, value):
    """The message names the column; choosing one, or giving it an axis, makes it a table."""
    rows = [row(0, 0, 0.6), row(**({"layer": 0, "dev": 0, "test": 0.8} | {name: value}))]
    axes = ("task", "n_classes") if name == "layer" else ("task", "layer")
    with pytest.raises(ValueError, match=f"several values of '{name}'.*{name}="):
        ResultTable.of(rows).pivot(*axes)
    assert ResultTable.of(rows).pivot(*axes, **{name: value}).to_numpy().tolist() == [[0.8]]
    assert sorted(ResultTable.of(rows).pivot("task", name).to_numpy().ravel().tolist()) == [0.6, 0.8]


def test_a_pivot_refuses_to_average_tasks():
    """The mean over tasks of different difficulty is no cell of a table that promises means over seeds."""
    with pytest.raises(ValueError, match="several values of 'task'"):
        ResultTable.of([row(0, 0, 0.6), row(0, 0, 0.8, task="length")]).pivot("encoder", "layer")


# Encoders compared.


def test_encoders_are_compared_at_their_best_layers_on_the_same_items():
    """Three encoders, three pairs: the one that the dev-best layers differ in by 8 items, and Holm over the three."""
    right = {"a": correct(()), "a0": correct(range(50)), "b": correct(range(8)), "c": correct(range(1, 9))}
    rows = [row(1, 0.9, 1.0, cell="a"), row(0, 0.1, 0.5, cell="a0"),
            row(2, 0.9, 0.92, encoder="two", pooling="cls", cell="b"), row(0, 0.9, 0.92, encoder="three", cell="c")]  # fmt: skip
    pairs = ResultTable.of(rows, asked(right)).compare_encoders()
    assert list(zip(pairs.a, pairs.b, strict=True)) == [("enc", "two"), ("enc", "three"), ("two", "three")]
    assert (pairs.a_at[0], pairs.b_at[0]) == ("1/mean", "2/cls")
    assert pairs.difference.tolist() == pytest.approx([0.08, 0.08, 0.0])
    assert pairs.p.tolist() == pytest.approx([2 / 256, 2 / 256, 1.0])
    assert pairs.p_holm.tolist() == pytest.approx([6 / 256, 6 / 256, 1.0])
    assert pairs.p[0] == mcnemar(right["a"], right["b"])


def test_encoders_that_share_a_letter_are_not_separated_also_where_neighbours_hide_a_difference():
    """One and two, two and three are not separated, one and three are: a b c of a chain would hide it."""
    items = np.arange(200)
    right = {"a": items < 100, "b": items < 95, "c": items < 90, "x": items < 50}
    names = {"a": "one", "b": "two", "c": "three"}
    rows = [row(1, 0.9, right[cell].mean(), encoder=name, cell=cell) for cell, name in names.items()]
    rows += [row(1, 0.9, 0.25, task="length", cell="x"), row(1, None, None, encoder="lost", status="failed")]
    table = ResultTable.of(rows, asked(right))
    best, pairs = table.best(), table.compare_encoders()
    assert (pairs.p_holm < 0.05).tolist() == [False, True, False]
    assert dict(zip(best.encoder, letters_of(best, pairs), strict=True)) == {
        "one": "a",
        "two": "ab",
        "three": "b",
        "enc": "",
        "lost": "",
    }
    assert letters_of(best, pairs, alpha=1e-9)[:3] == ["a", "a", "a"]
    assert set(letters_of(best[best.encoder == "enc"], pd.DataFrame())) == {""}


def test_one_encoder_has_no_pairs():
    assert ResultTable.of([row(0, cell="a")], asked({"a": correct(())})).compare_encoders().empty
    assert ResultTable.of([]).compare_encoders().empty and ResultTable.of([]).best().empty


# On disk, and together.

bound = st.floats(0, 1) | st.just(float("nan"))
score = st.builds(Estimate, st.floats(0, 1), bound, bound)
word = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
some = st.builds(
    Row,
    role=st.sampled_from(["probe", "floor", "control", "random"]),
    encoder=word | st.sampled_from(["NA", "nan", "None", "007", "1e5", ""]),
    layer=st.none() | st.integers(0, 40),
    seed=st.none() | st.integers(0, 9),
    n_train=st.integers(1, 10**6),
    n_dev=st.just(5),
    n_test=st.just(7),
    n_classes=st.integers(2, 1000),
    majority=st.floats(0, 1),
    facets=st.fixed_dictionaries({"converged": st.booleans(), "chosen": word, "edge": word}),
    scores=st.dictionaries(st.sampled_from(["dev_accuracy", "accuracy", "macro_f1", "bits"]), score),
    official_data=st.booleans(),
    data_sha256=st.sampled_from(["12345678", "1e10", "ab"]),
    **dict.fromkeys(("task", "paper_name", "layer_name", "pooling", "probe", "control", "cell"), word),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(some, min_size=1, max_size=4, unique_by=lambda row: [getattr(row, name) for name in IDENTITY].__repr__()))
def test_what_is_written_as_csv_is_read_back(tmp_path_factory, rows):
    """Exactly: floats to the last bit, empty cells empty, names that look like numbers or NA as the names they are."""
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    table = ResultTable.of(rows)
    table.to_csv(path)
    again = ResultTable.read_csv(path)
    assert set(again.frame.columns) >= set(COLUMNS)
    pd.testing.assert_frame_equal(again.frame, table.sorted(), check_exact=True, check_dtype=False)
    assert again.frame.layer.dtype == again.frame.seed.dtype == "Int64"
    again.to_csv(path.with_name("again.csv"))
    assert path.with_name("again.csv").read_bytes() == path.read_bytes()


def test_files_that_lack_the_columns_error_and_edge_are_read(tmp_path):
    ResultTable.of([row(1, 0.6, 0.7)]).frame.drop(columns=["error", "edge", *SCORE]).to_csv(tmp_path / "rows.csv", index=False)
    frame = ResultTable.read_csv(tmp_path / "rows.csv").frame
    assert (frame.edge[0], frame.error[0], frame.accuracy[0]) == ("", "", 0.7)


def test_floats_survive_the_csv_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).random(300)
    ResultTable.of([row(k, float(v), float(v)) for k, v in enumerate(values)]).to_csv(tmp_path / "rows.csv")
    assert ResultTable.read_csv(tmp_path / "rows.csv").frame.accuracy.tolist() == values.tolist()


def test_the_order_of_rows_does_not_change_the_file(tmp_path):
    rows = [row(layer, 0.5, 0.6, task=task, seed=seed) for layer in (10, 2) for task in ("b", "a") for seed in (1, 0)]
    for k, order in enumerate((rows, rows[::-1])):
        ResultTable.of(order).to_csv(tmp_path / f"{k}.csv")
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


def test_merge_takes_a_cell_once_and_knows_where_its_predictions_are():
    one, two, three = row(0, 0.5, 0.5, cell="a"), row(1, 0.6, 0.6, cell="b"), row(2, 0.7, 0.7, cell="c")
    table = merge([
        ResultTable.of([one, two], asked({"a": correct([0]), "b": correct([1])})),
        ResultTable.of([two, three], asked({"b": correct([1]), "c": correct([2])})),
    ])  # fmt: skip
    assert table.frame.cell.tolist() == ["a", "b", "c"]
    assert [np.flatnonzero(table.predictions(c)[1]).tolist() for c in "abc"] == [[0], [1], [2]]
    assert table.best().seeds[0] == 1  # the cell of both runs is no second seed


def test_tables_without_predictions_are_merged_into_one_without():
    one, two = ResultTable.of([row(0, 0.5, 0.5, cell="a")]), ResultTable.of([row(1, 0.6, 0.6, cell="b")])
    assert merge([one, two]).best().layer.tolist() == [1]
    with pytest.raises(ConfigError, match="no predictions to compare on"):
        merge([one, ResultTable.of([row(1, 0.6, 0.6, cell="b")], asked({"b": correct([1])}))]).best()


@pytest.mark.parametrize("done_first", [True, False])
def test_merge_prefers_the_finished_cell(done_first):
    """A cell that failed in one run and is finished in another is finished, with the predictions of the one that has them."""
    done = ResultTable.of([row(0, 0.5, 0.5, cell="a")], asked({"a": correct([3])}))
    failed = ResultTable.of([row(0, None, None, cell="a", status="failed")], asked({}))
    table = merge([done, failed] if done_first else [failed, done])
    assert table.frame.status.tolist() == ["done"] and table.frame.accuracy.tolist() == [0.5]
    assert np.flatnonzero(table.predictions("a")[1]).tolist() == [3]


def test_runs_on_other_train_or_dev_data_make_no_table_together():
    tables = [ResultTable.of([row(0, data_sha256=data), row(1, data_sha256=data)]) for data in ("one", "two")]
    with pytest.raises(ConfigError, match=r"mix several data sets of one test split \(tense: other train or dev"):
        merge(tables).check()
    drawn = [row(0, seed=seed, data_sha256=f"subset {seed}") for seed in (0, 1)]  # a train subset for each seed
    twins = [row(0, seed=5, role="random", twin_of="enc", data_sha256="subset 0"), row(0, seed=5, data_sha256="subset 5")]
    ResultTable.of([*drawn, *twins]).check()  # the seed of a twin is that of its weights


def test_encoders_are_compared_over_the_seeds_that_both_have():
    right = {}
    rows = []
    for encoder, seeds in (("a", (1, 2)), ("b", (0, 1, 2))):
        for seed in seeds:
            hits = correct(range(seed, 100, 10)) if encoder == "a" else correct(range(9 * seed, 100, 4))
            one = row(0, 0.9, hits.mean(), encoder=encoder, seed=seed)
            right[one.cell] = hits
            rows.append(one)
    by = {(r.encoder, r.seed): right[r.cell] for r in rows}
    compared = ResultTable.of(rows, asked(right)).compare_encoders()
    difference, p = compare([by["a", 1], by["a", 2]], [by["b", 1], by["b", 2]])
    assert compared.p[0] == p and compared.seeds[0] == "1 2"
    alone = ResultTable.of([one for one in rows if one.seed != 2], asked(right)).compare_encoders()
    assert alone.p[0] == mcnemar(by["a", 1], by["b", 1]) != mcnemar(by["a", 1], by["b", 0])
    for pairs, value in ((compared, difference.value), (alone, by["a", 1].mean() - by["b", 1].mean())):
        assert pairs.difference[0] == pytest.approx(value), "of the seeds of its p-value"
        assert pairs.a_accuracy[0] - pairs.b_accuracy[0] == pytest.approx(value)
    none = ResultTable.of([one for one in rows if (one.encoder, one.seed) in (("a", 1), ("b", 0))], asked(right))
    assert none.compare_encoders().seeds[0] == "1 against 0"
    same = ResultTable.of([one for one in rows if one.seed], asked(right)).compare_encoders()
    assert same.seeds[0] == "" and same.difference[0] == pytest.approx(difference.value)


# What intervals and tests go over.


def test_several_seeds_are_one_comparison_over_items_and_seeds():
    """Seed 0 alone would separate layer 2 (10 items to none), seed 1 turns it round: over both nothing is known."""
    right = {"a0": correct(()), "a1": correct(range(10)), "b0": correct(range(10)), "b1": correct(())}
    rows = [row(1, 0.9, seed=k, cell=f"a{k}") for k in (0, 1)] + [row(2, 0.8, seed=k, cell=f"b{k}") for k in (0, 1)]
    layers = ResultTable.of(rows, asked(right)).compare_layers().set_index("layer")
    assert layers.not_separated.all() and layers.difference[2] == 0 and layers.p[2] == 1
    first = ResultTable.of([one for one in rows if one.seed == 0], asked(right)).compare_layers().set_index("layer")
    assert not first.not_separated[2] and first.p[2] == pytest.approx(2 / 2**10)
    line = ResultTable.of(rows, asked(right)).best().iloc[0]
    assert line.interval_over == "test items and seeds" and np.isnan(line.can_show)
    expected = mean_accuracy([right["a0"], right["a1"]])
    assert (line.accuracy_low, line.accuracy_high) == (expected.lower, expected.upper)


def test_items_of_one_group_are_one_piece_of_evidence():
    """Ten items are lost, all of one group: as items p = 2/2^10, as groups p = 1. Of ten groups: the same as items."""
    right = {"a": correct(()), "b": correct(range(10))}
    rows = [row(1, 0.9, 1.0, cell="a", n_groups=91), row(2, 0.8, 0.9, cell="b", n_groups=91)]
    one, ten = np.maximum(np.arange(100) - 9, 0), np.arange(100) % 10
    found = ResultTable.of(rows, asked(right), lambda cell: one)
    layers, line = found.compare_layers().set_index("layer"), found.best().iloc[0]
    assert layers.p[2] == 1 and layers.not_separated[2] and line.interval_over == "test items in 91 groups" and line.n_groups == 91
    assert line.can_show > ResultTable.of([row(1, 0.9, 1.0, cell="a"), row(2, 0.8, 0.9, cell="b")], asked(right)).best().can_show[0]
    assert ResultTable.of(rows, asked(right), lambda cell: ten).compare_layers().p[1] == pytest.approx(2 / 2**10)
    merged = merge([found, ResultTable.of([row(1, 0.9, encoder="two", cell="c")], asked({"c": correct(())}))])
    assert merged.compare_layers().set_index(["encoder", "layer"]).p["enc", 2] == 1


@pytest.mark.parametrize(("m", "shown"), [(1, False), (5, False), (6, True), (20, True)])
def test_a_sign_flip_test_of_few_groups_can_separate_nothing_and_says_so(m, shown):
    """Of m groups that all lose, p = 2/2^m; noise of 30 items keeps the interval of the difference within reach."""
    groups, right = np.arange(120) % m, {"a": correct((), 120), "b": correct(range(0, 120, 4), 120)}
    rows = [row(1, 0.9, 1.0, cell="a", n_groups=m, n_test=120), row(2, 0.8, 0.7, cell="b", n_groups=m, n_test=120)]
    line = ResultTable.of(rows, asked(right), lambda cell: groups).best().iloc[0]
    assert (np.isfinite(line.can_show) and line.can_show <= 1) == shown
    assert shown or len(line.not_separated) == 2


def test_the_difference_of_cross_validated_layers_has_a_wider_error():
    """p is that of McNemar's test with its normal deviate divided by DEPENDENCE; a task with splits keeps its own."""
    right = {"a": correct(()), "b": correct(range(10))}
    tables = {
        folds: ResultTable.of([row(1, 0.9, 1.0, cell="a", n_folds=folds), row(2, 0.8, 0.9, cell="b", n_folds=folds)], asked(right))
        for folds in (None, 5)
    }
    layers = {folds: table.compare_layers().set_index("layer") for folds, table in tables.items()}
    assert layers[None].p[2] == pytest.approx(2 / 2**10)
    assert norm.isf(layers[5].p[2] / 2) == pytest.approx(norm.isf(1 / 2**10) / DEPENDENCE)
    assert layers[5].difference_high[2] - layers[5].difference_low[2] == pytest.approx(
        DEPENDENCE * (layers[None].difference_high[2] - layers[None].difference_low[2])
    )
    assert tables[5].best().can_show[0] > tables[None].best().can_show[0]


def halves(layer, scores, **more) -> list[Row]:
    return [row(layer, 0.99, score, role="resample", seed=k, **more) for k, score in enumerate(scores)]


def test_train_halves_widen_intervals_and_tests_and_are_no_layers():
    """Layer 2 loses ten items of 100. Its fits vary by 10 points beside those of layer 1, or go up and down with them."""
    right = {"a": correct(()), "b": correct(range(10))}
    rows = [row(1, 0.9, 1.0, cell="a"), row(2, 0.8, 0.9, cell="b")]
    alone = ResultTable.of(rows, asked(right)).compare_layers().set_index("layer")
    assert not alone.not_separated[2]
    one = [0.90, 0.80, 0.70, 0.80, 0.90]
    apart = ResultTable.of([*rows, *halves(1, one), *halves(2, one[::-1])], asked(right))
    same = ResultTable.of([*rows, *halves(1, one), *halves(2, [x - 0.1 for x in one])], asked(right))
    crossed = [0.9, 0.7, 0.9, 0.7, 0.8]
    loose = ResultTable.of([*rows, *halves(1, one), *halves(2, crossed)], asked(right)).compare_layers().set_index("layer")
    assert loose.p[2] == compare(right["b"], right["a"], None, np.array(crossed) - one)[1] and loose.not_separated[2]
    assert loose.difference_low[2] < alone.difference_low[2] and loose.difference[2] == alone.difference[2]
    assert same.compare_layers().set_index("layer").p[2] < 0.05, "what moves both layers alike is no difference"
    line, n = apart.best().iloc[0], len(apart.compare_layers())
    assert (line.layer, line.interval_over, n) == (1, "test items and train halves", 2)
    half = np.hypot(0.05, 2.776445 * np.std(one, ddof=1))
    assert line.accuracy_low == pytest.approx(1 - half) and line.macro_f1_low == pytest.approx(1 - half, abs=0.01)
    assert line.can_show > ResultTable.of(rows, asked(right)).best().can_show[0]
    other = [*halves(1, one, encoder="two"), *halves(1, one, n_train=7), *halves(1, one, probe="mlp"), *halves(1, one, task="x")]
    other += [*halves(1, one, pooling="cls"), *halves(1, one, status="failed")]
    assert ResultTable.of([*rows, *other], asked(right)).best().interval_over[0] == "test items"
    assert (
        "train halves: 1 of 5 (layer 1 mean half 0)"
        in ResultTable.of([*rows, *halves(1, one[:1], status="failed"), *halves(1, one)[1:]], asked(right)).best().missing[0]
    )


def test_encoders_are_compared_over_the_halves_of_both():
    """The same halves of one train split: differences of fits are paired."""
    right = {"a": correct(()), "b": correct(range(10))}
    rows = [row(1, 0.9, 1.0, cell="a"), row(2, 0.8, 0.9, cell="b", encoder="two")]
    one, two = [0.90, 0.80, 0.70, 0.80, 0.90], [0.9, 0.7, 0.9, 0.7, 0.8]
    table = ResultTable.of([*rows, *halves(1, one), *halves(2, two, encoder="two")], asked(right))
    assert table.compare_encoders().p[0] == compare(right["a"], right["b"], None, np.array(one) - two)[1] > 0.05
    assert ResultTable.of(rows, asked(right)).compare_encoders().p[0] == pytest.approx(2 / 2**10)
