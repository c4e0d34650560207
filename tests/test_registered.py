"""Own poolings, controls, floors and metrics: they are measured, their version is in the key, and no name is taken twice."""

import numpy as np
import pytest
import torch
from toys import ToyEncoder

from probing import evaluate, load_task, register_control, register_floor, register_metric, register_pooling
from probing.encoders.base import pool
from probing.errors import ConfigError
from probing.evaluation.register import unregister


@pytest.fixture(autouse=True)
def clean():
    yield
    unregister()


@pytest.fixture
def table(toy_root, tmp_path):
    def table(**more):
        options = {"poolings": "mean", "layers": 0, "controls": (), "floors": "majority"} | more
        return evaluate(load_task("bigram_shift", toy_root), ToyEncoder(), store=tmp_path / "store", **options)

    return table


def middle(states, mask):
    return states[torch.arange(len(mask)), mask.sum(1) // 2]


def first_label(task):
    return np.zeros(len(task.dev)), np.zeros(len(task.test))


def reversed_labels(task, rng):
    return [split.labels[::-1] for split in task.splits.values()]


def share_of_first(gold, predicted):
    return float((predicted == 0).mean())


def keys(table, role):
    return set(table.frame.cell[table.frame.role == role])


def test_a_pooling(table, toy_root):
    register_pooling("middle", version=1)(middle)
    one = table(poolings="middle")
    assert set(one.role("probe").pooling) == {"middle-v1"}
    encoder = ToyEncoder()
    items = encoder.tokenize(["w1 w2 w3", "w4"])[0]
    states = encoder.forward(items)
    assert torch.equal(pool(states, "middle-v1")[1], torch.stack([states.layers[1][0, 2], states.layers[1][1, 1]]))
    register_pooling("middle", version=2)(middle)
    assert not keys(one, "probe") & keys(table(poolings="middle"), "probe")
    assert "middle-v2" in set(table(poolings=None).role("probe").pooling)


def test_a_control(table):
    register_control("reversed")(reversed_labels)
    one = table(controls="reversed")
    [cell] = keys(one, "control")
    gold, _ = one.predicted(cell)
    assert np.array_equal(gold, one.predicted(*keys(one, "probe"))[0][::-1])
    register_control("reversed", version=2)(reversed_labels)
    two = table(controls="reversed")
    assert keys(two, "probe") == keys(one, "probe") and not keys(two, "control") & keys(one, "control")


def test_a_floor(table):
    before = table(floors=None)
    register_floor("first")(first_label)
    one = table(floors=None)
    assert keys(before, "floor") < keys(one, "floor")
    assert one.floors()["first"].iloc[0] == np.mean(one.predicted(*keys(one, "probe"))[0] == 0)
    register_floor("first", version=2)(first_label)
    assert len(keys(table(floors="first"), "floor") | keys(one, "floor")) == len(keys(one, "floor")) + 1


def test_a_metric(table):
    before = table()
    best = before.best()
    register_metric("first", version=1)(share_of_first)
    one = table()
    [row] = one.role("probe").itertuples()
    assert row.first == np.mean(one.predicted(row.cell)[1] == 0) and row.first_low <= row.first <= row.first_high
    assert not keys(before, "probe") & keys(one, "probe") and "first" in one.best()
    assert list(before.best()) == list(best)  # rows of before have no such column
    register_metric("first", version=2)(share_of_first)
    assert not keys(table(), "probe") & keys(one, "probe")


def test_names_are_taken_once():
    for register, name in (
        (register_pooling, "mean"),
        (register_control, "word"),
        (register_floor, "static"),
        (register_metric, "accuracy"),
    ):
        with pytest.raises(ConfigError, match=f"'{name}' is built in: choose another name"):
            register(name)(first_label)
    register_floor("own")(first_label)
    register_floor("own")(first_label)  # a cell of a notebook, run again
    with pytest.raises(ConfigError, match="registered with version 1 and other code: raise the version"):
        register_floor("own")(lambda task: None)
    for name, version, message in (("a b", 1, "is a word of letters"), ("own", 0, "at least 1"), ("own", "2", "whole number")):
        with pytest.raises(ConfigError, match=message):
            register_floor(name, version)(first_label)


def test_a_function_of_a_wrong_form_fails_its_cells(table):
    register_floor("short")(lambda task: ([0], [0]))
    register_control("short")(lambda task, rng: [[0], [0], [0]])
    frame = table(floors="short", controls="short").frame
    failed = frame[frame.status == "failed"]
    assert {"floor", "control"} <= set(failed.role) and failed.error.str.contains("shape").all()
