"""The study of neurons: verdicts where the truth is planted, resuming, the report; and the command `neuron`."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import processes
import pytest
import torch
from toys import ToyEncoder

from probing import load_encoder
from probing.data.frames import task_of_lists
from probing.data.words import task_of_tags
from probing.encoders.base import States
from probing.errors import ConfigError, DataError
from probing.evaluation.against_draws import against_draws
from probing.neurons.command import Neuron
from probing.neurons.curves import Basis, Targets, orders, retrained
from probing.neurons.ranking import RANKINGS
from probing.report.neurons import verdicts
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.neuron_between import encoder_of
from probing.studies.neuron_layers import Measured, commonest, targets_of
from probing.studies.neurons import NeuronsStudy
from probing.types import Representation


@dataclass
class Aligned(ToyEncoder):
    """Layer 0: neurons 0-2 follow the class of a word (its first letter); layer 1: the same turned; neuron 3 is dead in both."""

    width: int = 16
    n_layers: int = 2

    @property
    def description(self):
        return {"kind": "aligned", "seed": self.seed}

    def tokenize(self, texts):
        return [text.split() for text in texts], 0

    def word_ids(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def forward(self, items):
        self.calls += 1
        longest = max(map(len, items))
        layers, mask = torch.zeros(2, len(items), longest, 16), torch.zeros(len(items), longest, dtype=torch.bool)
        turn = torch.linalg.qr(torch.randn(15, 15, generator=torch.Generator().manual_seed(5)))[0]
        kept = [k for k in range(16) if k != 3]
        for row, item in enumerate(items):
            for k, word in enumerate(item):
                seed = sum(ord(c) * 31**i for i, c in enumerate(word)) * 1009 + k + len(items[row]) * 17
                x = torch.randn(16, generator=torch.Generator().manual_seed(seed % 2**31)) * 0.8
                x["abc".index(word[0])] += 2.5
                x[3] = 0.5
                layers[0, row, k], mask[row, k] = x, True
                layers[1, row, k, kept], layers[1, row, k, 3] = x[kept] @ turn, 0.5
        return States(list(layers), mask)


def word_task(seed=0, sentences=(60, 20, 60)):
    rng = np.random.default_rng(seed)
    rows = {}
    for name, n in zip(("train", "dev", "test"), sentences, strict=True):
        texts = [[f"{'abc'[rng.choice(3, p=[0.5, 0.3, 0.2])]}{rng.integers(300)}" for _ in range(6)] for _ in range(n)]
        rows[name] = (texts, [[word[0] for word in text] for text in texts])
    return task_of_tags(rows, {"name": "first letter"}, "the tests", lambda split, i: f"{split} {i}")


class Source:
    name = "planted"


def context_of(tmp_path, encoder, tasks, force=False):
    results, store = ResultStore(tmp_path / "cells"), Store(tmp_path / "store", "float32")
    return Context(lambda: encoder, lambda: tasks, (0,), results, store, tmp_path, Source, None, force)


def quick(**more):
    return NeuronsStudy(**({"top": 3, "sizes": [1, 3, 8], "rotations": 6, "samples": 2, "draws": 3, "controls": 4} | more))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    frame = quick().measure(context_of(folder, Aligned(), [word_task()]))
    return folder, frame


def test_the_verdict_tells_a_planted_basis_from_a_turned_one(measured):
    _, frame = measured
    layers = verdicts(frame[frame.kind == "layer"]).set_index("layer")
    assert layers.verdict[0] == "better than random sets, axis-aligned"
    assert "not told from a random basis" in layers.verdict[1] and "axis" not in layers.verdict[1]
    assert set(json.loads(layers["first"][0])) == {0, 1, 2} and layers.dead.tolist() == ["[3]", "[3]"] and set(layers.live) == {15}
    assert layers.full[0] == pytest.approx(layers.full[1], abs=0.02) and layers.minimal[0] <= 3 and layers.majority[0] < 0.6


def test_rows_hold_what_they_say(measured):
    _, frame = measured
    curves = frame[(frame.kind == "curve") & (frame.layer == 0)]
    assert set(curves.ranking) == set(RANKINGS) and sorted(set(curves.k)) == [1, 3, 8, 15]
    full = curves[curves.k == 15]
    assert full.accuracy.nunique() == 1 and (full.keep == full.accuracy).all() and full.random.isna().all()
    one = curves[(curves.ranking == "linear") & (curves.k == 3)].iloc[0]
    assert one.accuracy_low < one.accuracy < one.accuracy_high and one.n_test == 360
    assert one.selectivity == pytest.approx(one.accuracy - one.control) and one.less_rotated == pytest.approx(
        one.accuracy - one.rotated
    )
    assert one.accuracy > one.random + 0.2 and one.accuracy > one.rotated + 0.1 and one["drop"] < one.keep
    assert curves[curves.ranking == "gaussian"].rotated.isna().all()
    overlaps = frame[(frame.kind == "overlap") & (frame.layer == 0)]
    assert len(overlaps) == 21 * 3 and (overlaps.shared <= overlaps.k).all()
    assert overlaps[overlaps.k == 3].chance.iloc[0] == pytest.approx(9 / 15)
    stable = frame[(frame.kind == "stability") & (frame.layer == 0) & (frame.k == 3)].set_index("ranking")
    assert stable.shared["linear"] == 3 and set(stable.index) == set(RANKINGS) - {"gaussian", "random"}


def test_control_labels_are_compared_above_their_own_majority():
    """Labels of another draw have another majority, which is no difference of neurons: the same gain everywhere is no evidence."""
    task, study = word_task(), quick(rankings=["probeless"])
    x = np.random.default_rng(0).normal(size=(len(task.train), 6))
    basis, y = Basis.of(x, x[: len(task.dev)], x[: len(task.test)]), targets_of(task)
    measured = Measured(study, basis, y, task, 0, orders(basis, y, ["probeless"]))
    right = retrained(basis, y, measured.classifier, measured.orders["probeless"], [3])[3].right
    draws, constants = measured.controls["probeless"][3], measured.constants
    assert constants.shape == draws.shape == (4, len(task.test)) and len(set(constants.mean(1).round(6))) > 1
    (row,) = [row for row in measured.curve("probeless") if row["k"] == 3]
    expected = against_draws(right * 1.0 - (y.test == 0), draws * 1.0 - constants, task.test.clusters)
    assert row["p_control"] == pytest.approx(expected.p) and row["selectivity"] == pytest.approx(right.mean() - draws.mean())
    assert row["p_control"] != pytest.approx(against_draws(right, draws, task.test.clusters).p)


def test_a_second_run_measures_nothing_and_other_options_do(measured, monkeypatch):
    folder, frame = measured
    encoder = Aligned()
    again = quick().measure(context_of(folder, encoder, [word_task()]))
    assert encoder.calls == 0 and again.equals(frame)
    monkeypatch.setattr(NeuronsStudy, "layer_rows", lambda *given: [{"kind": "measured"}])
    assert (quick().measure(context_of(folder, Aligned(), [word_task()], force=True)).kind == "measured").all()
    assert (quick(l2=0.1).measure(context_of(folder, Aligned(), [word_task()])).kind == "measured").all()


def test_the_report(measured, tmp_path):
    _, frame = measured
    frame.to_csv(tmp_path / "rows.csv", index=False)
    quick().report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"neurons.csv", "layers.csv", "overlap.csv", "stability.csv", "table.md", "figure-layers.svg"} <= names
    assert "figure-curves-first_letter-toy-planted.svg" in names
    table = (tmp_path / "table.md").read_text()
    assert "15 (dead: 3)" in table and "**axis-aligned**" in table and "over sentences" in table and "by word type" in table
    assert "nan" not in table and ".0 |" not in table.replace("0.0 |", "")


def test_sentences_have_permuted_control_labels(tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(f"{'abc'[k % 3]}{rng.integers(10**6)}" for _ in range(5)) for k in range(360)]
    splits = ["train"] * 180 + ["dev"] * 60 + ["test"] * 120
    task = task_of_lists(texts, [text[0] for text in texts], splits, name="letters")
    frame = quick(rankings=["probeless"], layer=-2).measure(context_of(tmp_path, Aligned(), [task]))
    (layer,) = frame[frame.kind == "layer"].to_dict("records")
    assert layer["layer"] == 0 and layer["control_kind"] == "permuted" and layer["control"] < 0.45 < layer["accuracy"]
    assert layer["p_control"] < 0.01


def test_neurons_of_another_encoder_are_matched_beside_turned_directions(tmp_path, monkeypatch):
    """The same neurons with other noise are shared as such; a turned copy has no more than random directions have."""
    monkeypatch.setattr("probing.studies.neurons.encoder_of", lambda given: Aligned(name=given, seed=1 + (given == "two")))
    study = quick(others=["one", "two"], rankings=["probeless"], layer=[0, 1])
    frame = study.measure(context_of(tmp_path, Aligned(), [word_task()]))
    own = frame[frame.kind == "between"].set_index("layer")
    assert own.others.tolist() == ["one, two"] * 2 and (own.min_corr > 0.999).all() and (own.lin_reg_min > 0.999).all()
    assert own.max_corr_rotated[0] < 0.9 and own.lin_reg_min_rotated[0] > 0.999, "all neurons together span the same"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    assert "MinCorr" in (tmp_path / "table.md").read_text() and len(pd.read_csv(tmp_path / "between.csv")) == 2


def test_another_encoder_is_a_preset_or_a_folder(tmp_path):
    assert encoder_of("lstm").name.startswith("lstm")
    with pytest.raises(
        ConfigError, match="'lsmt' is neither a preset of an encoder nor a folder of probing train; did you mean 'lstm'"
    ):
        encoder_of("lsmt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rankings": ["lineer"]}, "unknown ranking 'lineer'; did you mean 'linear'"),
        ({"classifier": "svm"}, "allowed: ridge, logistic"),
        ({"rotations": 1}, "study.rotations=1 must be at least 2: a variance needs two"),
        ({"top": 0}, "study.top=0 must be at least 1"),
        ({"sizes": [0]}, "must hold numbers of neurons, at least 1"),
        ({"classes": 1}, "study.classes=1 must be at least 2, or null"),
        ({"l2": 0.0}, "study.l2=0.0 must be above 0"),
    ],
)
def test_mistakes_in_the_options_have_a_message(given, message):
    with pytest.raises(ConfigError, match=message):
        NeuronsStudy(**given)


def test_mistakes_that_the_encoder_shows(tmp_path):
    with pytest.raises(ConfigError, match="layer=7: the encoder has the layers 0 to 1"):
        quick(layer=7).measure(context_of(tmp_path, Aligned(), [word_task()]))
    with pytest.raises(ConfigError, match=r"study.pooling='cls' \(allowed here: mean, first, last\)"):
        quick(pooling="cls").measure(context_of(tmp_path, Aligned(), [word_task()]))


def test_the_commonest_classes():
    task = commonest(word_task(), 2)
    assert task.classes == ("a", "b") and set(task.test.labels) == {0, 1} and len(task.train.spans) == len(task.train)
    assert commonest(task, None) is task and commonest(task, 5) is task


def test_one_score_against_draws_of_a_null():
    """False alarms where the score is one more draw, and an interval by hand."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        rates = rng.normal(0.6, 0.05, 6).clip(0, 1)
        right = rng.random((6, 300)) < rates[:, None]
        alarms += against_draws(right[0], right[1:]).p < 0.05
    assert alarms <= 30, alarms
    own, draws = np.ones(4), np.array([[1, 1, 0, 0], [0, 1, 0, 0]])
    result = against_draws(own, draws)
    d = own - draws.mean(0)
    error = np.sqrt(np.var([0.5, 0.25], ddof=1) * 1.5 + d.var(ddof=1) / 4)
    assert result.difference.value == 0.625 and 0.625 - result.difference.lower > 1.96 * error
    assert against_draws(own, draws, np.zeros(4, int)).p == 1.0, "one group tells nothing"
    with pytest.raises(ValueError, match="at least 2"):
        against_draws(own, draws[:1])


