"""Expressions as tasks, against values computed from the text alone; networks as games, against one that computes the formula."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ToyEncoder
from typer.testing import CliRunner

from probing import config as presets
from probing.cli import app
from probing.data import loading
from probing.data.expressions import BINDING, Expression, chain, generate, read
from probing.data.expressions.tasks import SPLITS, distinct, make_task, sentences, split, values
from probing.data.sources import ExpressionCorpus, SentEvalFolder
from probing.encoders.base import States
from probing.errors import ConfigError, DataError
from probing.interactions.scoring import METHODS, find_links
from probing.interactions.text.heads import LinearHead
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.expression_networks import ExpressionNetworks, NetworkGame, link_counts, link_probes, pair_states
from probing.studies.synthetic import Synthetic, scores


def by_hand(text):
    """The value of a sentence: sums of products (of powers), or a disjunction of conjunctions; no name is looked up."""
    terms = re.split(r" [+|] ", re.sub(r"x\d+", "1", text))
    total = 0
    for term in terms:
        value = 1
        for factor in re.split(r" [*&] ", term):
            base, *power = map(int, factor.split(" ** "))
            value *= 1 if power == [0] else base
        total += value
    return min(total, 1) if "|" in text or "&" in text else total


@pytest.mark.parametrize("family", BINDING)
def test_a_task_file_holds_values_of_formulas_and_no_formula_twice(family, tmp_path):
    path = make_task(family, tmp_path, count=60, variables=(4, 7), inputs=12)
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert all(int(value) == by_hand(text) for _, value, text in rows)

    def formula(text):
        return " ".join(f"x{i // 2 + 1}" if i % 2 == 0 else token for i, token in enumerate(text.split()))

    of_split = {s: {formula(text) for code, _, text in rows if code == s} for s in SPLITS}
    assert sum(map(len, of_split.values())) == len(set.union(*of_split.values())) == 60
    listed = read(tmp_path / f"{family}.expressions.tsv")
    assert {e.text for e in listed} == set.union(*of_split.values()) and all(chain(family, e.text) == e for e in listed)
    texts = [text for _, _, text in rows]
    assert len(set(texts)) == len(texts) and {e.text for e in listed} <= set(texts)  # every input of all ones, none twice
    made = loading.load(family, tmp_path)
    assert set(made.classes) == {value for code, value, _ in rows if code == "tr"}
    duplicates = made.data_card["duplicates"]
    assert not any(duplicates["within"].values()) and not duplicates["two_labels"]  # across: the same words in another order
    assert made.data_card["majority"]["train"] < 0.7


def test_inputs_are_drawn_by_value_and_files_are_made_once(tmp_path):
    [wide] = generate("add_multiply", 1, (10, 10), operators=["+"])
    drawn = [value for value, _ in sentences(wide, 200, np.random.default_rng(0))]
    assert np.bincount(drawn, minlength=11)[[1, 9]].min() > 6  # there are 10 of each among 1,024 inputs: evenly drawn, 2
    options = {"count": 30, "variables": (4, 6), "inputs": 5}
    first = make_task("and_or", tmp_path / "a", **options).read_bytes()
    assert make_task("and_or", tmp_path / "b", **options).read_bytes() == first
    assert make_task("and_or", tmp_path / "c", **options, seed=1).read_bytes() != first
    with pytest.raises(ConfigError, match=r"other options \(inputs=5, not 6\): give those, or another folder"):
        make_task("and_or", tmp_path / "a", **options | {"inputs": 6})
    (tmp_path / "b" / "and_or.txt").write_bytes(first + b"te\t1\tx1 | x2\n")
    with pytest.raises(DataError, match=r"and_or.txt was changed since it was made"):
        make_task("and_or", tmp_path / "b", **options)
    (tmp_path / "c" / "and_or.card.json").write_text("{")
    with pytest.raises(DataError, match="remove it, and the file is made again"):
        make_task("and_or", tmp_path / "c", **options, seed=1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(sorted(BINDING)))
def test_no_value_of_dev_or_test_is_new(seed, family):
    expressions = distinct(family, 20, (2, 6), seed=seed) if family != "and_or" else distinct(family, 20, (3, 6), seed=seed)
    parts = split(expressions, seed)
    assert sorted(e.text for es in parts.values() for e in es) == sorted(e.text for e in expressions)
    known = {int(v) for e in parts["tr"] for v in values(e)[1]}
    assert {int(v) for s in ("va", "te") for e in parts[s] for v in values(e)[1]} <= known


def test_what_is_no_task(tmp_path):
    for words, message in [
        ({"family": "and_orr"}, "did you mean 'and_or'"),
        ({"family": "noisy"}, "is no family that is a task"),
        ({"family": "and_or", "count": 4}, "at least 5 expressions"),
        ({"family": "and_or", "inputs": 1}, "2 inputs"),
        ({"family": "and_or", "variables": (5, 17)}, "at most 16 variables"),
        ({"family": "and_or", "variables": (5, 6)}, "48 different expressions in .* draws, 600 were asked for"),
        ({"family": "and_or", "operators": ["+"]}, "allowed are & |"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make_task(root=tmp_path / "none", **words)
    assert not (tmp_path / "none").exists()
    for text in ("x1 + x2", "x1 & x3", "x1 & x2 |"):
        with pytest.raises(DataError, match="x1"):
            chain("and_or", text)
    with pytest.raises(ConfigError, match="two numbers"):
        ExpressionCorpus(str(tmp_path), variables=[5]).tasks(None)


def test_the_command_writes_tasks_and_lists(tmp_path):
    words = ["make-expressions", "--out", str(tmp_path), "--count", "30", "--variables", "4-7", "--inputs", "6"]
    done = CliRunner().invoke(app, [*words, "--families", "and_or,noisy"])
    assert done.exit_code == 0, done.output
    assert done.output.split() == [str(tmp_path / "and_or.txt"), str(tmp_path / "noisy.expressions.tsv")]
    assert read(tmp_path / "noisy.expressions.tsv") == generate("noisy", 30, (4, 7))
    often = [*words[:2], str(tmp_path / "often"), *words[3:], "--families", "add_multiply", "--operators", "* + + + +"]
    assert CliRunner().invoke(app, often).exit_code == 0
    operators = [o for e in read(tmp_path / "often" / "add_multiply.expressions.tsv") for o in e.tokens[1::2]]
    assert operators.count("+") > 2 * operators.count("*")
    done = CliRunner().invoke(app, [*words[:5], "--variables", "five"])
    assert isinstance(done.exception, ConfigError) and "fewest-most" in str(done.exception)
    read_back = presets.build({"_target_": "probing.data.sources.ExpressionCorpus", "root": str(tmp_path), "count": 30}, "data")
    with pytest.raises(ConfigError, match="other options"):
        read_back.tasks(["and_or"])


class Oracle(ToyEncoder):
    """Layer 1 holds the formula's value in one-hot and nothing else at every token; layer 0 is zero but for a constant."""

    VALUES = 12

    @property
    def dims(self):
        return (self.VALUES, self.VALUES)

    layer_names = ("constant", "value")

    def tokenize(self, texts):
        return [text.split() for text in texts], 0

    def word_ids(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def forward(self, items):
        longest = max(map(len, items))
        mask = torch.tensor([[t < len(item) for t in range(longest)] for item in items])
        value = torch.zeros(len(items), longest, self.VALUES)
        value[torch.arange(len(items)), :, [by_hand(" ".join(item)) for item in items]] = 1
        return States([torch.ones_like(value), value], mask)


ORACLE_HEAD = LinearHead(100 * np.eye(12), np.zeros(12), tuple(map(str, range(12))), 1, "mean")


@pytest.mark.parametrize("family", BINDING)
def test_a_network_that_computes_the_formula_has_its_coalitions(family):
    """Positive control: the expected value finds every link, and so says the count of right classes. Negative: a constant layer."""
    found, right, rows = [], 0, 0
    expressions = generate(family, 25, (4, 8), seed=3)
    for e in expressions:
        game = NetworkGame(Oracle(), e, ORACLE_HEAD, ["mean", "last"])
        found.append(link_counts(game, e, 0.1))
        right, rows = right + game.right, rows + game.rows
    assert right == rows == sum(e.n_players * (e.n_players + 1) // 2 + 1 for e in expressions)
    assert game.columns == [("output", None), ("mean", 0), ("mean", 1), ("last", 0), ("last", 1)]
    by_column = np.array(found)  # (expressions, columns, 2, 4)
    output = scores(by_column[:, 0])
    assert output["accuracy"] == output["accuracy_tied_out"] == output["f1"] == 1.0 and output["links"] > output["recall"] > 0
    assert scores(by_column[:, 1])["recall"] == 0
    wrong = LinearHead(-ORACLE_HEAD.coef, *(getattr(ORACLE_HEAD, name) for name in ("intercept", "classes", "layer", "pooling")))
    e = max(expressions, key=lambda e: len(e.groups))
    assert np.array(link_counts(NetworkGame(Oracle(), e, wrong, []), e, 0.1))[0, 0, 0] < by_column[expressions.index(e), 0, 0, 0]


class Planted(ToyEncoder):
    """Layer 0: noise of position and width; layer 1: the same, and one feature that says which operator precedes a variable."""

    def word_ids(self, texts):
        return [[None, *range(len(text.split()))] for text in texts]

    def tokenize(self, texts):
        return [["[", *text.split()] for text in texts], 0

    def forward(self, items):
        longest = max(map(len, items))
        mask = torch.tensor([[0 < t < len(item) for t in range(longest)] for item in items])
        rng = np.random.default_rng(len(items))
        noise = torch.tensor(rng.normal(size=(len(items), longest, 5)), dtype=torch.float32)
        told = noise.clone()
        for i, item in enumerate(items):
            for t in range(2, len(item)):
                told[i, t, 0] = 3.0 if item[t - 1] == "*" else -3.0
        return States([noise, told], mask)

    layer_names = ("noise", "told")


def test_the_probe_finds_what_was_planted_and_nothing_in_noise():
    made = distinct("add_multiply", 150, (4, 9))
    parts = {"train": made[:90], "dev": made[90:110], "test": made[110:]}
    noise, told = link_probes(Planted(), parts, [0.01, 1.0], seed=0)
    assert told["accuracy"] == 1.0 and told["lower"] > 0.97 and told["n"] == sum(e.n_players - 1 for e in parts["test"])
    for score in (noise["accuracy"], noise["control"], told["control"]):
        assert abs(score - 0.5) < 4 * 0.5 / told["n"] ** 0.5
    gold = np.concatenate([e.truth((0, e.n_players)).max for e in parts["train"]])
    often = np.concatenate([e.truth((0, e.n_players)).max for e in parts["test"]]) == (gold.mean() > 0.5)
    assert noise["majority"] == pytest.approx(often.mean())
    states = pair_states(Planted(), parts["dev"])
    assert [s.shape for s in states] == [(sum(e.n_players - 1 for e in parts["dev"]), 10)] * 2
    firsts = np.cumsum([0, *(e.n_players - 1 for e in parts["dev"])])[:-1]
    assert (states[1][:, 5] == np.where(np.concatenate([e.truth((0, e.n_players)).max for e in parts["dev"]]), 3, -3)).all()
    inside = np.setdiff1d(np.arange(len(states[0])), firsts)
    assert np.array_equal(states[0][inside, :5], states[0][inside - 1, 5:])  # a variable's state is in both of its pairs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small LSTM trained on and_or, and the source it was trained from."""
    from probing.encoders.networks.checkpoint import CheckpointEncoder
    from probing.encoders.networks.recurrent import LSTM
    from probing.training.train import train

    home = tmp_path_factory.mktemp("trained")
    source = ExpressionCorpus(str(home / "formulas"), count=60, variables=[4, 7], inputs=16)
    source.tasks(["and_or"])
    options = presets.read("objective", "and_or") | {"epochs": 15, "lr": 0.01, "warmup": 10, "batch_tokens": 160}
    network = LSTM(embedding_dim=8, hidden=16, dropout=0.0, pooling="last")
    folder = train(network, presets.build(options, "objective"), source.root, home / "checkpoints")
    return CheckpointEncoder(str(folder)), source


def context_of(encoder, tasks, home):
    return Context(lambda: encoder, lambda: tasks, (0,), ResultStore(home / "kept"), Store(home / "store"), home)


def test_the_study_of_a_trained_network(trained, tmp_path):
    encoder, source = trained
    study = ExpressionNetworks(expressions=6)
    tasks = source.tasks(["and_or"])
    frame = study.measure(context_of(encoder, tasks, tmp_path))
    assert list(frame.encoder.unique()) == [encoder.name, f"{encoder.name} (random 0)"]
    mine = frame[frame.encoder == encoder.name].set_index(["game", "layer"])
    assert mine.loc[("formula", np.nan)].links_accuracy.item() == 1.0  # the same procedure, told the values
    assert mine.accuracy.iloc[0] == json.loads((encoder.folder / "manifest.json").read_text())["test"]["accuracy"] > 0.8
    top, bottom = mine.loc[("mean", 1)], mine.loc[("mean", 0)]
    assert top.probe_accuracy > 0.95 and abs(bottom.probe_accuracy - bottom.probe_majority) < 0.25
    twin = frame[frame.encoder != encoder.name]
    assert (twin.accuracy < mine.accuracy.iloc[0]).all() and len(twin) == len(mine) == 1 + 1 + 2 * 2
    assert study.measure(context_of(encoder, tasks, tmp_path)).equals(frame)  # read, not measured again
    assert len(list((tmp_path / "kept").iterdir())) == 2
    study.report(frame, tmp_path / "out")
    said = (tmp_path / "out" / "table.md").read_text()
    assert "Formula as the game: 100.0" in said and said.count("| output | | |") == 2
    assert len(pd.read_csv(tmp_path / "out" / "table.csv")) == len(frame)


def test_what_the_study_refuses(trained, tmp_path, toy_root):
    encoder, source = trained
    study, home = ExpressionNetworks(), tmp_path
    with pytest.raises(ConfigError, match=r"task=bigram_shift: expression_networks measures add_multiply, and_or, exponential"):
        study.measure(context_of(encoder, SentEvalFolder(str(toy_root)).tasks(["bigram_shift"]), home))
    with pytest.raises(ConfigError, match="was trained on and_or, and the tasks are add_multiply"):
        study.measure(context_of(encoder, source.tasks(["add_multiply"]), home))
    other = replace(source, root=str(tmp_path / "other"), expressions_seed=1)
    with pytest.raises(DataError, match="trained on another file .* may have been seen in training"):
        study.measure(context_of(encoder, other.tasks(["and_or"]), home))
    for words in ({"expressions": 0}, {"tolerance": 1.0}, {"grid": []}, {"grid": [-1.0]}):
        with pytest.raises(ConfigError, match="counts are at least 1"):
            ExpressionNetworks(**words)


def test_the_formula_table(tmp_path):
    families, variables = ["add_multiply", "noisy", "null_additive"], [[5, 7], [8, 12], [13, 13]]
    methods = ["exact", "learned_p", "sampled", "random"]
    study = Synthetic(families, variables, functions=3, large=1, learned=1, methods=methods)
    frame = study.measure(context_of(None, [], tmp_path))
    assert len(frame) == 3 * 3 * 4 and len(list((tmp_path / "kept").iterdir())) == len(frame)
    numbers = frame.columns[3:]
    frame = frame.astype(dict.fromkeys(numbers, float))
    exact = frame[frame.method == "exact"]
    assert (exact.accuracy_tied_out.dropna() == 1).all() and (exact[~exact.family.str.contains("noisy")].accuracy == 1).all()
    assert (exact.error == 0).all() and frame[frame.method == "random"].error.isna().all()
    learned = frame[frame.method == "learned_p"]
    assert (learned.error > 0).any() and set(learned.functions) == {1} and (frame[frame.method == "random"].accuracy < 1).any()
    again = study.measure(context_of(None, [], tmp_path))
    assert again.astype(dict.fromkeys(numbers, float)).equals(frame)
    study.report(frame, tmp_path / "out")
    said = (tmp_path / "out" / "table.md").read_text()
    assert said.count("| add_multiply | 5-7 | 3 |") == 4 and "## Mean absolute error of T" in said


def test_T_of_the_methods_by_hand():
    """x1 * x2 - x3 * x4: 1 and -1 from whole pairs. x1 * x2 * x3: no pair gains, so greedy joins nothing and finds T = 0."""
    for text, groups, T, greedy in [
        ("x1 * x2 - x3 * x4", ((1, (0, 1)), (-1, (2, 3))), 2.0, 2.0),
        ("x1 * x2 * x3", ((1, (0, 1, 2)),), 1.0, 0.0),
    ]:
        e = Expression("own", text, groups, sides=("max", "min"))
        found = {method: find_links(e, (0, e.n_players), method).T for method in METHODS}
        assert found["exact"] == found["sampled"] == pytest.approx(T) and found["greedy"] == pytest.approx(greedy)
        assert found["learned_p"] == pytest.approx(T, abs=0.4 * T)
        assert np.isnan([found[method] for method in ("random", "pairwise_sii", "pair_dividend")]).all()


def test_the_options_of_the_formula_table():
    for words, message in [
        ({"families": ["and_orr"]}, "study.families: 'and_orr' is unknown; did you mean 'and_or'"),
        ({"methods": ["exactly"]}, "study.methods: 'exactly' is unknown; did you mean 'exact'"),
        ({"operators": {"and": ["&"]}}, "study.operators: 'and' is unknown"),
        ({"operators": {"and_or": ["+"]}}, "allowed are & |"),
        ({"functions": 0}, "study.functions=0 must be at least 1"),
        ({"learned": 0}, "study.learned=0 must be at least 1"),
        ({"variables": [[5]]}, "pairs of fewest and most"),
        ({"variables": [[7, 5]]}, "2 <= fewest <= most"),
        ({"seed": -1}, "study.seed=-1"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(message)):
            Synthetic(**words)


@pytest.mark.parametrize("name, study", [("synthetic", Synthetic), ("expression_networks", ExpressionNetworks)])
def test_the_presets_of_the_studies_name_every_option(name, study):
    options = presets.read("experiment", name)["study"]
    assert [key for key in options if key != "_target_"] == [f.name for f in fields(study)]
    assert presets.build(options, "study") == study()
