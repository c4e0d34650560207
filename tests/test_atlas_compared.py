"""Encoders of an atlas side by side: paired tests on the same items alone, letters and ranks, names, figures."""

import json
import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from test_atlas import row

from probing.evaluation.metrics import by_item
from probing.evaluation.paired_tests import compare, holm, mcnemar
from probing.report import atlas as report
from probing.report import atlas_compared, atlas_figures
from probing.studies.atlas_rows import packed


def best_of(encoder, own, sha="1", **more):
    """The row of an encoder's dev-best layer; `own`: its values by item."""
    of = {"role": "best", "items": packed(own), "groups": None, "value": own.mean(), "facets": json.dumps({"sha256": sha})}
    of |= {"architecture": encoder[0], "parameters": 1000 * len(encoder), "fingerprint": encoder, "data": "d", "size": "quick"}
    return row(encoder=encoder, **of, card="", cell=None, **more)


def test_encoders_are_compared_on_the_same_items_alone_with_letters_and_ranks():
    rng = np.random.default_rng(0)
    right = np.stack([rng.random(100) < share for share in (0.95, 0.5, 0.5)])
    frame = pd.DataFrame([best_of("x", right[0]), best_of("y", right[1]), best_of("w", right[2]), best_of("z", right[1], "2")])
    made = atlas_compared.comparison(frame)
    pairs = made.pairs.set_index(["a", "b"])
    assert set(pairs.index) == {("x", "y"), ("x", "w"), ("y", "w")}, "z has other items"
    assert pairs.difference["x", "y"] == pytest.approx(np.subtract(*right[:2].mean(1)))
    assert pairs.p["x", "y"] == mcnemar(right[0], right[1]) and np.allclose(pairs.p_holm, holm(pairs.p))
    assert atlas_compared.not_compared(frame, made) == ["A: not measured on these test items: z"]
    letters = made.tasks.set_index("entry").letters
    assert letters.x == "a" and letters.y == letters.w == "b"
    assert atlas_compared.comparison(frame[frame.encoder.isin(["x", "z"])]) is None
    ranks = atlas_compared.encoders(frame[frame.encoder != "z"], atlas_compared.comparison(frame[frame.encoder != "z"]))
    assert ranks.set_index("encoder")["rank interval"].to_dict() == {"x": "1-1", "y": "2-3", "w": "2-3"}


def test_encoders_are_compared_on_numbers_by_their_values_by_item_as_probing_compare_does():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=80)
    values = [by_item("r2", {"gold": gold, "predicted": gold + noise * rng.normal(size=80)}) for noise in (0.3, 0.9, 0.9)]
    frame = pd.DataFrame([best_of(name, own, metric="r2", n=80) for name, own in zip("xyz", values, strict=True)])
    right = rng.random(80) < 0.5
    more = [best_of(name, right, "2", property="b", paper_name="B") for name in "xyz"]
    made = atlas_compared.comparison(pd.concat([frame, pd.DataFrame(more)], ignore_index=True))
    pairs = made.pairs[made.pairs.metric == "r2"].set_index(["a", "b"])
    for (i, a), (j, b) in combinations(enumerate("xyz"), 2):
        assert pairs.difference[a, b] == pytest.approx(values[i].mean() - values[j].mean(), abs=1e-6)
        assert pairs.p[a, b] == pytest.approx(compare(values[i], values[j])[1], rel=1e-3)
    letters = made.tasks[made.tasks.metric == "r2"].set_index("entry").letters
    assert letters.x == "a" and letters.y == letters.z == "b"
    unknown = best_of("x", np.full(80, np.nan), metric="r2", n=80)
    assert unknown["items"] == "" and atlas_compared.comparison(pd.DataFrame([unknown, unknown | {"encoder": "y"}])) is None


def test_two_encoders_of_one_name_are_told_apart_and_a_row_counts_once():
    right = np.array([True, False])
    frame = pd.DataFrame([best_of("abcdefghij", right), best_of("klmnopqrst", right), best_of("other", right)] * 2)
    frame["encoder"] = frame.encoder.where(frame.encoder == "other", "same")
    assert report.distinguished(frame).encoder.tolist() == ["same (abcdefgh)", "same (klmnopqr)", "other"]


def test_a_page_of_several_encoders_has_their_ranks_letters_and_figures(tmp_path):
    rng = np.random.default_rng(0)
    names = ("lstm[layers=2] (untrained 0)", "lstm[layers=2] (untrained 1)", "b")
    made = []
    for k, name in enumerate(names):
        best = best_of(name, rng.random(100) < 0.5 + 0.2 * k, layer=1) | {
            "low": 0.4,
            "high": 1.0,
            "architecture": name[:4],
            "parameters": 10.0 ** (k // 2),
        }
        made += [best | {"p": np.nan}, best | {"role": "layer", "items": None}]
    report.write(pd.DataFrame(made), tmp_path)
    assert (tmp_path / "ranks.csv").is_file()
    before = (tmp_path / "atlas.html").read_bytes()
    report.write(pd.DataFrame(made[:2]).assign(size="full"), tmp_path)
    assert report.QUICK.encode() in before and report.QUICK not in (tmp_path / "atlas.html").read_text(encoding="utf-8")
    assert not (tmp_path / "ranks.csv").exists() and not [*tmp_path.glob("figure-encoders*")], "nothing of the earlier atlas stays"
    report.write(pd.DataFrame(made), tmp_path)
    assert (tmp_path / "atlas.html").read_bytes() == before, "the same rows give the same bytes"
    page = before.decode()
    figures = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("figure-*.svg")}
    assert {"figure-encoders", "figure-weights", "figure-strip-0", "figure-strip-2"} <= set(figures)
    assert all(f'aria-label="{title}' in page for title in ("Scores by encoder", "Scores by number of weights"))
    assert "rank interval" in page and "Entries of a task that share a letter" in page and "lstm[layers=2] (untrained 1)" in page
    ids = re.findall(r' id="([^"]+)"', re.sub(r"<defs>.*?</defs>", "", page, flags=re.S))
    assert len(ids) == len(set(ids)) and set(re.findall(r'<a href="#([^"]+)"', page)) <= set(ids)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "## Encoders compared" in text and "| b " in text
    assert atlas_figures.short(list(names)) == ["lstm (untrained 0)", "lstm (untrained 1)", "b"]
