"""Properties: verdicts by stated rules on planted rows, their error under the null, and one run from treebank to table."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from probing import load_encoder
from probing.behaviour.base import LanguageModel
from probing.data import conllu
from probing.data.conllu import Treebank
from probing.data.readers.treebank import read_source
from probing.errors import ConfigError, EncoderError
from probing.report.properties import largest_over_layers, verdicts
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, causal, properties
from probing.studies.properties import Properties

SINGULAR = ("key", "dog", "cat", "tree", "lamp", "boat")
PRESENT = "Mood=Ind|Number={}|Person=3|Tense=Pres|VerbForm=Fin"


def treebank(folder, n=90):
    """Sentences `the dog opens a door`, with a noun subject of either number; the verb agrees."""
    rng = np.random.default_rng(0)
    for split, size in (("train", n), ("dev", 40), ("test", 40)):
        blocks = []
        for _ in range(size):
            noun, plural = SINGULAR[rng.integers(len(SINGULAR))], bool(rng.integers(2))
            number = "Plur" if plural else "Sing"
            words = [
                ("the", "the", "DET", "Definite=Def", 2, "det"),
                (noun + "s" * plural, noun, "NOUN", f"Number={number}", 3, "nsubj"),
                ("open" if plural else "opens", "open", "VERB", PRESENT.format(number), 0, "root"),
                ("old", "old", "ADJ", "_", 5, "amod"),
                ("things", "thing", "NOUN", "Number=Plur", 3, "obj"),
            ]
            lines = [
                f"{k}\t{w}\t{lemma}\t{tag}\t_\t{feats}\t{head}\t{rel}\t_\t_"
                for k, (w, lemma, tag, feats, head, rel) in enumerate(words, 1)
            ]
            blocks.append("\n".join(lines) + "\n\n")
        (folder / f"x-{split}.conllu").write_text("".join(blocks))
    return folder


def row(layer, losses, controls, **more):
    """One layer of a property: loss of erasing in each item's mean, and under each control."""
    extra = losses - float(np.mean(controls))
    made = {
        "data": "d",
        "encoder": "e",
        "property": "number",
        "layer": layer,
        "above": 0.1,
        "above_p": 0.001,
        "where_p_rotated": 0.5,
        "where_p_control": 0.001,
        "where_p_random": 0.001,
    }
    made |= {"erase_effect": losses, "erase_extra": extra, "erase_extra_low": extra - 0.01, "erase_extra_high": extra + 0.01}
    return made | {"erase_draws": json.dumps(list(controls)), "erase_used": "not shown", "erase_above_chance": True} | more


def said(*rows):
    [line] = verdicts(pd.DataFrame(rows)).to_dict("records")
    return line


def test_a_loss_above_those_of_all_draws_is_a_use_and_names_its_layer():
    rng = np.random.default_rng(0)
    small = [rng.normal(0, 0.005, 40).tolist() for _ in range(2)]
    line = said(row(0, 0.001, small[0]), row(1, 0.2, small[1]))
    assert (
        line["used (erase)"].startswith("yes: layer 1, ")
        and line["encoded, and used"] == "yes"
        and "p = 0.024" in line["used (erase)"]
    )
    assert line["where"] == "better than random sets, not told from a random basis"
    told = said(row(0, 0.001, small[0], where_p_rotated=0.004), row(1, 0.2, small[1], where_p_rotated=0.02))
    assert told["where"] == "axis-aligned in layers 0", "the level of rotations is 0.01, after Holm"
    told = said(row(0, 0.001, small[0], where_p_rotated=0.001, where_p_control=0.4))
    assert told["where"].startswith("not above control labels")
    assert line["encoded"] == "layers 0, 1" and line["used (ablate)"] == "not applicable"
    assert said(row(0, 0.2, small[0], above_p=0.4))["encoded, and used"] == "not shown", (
        "what is not encoded is not shown to be used"
    )
    assert said(row(0, 0.2, small[0], erase_above_chance=False))["used (erase)"].startswith("not shown")
    assert said(row(0, 0.2, small[0], erase_extra_low=-0.01))["used (erase)"].startswith("not shown")
    none = {"erase_used": "no"}
    assert said(row(0, 0.0, small[0], **none), row(1, 0.0, small[1], **none))["used (erase)"].startswith("no: ")
    assert said(row(0, 0.0, small[0], **none), row(1, 0.0, small[1]))["used (erase)"].startswith("not shown")
    left = {"erase_used": "not erased"}
    assert said(row(0, 0.0, small[0], **none), row(1, 0.0, small[1], **left))["used (erase)"].startswith("not erased: ")
    few = {"erase_extra_low": None, "erase_extra_high": None}
    line = said(row(0, 0.2, small[0], **few))
    assert line["used (erase)"] == "not shown: layer 0, 20.0 points, p = 0.024", "fewer than 20 items"


