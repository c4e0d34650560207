"""The page of an atlas: clauses, cells and points open the card of their number, what has no number opens nothing; its pictures."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from test_atlas_compared import best_of
from test_atlas_verdicts import drawn_rows

from probing.report import atlas as report
from probing.report.atlas_page import LINK, key_of
from probing.report.atlas_verdicts import adjusted, sentence, verdicts
from probing.report.card import card_of

NUMBER = r"-?\d[\d.e-]* \[[^\]]*\]"
"""A number with its interval, as sentences print it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Rows of several encoders, the folder of their atlas, its page, and name -> number of the cards."""
    rng, rows, folder = np.random.default_rng(0), [], tmp_path_factory.mktemp("atlas")
    for k in range(2):
        of = {"encoder": f'e"{k}" <b>', "architecture": "z", "parameters": 1e6 * (k + 1), "fingerprint": str(k)}
        own = [one for one in drawn_rows(rng, "ab") if (one["column"], one["role"]) != ("encoded", "best")]
        own = [one | {"value": one["value"] - 0.0011 * j} for j, one in enumerate(own)]  # no two are printed alike
        for name in "ab":
            best = best_of(of["encoder"], rng.random(100) < 0.7, name, property=name, paper_name=name.upper(), layer=1, p=np.nan)
            best |= {"low": 0.2, "high": 0.9}
            [layer] = [one for one in own if (one["property"], one["column"], one["layer"]) == (name, "encoded", 1)]
            layer.update({key: best[key] for key in ("value", "low", "high")})
            own.append(best)
        rows += [one | of for one in own]
    frame = pd.DataFrame(rows).assign(data="d", size="full", card=None, cell=None)
    frame = frame.assign(**{name: frame[name].where(frame.role == "best") for name in ("items", "groups")})
    report.write(frame, folder)
    page = (folder / "atlas.html").read_text(encoding="utf-8")
    packed = json.loads(re.search(r'<script type="application/json" id="cards">(.*?)</script>', page, re.S)[1])
    cards = {key: dict(packed["lines"][k] for k in numbers)["number"] for key, numbers in packed["cards"].items()}
    return adjusted(frame), folder, page, cards


def test_every_link_names_a_card_that_exists(made):
    _, _, page, cards = made
    keys = [html.unescape(key) for key in re.findall(r'data-cell="([^"]*)"', page)]
    assert len(keys) > 100 and set(keys) <= set(cards)


def test_each_number_of_a_sentence_opens_its_own_card_and_a_clause_without_one_opens_nothing(made):
    frame, _, page, cards = made
    told, opened = [sentence(line) for line in verdicts(frame).to_dict("records")], set()
    listed = {html.unescape(re.sub("<[^>]+>", "", one)): one for one in re.findall(r"<li>(.*?)</li>", page)}
    assert set(told) <= set(listed), "the words are those of the verdicts"
    for text in told:
        links = re.findall(r'<a href="#card" data-cell="([^"]*)"[^>]*>([^<]*)</a>', listed[text])
        assert bool(links) != text.startswith("None: "), "which has no number"
        numbers = []
        for key, words in ((html.unescape(key), html.unescape(words)) for key, words in links):
            numbers += (own := re.findall(NUMBER, words))
            assert all(number in cards[key] for number in own), (key, words)
            assert words[0] not in " ,;()" and (key.endswith("T, layer 0") == words.startswith("T "))
            opened.add(key.split(": ")[1].split(",")[0])
        assert numbers == re.findall(NUMBER, text), "every number is in a link"
    on = ["accuracy on x", "accuracy on y", "drop on x", "drop on y"]
    shown = {*on, "accuracy", "best units", "less rotated", "points lost", "T", "T last less first"}
    assert opened == shown | ({"derivative"} & set(frame.metric)), "and one of every kind is among them"


def test_every_cell_of_a_strip_and_every_point_opens_its_number(made):
    frame, folder, page, _ = made
    figures = re.findall(r"<figure>(<svg.*?</svg>)", page, re.S)
    buttons = [re.findall(r'<g role="button" tabindex="0" data-cell="([^"]*)"><title>', one) for one in figures]
    buttons = [[html.unescape(key) for key in keys] for keys in buttons]
    curves = frame[(frame.role == "layer") & (frame.status == "done") & frame.metric.isin(["accuracy", "T"])]
    strips = [sorted(key_of(one) for one in part.itertuples()) for _, part in curves.groupby("encoder", sort=False)]
    best = frame[(frame.column == "encoded") & (frame.role == "best")].assign(role="layer")
    scores = sorted(key_of(one) for one in best[best.status == "done"].itertuples())
    assert [sorted(keys) for keys in buttons] == [scores, scores, *strips]
    assert all('role="img"' not in one and 'role="group"' in one for one in figures), "what is in an image is not read"
    for path in folder.glob("figure-*"):
        text = path.read_bytes()
        assert not re.search(rb"data-cell|/URI|/Link|<a[ >]|" + LINK.encode(), text), "nothing there could open"


def test_a_number_of_the_comparison_opens_the_score_of_its_encoder(made):
    _, _, page, cards = made
    table = re.search(r'aria-labelledby="compared">(.*?)</table>', page, re.S)[1]
    cells = [(html.unescape(key), text) for key, text in re.findall(r'data-cell="([^"]*)"[^>]*>([^<]*)<', table)]
    assert len(cells) == 4 and all(f"{text.split()[0]} [" in cards[key] for key, text in cells)


@pytest.mark.parametrize("unit", ["sentences", "items"])
def test_a_card_of_words_does_not_speak_of_sentences(unit):
    data = {"task": "upos", "n": {"train": 5, "dev": 3, "test": 4}, "n_classes": 2}
    data |= {"unit": unit} if unit == "items" else {}
    inputs = {"control": "word", "control_seed": 0}
    card = dict(card_of({"key": "k", "status": "failed", "rows": [{}], "inputs": inputs, "details": {"data": data}}))
    assert card["task"] == f"upos: 5/3/4 {unit} (train/dev/test), 2 classes"
    assert ("sentence" in card["labels"]) == (unit == "sentences") and "word" in card["labels"]
