"""Verdicts of an atlas: a second program gives the same, a classifier uses what it was planted to use, rules at their edges."""

import json
import re
from pathlib import Path

import check_atlas
import numpy as np
import pandas as pd
import pytest
from test_atlas import context, lines_of, row
from test_atlas_compared import best_of

from probing import load_encoder
from probing.data.task import Task
from probing.evaluation.paired_tests import max_t
from probing.report import atlas as report
from probing.report.atlas_figures import by_parameters
from probing.report.atlas_verdicts import RULES, adjusted, sentence, verdicts
from probing.studies.atlas import Atlas
from probing.studies.atlas_parts import ConceptsStudy
from probing.studies.atlas_rows import NAMES, interacting_rows, standing_out
from probing.studies.sources import Given

ROOT = Path(__file__).resolve().parents[1]


def drawn_rows(rng, properties=("a", "b", "c"), layers=3):
    """Rows of one encoder whose p-values, intervals and facets are drawn around the bounds of the rules."""
    rows, classifier = [], bool(rng.integers(2))
    p = lambda: float(rng.choice([2e-5, 2e-4, 8e-4, 2e-3, 4e-3, 8e-3, 0.06]) * rng.uniform(0.5, 1.5))  # noqa: E731
    for name in properties:
        of = {"property": name, "paper_name": name.upper()}
        for layer in range(layers):
            rows.append(row(**of, layer=layer, p=p(), value=rng.choice([0.5, 0.8])))
        rows.append(row(**of, role="best", layer=1, p=np.nan))
        at = {"column": "where", "role": "best"}
        about = {"p_control": p(), "units": 10, "minimal": None, "live": 20}
        rows.append(row(**of, **at, metric="best units", p=np.nan, facets=json.dumps(about)))
        rows.append(row(**of, **at, metric="less rotated", p=p()))
        low, chance, left = rng.choice([-0.01, -0.01, -0.03, 0.01]), bool(rng.random() < 0.8), rng.choice([0.5, 0.505, 0.52])
        high, used = low + rng.choice([0.02, 0.02, 0.06]), "not shown"
        if -0.02 < low and high < 0.02 and chance:
            used = "no" if left <= 0.51 else "not erased"
        about = json.dumps({"used": used, "above_chance": chance, "left": left, "majority": 0.5})
        at = {"column": "used", "metric": "points lost", "low": low, "high": high, "facets": about}
        rows += [row(**of, **at, layer=0, p=p()), row(**of, **at | {"facets": with_null(about, rng)}, layer=0, role="best", p=p())]
        if classifier:
            rows += [
                row(**of, column="used", metric="derivative", layer=k, p=p() / 4, value=rng.choice([0.1, 0.3]), against_value=0.2)
                for k in range(layers)
            ]
        T = rng.choice([1e-9, 0.1, 0.3], layers)
        rows += [row(**of, column="interacting", metric="T", layer=k, value=T[k], p=np.nan) for k in range(layers)]
        at = {"column": "interacting", "metric": "T last less first", "role": "best", "layer": layers - 1}
        rows.append(row(**of, **at, value=T[-1] - T[0], p=p()))
        for target in ("x", "y"):
            at = {"column": "transfers", "role": "best", "facets": json.dumps({"target": target})}
            rows += [row(**of, **at, p=p(), value=rng.choice([0.55, 0.8, 0.9])), row(**of, **at, metric="drop", p=p())]
    of = {"property": "none", "paper_name": "None", "value": np.nan, "p": np.nan, "metric": "", "status": "failed", "reason": "why"}
    return [*rows, *(row(**of, column=column) for column in RULES)]


def with_null(about, rng):
    """Facets of a loss that stands out from most draws or from all."""
    null = rng.normal(0, 1, 199).round(4).tolist()
    return json.dumps(json.loads(about) | {"statistic": float(rng.choice([2, 3, 5])), "null": null})


