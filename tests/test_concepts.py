"""Concepts: slopes against shifted states, planted and random concepts, the oracle's derivatives, AND and OR terms, the study."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from test_gradients import head_for

from probing import load_encoder
from probing import studies as job
from probing.attributions.and_or import Terms, alike, and_or
from probing.attributions.concepts import Along, Concept, along, concept, slopes_at
from probing.data.sources import GrammarCorpus
from probing.encoders.interventions import Intervention, intervened
from probing.errors import ConfigError, DataError
from probing.evaluation.evaluate import evaluate
from probing.interactions.game import all_coalitions
from probing.interactions.text.heads import LinearHead
from probing.report.concepts import adjusted, term_table
from probing.store.extraction import extract
from probing.store.vectors import Store
from probing.studies.concepts import ConceptsStudy
from probing.types import Representation

TEXTS = ["the dog's cat runs near", "dogs run", "they see the big dog again and again", "it rains", "a cat runs"]
SMALL = {"embedding_dim": 12, "buckets": 200, "hidden": 8, "layers": 2}
ATTENTION = {"embedding_dim": 16, "buckets": 200, "heads": 2, "feedforward": 32, "layers": 2}


def pooled(encoder, texts, layer, change=None):
    with intervened(encoder, [change] if change else []):
        return extract(encoder, encoder.tokenize(texts)[0], ["mean"])[Representation(layer, "mean")].astype(float)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_slope_is_what_the_logit_does_when_all_states_move_along(layer):
    encoder = load_encoder("transformer", **ATTENTION)
    encoder.network.double()
    head = head_for(encoder, 2)
    slopes = slopes_at(encoder, head, TEXTS, layer, 1)
    step = torch.randn(16, generator=torch.Generator().manual_seed(layer)).double() * 1e-4
    up, down = (head.logits(pooled(encoder, TEXTS, 2, Intervention(layer, lambda x, s=s: x + s * step)))[:, 1] for s in (1, -1))
    np.testing.assert_allclose(slopes @ step.numpy(), (up - down) / 2, rtol=2e-2, atol=1e-7)


def test_a_head_on_the_mean_of_its_own_layer_is_constant_and_its_own_direction_is_all_of_it():
    encoder, rng = load_encoder("lstm", **SMALL), np.random.default_rng(0)
    x, y = rng.normal(size=(300, 8)), rng.integers(2, size=300)
    x[:, 3] += 3 * y
    own_concept = concept(x[:200], y[:200], (x[200:], y[200:]), 99)
    w = own_concept.directions[0]
    assert abs(w[3]) > 0.95 and own_concept.accuracy > 0.85
    head = LinearHead(np.stack([-w, w]), np.zeros(2), ("no", "yes"), 2, "mean")
    slopes = slopes_at(encoder, head, TEXTS, 2, 1)
    np.testing.assert_allclose(slopes, np.tile(w, (len(TEXTS), 1)), atol=1e-5)
    own = along(slopes, own_concept)
    assert own.constant and own.share == 1 and own.size == pytest.approx(1, abs=1e-5) and own.size_p == 0.01
    assert own.size_null < 0.6
    assert not along(slopes_at(encoder, head, TEXTS, 1, 1), own_concept).constant
    against = along(-slopes, own_concept)
    assert against.share == 0 and against.share_p == own.share_p


def test_probes_on_random_labels_are_called_used_no_more_often_than_the_level():
    rng, p = np.random.default_rng(1), []
    x, slopes = rng.normal(size=(80, 6)) * [5, 3, 1, 1, 0.3, 0.1], rng.normal(size=(12, 6)) + 0.5
    for seed in range(150):
        y = rng.integers(2, size=80)
        made = concept(x, y, (x[:20], y[:20]), 39, seed)
        p.append([along(slopes, made, white).size_p for white in (False, True)])
    assert ((np.array(p) <= 0.05).mean(0) < 0.11).all() and (np.array(p).mean(0) > 0.4).all()


def test_whitening_makes_the_scale_of_a_dimension_irrelevant():
    rng = np.random.default_rng(2)
    x, y, scale = rng.normal(size=(200, 5)), rng.integers(2, size=200), np.array([100.0, 1, 1, 1, 0.01])
    slopes = rng.normal(size=(9, 5))
    y[x[:, 0] > 0] = 1
    tiny = 1e-9  # the penalty of ridge sees the scale
    plain = [Concept(np.linalg.solve(a.T @ a + tiny * np.eye(5), a.T @ (y - y.mean()))[None], 0.0, root(a)) for a in (x, x * scale)]
    sizes = [along(g, one, True).size for g, one in zip((slopes, slopes / scale), plain, strict=True)]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)


def root(x):
    from probing.probes.directions import root_of

    return root_of(np.cov(x.T, bias=True))


def test_classes_in_order_are_one_direction_from_the_first_to_the_last():
    rng = np.random.default_rng(3)
    y = rng.integers(4, size=400)
    x = rng.normal(size=(400, 6)) * 0.3
    x[:, 2] += y
    made = concept(x, y, (x[:50], y[:50]), 20)
    assert made.directions[0][2] > 0.95 and made.directions.shape == (21, 6)
    np.testing.assert_allclose(np.linalg.norm(made.directions, axis=1), 1)
    with pytest.raises(DataError, match="two classes"):
        concept(x, np.zeros(400, int), (x[:50], y[:50]), 5)


@pytest.mark.shared
def test_the_oracles_directional_derivatives(shared):
    oracle = json.loads((shared / "oracles" / "explanations.json").read_text())
    given, w = oracle["tcav"], {name: np.array(value) for name, value in oracle["weights"]["mlp"].items()}
    cav = Concept(np.array(given["cav"])[None], 1.0, np.eye(5))
    for k in range(3):  # of the layer before the relu
        slopes = np.stack([(w["E"][ids].mean(0) @ w["W1"] + w["b1"] > 0) * w["W2"][:, k] for ids in given["sentences"]])
        np.testing.assert_allclose(slopes @ cav.directions[0], np.array(given["directional_derivatives_by_class"])[:, k], atol=1e-8)
        assert along(slopes, cav).share == pytest.approx(given["tcav_share_positive_by_class"][k])


# AND and OR.


def test_and_or_terms_give_the_table_back():
    v = np.random.default_rng(4).normal(size=32)
    terms, sets = and_or(v), np.arange(32)
    subset = (sets[:, None] & sets) == sets  # [S, L]: L <= S
    meets = (sets[:, None] & sets) > 0
    np.testing.assert_allclose(v[0] + subset @ terms.conjunctions + meets @ terms.disjunctions, v, atol=1e-12)


def test_planted_terms_are_few_and_random_ones_many():
    present = all_coalitions(4)
    both, either, alone = present[:, :3].all(1), present[:, :2].any(1), present[:, 3]
    of_and, of_one = and_or(both * 1.0), and_or(alone * 1.0)
    assert of_and.conjunctions[7] == 0.5 == of_and.strengths.max(), "half of v is AND: one term of the three words, 1/2"
    assert and_or(either * 1.0).disjunctions[3] == 0.5
    assert of_one.salient.sum() == 1 and of_one.conjunctions[8] == 1 and of_one.explained == 1
    noise = and_or(np.random.default_rng(5).normal(size=16))
    assert noise.salient.sum() > 20 and of_and.salient.sum() < 12
    assert alike(of_and, of_and) == pytest.approx(1) and alike(of_and, of_one) == 0
    assert alike(of_and, and_or(both * 7.0)) == pytest.approx(1), "strengths are shares"
    assert np.isnan(and_or(np.ones(4)).explained)
    assert isinstance(noise, Terms)


# The study.

OPTIONS = {
    "labels": {"data": "grammar", "n": 1500}, "concepts": ["subj_number", "sentence_length"], "layers": [0, 1, -1],
    "sizes": [150, 50, 50], "sentences": 20, "test": 30, "permutations": 60, "games": 4, "words": [4, 7],
}  # fmt: skip


def config_of(home, **study):
    return {
        "data": {"_target_": "probing.data.sources.GrammarCorpus", "root": str(home / "grammar"), "n": 1500},
        "encoder": {"_target_": "probing.encoders.networks.recurrent.LSTM", **SMALL},
        "study": {"_target_": "probing.studies.concepts.ConceptsStudy", **OPTIONS, **study},
        "task": ["past_present"], "seed": [0], "run": {"name": None, "dir": str(home)},
    }  # fmt: skip


def test_the_study_tells_three_things_of_each_task_and_layer_and_keeps_them(tmp_path, monkeypatch):
    run = lambda: job.run(config_of(tmp_path), tmp_path, Store(tmp_path / "store"), ("past_present",), (0,))  # noqa: E731
    folder = run()
    rows = pd.read_csv(folder / "rows.csv")
    lines = rows[rows.kind == "concept"]
    assert list(zip(lines.task, lines.layer, strict=True)) == [
        (t, k) for k in (0, 1, 2) for t in ("subj_number", "sentence_length")
    ]
    assert lines.constant.tolist() == [False] * 4 + [True] * 2, "the head reads the mean of the last layer"
    assert lines[["score", "share", "size", "white_size_p", "loss", "random_loss", "loss_p"]].notna().all().all()
    assert (lines.T_share[lines.layer == 0] < 1e-4).all() and (lines.T_share[lines.layer == 2] > 1e-3).all(), (
        "layer 0 adds words up"
    )
    terms = rows[rows.kind == "terms"]
    assert set(terms.model) == {"itself"} and (terms["alike"] == 1).all(), "an untrained network has no twin"
    table = evaluate(
        [task.subset(150, 0, 50, 50) for task in GrammarCorpus(str(tmp_path / "grammar"), n=1500).tasks(OPTIONS["concepts"])],
        load_encoder("lstm", **SMALL), poolings="mean", controls=(), store=tmp_path / "other",
    )  # fmt: skip
    for own in table.best().itertuples():
        line = lines[(lines.task == own.task) & (lines.layer == own.layer)].iloc[0]
        assert (line.score, bool(line.above_floors), line.floor) == (own.score, bool(own.beats_floors), own.floor)
    assert lines.above_floors.any() and not lines.above_floors[lines.layer == 0].any(), "layer 0 is a floor itself"
    starred = lines.above_floors.eq(True).sum() + (lines.loss > lines.random_most).sum()  # no size passes Holm
    assert (folder / "figure-concepts-0.svg").read_text().count("* -->") == starred
    text = (folder / "table.md").read_text()
    assert text.count("| subj_number |") == 3 and "constant" in text and (folder / "figure-concepts-0.svg").is_file()
    for name in ("slopes_at", "text_interactions", "erase"):
        monkeypatch.setattr(f"probing.studies.concept_parts.{name}", lambda *given, name=name: pytest.fail(f"{name} ran again"))
    before = (folder / "rows.csv").read_bytes()
    assert run() == folder and (folder / "rows.csv").read_bytes() == before


def test_pairs_of_sentences_are_not_units_and_shares_stay_below_one():
    """Two sentences of a length are one pair, whose index stands twice: no interval. Shares near 1 have no bound above it."""
    row = {"encoder": "e", "data": "d", "model": "itself", "terms": 8, "salient_and": 2, "salient_or": 1, "alike": 1.0}
    two = pd.DataFrame([row | {"explained": x, "alike_other_sentence": 0.426} for x in (0.95, 0.97)])
    line = term_table(two).iloc[0]
    assert line["other sentences"] == "0.426" and line["explained"] == "0.96"
    many = pd.DataFrame([row | {"explained": x, "alike_other_sentence": 0.4 + x / 10} for x in (0.7, 1, 1, 1, 1, 1, 1, 1)])
    line = term_table(many.assign(model="twin", alike=many.explained)).iloc[0]
    assert line["explained"].endswith(", 1]") and line["alike"] == line["explained"] and "[" not in line["other sentences"]


def test_holm_is_over_the_lines_of_an_encoder():
    frame = pd.DataFrame({"encoder": list("aab"), "data": "d", "target": "t"} | {name: [0.02, 0.04, 0.04] for name in (
        "size_p", "white_size_p", "share_p")})  # fmt: skip
    assert adjusted(frame).holm_size_p.tolist() == [0.04, 0.04, 0.04]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": [4, 12]}, "at most 10 words"),
        ({"sizes": [10, 50, 50]}, "three numbers from 20"),
        ({"permutations": 5}, "study.permutations=5 must be at least 30"),
        ({"directions": 3}, "study.directions=3 must be at least 19"),
    ],
)
def test_mistakes_in_the_options_have_a_message(options, message):
    with pytest.raises(ConfigError, match=message):
        ConceptsStudy(**options)


def test_an_encoder_without_gradients_and_a_class_that_is_not_there_are_refused(tmp_path):
    config = config_of(tmp_path, target="PAST PERFECT")
    with pytest.raises(ConfigError, match=r"study.target='PAST PERFECT' is no class.*PAST, PRES"):
        job.run(config, tmp_path, Store(tmp_path / "store"), ("past_present",), (0,))
    (tmp_path / "a.py").write_text("import numpy as np\ndef read(texts):\n    return np.ones((len(texts), 3), np.float32)\n")
    python = {"_target_": "probing.encoders.user.python.PythonEncoder", "target": f"{tmp_path / 'a.py'}:read"}
    with pytest.raises(ConfigError, match="read from outside, so no gradient passes through it"):
        job.run(config | {"encoder": python}, tmp_path, Store(tmp_path / "store"), ("past_present",), (0,))


def test_along_has_numbers_only():
    own = along(np.ones((3, 2)), Concept(np.array([[1.0, 0.0]]), 0.5, np.eye(2)))
    assert isinstance(own, Along) and own.size == pytest.approx(0.5**0.5) and np.isnan(own.size_null)
