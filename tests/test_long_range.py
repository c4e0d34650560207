"""Long-range errors: n-grams against counts in dictionaries, closing marks and memory by hand, and nulls that show nothing."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_language_models import with_heads

from probing.behaviour.base import LanguageModel
from probing.behaviour.kneser_ney import smoothed
from probing.behaviour.long_range import by_character, by_line, closings, counts_before, last_occurrence
from probing.behaviour.models import language_model
from probing.behaviour.scores import Convention, score
from probing.errors import ConfigError, DataError, EncoderError
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, long_range
from probing.studies.long_range import LongRange, compared


def counted(parts, order):
    """p(w | h) by the formula, with dictionaries of tuples; a part is a list of tokens, and None stands at its beginning."""
    raw = [Counter() for _ in range(order + 2)]
    for part in parts:
        row = (None, *part)
        for m in range(1, order + 2):
            raw[m].update(row[s : s + m] for s in range(len(row) - m + 1) if row[s + m - 1] is not None)
    a = [{} for _ in range(order + 1)]
    for m in range(1, order + 1):
        before = defaultdict(set)
        for gram in raw[m + 1]:
            before[gram[1:]].add(gram[0])
        a[m] = {g: c if m == order or g[0] is None else len(before[g]) for g, c in raw[m].items()}

    def discounts(m):
        n = [sum(c == k for c in a[m].values()) for k in range(5)]
        if not n[1] * n[2] * n[3]:
            return [0, 0.75, 0.75, 0.75]
        y = n[1] / (n[1] + 2 * n[2])
        own = [0, *(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))]
        return own if min(own[1:]) > 0 else [0, 0.75, 0.75, 0.75]

    types = {token for part in parts for token in part}

    def p(gram):
        if not gram:
            return 1 / (len(types) + 1)
        m, lower = len(gram), p(gram[1:])
        after = [c for g, c in a[m].items() if g[:-1] == gram[:-1]]
        if not sum(after):
            return lower
        d, own = discounts(m), a[m].get(gram, 0)
        return (max(own - d[min(own, 3)], 0) + sum(d[min(c, 3)] for c in after) * lower) / sum(after)

    return p


def streams(train, judged):
    """Ids and marks of parts, and the number of tokens that are counted."""
    rows = [[0, *part] for part in (*train, *judged)]
    marks = [[True] + [False] * len(part) for part in (*train, *judged)]
    return np.concatenate(rows), np.concatenate(marks), sum(len(part) + 1 for part in train)


PARTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=14), min_size=1, max_size=5)


@given(PARTS, st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_smoothing_is_the_formula_with_counts_in_dictionaries(train, judged, order):
    ids, marks, n = streams(train, [judged])
    log_p, _ = smoothed(ids, marks, n, order)
    p, row = counted(train, order), (None, *judged)
    wanted = [p(row[max(0, t - order + 1) : t + 1]) for t in range(1, len(row))]
    assert np.isnan(log_p[0]) and np.exp(log_p[1:]) == pytest.approx(wanted, rel=1e-9)


def test_a_longer_text_has_discounts_of_its_own():
    rng = np.random.default_rng(1)
    text = (rng.zipf(1.6, 700) % 40 + 1).tolist()
    ids, marks, n = streams([text], [text[:30]])
    log_p, absolute = smoothed(ids, marks, n, 3)
    p, row = counted([text], 3), (None, *text[:30])
    wanted = [p(row[max(0, t - 2) : t + 1]) for t in range(1, len(row))]
    assert len(absolute) < 3 and np.exp(log_p[1:]) == pytest.approx(wanted, rel=1e-9)


def test_probabilities_of_all_tokens_add_up_and_the_text_goes_on_behind_what_is_counted():
    rng = np.random.default_rng(0)
    text = rng.choice(5, 4000, p=[0.4, 0.3, 0.2, 0.05, 0.05]) + 1
    total = np.zeros(3)
    for token in range(1, 7):  # 6 stands for all that was never seen
        ids = np.array([0, *text, token])
        marks = np.arange(len(ids)) == 0
        for k, order in enumerate((1, 4, 12)):
            total[k] += np.exp(smoothed(ids, marks, len(ids) - 1, order).log_p[0])
    assert total == pytest.approx(np.ones(3))
    repeated = np.array([0, *np.tile(text[:200], 3), *text[:50]])
    high, low = (smoothed(repeated, np.arange(len(repeated)) == 0, 601, order).log_p for order in (10, 1))
    assert np.exp(high).mean() > 0.9 > np.exp(low).mean()


def test_closing_marks_find_their_openings_and_forget_them_at_a_paragraph():
    text = '(a [b] "c") \n\n"d (e" "f"\n\n) g "h"'
    resets = np.array([k == 0 or text[k - 2 : k] == "\n\n" for k in range(len(text))])
    close, opening = closings(list(text), resets)
    pairs = {(int(b), text[b : a + 1]) for a, b in zip(close, opening, strict=True)}
    assert {part for _, part in pairs} == {"[b]", '"c"', '(a [b] "c")', '"d (e"', '"f"', '"h"'} and len(pairs) == 6
    assert closings(list('a" b'), np.zeros(4, bool))[0].tolist() == [], "what stands before the first paragraph is left out"
    words = "``", "a", "(", "b", ")", "''"
    assert closings(words, np.arange(6) == 0)[0].tolist() == [4, 5]


def test_memory_and_counts_by_hand():
    words = ["The", "cat", "saw", "the", "cat", "and", "cat"]
    assert last_occurrence(words).tolist() == [np.inf, np.inf, np.inf, 3, 3, np.inf, 2]
    assert counts_before(words, 4).tolist() == [2, 1, 1, 2, 1, 0, 1]


class Letters(LanguageModel):
    """Characters of a small alphabet; it knows that a bracket closes behind `LENGTH` letters, and nothing else."""

    starts = by_letters = True
    alphabet = "abcdefgh() .\n"
    length = 30

    @property
    def name(self):
        return "letters"

    @property
    def description(self):
        return {"kind": "letters"}

    def tokenize(self, texts):
        return [[self.alphabet.find(c) for c in text] for text in texts], 0

    def word_ids(self, texts):
        return [[0] * len(text) for text in texts]

    def log_probabilities(self, items):
        rows, close = [], self.alphabet.index(")")
        for item in items:
            p = torch.full((len(item), len(self.alphabet)), 0.99 / (len(self.alphabet) - 1))
            p[:, close] = 0.01
            for t in range(self.length + 1, len(item)):
                if item[t - self.length - 1] == self.alphabet.index("(") and close not in item[t - self.length : t]:
                    p[t] = 0.01 / (len(self.alphabet) - 1)
                    p[t, close] = 0.99
            rows.append(p.log())
        return rows


def bracketed(seed=0, n=260):
    """Letters at random, with brackets around 30 of them."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(n):
        inner, outer = ("".join(rng.choice(list("abcdefgh "), size)) for size in (30, int(rng.integers(20, 60))))
        parts.append(f"({inner}){outer}\n\n"[: -2 if rng.integers(4) else None])
    return "".join(parts)