def test_a_second_program_gives_every_verdict_and_notices_a_changed_one(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "atlas.json"
    rows = [one | {"encoder": f"e{k}"} for k in range(8) for one in drawn_rows(rng)]
    made = pd.DataFrame(rows).assign(items=None, groups=None, card=None)
    lines = verdicts(frame := adjusted(made))
    shown = {"yes", "not shown", "failed"}
    for column in RULES:
        assert set(lines[column]) == (shown | {"no"} if column == "used" else shown), "every verdict is checked"
    path.write_text(json.dumps(twin := report.twin(frame, lines)))
    assert check_atlas.disagreements(tmp_path) == []
    made.to_csv(tmp_path / "rows.csv", index=False)
    assert check_atlas.disagreements(tmp_path) == [], "rows.csv has the same numbers"
    changed = set()
    for k, column in enumerate(RULES):
        line = twin["lines"][k]
        line[column] = "not shown" if line[column] == "yes" else "yes"
        changed.add(f": {line['encoder']}, {line['property']}, {column}: {line[column]!r}, but the rows give")
    told = next(line for line in twin["lines"][5:] if re.search("from layer 1|in layer 0 ", line["encoded_words"]))
    told["encoded_words"] = "encoded in every layer above every floor"
    changed.add(f": {told['encoder']}, {told['property']}, encoded: layers [0, 1, 2], but the rows give")
    told = next(line for line in twin["lines"][5:] if " more in the last" in line["interacting_words"])
    told["interacting_words"] = told["interacting_words"].replace(" more in", " less in")
    changed.add(f": {told['encoder']}, {told['property']}, interacting: 'words interact less")
    path.write_text(json.dumps(twin))
    wrong = check_atlas.disagreements(tmp_path)
    assert len(wrong) == len(changed) == len(RULES) + 2 and all(any(key in one for one in wrong) for key in changed)


def test_verdicts_of_committed_atlases_follow_from_their_rows():
    folders = sorted(path.parent for path in ROOT.glob("results/**/atlas.json"))
    assert [wrong for folder in folders for wrong in check_atlas.disagreements(folder)] == []


def marked(rng, n=400):
    """Sentences with `up` or `down`, and `left` or `right`, at random places; which of them."""
    which, texts = rng.integers(0, 2, (2, n)), []
    for k in range(n):
        words = [f"w{j}" for j in rng.integers(0, 30, 4)]
        for pair, one in zip((("up", "down"), ("left", "right")), which[:, k], strict=True):
            words.insert(int(rng.integers(len(words) + 1)), pair[one])
        texts.append(" ".join(words))
    return texts, *which


@pytest.mark.parametrize("read", ["vertical", "horizontal"])
def test_a_classifier_uses_the_property_that_its_logit_follows_and_not_one_that_it_ignores(tmp_path, read):
    rng, names = np.random.default_rng(3), ("vertical", "horizontal")
    splits = ["train"] * 200 + ["dev"] * 100 + ["test"] * 100

    def task(name, texts, labels):
        return Task.from_lists(texts, [f"c{label}" for label in labels], splits=splits, name=name)

    properties = [task(name, *(made := marked(rng))[:1], made[1 + k]) for k, name in enumerate(names)]
    texts, *labels = marked(rng)
    classifier = Given(task("decision", texts, labels[names.index(read)]))
    encoder = load_encoder("gated-cnn", embedding_dim=16, channels=24, layers=1, reads="forward", buckets=500)
    lines, rows = lines_of(Atlas(columns=["used"], classifier=classifier).measure(context(encoder, properties, tmp_path)), tmp_path)
    for name in names:
        words = "follows it in layers 0-1" if name == read else "is not shown to follow it"
        assert (lines[name]["used"], lines[name]["used_words"]) == (
            "yes" if name == read else "not shown",
            f"the classifier's logit {words}",
        )
    sizes = rows[rows.metric == "derivative"].groupby("property").value.max()
    assert sizes[read] > 2 * sizes.drop(read).iloc[0]


def test_pairs_and_a_classifier_share_the_level_of_their_column():
    about = {"used": "not shown", "above_chance": True}

    def lost(draws):
        tested = about | {"statistic": 3.0, "null": [0.0] * draws}
        return row(column="used", metric="points lost", role="best", p=1 / (1 + draws), facets=json.dumps(tested))

    layer = row(column="used", metric="points lost", p=0.5, facets=json.dumps(about))
    slope = row(column="used", metric="derivative", value=0.5, p=0.006, against_value=0.1)
    assert [verdicts(adjusted(pd.DataFrame(rows))).used[0] for rows in ([lost(100), layer], [slope])] == ["yes", "yes"]
    assert verdicts(adjusted(pd.DataFrame([lost(100), layer, slope]))).used[0] == "not shown", "either is false in 0.5 %"
    assert verdicts(adjusted(pd.DataFrame([lost(200), layer, slope]))).used[0] == "yes"


def test_the_largest_of_several_losses_is_by_chance_above_all_draws_as_often_as_its_level():
    """2,000 atlases of four properties, three layers and few pairs, in which nothing is used: losses and draws are of one kind."""
    rng, false = np.random.default_rng(0), 0
    for _ in range(2000):
        tested = []
        for n, share in ((40, 0.002), (60, 0.1), (200, 0.02), (200, 0.05)):
            lost = rng.binomial(n, share, (3, 1 + 19)) / n * rng.choice([-1, 1, 1], (1, 20))  # a direction acts on all layers
            tested.append(standing_out(lost[:, 0], lost[:, 1:], np.full(3, n))[1])
        statistics = np.array(tested)
        false += max_t(statistics[:, 0], statistics[:, 1:]).min() <= 0.05
    assert 0.03 < false / 2000 <= 0.05 + 2 * 0.0049, "two standard errors"


def test_a_loss_must_stand_out_more_than_that_of_any_property_under_the_same_draw():
    about = {"used": "not shown", "above_chance": True}

    def lost(name, statistic, null):
        of = {"property": name, "paper_name": name, "column": "used", "metric": "points lost"}
        tested = about | {"statistic": statistic, "null": null}
        return [row(**of, facets=json.dumps(about)), row(**of, role="best", p=0.001, facets=json.dumps(tested))]

    quiet, loud = [0.0] * 200, [0.0] * 197 + [4.0] * 3
    for other, shown, p in ((quiet, "yes", 1 / 201), (loud, "not shown", 4 / 201)):
        frame = adjusted(pd.DataFrame(lost("a", 3.0, quiet) + lost("b", 5.0, other)))
        assert verdicts(frame).used.tolist() == [shown, "yes"]
        assert frame.p_holm[1] == pytest.approx(p)


def test_a_classifier_of_many_properties_and_layers_has_draws_enough_for_a_yes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(ConceptsStudy, "derivatives", lambda self, context: asked.append(self) or pd.DataFrame({"task": []}))
    rng = np.random.default_rng(0)
    texts, labels, _ = marked(rng, 90)
    splits = ["train"] * 30 + ["dev"] * 30 + ["test"] * 30
    tasks = [Task.from_lists(texts, [f"c{k}" for k in labels], splits=splits, name=f"t{k}") for k in range(20)]
    encoder = load_encoder("gated-cnn", embedding_dim=8, channels=8, layers=2, reads="forward", buckets=50)
    tasks.append(Task.from_lists(texts, [f"c{k % 10}" for k in range(90)], splits=splits, name="many"))
    frame = Atlas(columns=["used"], classifier=Given(tasks[0])).measure(context(encoder, tasks, tmp_path))
    assert 0.004 < 20 * 3 / (1 + asked[0].permutations) <= 0.005
    assert frame[frame.reason.fillna("").str.startswith("its classes are more")].property.tolist() == ["many"]


@pytest.mark.parametrize(
    ("scale", "shown", "words"),
    [
        ([0, 0.1, 0.3], "yes", "words interact more in the last layer than in the first that mixes them (T 0.1"),
        ([0.1, 0.2, 0.1], "not shown", "interaction is not shown to change (T 0.1"),
        ([0, 0, 0], "not shown", "no interaction beyond rounding"),
        ([0, 0, 0.3], "not shown", "one layer alone mixes words"),
        ([0.3, 0.1, 0], "yes", "words interact less in the last layer than in the first that mixes them (T 0.3"),
    ],
)
def test_interacting_compares_the_last_layer_with_the_first_that_mixes_words(scale, shown, words):
    """T of 16 sentences around `scale` in three layers, or rounding: more than 0 it is in any network that mixes words."""
    rng = np.random.default_rng(0)
    of = {"encoder": "e", "data": "d", "masking": "mask", "value": "mean", "column": "words", "T_relative": 0.5, "B": 0.5}
    frame = pd.DataFrame(
        [
            {**of, "text": f"s{k}", "layer": layer, "T": value * rng.normal(1, 0.1) + 1e-9 * rng.normal()}
            for k in range(16)
            for layer, value in enumerate(scale)
        ]
    )
    task = Task.from_lists(list("abcd"), list("xyxy"), splits=["train", "train", "dev", "test"], name="a")
    made = pd.DataFrame(interacting_rows(task, frame), columns=NAMES).assign(encoder="e")
    [line] = verdicts(adjusted(made)).to_dict("records")
    assert line["interacting"] == shown and line["interacting_words"].startswith(words)


def test_the_table_says_what_a_classifier_uses_and_the_reason_beside_it_is_of_pairs_alone():
    slopes = [
        row(column="used", metric="derivative", layer=k, p=p, against_value=0.1, low=np.nan) for k, p in enumerate((0.9, 0.001))
    ]
    lost = {"column": "used", "metric": "", "role": "best", "status": "not applicable", "reason": "no trees", "layer": np.nan}
    of_b = {"property": "b", "paper_name": "B", "p": np.nan}
    frame = adjusted(pd.DataFrame([*slopes, row(**{**lost, "p": np.nan}), row(**{**lost, **of_b})]))
    line = verdicts(frame).to_dict("records")[0]
    text = report.cells(frame[frame.property == "a"], line)["used"].text
    assert text == "logit: layer 1 *" and line["used_words"] == "the classifier's logit follows it in layer 1"
    assert report.reasons(frame) == ["used on pairs (A): not applicable: no trees", "used (B): not applicable: no trees"]
    none = adjusted(frame.assign(p=0.5 + 0 * frame.p))
    assert report.cells(none[none.property == "a"], verdicts(none).to_dict("records")[0])["used"].text == "logit: no layer shown"


def test_the_page_names_size_items_scores_that_are_no_accuracy_and_what_is_not_compared(tmp_path):
    right = np.random.default_rng(0).random(100) < 0.6
    made = []
    card = json.dumps([["task", "a (A): 5/5/100 sentences (train/dev/test), 2 classes"], ["versions", "probing 1"]])
    for k, encoder in enumerate(("x", "y")):
        of = {
            "parameters": 39_000.0 + 1000 * k,
            "card": card,
            "data": "d",
            "architecture": "z",
            "fingerprint": encoder,
            "size": "quick",
        }
        number = {"property": "r", "paper_name": "Depth", "metric": "r2", "items": ""}
        bests = [best_of(encoder, right), best_of(encoder, right) | number | {"n": 77}]
        bests += [best_of("y", right, "2", property="c", paper_name="C")] * (encoder == "y")
        bests = [one | of | {"low": 0.4, "high": 1.0} for one in bests]
        made += [one | {"p": np.nan} for one in bests] + [one | {"role": "layer", "items": None} for one in bests]
        slope = row(encoder=encoder, column="used", metric="derivative", groups=None, cell=None)
        made.append(slope | of | {"items": None, "low": np.nan})
    report.write(pd.DataFrame(made), tmp_path)
    text, page = ((tmp_path / name).read_text(encoding="utf-8") for name in ("table.md", "atlas.html"))
    assert all(report.QUICK in one and one.count("A): 5/5/100 items (train/dev/test)") == 1 for one in (text, page))
    table = pd.DataFrame([line.split(" | ") for line in text.splitlines() if re.match(r"\| [xy] \| (A|Depth|C) ", line)])
    assert table[3].tolist() == ["100", "77", "100", "77", "100"], "n of each property"
    assert [one.startswith("R²") for one in table[2]] == [False, True, False, True, False]
    for one in (text, page):
        assert "Depth: the rows have no values of R² by item" in one and "C: no two encoders are measured on the same" in one
        assert "Computed with probing 1." in one and "Over the 1 property in which all" in one
    assert len(text.partition("## Not compared\n\n")[2].partition("\n\n")[0].splitlines()) == 2, "A is compared"
    assert "encoded: R² by layer [95 %], %" in page and "used: derivative by layer<" in page and "Depth (R²)" in page
    assert "red -1, white 0, blue 1" in page


@pytest.mark.parametrize("weights", [(39_000, 40_000), (20_000, 60_000), (20_000, 90_000_000)])
def test_labels_of_the_weights_axis_do_not_overprint(weights):
    best = [row(role="best", encoder=f"e{k}", architecture="z", parameters=float(n), key="") for k, n in enumerate(weights)]
    figure = by_parameters(pd.DataFrame([one | {"paper_name": name} for one in best for name in "ab"]))
    figure.draw_without_rendering()
    labels = [one for axes in figure.axes for one in axes.get_xticklabels(which="both") if one.get_text()]
    boxes = sorted((one.get_window_extent() for one in labels), key=lambda box: box.x0)
    assert len(boxes) == 4 and all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_a_column_that_failed_says_so_in_the_sentence():
    frame = adjusted(pd.DataFrame([row(column="used", status="failed", reason="no items", p=np.nan)]))
    [line] = verdicts(frame).to_dict("records")
    assert sentence(line) == "A: used: not measured: no items."
    assert report.reasons(frame) == ["used: not measured: no items"]


def test_a_property_to_which_no_column_applies_has_a_whole_sentence():
    assert (
        sentence({"paper_name": "A", "used": "not applicable", "used_words": "used: no pairs"}) == "A: none of the columns applies."
    )