def test_the_largest_of_several_layers_is_a_use_by_chance_in_one_run_of_twenty():
    """Losses of the property and of random directions alike, five layers that go together: p <= 0.05 in about 2 of 41 runs."""
    rng, runs = np.random.default_rng(1), 2000
    p = []
    for _ in range(runs):
        shared = rng.normal(size=41)
        losses = shared + rng.normal(size=(5, 41))
        p.append(largest_over_layers(losses[:, 0], losses[:, 1:]))
    share = np.mean(np.array(p) <= 0.05)
    assert abs(share - 2 / 41) < 3 * np.sqrt(0.05 * 0.95 / runs)
    by_layer = np.mean([(1 + (x[1:] >= x[0]).sum()) / 41 <= 0.05 for x in rng.normal(size=(runs, 41))])
    assert by_layer > 0.03, "a layer alone has the same error, five of them have more"


class Reader(LanguageModel):
    """Prefers `open` behind a subject whose state of the last layer lies on the plural's side of a planted direction."""

    limit = None

    def __init__(self, encoder, singular, plural):
        super().__init__(encoder)
        means = [self.states(words).mean(0) for words in (singular, plural)]
        self.axis, self.middle = means[1] - means[0], (means[0] + means[1]) / 2
        self.forms = [encoder.tokenize([form])[0][0][0] for form in ("open", "opens")]

    def states(self, words):
        texts = [f"the {word}" for word in words]
        return torch.stack([self.encoder.forward([item]).layers[-1][0, -1] for item in self.encoder.tokenize(texts)[0]])

    def log_probabilities(self, items):
        network = self.encoder.network
        with torch.inference_mode():
            v = (network(*network.batch(items))[-1] - self.middle) @ self.axis
        logits = torch.zeros(*v.shape, network.embedding.num_embeddings)
        logits[..., self.forms[0]], logits[..., self.forms[1]] = 100 * v, -100 * v
        rows = logits.log_softmax(-1)
        rows = torch.cat([torch.full_like(rows[:, :1], torch.nan), rows[:, :-1]], 1)
        return [one[: len(item)] for one, item in zip(rows, items, strict=True)]


def context(encoder, folder, tmp_path):
    source = Treebank(str(folder), name="toy")
    return Context(
        lambda: encoder, lambda: [], (0,), ResultStore(tmp_path / "cells"), Store(tmp_path / "store"), tmp_path, lambda: source
    )


def test_a_property_that_the_model_reads_is_encoded_and_used_and_without_a_head_use_is_not_applicable(tmp_path, monkeypatch):
    folder = tmp_path / "trees"
    folder.mkdir()
    encoder = load_encoder("gated-cnn", embedding_dim=16, channels=24, layers=2, reads="forward", buckets=500)
    reader = Reader(encoder, SINGULAR, [word + "s" for word in SINGULAR])
    study = Properties(properties=["number"], layers=[0, 2], train=60, test=60, draws=39, rotations=2, units=4)
    inputs = context(encoder, treebank(folder), tmp_path)
    read = []
    monkeypatch.setattr(conllu, "read_source", lambda file: read.append(file.name) or read_source(file))
    with monkeypatch.context() as patched:
        for module in (properties, causal):
            patched.setattr(module, "language_model", lambda encoder: reader)
        frame = study.measure(inputs)
    assert list(frame.layer) == [0, 2] and (frame.erase_before > 0.8).all()
    last = frame.iloc[1]
    assert last.erase_extra_low > 0.1 and last.score > 0.9 and last.where_full > 0.9
    study.report(pd.read_csv(_written(frame, tmp_path)), tmp_path / "report")
    text = (tmp_path / "report" / "table.md").read_text()
    assert (frame.erase_kl > 0).all() and (frame.erase_control_kl > 0).all() and frame.ablate_kl.isna().all()
    assert f"| {last.erase_kl:.3f} ({last.erase_control_kl:.3f}) |" in text and "| KL erased (random) |" in text
    assert "| toy | " in text and "yes: layer " in text and (tmp_path / "report" / "figure-properties-0.svg").is_file()

    def refused(encoder):
        raise EncoderError("it has no language-model head")

    monkeypatch.setattr(properties, "language_model", refused)
    without = study.measure(inputs)
    order = properties._order_task(inputs.source)
    assert sorted(read) == ["x-dev.conllu", "x-test.conllu", "x-train.conllu"]  # by words, pairs and word order of three splits
    assert (len(order.train), len(order.dev), len(order.test)) == (180, 80, 80)
    assert "erase_extra" not in without and set(without.not_applicable) == {"it has no language-model head"}
    assert (without.score == frame.score).all()
    study.report(pd.read_csv(_written(without, tmp_path)), tmp_path / "without")
    assert "Used: not applicable: it has no language-model head" in (tmp_path / "without" / "table.md").read_text()


def _written(frame, tmp_path):
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"properties": ["nmber"]}, "unknown property 'nmber'.*number"),
        ({"draws": 10}, "study.draws=10 must be at least 19"),
        ({"train": 3}, "study.train=3 must be at least 50"),
    ],
)
def test_options_that_show_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Properties(**options)
