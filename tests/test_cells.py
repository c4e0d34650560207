"""Cells and gates: a network whose cells are known, signals by hand, a search whose null holds, and the study."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from probing import studies as job
from probing.encoders.base import States
from probing.encoders.networks.recurrent import LSTM, inner_states
from probing.errors import ConfigError, DataError
from probing.neurons.cells import search
from probing.neurons.coloured import colour, page, spans
from probing.neurons.gates import Saturation, gate_of
from probing.neurons.reading import blocks, by_character
from probing.neurons.signals import NAMES, signals
from probing.store.vectors import Store
from probing.studies.cells import CellsStudy

SHARED = Path(os.environ.get("PROBING_SHARED", "")) / "oracles"
HAVE = os.environ.get("PROBING_SHARED") and (SHARED / "behaviour.json").is_file()
ORACLE = json.loads((SHARED / "behaviour.json").read_text())["planted_cells"] if HAVE else {}


def planted_states(text):
    """All states of the reference network along a text, (n, 4) each."""
    folder = SHARED / "behaviour_models" / "planted_lstm"
    given = json.loads((folder / "config.json").read_text())
    lstm = torch.nn.LSTM(len(given["characters"]), given["hidden"], batch_first=True).requires_grad_(False)
    lstm.load_state_dict({name.removeprefix("lstm."): w for name, w in load_file(folder / "model.safetensors").items()})
    x = torch.eye(len(given["characters"]))[[given["characters"].index(c) for c in text]][None]
    return {name: own[0].numpy() for name, own in inner_states(lstm, x, lstm(x)[0]).items()}


@pytest.mark.shared
def test_the_planted_cells_are_found():
    text = ORACLE["text"]
    states, own = planted_states(text), signals(text)
    truth = np.array(ORACLE["truth_quote_line_depth"])
    for k, name in enumerate(("quote", "line position", "bracket depth")):
        assert own[name].tolist() == truth[:, k].tolist(), name
    assert np.abs(states["cell"] - np.array(ORACLE["cell"])).max() < 1e-5
    matches = {match.signal: match for match in search(states["cell"], own)}
    for k, name in enumerate(("quote", "line position", "bracket depth")):
        assert matches[name].cell == k and matches[name].value > 0.999 and matches[name].first > 0.999, name
    from probing.neurons.ranking import Scale

    assert Scale.of(states["cell"]).dead == [3]


@pytest.mark.shared
def test_the_reference_values_of_saturation():
    states = planted_states(ORACLE["text"])
    for gate, expected in ORACLE["gate_saturation"].items():
        own = Saturation()
        for start in range(0, 49, 10):
            own.add(states[gate][start : start + 10])
        assert np.allclose(own.left, expected["left"], atol=1e-8) and np.allclose(own.right, expected["right"], atol=1e-8), gate


def test_signals_by_hand():
    text = 'Hi "a(b\n1)". “c'
    own = {name: values.astype(int).tolist() for name, values in signals(text).items()}
    assert tuple(own) == NAMES
    #                       H  i     "  a  (  b  \n 1  )  "  .     “  c
    assert own["quote"] == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1]
    assert own["line position"] == [1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]
    assert own["bracket depth"] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert own["position in word"] == [1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2]
    assert own["position in sentence"][9:] == [10, 11, 0, 1, 2, 3]
    assert own["upper case"] == [1] + [0] * 14 and own["digit"][8] == 1 and sum(own["digit"]) == 1
    assert signals(")(")["bracket depth"].tolist() == [0, 1], "never below 0"


def slow(rng, n, step=0.02):
    """A signal with long runs, as text has them."""
    return (np.cumsum(rng.random(n) < step) % 2).astype(float)


def test_a_planted_cell_is_found_with_its_sign_and_a_value_on_text_that_did_not_choose():
    rng = np.random.default_rng(0)
    n = 12_000
    signal, cells = slow(rng, n), rng.normal(size=(n, 40))
    cells[:, 17] = -signal + 0.5 * rng.normal(size=n)
    cells[: n // 2, 5] = signal[: n // 2]  # follows the signal in the first half alone
    cells[:, 8] = 0.25
    (match,) = search(cells, {"planted": signal, "constant": np.ones(n)}, shifts=199)
    assert match.signal == "planted" and match.cell == 5 and abs(match.value) < 0.1 and match.p > 0.05, "chosen and not confirmed"
    cells[: n // 2, 5] = rng.normal(size=n // 2)
    (match,) = search(cells, {"planted": signal}, shifts=199)
    expected = np.corrcoef(cells[6000:, 17], signal[6000:])[0, 1]
    assert match.cell == 17 and match.first < -0.6 and match.value == pytest.approx(-expected, abs=1e-6)
    assert match.p == 1 / 200 and match.null < 0.2 and match.shifts == 199


def test_the_null_of_shifts_by_brute_force():
    rng = np.random.default_rng(1)
    cells, signal = rng.normal(size=(400, 3)).cumsum(0), slow(rng, 400)
    (match,) = search(cells, {"s": signal}, shifts=10_000)
    a, b, s, t = cells[:200], cells[200:], signal[:200], signal[200:]

    def value(shift):
        first = [np.corrcoef(a[:, c], np.roll(s, shift))[0, 1] for c in range(3)]
        best = int(np.argmax(np.abs(first)))
        return np.sign(first[best]) * np.corrcoef(b[:, best], np.roll(t, shift))[0, 1]

    null = np.array([value(shift) for shift in range(50, 151)])
    assert match.shifts == 101 and match.value == pytest.approx(value(0), abs=1e-5)
    assert match.p == pytest.approx((1 + (null >= value(0)).sum()) / 102)
    assert match.null == pytest.approx(np.quantile(null, 0.95), abs=1e-5)


def test_unrelated_signals_pass_rarely():
    """p below 0.05 in about 5 % of searches among autocorrelated cells, though the best of them always correlates."""
    passed, firsts = 0, []
    for run in range(120):
        rng = np.random.default_rng([run, 7])
        cells = np.stack([slow(rng, 2000) + rng.normal(size=2000) for _ in range(20)], 1)
        (match,) = search(cells, {"s": slow(rng, 2000)}, shifts=99, seed=run)
        passed += match.p <= 0.05
        firsts.append(abs(match.first))
    assert passed <= 13 and np.mean(firsts) > 0.1, passed


def test_too_little_to_search():
    with pytest.raises(DataError, match="10 places of text: too few"):
        search(np.zeros((10, 2)), {"s": np.arange(10.0)})
    with pytest.raises(DataError, match="none of the 2 cells varies"):
        search(np.zeros((100, 2)), {"s": np.arange(100.0)})
    assert search(np.random.default_rng(0).normal(size=(100, 2)), {"s": np.ones(100)}) == []


def lstm(**more):
    return LSTM(embedding_dim=6, hidden=5, buckets=50, states=["hidden", "cell", "input", "forget", "output"], **more)


TEXT = 'She said "no (not now) or so". He left.\nThen "all the rest (1 or 2) came" and went. ' * 40


def test_words_are_read_with_the_place_of_their_last_character():
    encoder = lstm()
    assert not by_character(encoder, TEXT)
    made = list(blocks(encoder, TEXT, size=600, skip=60))
    places = np.concatenate([block.places for block in made])
    words = TEXT.split()
    kept = [k for k in range(len(words)) if k % 100 >= 10]
    assert len(places) == len(kept) and (np.diff(places) > 0).all()
    assert [TEXT[: place + 1].split()[-1] for place in places[:50]] == [words[k] for k in kept[:50]]
    part = " ".join(words[100:200])
    alone = encoder.forward(encoder.tokenize([part])[0]).layers[1][0, 10:].numpy()
    joined = np.concatenate([block.layers[1] for block in made])
    start = kept.index(110)
    assert np.allclose(joined[start : start + 90], alone, atol=1e-6)
    with pytest.raises(DataError, match="have nothing left"):
        next(blocks(encoder, TEXT, size=50, skip=50))


class Pieces:
    """Each word is cut into characters (`whole`: blanks are tokens, too); the state of a token is its code and its place."""

    name, dims, layer_names = "pieces", (2,), ("codes",)

    def __init__(self, whole):
        self.whole = whole

    def tokenize(self, texts):
        return [[c for c in text if self.whole or c != " "] for text in texts], 0

    def word_ids(self, texts):
        return [[k for k, word in enumerate(text.split()) for _ in word] for text in texts]

    def forward(self, items):
        longest = max(map(len, items))
        x = torch.zeros(len(items), longest, 2)
        for row, item in enumerate(items):
            x[row, : len(item)] = torch.tensor([[ord(c), k] for k, c in enumerate(item)], dtype=torch.float32)
        return States([x], torch.ones(len(items), longest, dtype=torch.bool))


@pytest.mark.parametrize("whole", [True, False])
def test_a_place_has_the_state_of_its_last_token(whole):
    made = list(blocks(Pieces(whole), TEXT, size=600, skip=60))
    places = np.concatenate([block.places for block in made])
    codes = np.concatenate([block.layers[0] for block in made])[:, 0]
    assert by_character(Pieces(whole), TEXT) == whole
    assert [chr(int(code)) for code in codes] == [TEXT[place] for place in places]
    if whole:
        assert places.tolist() == [k for k in range(len(TEXT)) if k % 600 >= 60]
    else:
        assert all(TEXT[place + 1 : place + 2].strip() == "" for place in places), "the ends of words"


@pytest.fixture
def said(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\ufeff" + TEXT, encoding="utf-8")
    study = {"_target_": "probing.studies.cells.CellsStudy", "file": str(path), "size": 600, "skip": 60, "shifts": 99, "shown": 50}
    encoder = {"_target_": f"{LSTM.__module__}.LSTM", "embedding_dim": 6, "hidden": 5, "buckets": 50}
    encoder["states"] = ["hidden", "cell", "input", "forget", "output"]
    return {
        "study": study, "encoder": encoder, "data": {"name": "none"}, "task": "all", "seed": 0, "run": {"name": None}
    }  # fmt: skip


def test_the_study_reads_once_and_a_second_run_reads_nothing(said, tmp_path, monkeypatch):
    folder = job.run(said, tmp_path, Store(tmp_path / "store"), None, (0,))
    cells, gates = pd.read_csv(folder / "cells.csv"), pd.read_csv(folder / "gates.csv")
    assert set(cells.layer_name) == {"embeddings", "lstm 1 hidden", "lstm 1 cell"} and set(cells.signals) == {"text", "shuffled"}
    assert set(gates.layer_name) == {"lstm 1 input", "lstm 1 forget", "lstm 1 output"} and len(gates) == 15
    assert cells.p_holm.between(0, 1).all() and (cells.unit == "word").all() and cells.places.nunique() == 1
    assert (cells[cells.signals == "shuffled"].p_holm > 0.05).all()
    table = (folder / "table.md").read_text()
    assert "second half" in table and "## Gates" in table
    lines = (cells.signals == "text").sum()
    assert f"With 99 shifts and {lines} lines no p after Holm is below {lines / 100:.2g}: raise study.shifts." in table
    assert "<span" in (folder / "cells.html").read_text() and "<svg" in (folder / "figure-gates.svg").read_text()
    monkeypatch.setattr("probing.studies.cells.blocks", None)
    again = job.run(said, tmp_path, Store(tmp_path / "store"), None, (0,))
    assert pd.read_csv(again / "rows.csv").equals(pd.read_csv(folder / "rows.csv"))


@pytest.mark.parametrize(("layers", "names"), [(2, {"lstm 1 cell"}), ([-1], set())])
def test_layers_choose_what_is_searched(said, tmp_path, layers, names):
    folder = job.run(said | {"study": said["study"] | {"layers": layers}}, tmp_path, Store(tmp_path / "store"), None, (0,))
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.layer) == {2 if names else 5} and set(rows[rows.kind != "gate"].layer_name) == names
    assert (folder / "table.md").is_file()


def test_a_text_whose_states_have_no_room_is_refused(said, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.studies.cells.MOST_BYTES", 10_000)
    with pytest.raises(DataError, match=r"the states of 760 places need 48.6 kB, more than .*: read less \(study.characters\)"):
        job.run(said, tmp_path, Store(tmp_path / "store"), None, (0,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"set study.file=…"),
        ({"file": "a", "skip": 5, "size": 5}, "study.skip=5 must be from 0 to less than study.size=5"),
        ({"file": "a", "shifts": 3}, "study.shifts=3 must be at least 19"),
        ({"file": "a", "characters": 10}, "study.characters=10 must be at least 1000"),
    ],
)
def test_mistakes_in_the_options_have_a_message(given, message):
    with pytest.raises(ConfigError, match=message):
        CellsStudy(**given)


def contrast(*colours):
    """Of two colours, as the Web Content Accessibility Guidelines 2.1 define it."""
    parts = np.array([[int(one[k : k + 2], 16) / 255 for k in (1, 3, 5)] for one in colours])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


@given(st.floats(-1.5, 1.5))
def test_coloured_words_can_be_read(value):
    [word] = re.findall(r"style=.background: (#.{6});( color: #fff)?", spans(["word"], [value], 1.0))
    assert contrast(word[0], "#ffffff" if word[1] else "#000000") >= 4.5


def test_colours_and_gates_by_hand():
    gate = Saturation()
    gate.add(np.array([[0.05, 0.1], [0.95, 0.9], [0.5, 0.91], [0.09, 0.0]]))
    assert gate.left.tolist() == [0.5, 0.25] and gate.right.tolist() == [0.25, 0.25]
    assert colour(-3.0, 3.0) == "#0072b2" and colour(9.0, 3.0) == "#e67800" and colour(1.0, 0.0) == "#ffffff"
    html = page("a < b", [("h", spans(["<i>", "x"], [0.0, 1.0], 1.0, " "))])
    assert "&lt;i&gt;" in html and "a &lt; b" in html and 'title="+1"' in html
    assert [gate_of(name) for name in ("lstm 2 output", "LSTM 1 cell", "output")] == ["output", "", "output"]
