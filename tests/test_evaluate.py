"""The spine: what is planned is measured, once, resumed after anything, with floors and controls that behave."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from toys import ToyEncoder, write_task

from probing import Store, evaluate, load_probe, load_task
from probing.errors import ConfigError
from probing.evaluation.folds import FoldData
from probing.evaluation.paired_tests import mcnemar
from probing.evaluation.planning import plan
from probing.evaluation.request import Request
from probing.evaluation.statistics import macro_f1, mean_accuracy
from probing.evaluation.table import merge
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels
from probing.probes.path import LogisticPath
from probing.store.results import ResultStore
from probing.types import Representation


@pytest.fixture
def tasks(toy_root):
    return [load_task(name, toy_root) for name in ("bigram_shift", "tree_depth")]


def run(tasks, tmp_path, encoder=None, **options):
    options = {"poolings": ["mean"]} | options
    return evaluate(
        tasks, [encoder or ToyEncoder()], store=Store(tmp_path / "store"), cells=ResultStore(tmp_path / "cells"), **options
    )


def snapshot(table, path):
    table.to_csv(path)
    return path.read_bytes()


def test_every_cell_of_the_request_is_there_once(tasks, tmp_path):
    frame = run(tasks, tmp_path, poolings=["cls", "mean"]).frame
    assert frame.cell.is_unique and (frame.status == "done").all()
    assert frame.groupby(["task", "role"]).size().to_dict() == {
        (task, role): n
        for task in ("bigram_shift", "tree_depth")
        for role, n in (("probe", 6), ("control", 6), ("random", 6), ("floor", 4))
    }


def test_a_task_in_the_words_is_solved_and_noise_is_not(tasks, tmp_path):
    table = run(tasks, tmp_path, ToyEncoder(width=40))
    best = table.best().set_index("task")
    assert best.accuracy["bigram_shift"] > 0.85 > best.majority["bigram_shift"]
    noise = best.loc["tree_depth"]
    assert noise.accuracy_low <= noise.majority <= 0.5, "labels without meaning cannot be read"
    assert abs(best.control_permuted["bigram_shift"] - best.majority["bigram_shift"]) < 0.2
    assert best.accuracy["bigram_shift"] - best.control_permuted["bigram_shift"] > 0.2


def test_the_same_request_computes_nothing_and_gives_the_same_bytes(tasks, tmp_path):
    first = snapshot(run(tasks, tmp_path), tmp_path / "a.csv")
    encoder = ToyEncoder()
    assert snapshot(run(tasks, tmp_path, encoder), tmp_path / "b.csv") == first
    assert encoder.calls == 0
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert snapshot(run(tasks, other), tmp_path / "c.csv") == first, "another folder, the same numbers"


def test_a_second_question_calls_no_model(tasks, tmp_path):
    run(tasks, tmp_path, floors=["majority"])
    encoder = ToyEncoder()
    table = run(tasks, tmp_path, encoder, floors=["majority"], probe="senteval-logreg")
    assert encoder.calls == 0 and (table.frame.probe == "senteval-logreg").any()


def test_interrupted_between_cells_it_goes_on_where_it_stopped(tasks, tmp_path, monkeypatch):
    whole = snapshot(run(tasks, tmp_path / "whole"), tmp_path / "whole.csv")
    real, written = ResultStore.put, []

    def stopping(self, *arguments):
        if len(written) == 9:
            raise KeyboardInterrupt
        written.append(real(self, *arguments))
        return written[-1]

    monkeypatch.setattr(ResultStore, "put", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tasks, tmp_path / "broken")
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken/cells").glob("*.json")}
    assert len(before) == 9
    assert snapshot(run(tasks, tmp_path / "broken"), tmp_path / "broken.csv") == whole
    assert all(path.stat().st_mtime_ns == t for path, t in before.items())


@pytest.mark.parametrize("damage", ["predictions", "record", "inputs"])
def test_a_damaged_cell_is_measured_again(tasks, tmp_path, damage):
    table = run(tasks, tmp_path)
    before = snapshot(table, tmp_path / "a.csv")
    key = table.frame.cell[table.frame.role == "probe"].iloc[0]
    record = tmp_path / "cells" / f"{key}.json"
    if damage == "predictions":
        content = bytearray((tmp_path / "cells" / f"{key}.npz").read_bytes())
        content[-1] ^= 1
        (tmp_path / "cells" / f"{key}.npz").write_bytes(content)
    elif damage == "record":
        record.write_text(record.read_text()[:100])
    else:
        record.write_text(record.read_text().replace('"layer": 0', '"layer": 1', 1))
    assert not ResultStore(tmp_path / "cells").done(key)
    assert snapshot(run(tasks, tmp_path), tmp_path / "b.csv") == before


def test_every_flipped_bit_of_a_cell_is_found_and_mended(tasks, tmp_path):
    before = snapshot(run(tasks[:1], tmp_path, layers=[1], floors=["majority"]), tmp_path / "a.csv")
    files, rng = sorted((tmp_path / "cells").glob("[!.]*.*")), np.random.default_rng(0)
    for trial in range(12):
        path = files[trial % len(files)]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert not ResultStore(tmp_path / "cells").done(path.stem)
        assert snapshot(run(tasks[:1], tmp_path, layers=[1], floors=["majority"]), tmp_path / "b.csv") == before
        assert ResultStore(tmp_path / "cells").done(path.stem)


def test_rows_of_a_float16_store_are_other_cells_under_another_name(tasks, tmp_path):
    options = {"floors": ["majority", "random-weights"], "poolings": ["mean"], "cells": ResultStore(tmp_path / "cells")}
    exact = evaluate(tasks, [ToyEncoder()], store=tmp_path / "store", **options)
    half = evaluate(tasks, [ToyEncoder()], store=Store(tmp_path / "half", "float16"), **options)
    measured = [table.frame[table.frame.role != "floor"] for table in (exact, half)]
    assert set(measured[0].cell).isdisjoint(measured[1].cell)
    assert set(measured[1].encoder) == {"toy[store=float16]", "toy (random 0)[store=float16]"}
    assert set(measured[1].twin_of) == {"", "toy[store=float16]"}
    assert np.abs(measured[0].accuracy.to_numpy() - measured[1].accuracy.to_numpy()).max() <= 2 / 60
    both = merge([exact, half]).best()
    assert len(both) == 4 and not both.random.isna().any(), "side by side, each with its own twin"


def test_the_key_changes_with_what_changes_the_number_and_not_otherwise(toy_root, tasks):
    def keys(tasks, encoder=None, **settings):
        return [
            c.key for c in plan(tasks, [encoder or ToyEncoder()], Request(LogisticPath(**settings.pop("probe", {})), **settings))
        ]

    original = keys(tasks)
    assert keys(tasks, ToyEncoder(name="another name", origin="elsewhere")) == original
    assert keys(tasks[::-1]) != original and sorted(keys(tasks[::-1])) == sorted(original)
    probes = {c.key for c in plan(tasks, [ToyEncoder()], Request(LogisticPath(), floors=())) if c.row.role == "probe"}
    for changed in (
        keys(tasks, ToyEncoder(seed=5)),
        keys(tasks, probe={"grid": [1.0]}),
        keys(tasks, probe={"standardize": False}),
        keys([t.subset(100, 0) for t in tasks]),
    ):
        assert not probes & set(changed)
    path = toy_root / "bigram_shift.txt"
    path.write_text(path.read_text().replace("w4", "w5", 1))
    assert set(keys([load_task("bigram_shift", toy_root)])).isdisjoint(keys(tasks[:1]))


def test_seeds_that_cannot_change_a_number_are_not_counted(tasks, tmp_path):
    table = run(tasks, tmp_path, seeds=(0, 1, 2))
    frame = table.frame
    assert frame[frame.role == "probe"].seed.isna().all()
    assert len(frame[frame.role == "probe"]) == 6
    assert sorted(frame[frame.role == "random"].seed.unique()) == [0, 1, 2]
    assert table.best().seed_sd.isna().all(), "no deviation over seeds that cannot differ"
    drawn = run(tasks, tmp_path, seeds=(0, 1), train_size=80)
    assert (drawn.best().seeds == 2).all() and (drawn.best().seed_sd >= 0).all()
    assert drawn.frame.n_train.max() <= 81


def test_a_probe_that_draws_has_one_cell_per_seed(tasks, tmp_path):
    probe = load_probe("senteval", max_epoch=3, l2=[1e-4])
    frame = run(tasks[:1], tmp_path, probe=probe, seeds=(0, 1), floors=[], controls=[]).frame
    assert sorted(frame.seed) == [0, 0, 0, 1, 1, 1]
    assert set(frame.probe) == {"senteval[l2=[0.0001],max_epoch=3]"}
    record = json.loads((tmp_path / "cells" / f"{frame.cell[0]}.json").read_text())
    assert record["inputs"]["probe_seed"] == 1111


def test_a_failing_cell_is_recorded_and_tried_again_and_the_rest_goes_on(tasks, tmp_path, monkeypatch):
    from probing.probes import logistic

    real, calls = logistic.fit_paths, []

    def failing(design, y, n_classes, *rest):
        calls.append(n_classes)
        if n_classes == 3:
            raise np.linalg.LinAlgError("did not converge")
        return real(design, y, n_classes, *rest)

    monkeypatch.setattr(logistic, "fit_paths", failing)
    frame = run(tasks, tmp_path).frame
    failed = frame[frame.status == "failed"]
    assert set(failed.task) == {"tree_depth"} and len(failed) == 9
    assert (frame[frame.task == "bigram_shift"].status == "done").all()
    record = json.loads((tmp_path / "cells" / f"{failed.cell.iloc[0]}.json").read_text())
    assert re.match(r"probe fast: LinAlgError: did not converge \(.*tests/test_evaluate.py, line \d+\)$", record["error"])
    monkeypatch.undo()
    assert (run(tasks, tmp_path).frame.status == "done").all()


@pytest.mark.parametrize("place", ["probe", "floor"])
def test_a_time_limit_of_slurm_ends_the_job_and_is_no_failed_cell(tasks, tmp_path, monkeypatch, place):
    from probing.probes import floors as baselines
    from probing.probes import logistic

    end = type("UncompletedJobError", (RuntimeError,), {"__module__": "submitit.core.utils"})

    def signalled(*given):
        raise end("Job not requeued because: timed-out too many times.")

    if place == "probe":
        monkeypatch.setattr(logistic, "fit_paths", signalled)
    else:
        monkeypatch.setitem(baselines.FLOORS, "length", signalled)
    with pytest.raises(end):
        run(tasks, tmp_path)
    states = [json.loads(path.read_text())["status"] for path in (tmp_path / "cells").glob("*.json")]
    assert states and set(states) == {"done"}
    monkeypatch.undo()
    assert (run(tasks, tmp_path).frame.status == "done").all()


def test_vectors_that_are_not_finite_stop_the_encoder_and_keep_the_floors(tasks, tmp_path):
    frame = run(tasks, tmp_path, ToyEncoder(poison="w7")).frame
    assert set(frame.role[frame.status == "done"]) == {"floor"}
    record = ResultStore(tmp_path / "cells").read(frame.cell[frame.status == "failed"].iloc[0])
    assert "not finite" in record["error"]


def test_a_constant_representation_scores_the_majority(tasks, tmp_path):
    table = run(tasks, tmp_path, poolings=["cls"], floors=["majority"])
    frame = table.frame
    at_zero = frame[(frame.role == "probe") & (frame.layer == 0)]
    assert len(at_zero) == 2
    np.testing.assert_allclose(at_zero.accuracy, at_zero.majority)


def test_the_static_floor_is_added_where_it_was_not_asked_for_and_is_never_the_best_layer(tasks, tmp_path):
    table = run(tasks[:1], tmp_path, poolings=["cls"], layers=[1, 2], floors=["static"])
    frame = table.frame
    assert set(zip(frame.role, frame.layer, frame.pooling, strict=True)) == {
        ("static", 0, "mean"), ("probe", 1, "cls"), ("probe", 2, "cls"), ("control", 1, "cls"), ("control", 2, "cls"),
    }  # fmt: skip
    [best] = table.best().itertuples()
    static = frame[frame.role == "static"].iloc[0]
    assert static.dev_accuracy > frame[frame.role == "probe"].dev_accuracy.max(), "it would win if it took part"
    assert best.pooling == "cls" and best.static == static.accuracy


def test_names_and_roles_are_those_of_the_request_not_of_who_measured_first(tasks, tmp_path):
    twin = ToyEncoder().random_twin(0)
    run(tasks, tmp_path, twin, floors=[], controls=[])
    frame = run(tasks, tmp_path, floors=["random-weights"], controls=[]).frame
    assert set(zip(frame.role, frame.encoder, frame.twin_of, strict=True)) == {
        ("probe", "toy", ""),
        ("random", "toy (random 0)", "toy"),
    }
    again = run(tasks, tmp_path, ToyEncoder(name="renamed"), floors=[], controls=[]).frame
    assert set(again.encoder) == {"renamed"}


def test_two_encoders_of_one_name_are_never_averaged(tasks, tmp_path):
    with pytest.raises(ConfigError, match="several encoders of the same name.*encoder.label"):
        evaluate(tasks, [ToyEncoder(), ToyEncoder(seed=1)], store=tmp_path / "s", poolings=["mean"], floors=[], controls=[]).best()


def test_two_data_sets_of_one_name_are_never_averaged(tasks, tmp_path, toy_root):
    one = run(tasks, tmp_path, floors=[], controls=[])
    path = toy_root / "bigram_shift.txt"
    path.write_text(path.read_text().replace("te\tI", "te\tO", 3))
    other = run([load_task("bigram_shift", toy_root)], tmp_path, floors=[], controls=[])
    with pytest.raises(ConfigError, match="several tasks of the same name"):
        merge([one, other]).best()


def test_a_probe_that_probes_nothing_of_the_request_is_refused(tasks, tmp_path):
    with pytest.raises(ConfigError, match="probe=jawahar2019 probes none"):
        run(tasks, tmp_path, probe="jawahar2019")


def test_a_changed_score_in_a_cell_is_not_believed(tasks, tmp_path):
    table = run(tasks, tmp_path)
    key = table.frame.cell[table.frame.role == "probe"].iloc[0]
    path = tmp_path / "cells" / f"{key}.json"
    record = json.loads(path.read_text())
    record["rows"][0]["scores"]["accuracy"][0] = 0.99
    path.write_text(json.dumps(record))
    assert run(tasks, tmp_path).frame.equals(table.frame)


def test_what_is_finished_is_measured_again_only_by_force(tasks, tmp_path):
    table = run(tasks, tmp_path)

    def written():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}

    first = written()
    run(tasks, tmp_path)
    assert written() == first and len(first) == table.frame.cell.nunique()
    assert run(tasks, tmp_path, force=True).frame.equals(table.frame)
    assert all(again > first[name] for name, again in written().items())


def test_a_duplicate_in_train_and_test_is_said_in_the_data_card(tmp_path):
    rows = [(s, str(i % 2), f"x{i} y z") for s, r in (("tr", range(20)), ("va", range(20, 30)), ("te", range(18, 28))) for i in r]
    write_task(tmp_path / "bigram_shift.txt", rows)
    notes = " ".join(load_task("bigram_shift", tmp_path).data_card["notes"])
    assert "2 sentence(s) occur in both train/test" in notes and "8 sentence(s) occur in both dev/test" in notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [9]}, r"layer=9: toy has the layers 0 \(embeddings\) to 2"),
        ({"poolings": ["maen"]}, r"pooling='maen' is unknown; did you mean 'mean'\?"),
        ({"controls": ["shuffled"]}, "allowed: permuted, word"),
        ({"floors": ["majorty"]}, "did you mean 'majority'"),
        ({"seeds": []}, "at least one number"),
        ({"probe": "fats"}, "did you mean 'fast'"),
        ({"resample": "test"}, r"resample='test' is unknown \(allowed: null, train\)"),
        ({"resample": "train", "resamples": 4}, "resamples=4 must be a whole number of at least 5"),
    ],
)
def test_bad_arguments_are_named(tasks, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run(tasks, tmp_path, **options)


def test_a_pooling_that_the_encoder_has_not_is_named(tasks, tmp_path):
    encoder = ToyEncoder(poolings=("mean", "last"))
    with pytest.raises(
        ConfigError, match=r"pooling=cls: toy allows mean, last \(its tokenizer puts no classification token first\)"
    ):
        run(tasks, tmp_path, encoder, poolings=["cls"])


# The end of a grid.


@pytest.mark.parametrize(
    ("probe", "options", "edge"),
    [
        ("fast", {"grid": [1e-6, 0.1]}, "upper end"),
        ("fast", {"grid": [1.01e4, 1e-6, 1e4]}, ""),  # the two large ones give the same predictions
        ("fast", {"grid": [1e-9, 1e-8]}, "lower end"),  # the majority class at both; of equal ones the first is chosen
        ("fast", {"grid": [0.1]}, ""),
        ("fast", {"grid": [1e-6, 0.1], "by_classes": True}, "upper end"),
        ("sklearn", {"grid": [1e-6, 0.1]}, "upper end"),
        ("senteval-logreg", {"grid": [0.25, 1e-9]}, "upper end"),
        ("senteval", {"l2": [1e-5, 10.0], "max_epoch": 8}, "lower end"),
        ("senteval", {"l2": [1e-5], "max_epoch": 8}, ""),
        ("senteval", {"l2": [1e-5, 10.0], "nhid": [10, 20], "max_epoch": 8}, ""),
    ],
)
def test_a_row_says_at_which_end_of_its_grid_the_chosen_value_stands(tasks, tmp_path, probe, options, edge):
    options = {"probe": load_probe(probe, **options), "floors": [], "controls": [], "layers": [0], "train_size": 100}
    table = run(tasks[:1], tmp_path, ToyEncoder(width=40), **options)
    assert table.frame.edge.tolist() == [edge], table.frame.chosen[0]
    assert table.best().edge.tolist() == [edge]


@pytest.mark.parametrize("probe", ["fast", "senteval-logreg"])
def test_of_a_cross_validated_task_the_folds_say_it_together(tasks, tmp_path, probe):
    task = tasks[0].cross_validated(4, 0)
    options = {"floors": [], "controls": [], "layers": [0]}
    for grid, edge in (([1e-9, 0.1], "upper end"), ([0.1], "")):
        frame = run([task], tmp_path, ToyEncoder(width=40), probe=load_probe(probe, grid=grid), **options).frame
        assert frame.edge.tolist() == [edge]


# Random weights.


@pytest.mark.parametrize(
    ("seeds", "twins", "drawn"), [((0,), 1, [0]), ((0,), 3, [0, 1, 2]), ((2, 1), 4, [2, 1, 0, 3]), ((0, 1), 1, [0, 1])]
)
def test_twins_are_of_the_seeds_of_the_run_and_then_of_further_numbers(tasks, seeds, twins, drawn):
    """The further ones read the first seed's train subset."""
    settings = Request(LogisticPath(), None, ("mean",), seeds, (), ("random-weights",), 80, twins=twins)
    cells = [cell for cell in plan(tasks[:1], [ToyEncoder(n_layers=1)], settings) if cell.row.role == "random"]
    assert {cell.row.seed: cell.encoder.seed - 1000 for cell in cells} == {number: number for number in drawn}
    subsets = {seed: tasks[0].subset(80, seed).sha256 for seed in seeds}
    assert {cell.row.seed: cell.row.data_sha256 for cell in cells} == {n: subsets.get(n, subsets[seeds[0]]) for n in drawn}
    assert len(cells) == len(drawn) and len({cell.key for cell in cells}) == len(drawn)


