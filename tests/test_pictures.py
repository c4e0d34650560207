"""The interaction tree and the AND-OR graph of a sentence: what is drawn sums to what was to be explained."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attribute import TEXT, small  # noqa: F401  (a fixture)

from probing.attributions.command import Attribute
from probing.attributions.pictures import MOST_TERMS, terms_picture, tree_picture
from probing.interactions.game import all_coalitions

SVG = "{http://www.w3.org/2000/svg}"
WORDS = ("not", "a", "<good>", "film", "today")


def drawn(picture):
    """All numbers of a picture, its other texts, and its root."""
    root = ElementTree.fromstring(picture)
    texts = [one.text for one in root.iter(f"{SVG}text")]
    numbers = [float(text) for text in texts if text[0] in "+-" and text[1:2].isdigit()]
    return numbers, [text for text in texts if text[0] not in "+-"], root


tables = st.integers(2, 4).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=2**n, max_size=2**n))


@settings(deadline=None, max_examples=40)
@given(tables)
def test_words_and_joints_of_a_tree_sum_to_what_all_words_change(values):
    v = np.array(values, float)
    n = len(v).bit_length() - 1
    numbers, texts, root = drawn(tree_picture(WORDS[:n], v))
    assert sum(numbers) == v[-1] - v[0] and len(numbers) == 2 * n - 1
    assert texts == list(WORDS[:n]) and len(list(root.iter(f"{SVG}line"))) == 2 * (n - 1)


@settings(deadline=None, max_examples=40)
@given(tables)
def test_the_terms_of_a_graph_with_the_others_and_no_word_sum_to_the_sentence(values):
    v = np.array(values, float)
    n = len(v).bit_length() - 1
    numbers, texts, _ = drawn(terms_picture(WORDS[:n], v))
    *parts, empty, whole = numbers
    assert empty == v[0] and whole == v[-1] and empty + sum(parts) == pytest.approx(whole, abs=1e-9)
    assert len(parts) <= MOST_TERMS + 1 and set(WORDS[:n]) <= set(texts)


def test_a_planted_pair_is_joined_first_and_rounding_joins_nothing():
    present = all_coalitions(4)
    pair = present[:, 1:3].all(1) * 1.0
    _, _, root = drawn(tree_picture(WORDS[:4], pair))
    lowest = max(root.iter(f"{SVG}line"), key=lambda line: float(line.get("y1")))  # the lowest joint is the first one
    centres = [float(one.get("x")) for one in root.iter(f"{SVG}text")][:4]
    assert centres[1] < float(lowest.get("x1")) < centres[2]
    plain = present @ np.array([1.0, 2.0, 3.0, 4.0])
    noise = 1e-7 * np.random.default_rng(0).normal(size=16)
    rects = [[one.get("x") for one in drawn(tree_picture(WORDS[:4], v))[2].iter(f"{SVG}rect")] for v in (plain, plain + noise)]
    assert rects[0] == rects[1]


@pytest.mark.parametrize(("kind", "dots"), [("AND", "#222"), ("OR", "#fff")])
def test_a_planted_term_has_its_name_and_its_words(kind, dots):
    present = all_coalitions(5)[:, [0, 2, 3]]
    v = (present.all(1) if kind == "AND" else present.any(1)) * 1.0
    _, texts, root = drawn(terms_picture(WORDS, v))
    names = [text for text in texts if text in ("AND", "OR", "word")]
    assert kind in names
    circles = [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter(f"{SVG}circle") if one.get("fill") == dots]
    columns = [float(one.get("x")) for one in root.iter(f"{SVG}text") if one.text in WORDS]
    rows = [{columns.index(x) for x, y in circles if y == row} for row in {y for _, y in circles}]
    assert {0, 2, 3} in rows and all(row <= {0, 2, 3} for row in rows)


def test_the_page_of_a_sentence_has_both_pictures_where_all_coalitions_were_read(small, tmp_path):  # noqa: F811
    encoder, _, folder = small
    for method, pictures in (("shapley", 2), ("loo", 0)):
        page = tmp_path / f"{method}.html"
        Attribute(TEXT, method, "zero", head=folder, html=str(page), target="b-a").run(encoder)
        assert page.read_text().count("<svg") == pictures