def study(monkeypatch, tmp_path, model, **options):
    (tmp_path / "text.txt").write_text(bracketed())
    monkeypatch.setattr(long_range, "language_model", lambda encoder, direction: model)
    inputs = Context(lambda: None, lambda: [], (0,), ResultStore(tmp_path / "cells"), Store(tmp_path / "store"), tmp_path)
    made = LongRange(str(tmp_path / "text.txt"), train=14_000, judged=6000, orders=[12, 3], **options)
    return made, made.measure(inputs), inputs


def test_a_model_that_counts_to_the_bracket_is_told_from_ngrams_there_alone(monkeypatch, tmp_path):
    model = Letters(None)
    made, frame, inputs = study(monkeypatch, tmp_path, model)
    closing = frame[frame.facet == "closing mark"]
    [row] = closing.to_dict("records")
    assert row["value"] == "21-40" and row["n"] == row["groups"] > 50 and row["order"] == 12
    assert row["p_model"] > 0.98 and row["low"] > 0.7 and row["ngram_only"] > 0.9 and row["model_only"] == 0
    whole = frame[frame.facet == "all"].set_index("order")
    assert whole.bits_ngram[3] < 3.6 and list(frame.facet.unique()) == ["all", "closing mark", "last occurrence", "occurrences"]
    assert (frame.errors_model - frame.model_only - frame.both).abs().max() < 1e-12
    assert (frame.errors_ngram - frame.ngram_only - frame.both).abs().max() < 1e-12
    stream = by_character(model, bracketed()[:20_000], 14_000, 1000, 100)
    ngram, names = made._ngram(stream, 12).log_p, made._facets(stream)[1][1]
    permuted = []
    for seed in range(40):  # the labels of other tokens: a difference as that of all
        own = np.random.default_rng(seed).permutation(names) == "21-40"
        permuted.append(compared(stream.log_p[own], ngram[own], np.flatnonzero(own), 0.5))
    overall = compared(stream.log_p, ngram, made._blocks(stream), 0.5)["difference"]
    assert sum(not line["low"] <= overall <= line["high"] for line in permuted) <= 40 * 0.05 + 3 * np.sqrt(40 * 0.05 * 0.95)
    assert max(line["high"] for line in permuted) < row["low"]
    monkeypatch.setattr(model, "log_probabilities", None)
    assert made.measure(inputs).equals(frame), "kept"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    made.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path / "report")
    text = (tmp_path / "report" / "table.md").read_text()
    assert "| 21-40 | " in text and "12-gram: modified Kneser-Ney" in text
    assert (tmp_path / "report" / "figure-errors-0.svg").is_file()


