"""Token strips of pairs: differences that add up, pieces in their order, and pages whose numbers are those of the colours."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_language_models import with_heads

from probing.behaviour.command import Score
from probing.behaviour.models import language_model
from probing.behaviour.readers import PairFile
from probing.behaviour.scores import Convention, score
from probing.behaviour.strips import strip
from probing.errors import ConfigError
from probing.jobs import score_job
from probing.report.strips import lines
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.minimal_pairs import MinimalPairs

TOKENS = st.lists(st.sampled_from("abcde"), max_size=9)


@given(TOKENS, TOKENS, st.integers(0, 99))
def test_parts_hold_all_pieces_in_order_and_differences_add_up(first, second, seed):
    rng = np.random.default_rng(seed)
    p, q = -rng.exponential(size=len(first)), -rng.exponential(size=len(second))
    parts = strip(first, p, second, q)
    assert [piece for part in parts for piece in part.first] == first
    assert [piece for part in parts for piece in part.second] == second
    assert sum(part.difference for part in parts) == pytest.approx(p.sum() - q.sum())
    assert all(part.first == part.second or not set(part.first) & set(part.second) or len(parts) > 1 for part in parts)
    same = strip(first, p, first, p)
    assert len(same) == len(first) and all(part.difference == 0 and part.first == part.second for part in same)


def test_a_word_that_changes_is_one_part_and_what_it_changes_behind_it_is_seen():
    made = strip(["the", "dogs", "##es", "bark"], np.array([-1.0, -2, -1, -3]), ["the", "dog", "bark"], np.array([-1.0, -2, -5]))
    assert [(part.first, part.second, part.difference) for part in made] == [
        (("the",), ("the",), 0),
        (("dogs", "##es"), ("dog",), -1),
        (("bark",), ("bark",), 2),
    ]
    text = lines(made, before="<s>")
    assert re.findall(r"<small>([^<]*)</small>", text) == 2 * ["+0.00", "-1.00", "+2.00"] and "&lt;s&gt;" in text
    assert "log p -7.00 and -8.00, difference +1.00" in text and "dogs ##es" in text
    [(white, _)] = {tuple(re.findall(r"background: (#\w+)", line)[:2]) for line in text.splitlines()[:2]}
    assert white == "#ffffff"


def test_the_command_shows_two_sentences_side_by_side(tiny, tmp_path):
    for encoder, _ in with_heads(tiny, tmp_path):
        request = Score(text="the dog sees a cat", against="the cat sees a cat")
        text = request.run(encoder)
        model = language_model(encoder)
        scores = score(model, [(one, None) for one in (request.text, request.against)], Convention())
        sums = [float(x.sum()) for x in scores.log_p]
        rows = text.splitlines()
        assert rows[2].split() == ["text", "log", "p", "against", "log", "p", "difference"]
        assert rows[4].split()[::2] == ["dog", "cat", rows[4].split()[-1]] and rows[3].split()[0] == rows[3].split()[2] == "the"
        last = rows[-1].split()
        assert [float(last[k]) for k in (1, 3, 4)] == pytest.approx([*sums, sums[0] - sums[1]], abs=1e-3)
        [(head, parts)] = request.pairs
        assert head.startswith(model.name) and len(parts) == 5
    for options in ({"against": "b"}, {"text": "a", "html": "x.html"}, {"file": "a", "against": "b"}):
        with pytest.raises(ConfigError, match="against="):
            Score(**{"text": None, "file": None if "text" in options or "file" in options else "f", **options}).run(encoder)


def test_the_report_of_pairs_shows_the_ten_at_each_end(tiny, tmp_path):
    encoder, _ = with_heads(tiny, tmp_path)[1]
    words = ["the", "dog", "cat", "sees", "a"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(words)) for _ in range(60)]
    rows = [f"{a}\t{b}\n" for a, b in zip(texts[::2], texts[1::2], strict=True)] + ["the dog\tthe dog\n"]
    (tmp_path / "pairs.tsv").write_text("".join(rows))
    source = PairFile(str(tmp_path / "pairs.tsv"))
    study = MinimalPairs(floors=[])
    inputs = Context(lambda: encoder, list, (0,), ResultStore(tmp_path / "c"), Store(tmp_path / "s"), tmp_path, lambda: source)
    frame = study.measure(inputs)
    shown = frame[frame["strip"].notna()]
    ordered = frame.difference.sort_values()
    wanted = {*ordered[ordered < 0].index[:10], *ordered[ordered > 0].index[-10:]}
    assert set(shown.index) == wanted and 12 <= len(wanted) <= 20 and frame["strip"].isna().iloc[-1]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    study.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path / "report")
    page = (tmp_path / "report" / "pairs.html").read_text()
    assert page.count("<h2>") == len(wanted) and "most decisive 1," in page and "worst 1," in page
    heads = re.findall(r"<h2>.*?: (most decisive|worst) \d+, pairs, item (\d+)</h2>\n<p>(.*?)</p>", page, re.S)
    for title, item, text in heads:
        difference = frame.difference[int(item)]
        assert (difference > 0) == (title == "most decisive")
        assert float(text.rpartition(" ")[2]) == pytest.approx(difference, abs=0.0051)
        assert sum(map(float, re.findall(r"<small>(.*?)</small>", text.splitlines()[0]))) == pytest.approx(difference, abs=0.05)


def test_the_job_writes_a_page_of_the_pair(tiny, tmp_path, capsys):
    with_heads(tiny, tmp_path)
    encoder = {"_target_": "probing.encoders.hf.huggingface.HuggingFaceEncoder", "name": str(tmp_path / "gpt2")}
    options = {
        "text": "the dog",
        "against": "the cat",
        "file": None,
        "html": str(tmp_path / "pair.html"),
        "tokens": None,
        "words": None,
    }
    options |= {"start": "mark", "end": "leave", "masking": "within_word_l2r"}
    score_job({"encoder": encoder, "run": {"dir": str(tmp_path), "threads": None}, **options})
    page, text = (tmp_path / "pair.html").read_text(), capsys.readouterr().out
    assert page.count("<h2>") == 1 and f"difference {float(text.split()[-1]):+.2f}" in page
    assert "text: <span" in page and "against: <span" in page