def test_random_weights_are_the_mean_of_their_draws(tasks, tmp_path):
    table = run(tasks, tmp_path, seeds=(0,), twins=3, controls=[])
    random = table.frame[table.frame.role == "random"]
    own = random.loc[random.groupby(["task", "seed"]).dev_accuracy.idxmax()].groupby("task").accuracy
    best = table.best().set_index("task")
    assert best.random.to_dict() == pytest.approx(own.mean().to_dict())
    assert best.random_sd.to_dict() == pytest.approx(own.std(ddof=1).to_dict()) and (best.random_n == 3).all()


@pytest.mark.parametrize("twins", [0, True, 1.5, "2"])
def test_a_number_of_twins_that_is_none_is_refused(tasks, tmp_path, twins):
    with pytest.raises(ConfigError, match=r"twins=.* must be a whole number of at least 1"):
        run(tasks, tmp_path, twins=twins)


# Groups of test items, and halves of train.


def halved(tasks, tmp_path, **options):
    return run(tasks, tmp_path, **{"floors": [], "controls": [], "resample": "train", "resamples": 5} | options)


def test_train_halves_are_measured_as_rows_of_their_own(tasks, tmp_path):
    """Five for every layer that was asked for: none of controls, twins and the added static layer. All of a second run is there."""
    table = run(tasks[:1], tmp_path, poolings=["cls"], layers=[1, 2], resample="train", resamples=5)
    frame = table.frame
    assert frame.cell.is_unique and (frame.status == "done").all()
    drawn = frame[frame.role == "resample"]
    assert drawn.groupby("layer").seed.apply(list).to_dict() == {1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4]}
    assert set(drawn.encoder) == {"toy"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}
    more = run(tasks[:1], tmp_path, poolings=["cls"], layers=[1, 2], resample="train", resamples=7)
    assert all(path.stat().st_mtime_ns == t for path, t in before.items()) and len(more.frame) == len(frame) + 4
    plain = run(tasks[:1], tmp_path, poolings=["cls"], layers=[1, 2])
    pd.testing.assert_frame_equal(plain.frame, frame[frame.role != "resample"].reset_index(drop=True))


