"""Networks compared over training seeds: the interval is over seeds and items, letters and floors say what the tests say."""

import json
import os
import runpy
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from probing import load_encoder
from probing.evaluation.rows import Row
from probing.evaluation.table import ResultTable
from probing.training.language_model import LanguageModel
from probing.training.train import train

ROOT = Path(__file__).resolve().parents[1]
Checkpoint, between, compared, main, ranking = map(
    runpy.run_path(str(ROOT / "scripts" / "architectures.py")).get, "Checkpoint between compared main ranking".split()
)


def test_without_a_spread_of_items_it_is_welchs_test_and_without_one_of_seeds_the_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.7, 0.02, 3), rng.normal(0.6, 0.05, 4)
    found, p = between(np.tile(a[:, None], 50), np.tile(b[:, None], 50))
    welch = stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval()
    np.testing.assert_allclose((*astuple(found), p), (a.mean() - b.mean(), interval.low, interval.high, welch.pvalue))
    a, b = rng.random((2, 60))
    found, p = between(np.tile(a, (3, 1)), np.tile(b, (3, 1)))
    rel = stats.ttest_rel(a, b)
    interval = rel.confidence_interval()
    np.testing.assert_allclose((*astuple(found), p), (a.mean() - b.mean(), interval.low, interval.high, rel.pvalue))
    assert between(np.ones((3, 9)), np.ones((3, 9)))[1] == 1


@pytest.mark.parametrize(("of_seeds", "of_items"), [(0.0, 3.0), (0.3, 0.5)])
def test_equal_networks_are_rarely_separated_whether_seeds_or_items_vary(of_seeds, of_items):
    """Probit model with effects of seed, of item, and of network and item together; each source alone would separate too often."""
    rng = np.random.default_rng(0)
    separated = 0
    for _ in range(400):
        item = of_items * rng.normal(size=(2, 200))  # each network has sentences of its own that it finds hard
        a, b = (rng.normal(size=(3, 200)) < 0.7 + of_seeds * rng.normal(size=(3, 1)) + own for own in item)
        separated += between(a.astype(float), b.astype(float))[1] < 0.05
    assert separated <= 0.06 * 400


def test_items_of_one_source_are_one_piece_of_evidence():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 3, 50)) < 0.6).astype(float)
    doubled, groups = [np.repeat(x, 2, axis=1) for x in (a, b)], np.repeat(np.arange(50), 2)
    (found, p), (alone, alone_p) = between(*doubled, groups), between(a, b)
    np.testing.assert_allclose((*astuple(found), p), (*astuple(alone), alone_p))


def planted():
    """Three networks, three seeds: two layers each, the second better on dev. Networks x and y are equal, z is below the floor."""
    rng = np.random.default_rng(0)
    right, rows = {}, []

    def row(role, name, share, dev=0.5, **fields):
        cell = f"{name}-{role}-{fields.get('layer')}"
        right[cell] = rng.random(1000) < share
        common = dict(task="tree_depth", paper_name="TreeDepth", layer_name="", pooling="mean", probe="fast", control="", seed=None)
        common |= dict(n_train=9, n_dev=9, n_test=1000, n_classes=2, majority=0.5, layer=None)
        rows.append(
            Row.flat(**common | dict(role=role, encoder=name, dev_accuracy=dev, accuracy=right[cell].mean(), cell=cell) | fields)
        )

    checkpoints = []
    for network, share in (("x", 0.9), ("y", 0.9), ("z", 0.55)):
        for seed in range(3):
            name = f"{network}{seed}"
            checkpoints.append(Checkpoint(name, network, seed, {}))
            row("probe", name, 0.5, dev=0.6, layer=0)
            row("probe", name, share, dev=0.8, layer=1)
            row("probe", name, 0.99, dev=0.7, layer=2)  # best on test, not on dev
            row("random", f"{name} (random 0)", 0.52, layer=1, twin_of=name)
    row("floor", "majority", 0.5)
    row("floor", "nb-unigram", 0.6)
    return ResultTable.of(rows, lambda cell: (right[cell].astype(int), np.ones(1000, int))), checkpoints, right