def test_genuine_minilm_has_three_dead_neurons_in_its_last_layer(tmp_path):
    texts = [
        f"{a} {b} {c} ."
        for a in ("The", "No", "Every")
        for b in ("cat", "house", "idea", "river")
        for c in ("sleeps", "fell", "is")
    ]
    rows = Store(tmp_path).vectors(load_encoder("minilm"), texts, ["word-mean"])
    spans = np.array([[k, k + 1] for _ in texts for k in range(4)])
    x = rows.rows([text for text in texts for _ in range(4)], spans).get(Representation(6, "word-mean"))
    basis, y = Basis.of(x, x, x), np.tile(np.arange(4), len(texts))
    assert basis.scale.dead == [127, 223, 319] and basis.n_live == 381
    for name, order in orders(basis, Targets(y, y, y, 4), RANKINGS, steps=5).items():
        assert order[-3:].tolist() == [127, 223, 319], name


# The command.


def test_neuron_shows_both_ends(tmp_path):
    texts = ["a1 b2 c3 a1", "b2 b2 c3", "a1 a4 c3"]
    (tmp_path / "a.txt").write_text("\ufeff" + "\n\n".join(texts) + "\n", encoding="utf-8")
    text = Neuron(layer=0, unit=1, file=str(tmp_path / "a.txt"), html=str(tmp_path / "a.html"), sentences=1).run(
        Aligned(), Store(tmp_path / "store")
    )
    lines = text.splitlines()
    assert lines[0].startswith("toy, layer 0 (toy 0), unit 1: 10 words of 3 sentences")
    assert lines[3].split()[:4] == ["high", "end", "count", "z"] and lines[4].split()[:2] == ["b2", "3"] and "+" in lines[4]
    assert "a4" not in text.partition("highest")[0], "seen once"
    assert lines[-2].startswith("highest, sentence") and "b2[+" in lines[-2]
    assert (tmp_path / "a.html").read_text().count("<h2>") == 2
    with pytest.raises(
        DataError, match="unit 3 does not vary over 10 words: it is dead, or the text too short; of this layer so are 3"
    ):
        Neuron(unit=3, file=str(tmp_path / "a.txt")).run(Aligned(), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "file=FILE"),
        ({"text": "a1", "file": "x"}, "one of the two"),
        ({"text": "a1", "unit": 16}, "layer 0 of toy has the units 0 to 15"),
        ({"text": "a1", "layer": 2}, "toy has the layers 0 to 1"),
        ({"text": "a1", "pooling": "max"}, "allowed: mean, first, last"),
        ({"text": "a1", "least": 0}, "least=0 must be at least 1"),
    ],
)
def test_mistakes_in_the_options_of_neuron_have_a_message(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Neuron(**given).run(Aligned(), Store(tmp_path))


def test_the_command_line(tmp_path):
    words = ("neuron", "encoder=lstm", "encoder.hidden=8", "encoder.embedding_dim=8", "layer=1", f"run.dir={tmp_path}")
    done = processes.run("-m", "probing", *words, "unit=2", "text=It isn't = a, (bad) film", "least=1")
    assert done.returncode == 0 and "unit 2: 6 words of 1 sentence, mean" in done.stdout, done.stderr
    done = processes.run("-m", "probing", *words, "unit=2", f"file={tmp_path / 'absent.txt'}")
    assert done.returncode == 2 and "absent.txt: cannot be read" in done.stderr and "Traceback" not in done.stderr