def by_hand(task, tmp_path, number, probe, seed):
    """The probe fitted on a half of train, at layer 1, mean."""
    vectors = Store(tmp_path / "store").vectors(
        ToyEncoder(), [text for split in task.splits.values() for text in split.texts], ["mean"]
    )
    train, dev, test = (vectors.rows(split.texts).get(Representation(1, "mean")) for split in task.splits.values())
    drawn = task.train.half(number)
    blocks, labels = SplitFeatures(train[drawn], dev, test), SplitLabels(task.train.labels[drawn], task.dev.labels)
    [(_, _, result)] = probe.fit(lambda _: blocks, [Representation(1, "mean")], {"true": labels}, task.name, 2, seed)
    return result


def test_a_half_follows_in_sentevals_order_of_its_own_sentences(tasks):
    """By length, then label, then place in the file: that of the half alone is that of the whole without the other rows."""
    for number in range(3):
        train = tasks[0].train
        drawn = train.half(number)
        part = FoldData.of(tasks[0], tasks[0], ["true"], number)
        alone = np.lexsort((train.labels[drawn], train.lengths[drawn]))
        np.testing.assert_array_equal(part.order, alone)
        assert not np.array_equal(alone, np.arange(len(drawn)))


def test_a_half_is_what_the_probe_makes_of_those_rows(tasks, tmp_path):
    """Fitted by hand on the drawn rows of train, chosen on all of dev."""
    task = tasks[0]
    table = halved([task], tmp_path, layers=[1])
    assert table.frame[table.frame.role == "resample"].accuracy.nunique() > 2
    for row in table.frame[table.frame.role == "resample"].itertuples():
        result = by_hand(task, tmp_path, row.seed, LogisticPath(), 0)
        gold, predicted = table.predictions(row.cell)
        assert np.array_equal(predicted, result.predictions) and np.array_equal(gold, task.test.labels)
        assert row.accuracy == (result.predictions == gold).mean() and row.dev_accuracy == result.dev_accuracy