def test_how_the_text_is_read_changes_nothing_for_a_model_that_sees_it_all(monkeypatch, tmp_path):
    text = bracketed(1, 40)
    whole = score(Letters(None), [(text, None)], Convention()).log_p[0][1000:]
    for size, before in ((7, 31), (500, 40), (10_000, 31)):
        assert by_character(Letters(None), text, 1000, size, before).log_p == pytest.approx(whole)
    assert not np.allclose(by_character(Letters(None), text, 1000, 7, 5).log_p, whole)


def test_lines_are_read_one_by_one_and_ngrams_stay_within_them(tiny, tmp_path):
    model = language_model(with_heads(tiny, tmp_path)[1][0])
    lines = ["the dog sees a cat", "", "the cat sees the dog", "a dog", "the zyx sees a cat"]
    text = "\n".join(lines)
    stream = by_line(model, text, text.index("a dog"), False)
    assert stream.tokens == " ".join(lines).split() and stream.words == stream.tokens
    assert stream.n_train == 10 and np.flatnonzero(stream.begins).tolist() == [0, 5, 10, 12]
    scores = score(model, [(line, None) for line in lines[3:]], Convention())
    known = np.concatenate(scores.ids) != model.unknown
    assert stream.log_p[known] == pytest.approx(np.concatenate(scores.log_p)[known]) and np.isnan(stream.log_p[~known]).all()
    assert (~known).sum() == 1
    log_p = LongRange("x")._ngram(stream, 3).log_p
    ids = stream.ids.tolist()
    p = counted([ids[:5], ids[5:10]], 3)
    rows = [(None, *ids[10:12]), (None, *ids[12:])]
    wanted = [p(row[max(0, t - 2) : t + 1]) for row in rows for t in range(1, len(row))]
    assert np.exp(log_p) == pytest.approx(wanted)


def test_a_model_is_no_better_than_itself_and_blocks_that_change_sides_are_no_difference():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 1, 900)
    groups = np.repeat(np.arange(45), 20)
    line = compared(np.log(p), np.log(p), groups, 0.5)
    assert line["difference"] == line["low"] == line["high"] == line["model_only"] == line["ngram_only"] == 0
    assert line["both"] == line["errors_model"] == np.mean(np.log(p) < np.log(0.5))
    wrong = 0
    for _ in range(400):
        model, ngram = np.log(p), np.log(p**2)
        turned = (rng.integers(2, size=45) == 1)[groups]
        line = compared(np.where(turned, ngram, model), np.where(turned, model, ngram), groups, 0.5)
        wrong += not line["low"] <= 0 <= line["high"]
    assert wrong <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": None}, "set study.file"),
        ({"threshold": 1}, "study.threshold=1 must lie between 0 and 1"),
        ({"orders": [0]}, r"study.orders=\[0\] must be a list of whole numbers from 1 to 50"),
        ({"judged": 10}, "study.judged=10 must be at least 1000"),
        ({"words": "cut"}, "study.words='cut' is unknown"),
    ],
)
def test_options_that_say_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        LongRange(**{"file": "x", **options})


def test_what_cannot_be_judged_is_refused(monkeypatch, tmp_path, tiny):
    with pytest.raises(DataError, match="has 18515 characters: study.train=18000 leaves too few"):
        monkeypatch.setattr(long_range, "language_model", lambda encoder, direction: Letters(None))
        (tmp_path / "text.txt").write_text(bracketed())
        LongRange(str(tmp_path / "text.txt"), train=18_000).measure(Context(lambda: None, list, (0,), None, None, tmp_path))
    with pytest.raises(EncoderError, match="reads all, not forward"):
        language_model(with_heads(tiny, tmp_path)[0][0], "forward")
