"""Interchange, ablation and erasing of language models on pairs: a planted model, hand-worked pairs, reference values."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from probing import load_encoder
from probing.behaviour import erasing, patching
from probing.behaviour.base import LanguageModel
from probing.behaviour.items import Item
from probing.behaviour.models import language_model
from probing.behaviour.readers import PairFile
from probing.behaviour.scores import Convention
from probing.data.split import Split
from probing.encoders.interventions import Intervention, Projection
from probing.errors import ConfigError, ProbingError
from probing.probes.erasure import controls, erase, inlp
from probing.report import causal as report
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, causal
from probing.studies.causal import Causal, effects

CAUSAL = Convention(start="none")
WIDTH, J = 48, 11


class Planted(LanguageModel):
    """Reads one unit of the last layer at the word before: above its median it prefers `are`, else `is`."""

    limit = None

    def __init__(self, contexts):
        super().__init__(load_encoder("gated-cnn", embedding_dim=16, channels=WIDTH, layers=2, reads="forward", buckets=300))
        self.forms = [self.encoder.tokenize([form])[0][0][0] for form in ("are", "is")]
        self.middle = float(np.median([self.unit(text) for text in contexts]))

    def unit(self, text):
        return float(self.encoder.forward(self.encoder.tokenize([text])[0]).layers[-1][0, -1, J])

    def log_probabilities(self, items):
        network = self.encoder.network
        with torch.inference_mode():
            v = network(*network.batch(items))[-1][..., J] - self.middle  # (batch, tokens)
        logits = torch.zeros(*v.shape, network.embedding.num_embeddings)
        logits[..., self.forms[0]], logits[..., self.forms[1]] = 50 * v, -50 * v
        rows = logits.log_softmax(-1)
        rows = torch.cat([torch.full_like(rows[:, :1], torch.nan), rows[:, :-1]], 1)
        return [row[: len(item)] for row, item in zip(rows, items, strict=True)]


@pytest.fixture(scope="module")
def planted():
    """The model, items that it gets all right, and a split labelled by the planted unit."""
    rng = np.random.default_rng(0)
    contexts = [" ".join(f"w{k}" for k in rng.integers(0, 60, 4)) for _ in range(200)]
    contexts = list(dict.fromkeys(contexts))
    model = Planted(contexts)
    signs = np.array([model.unit(text) > model.middle for text in contexts])
    forms = [("are", "is") if sign else ("is", "are") for sign in signs]
    items = [Item(k, "p", "g", f"{c} {r}", (f"{c} {w}",), 4) for k, (c, (r, w)) in enumerate(zip(contexts, forms, strict=True))]
    spans = np.tile([3, 4], (len(contexts), 1))
    return model, items, Split(tuple(contexts), signs.astype(np.int64), spans=spans)


def accuracy(planted, *by):
    model, items, _ = planted
    return erasing.behaviour(model, items, CAUSAL, list(by)).credit.mean()


def test_a_tie_with_several_wrong_texts_has_the_credit_of_chance(planted):
    model, items, _ = planted
    item = replace(items[0], wrong=(items[0].right, items[0].right))
    assert erasing.behaviour(model, [item, items[1]], CAUSAL, []).credit.tolist() == [pytest.approx(1 / 3), 1]


def test_ablating_the_planted_unit_destroys_behaviour_and_no_other_does(planted):
    model = planted[0]
    assert accuracy(planted) == 1
    assert accuracy(planted, Intervention(2, model.middle, units=[J])) == 0.5, "a constant model ties everywhere"
    for unit in range(WIDTH):
        if unit != J:
            assert accuracy(planted, Intervention(2, "zero", units=[unit])) == 1
    others = [unit for unit in range(WIDTH) if unit != J]
    assert accuracy(planted, Intervention(2, "zero", units=others)) == 1


def test_erasing_the_planted_direction_destroys_behaviour_and_random_ones_do_not(planted):
    model, items, split = planted
    one_hot = np.eye(WIDTH)
    direction = Projection(one_hot - np.outer(one_hot[J], one_hot[J]), np.full(WIDTH, model.middle))
    assert accuracy(planted, Intervention(2, direction)) == 0.5
    states = erasing.labelled(model, split, [(2, None)], seed=0)
    before = erasing.behaviour(model, items, CAUSAL, [], sample=6)
    for method in ("leace", "inlp"):
        taken = erasing.erased(model, states, method, draws=20, seed=0)
        row = erasing.compared(model, items, CAUSAL, taken, before, margin=0.02)
        assert row["used"] == "yes" and row["after"] < 0.65 and row["extra_low"] > 0.1, (method, row)
        assert row["size"] == 1 and row["control_loss_high"] < 0.2 or method == "inlp", "INLP takes out many directions"
        assert row["kl"] > row["control_kl"] >= 0
    taken = erasing.ablated(model, (2, None), states[2, None], "mean", 1, 20, 0)
    assert taken.note == f"units {J}"
    row = erasing.compared(model, items, CAUSAL, taken, before, margin=0.02)
    assert row["used"] == "yes" and row["control_loss"] < 0.06


def test_what_an_erasure_leaves_is_measured_and_no_is_not_said_of_it(planted, monkeypatch):
    """Labels by the parity of two units are not linear; one INLP iteration leaves part of what many directions hold."""
    from sklearn.linear_model import LogisticRegression

    model, items, split = planted
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, WIDTH))
    y = (x[:, 0] > 0).astype(int)
    x[:, 1:9] += 2 * y[:, None] * (rng.random((600, 8)) > 0.5)
    x[:, J] = rng.standard_normal(600)
    place = (2, None)
    states, dev = ({place: erasing.Labelled(x[part], y[part])} for part in (slice(300), slice(300, 600)))
    whole = erasing.erased(model, states, "inlp", 19, 0, dev)
    fitted = erase("inlp", x[:300], y[:300], (x[300:], y[300:]))
    assert whole.size == fitted.rank and whole.gone and "to dev accuracy" in whole.note
    accuracy = LogisticRegression().fit(fitted(x[:300]), y[:300]).score(fitted(x[300:]), y[300:])
    assert whole.left == pytest.approx((accuracy, np.mean(y[300:] == np.bincount(y[:300]).argmax())), abs=0.04)
    monkeypatch.setattr(erasing, "erase", lambda method, x, y, dev: inlp(x, y, iterations=1, dev=dev))
    part = erasing.erased(model, states, "inlp", 19, 0, dev)
    assert not part.gone and part.left[0] > part.left[1] + 0.05
    monkeypatch.undo()
    for method in ("leace", "means"):
        linear = erasing.erased(model, states, method, 19, 0, dev)
        assert linear.gone and linear.left == pytest.approx([max(np.mean(y[:300]), 1 - np.mean(y[:300]))] * 2), method
    before = erasing.behaviour(model, items, CAUSAL, [])
    none = erasing.Taken([], [[]] * 19, 1)
    assert erasing.compared(model, items, CAUSAL, none, before, 0.03)["used"] == "no"
    row = erasing.compared(model, items, CAUSAL, replace(none, left=(0.7, 0.55)), before, 0.03)
    assert row["used"] == "not erased" and (row["left"], row["majority"]) == (0.7, 0.55)


def test_erasing_an_unrelated_property_costs_no_more_than_random_directions(planted):
    model, items, split = planted
    other = np.random.default_rng(5).permutation(split.labels)
    states = erasing.labelled(model, Split(split.texts, other, spans=split.spans), [(2, None)], seed=0)
    states = {
        (2, None): erasing.Labelled(np.delete(states[2, None].x, J, 1), other)
    }  # a property that the planted unit says nothing of
    fitted = erase("leace", states[2, None].x, other)
    units = [k for k in range(WIDTH) if k != J]
    random = [[Intervention(2, one.projection, units=units)] for one in controls(states[2, None].x, fitted.rank, 20)]
    taken = erasing.Taken([Intervention(2, fitted.projection, units=units)], random, fitted.rank)
    row = erasing.compared(model, items, CAUSAL, taken, erasing.behaviour(model, items, CAUSAL, []), margin=0.02)
    assert row["loss"] <= row["control_loss_high"] and row["used"] == "no"


def test_labelled_states_are_those_of_the_words(planted):
    model, _, split = planted
    read = erasing.labelled(model, split.take(range(5)), [(2, None)], seed=0)[2, None]
    expected = [model.encoder.forward(model.encoder.tokenize([text])[0]).layers[2][0, 3].numpy() for text in split.texts[:5]]
    order = [int(np.abs(read.x - one).sum(1).argmin()) for one in expected]
    assert sorted(order) == [0, 1, 2, 3, 4] and np.allclose(read.x[order], expected, atol=1e-6)
    assert [read.y[k] for k in order] == split.labels[:5].tolist()


# The claim.


def test_the_three_verdicts():
    rng = np.random.default_rng(0)
    before = np.ones(400)
    control = (rng.random((20, 400)) > 0.02).astype(float)
    assert erasing.used(before, (rng.random(400) > 0.3).astype(float), control, 0.02)["used"] == "yes"
    small = np.where(np.arange(400) < 8, 0.0, 1.0)
    same = np.tile(small, (20, 1))
    assert erasing.used(before, small, same, 0.02)["used"] == "no"
    few = np.ones(30)
    few[0] = 0
    assert erasing.used(np.ones(30), few, np.ones((20, 30)), 0.02)["used"] == "not shown"
    better = erasing.used(np.where(np.arange(400) % 3 == 0, 0.0, 1.0), before, np.tile(before, (20, 1)) * 0.66, 0.02)
    assert better["used"] == "not shown", "a gain is no absence of an effect"
    guesses = (rng.random(400) > 0.5).astype(float)
    assert erasing.used(guesses, np.zeros(400), np.tile(guesses, (20, 1)), 0.02)["used"] == "not shown", "nothing to lose"


def test_few_items_and_few_changes_say_nothing():
    """No item of n that changes leaves up to 1 - 0.025^(1 / n) that would (Clopper and Pearson), 3.7 / n."""
    for n in (2, 3, 19):
        row = erasing.used(np.ones(n), np.zeros(n), np.ones((40, n)), 0.02)
        assert row["used"] == "not shown" and row["extra"] == 1 and np.isnan(row["extra_low"])
    for n in (20, 50, 100, 180):
        row = erasing.used(np.ones(n), np.ones(n), np.ones((40, n)), 0.02)
        assert row["used"] == "not shown" and row["extra"] == 0
        assert row["extra_high"] == pytest.approx(1 - 0.025 ** (1 / n)) == -row["extra_low"]
    assert erasing.used(np.ones(200), np.ones(200), np.ones((40, 200)), 0.02)["used"] == "no"
    one = np.where(np.arange(200) < 1, 0.0, 1.0)
    assert erasing.used(np.ones(200), one, np.ones((40, 200)), 0.02)["used"] == "not shown"
    row = erasing.used(np.ones(20), np.zeros(20), np.ones((40, 20)), 0.02)
    assert row["used"] == "yes" and 0.8 < row["extra_low"] < 1, "all that change are no zero width"


@pytest.mark.parametrize(
    ("right", "n", "above"), [(15, 20, True), (14, 20, False), (20, 20, True), (58, 100, False), (62, 100, True)]
)
def test_above_chance_is_an_exact_test(right, n, above):
    before = (np.arange(n) < right).astype(float)
    assert erasing.used(before, before, np.tile(before, (20, 1)), 0.02)["above_chance"] is above
    assert (binomtest(right, n, 0.5, alternative="greater").pvalue <= 0.025) == above
    ties = np.full(n, 0.51)  # of no variance: a t interval says that this is above chance
    assert erasing.used(ties, ties, np.tile(ties, (20, 1)), 0.02)["above_chance"] is False


@pytest.mark.parametrize(("loss", "n"), [(0.05, 20), (0.05, 60), (0.1, 20), (0.02, 300), (0.03, 300)])
def test_a_property_that_is_used_is_not_said_to_be_unused(loss, n):
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        control = (rng.random((20, n)) > 0.002).astype(float)
        wrong += erasing.used(np.ones(n), (rng.random(n) > loss).astype(float), control, 0.02)["used"] == "no"
    assert wrong <= 20


def test_a_loss_is_counted_by_hand():
    row = erasing.used(np.array([1.0, 1, 1, 0]), np.array([0.0, 1, 0.5, 0]), np.array([[1.0, 1, 1, 0], [0, 1, 1, 0]]), 0.02)
    assert row["loss"] == pytest.approx(1.5 / 4) and row["control_loss"] == pytest.approx(1 / 8)
    assert row["extra"] == pytest.approx(1.5 / 4 - 1 / 8) and row["p"] == pytest.approx(1 / 3)
    assert row["used"] == "not shown"


# Contrasts.


def item(number, right, wrong, paradigm="p", target=None):
    return Item(number, paradigm, "g", right, (wrong,), target)


ITEMS = [
    item(0, "the dogs near the cat are lost .", "the dogs near the cat is lost ."),
    item(1, "the dog near the cat is lost .", "the dog near the cat are lost ."),
    item(2, "the dog by the cats is lost .", "the dog by the cats are lost ."),
    item(3, "the cats runs", "runs the cats"),
    item(4, "the traveler was lost .", "the traveler were lost ."),
]


def test_contrasts_are_the_nearest_item_of_the_other_form():
    made, left = patching.contrasts(ITEMS, whole=False)
    assert [(one.number, one.base, one.source) for one in made] == [
        (0, "the dogs near the cat are", "the dog near the cat is"),
        (1, "the dog near the cat is", "the dogs near the cat are"),
        (2, "the dog by the cats is", "the dogs near the cat are"),
    ]
    assert left == Counter(
        {"right and wrong differ in other than one word": 1, "no item of the other form that differs before it": 1}
    )
    whole, _ = patching.contrasts(
        [*ITEMS[:2], item(9, "the dog near the cat is known .", "the dog near the cat are known .")], True
    )
    assert [one.number for one in whole] == [0, 1], "a masked model reads what follows"


@pytest.mark.shared
@pytest.mark.parametrize(("kind", "folder"), [("causal", "causal"), ("masked", "mlm")])
def test_roles_have_the_reference_effects(kind, folder, shared):
    of = json.loads((shared / "oracles" / "behaviour.json").read_text())["patching"][kind]
    model = language_model(load_encoder("hf", name=str(shared / "oracles" / "behaviour_models" / folder)))
    convention = Convention().of(model)
    items = ITEMS[:2] if model.kind == "masked" else [one.cut() for one in ITEMS[:2]]
    made, _ = patching.contrasts(items, whole=model.kind == "masked")
    aligned, left = patching.aligned(model, made, convention)
    assert not left and [len(one.base) for one in aligned] == [10 if kind == "masked" else 8] * 2
    frame = pd.DataFrame(patching.patch(model, aligned, [0, 1, 2]))
    base = frame[frame.item == 0]
    assert (base.base.iloc[0], base.source.iloc[0]) == pytest.approx((of["base"], of["source"]), abs=1e-4)
    table = base.set_index(["layer", "role"]).patched
    for layer, row in enumerate(of["patched"]):
        assert table[layer, "differing"] == pytest.approx(row[2], abs=1e-4)
        assert table[layer, "read"] == pytest.approx(row[6 if kind == "masked" else 5], abs=1e-4)
        assert table[layer, "all"] == pytest.approx(of["source"], abs=1e-4)
    other = frame[(frame.item == 1) & (frame.role == "all")]
    assert other.patched.to_numpy() == pytest.approx(-of["base"] * np.ones(3), abs=1e-4)


def test_effects_set_small_differences_apart():
    rows = pd.DataFrame(
        {
            "base": [1.0, 1.0, 0.05],
            "source": [-1.0, -3.0, 0.0],
            "patched": [0.0, -3.0, 5.0],
            "control": [1.0, 0.0, np.nan],
            "kl": 0.1,
        }
    )
    row = effects(rows)
    assert row["effect"] == pytest.approx((0.5 + 1) / 2) and row["apart"] == 1 and row["n"] == 3
    assert row["control_effect"] == pytest.approx((0 + 0.25) / 2)
    assert row["iia"] == pytest.approx(1 / 3) and row["flip"] == pytest.approx(1 / 3)


def test_what_is_not_defined_is_kept_as_null_and_shown_as_a_dash(tmp_path):
    rows = pd.DataFrame({"base": [-1.0], "source": [1.0], "patched": [0.5], "control": [np.nan], "kl": 0.1})
    of = {"encoder": "e", "data": "d", "method": "patch", "property": "p", "layer": 0, "layer_name": "zero", "units": "hidden"}
    store = ResultStore(tmp_path / "cells")
    [row] = store.put({"a": 1}, [of | {"role": "all", "left_out": 0} | effects(rows)])
    names = ("effect_low", "control_effect", "control_effect_high", "flip")
    assert [row[name] for name in names] == [None] * 4 and row["effect"] == 0.75
    assert store.get({"a": 1}) == [row]
    with pytest.raises(ValueError, match="Out of range"):
        store.put({"a": 2}, [{"score": np.inf}])
    report.write(pd.DataFrame([row]), tmp_path)
    assert "| 1 | 0 | 0.75 | - | 0.0 [0.0, 79.3] | - | 0.100 |" in (tmp_path / "table.md").read_text()


# The study.


@pytest.fixture
def run(planted, tmp_path, monkeypatch):
    """Measures the study of the planted model on its items, labelled sentences beside them."""
    from toys import write_task

    model, items, split = planted
    monkeypatch.setattr(causal, "language_model", lambda encoder: model)
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{one.right}\t{one.wrong[0]}\n" for one in items[:60]))
    labelled = tmp_path / "tasks"
    labelled.mkdir()
    for name, labels in (("subj_number", split.labels), ("past_present", np.arange(len(split)) % 2)):
        parts = ["tr" if k < 140 else "va" if k < 170 else "te" for k in range(len(split))]
        rows = [(part, "NNS" if label else "NN", text) for part, label, text in zip(parts, labels, split.texts, strict=True)]
        write_task(labelled / f"{name}.txt", rows)

    def measure(root=file, **options):
        study = Causal(labels=str(labelled), train=100, kl=5, **options)
        source, store = PairFile(str(root)), Store(tmp_path / "store")
        context = Context(lambda: model.encoder, lambda: [], (0,), ResultStore(tmp_path / "cells"), store, tmp_path, lambda: source)
        frame = study.measure(context)
        study.report(frame, tmp_path / "out")
        return frame

    return measure


def test_erasing_is_measured_layer_by_layer_and_kept(run, tmp_path, monkeypatch):
    frame = run(method="erase", draws=3, other="tense", layers=[0, 2])
    assert frame.groupby("of").layer.apply(list).to_dict() == {"number": [0, 2], "tense": [0, 2]}
    assert (frame.before == 1).all() and set(frame["size"]) == {1}
    text = (tmp_path / "out" / "table.md").read_text()
    assert "tense (second control of number)" in text and "not shown" in text
    assert (tmp_path / "out" / "figure-taken-0.svg").is_file()
    written = pd.read_csv(tmp_path / "out" / "causal.csv")
    assert {"layer", "units", "effect", "control_effect_low", "extra_high", "p", "used", "kl"} <= set(written)
    monkeypatch.setattr(erasing, "behaviour", None)
    assert run(method="erase", draws=3, other="tense", layers=[0, 2]).equals(frame), "finished layers are read"


def test_ablating_and_patching_have_their_tables(run, tmp_path):
    frame = run(method="ablate", draws=2, units=1, layers=[2])
    assert frame.iloc[0].note.startswith("units ") and frame.iloc[0].control_effect <= frame.iloc[0].effect
    frame = run(layers=[0, 1, 2])
    table = frame.set_index(["layer", "role"])
    assert (table.xs("all", level="role").effect == 1).all() and table.loc[(0, "differing")].effect == pytest.approx(1, abs=1e-5)
    assert table.loc[(2, "read")].effect == pytest.approx(1, abs=1e-5), "the last layer is read there alone"
    picture = (tmp_path / "out" / "figure-patch-0.svg").read_text()
    assert "differing" in picture and "layer" in picture
    assert "60 contrasts" in (tmp_path / "out" / "table.md").read_text()


def test_one_pair_has_effects_and_no_verdict(run, planted, tmp_path):
    one, more = planted[1][0], next(item for item in planted[1] if item.right.split()[-1] != planted[1][0].right.split()[-1])
    file = tmp_path / "two.tsv"
    file.write_text("".join(f"{item.right}\t{item.wrong[0]}\n" for item in (one, more)))
    table = run(root=file, layers=[2]).set_index("role")
    assert table.loc["read"].effect == pytest.approx(1) and table.control_effect.isna().all()
    file.write_text(f"{one.right}\t{one.wrong[0]}\n")
    for method in ("erase", "ablate"):
        frame = run(root=file, method=method, draws=2, layers=[2])
        assert frame.n.tolist() == [1] and frame.used.tolist() == ["not shown"] and frame.extra_low.isna().all()
        assert "not shown" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize("method", ["erase", "ablate"])
def test_pairs_that_the_model_reads_alike_are_refused(run, tmp_path, method):
    file = tmp_path / "alike.tsv"
    file.write_text("w1 w2 w3 w4 zebra\tw1 w2 w3 w4 giraffe\n")
    with pytest.raises(ConfigError, match="no item can be scored: each of the 1 is longer"):
        run(root=file, method=method, draws=2, layers=[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "steer"}, "allowed: patch, erase, ablate"),
        ({"erasure": "random"}, "allowed: leace, inlp, means"),
        ({"method": "ablate", "value": "noise"}, "allowed: mean, zero, resample"),
        ({"draws": 1}, "from 2"),
        ({"margin": 1.5}, "below 1"),
        ({"layers": [7]}, "has the layers 0 to 2"),
        ({"method": "ablate", "units": 500}, "units of which none is constant"),
        ({"method": "erase", "property": "colour"}, "colour"),
    ],
)
def test_bad_options_are_one_sentence(run, options, message):
    with pytest.raises(ProbingError, match=message):
        run(**options)


def test_pairs_without_a_source_are_counted_in_the_message(run, tmp_path):
    file = tmp_path / "one.tsv"
    file.write_text("the dog is\tthe dog are\n")
    with pytest.raises(ConfigError, match="1: no item of the other form"):
        run(root=file)