def test_halves_widen_what_is_said_of_the_layers(tasks, tmp_path):
    """The best layer, its score and the others' stay; only the interval grows, and says so."""
    plain, table = run(tasks[:1], tmp_path, floors=[], controls=[]), halved(tasks[:1], tmp_path, resamples=6)
    before, after = plain.best(), table.best()
    assert after.layer.tolist() == before.layer.tolist() and np.allclose(after.accuracy, before.accuracy)
    assert set(before.interval_over) == {"test items"} and set(after.interval_over) == {"test items and train halves"}
    for name in ("accuracy", "macro_f1"):
        assert (after[f"{name}_low"] < before[f"{name}_low"]).all() and (after[f"{name}_high"] > before[f"{name}_high"]).all()
    line, frame = after.iloc[0], table.frame
    fits = frame[(frame.role == "resample") & (frame.task == line.task) & (frame.layer == line.layer)].accuracy
    expected = mean_accuracy(np.equal(*table.predictions(line.cell)), halves=fits.tolist())
    assert (line.accuracy_low, line.accuracy_high) == pytest.approx((expected.lower, expected.upper))


class Guesses:
    """A probe that draws: guesses from its seed, and from what it was trained on."""

    name = "guesses"

    def settings(self, task):
        return {}

    def seed(self, seed):
        return 1000 + seed

    def columns(self, columns):
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            blocks = load(column)
            for which in label_sets:
                rng = np.random.default_rng([seed, int(1e6 * np.abs(blocks.train).sum())])
                yield column, which, ProbeResult(rng.integers(0, n_classes, len(blocks.test)), rng.random(), {}, (), True)