def test_seeds_floors_letters_and_layers_are_those_of_the_rows():
    table, checkpoints, right = planted()
    found = compared(table, checkpoints)
    scores, lines, pairs = found["scores"], found["table"].set_index("network"), found["pairs"]
    assert len(scores) == 9 and (scores.layer == 1).all()
    np.testing.assert_allclose(scores.accuracy, [right[f"{one.name}-probe-1"].mean() for one in checkpoints])
    np.testing.assert_allclose(lines.seed_sd, scores.groupby("network").accuracy.std(ddof=1))
    assert lines.letters.to_dict() in ({"x": "a", "y": "a", "z": "b"},) and (lines.text_floor == "nb-unigram").all()
    assert lines.text_floor_accuracy.iloc[0] == right["nb-unigram-floor-None"].mean() and (lines.floor == "nb-unigram").all()
    assert lines.static["x"] == pytest.approx(np.mean([right[f"x{k}-probe-0"].mean() for k in range(3)]))
    assert lines.random["x"] == pytest.approx(np.mean([right[f"x{k} (random 0)-random-1"].mean() for k in range(3)]))
    assert lines.above_floor_low["x"] > 0 > lines.above_floor_low["z"]
    np.testing.assert_allclose(pairs.p_holm, multipletests(pairs.p, method="holm")[1])
    text = ranking(found["table"])[-1].splitlines()
    assert [line.split(" | ")[2] for line in text[2:]] == ["x", "y", "z"]
    assert [" †" in line for line in text[2:]] == [False, False, True] and " ~ " not in "".join(text)
    layers = found["layers"].set_index(["network", "layer"])
    assert layers.chosen["x", 1] == 3 and layers.chosen["x", 2] == 0
    assert layers.accuracy["z", 2] == pytest.approx(np.mean([right[f"z{k}-probe-2"].mean() for k in range(3)]))


@pytest.mark.slow
def test_language_models_of_three_seeds_end_in_two_tables(toy_root, tmp_path):
    letters_ = "abcdefgh" * 4
    starts, lengths = np.random.default_rng(0).integers([[0] * 200, [4] * 200], [[8] * 200, [22] * 200])
    text = tmp_path / "cycle.txt"
    text.write_text("\n".join(" ".join(letters_[s : s + n]) for s, n in zip(starts, lengths, strict=True)))
    networks = {"small lstm": load_encoder("lstm", embedding_dim=4, hidden=4, label="small lstm")}
    networks["cnn"] = load_encoder("gated-cnn", embedding_dim=4, channels=4, layers=2, label="cnn")

    def trained(name, seed, epochs=1):
        objective = LanguageModel(epochs=epochs, warmup=5, batch_tokens=400, min_count=1, dev_share=6)
        return train(networks[name], objective, text, tmp_path / "made", seed=seed)

    folders = [trained(name, seed) for name in networks for seed in (1, 2, 3)]
    words = ["data=senteval", f"data.root={toy_root}", "task=bigram_shift", "pooling=mean", "controls=none", "run.threads=1"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(paths):
        words_ = [
            "run",
            "-m",
            "encoder=checkpoint",
            f"encoder.path={','.join(map(str, paths))}",
            *words,
            f"run.dir={tmp_path / 'out'}",
        ]
        done = processes.run("-m", "probing", *words_, env=env)
        assert done.returncode == 0, done.stderr
        homes = {path.name: path for path in (tmp_path / "out" / "runs").iterdir()}
        said = {name: json.loads((path / "run.json").read_text()) for name, path in homes.items()}
        return [homes[n] for path in paths for n, one in said.items() if one["config"]["encoder"]["path"] == str(path)]

    def script(epochs, perplexity):
        main([str(tmp_path / "compared"), "--epochs", *map(str, epochs), "--perplexity", *map(str, perplexity)])

    runs = run([*folders, trained("cnn", 3, epochs=2)])
    script(runs[:6], [*runs[:5], runs[6]])
    said = (tmp_path / "compared" / "README.md").read_text()
    assert said.count("### Which network holds what") == 2 and "## Matched by perplexity" in said
    perplexities = [json.loads((folder / "manifest.json").read_text())["dev"]["perplexity"] for folder in folders[3:]]
    assert (
        f"| 1, 2, 3 | 1 | {np.mean(perplexities):.1f} ± {np.std(perplexities, ddof=1):.1f} |" in said.split("## Matched by perp")[0]
    )
    assert "| 1, 2, 3 | 1, 2 |" in said.split("## Matched by perplexity")[1]
    scores = pd.read_csv(tmp_path / "compared" / "scores.csv")
    assert scores.groupby(["matched", "network"]).seed.apply(list).to_dict() == {
        (matched, name): [1, 2, 3] for matched in ("epochs", "perplexity") for name in networks
    }
    assert set(pd.read_csv(tmp_path / "compared" / "pairs.csv").matched) == {"epochs", "perplexity"}
    assert str(tmp_path) not in (tmp_path / "compared" / "manifest.json").read_text()
    for wrong, message in (
        ([*runs[:5]], "3 or more different training seeds"),
        ([*runs[:5], runs[6]], "different numbers of epochs"),
        (runs[:3], "two networks or more"),
    ):
        with pytest.raises(SystemExit, match=message):
            script(wrong, runs[:6])