def test_a_probe_that_draws_is_halved_at_the_first_seed(tasks, tmp_path):
    table = halved(tasks[:1], tmp_path, probe=Guesses(), seeds=(3, 1), layers=[1], train_size=200)
    frame = table.frame
    drawn = frame[frame.role == "resample"]
    records = [json.loads((tmp_path / "cells" / f"{cell}.json").read_text())["inputs"] for cell in drawn.cell]
    assert sorted(drawn.seed) == [0, 1, 2, 3, 4] and {said["probe_seed"] for said in records} == {1003}
    first = frame[(frame.role == "probe") & (frame.seed == 3)].iloc[0]
    assert set(drawn.data_sha256) == {first.data_sha256} and set(drawn.n_train) == {first.n_train}
    for row in drawn.itertuples():
        result = by_hand(tasks[0].subset(200, 3), tmp_path, row.seed, Guesses(), 3)
        assert np.array_equal(table.predictions(row.cell)[1], result.predictions)
    best = table.best()
    assert best.interval_over[0] == "test items, seeds and train halves" and best.seeds[0] == 2


def test_halves_need_a_train_split_of_their_own(tasks, tmp_path):
    with pytest.raises(ConfigError, match="bigram_shift is cross-validated: set resample=null"):
        halved([tasks[0].cross_validated(4, 0)], tmp_path)


def test_other_groups_are_other_cells_with_the_same_scores_and_other_intervals(tasks, tmp_path):
    """Ten groups of six items: accuracy and F1 stay, their intervals are those of groups, and the cells keep the groups."""
    task = tasks[0]
    groups = tuple(f"g{k // 6}" for k in range(60))
    plain = run([task], tmp_path, floors=["majority"])
    table = run([replace(task, test=replace(task.test, groups=groups))], tmp_path, floors=["majority"])
    assert set(plain.frame.cell).isdisjoint(table.frame.cell)
    names = ["role", "layer", "accuracy", "macro_f1", "dev_accuracy", "chosen"]
    pd.testing.assert_frame_equal(plain.frame[names], table.frame[names])
    assert set(plain.frame.n_groups) == {60} and set(table.frame.n_groups) == {10}
    for row in table.frame.itertuples():
        assert np.array_equal(table.groups(row.cell), np.arange(60) // 6)
        gold, predicted = table.predictions(row.cell)
        one, two = mean_accuracy(gold == predicted, np.arange(60) // 6), macro_f1(gold, predicted, 2, np.arange(60) // 6)
        assert (row.accuracy_low, row.accuracy_high) == (one.lower, one.upper)
        assert (row.macro_f1_low, row.macro_f1_high) == (two.lower, two.upper)
    assert all(plain.groups(cell) is None for cell in plain.frame.cell)
    assert table.best().interval_over[0] == "test items in 10 groups" and plain.best().interval_over[0] == "test items"
    rows = table.frame[table.frame.role == "probe"].set_index("layer").cell
    layers = table.compare_layers().set_index("layer")
    best = next(iter(layers.index[layers.best]))
    for layer in layers.index[~layers.best]:
        right = [np.equal(*table.predictions(rows[k])) for k in (layer, best)]
        assert layers.p[layer] == pytest.approx(mcnemar(*right, np.arange(60) // 6))
