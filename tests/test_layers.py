"""Interactions of many sentences: drawn segments, tidy rows, and going on after a kill."""

import numpy as np
import pandas as pd
import pytest

from probing.errors import ConfigError
from probing.interactions.intervals import planned_rows
from probing.interactions.segment import segment_interactions
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.many import Case, draw_cases, layer_interactions

TEXTS = ["a b c d e f", "b c a f e d", "c c c d d d", "a b"]
CASES = draw_cases(TEXTS[:3], 3, words=(6, 6), lengths=(2, 3))


def test_cases_are_drawn_by_the_seed_within_their_lengths():
    texts = [" ".join("abcdefghijklmnop"[:n]) for n in range(2, 16)] * 20
    cases = draw_cases(texts, 100, list(map(str, range(280))), words=(8, 12), lengths=(3, 5), seed=1)
    assert cases == draw_cases(texts, 100, list(map(str, range(280))), words=(8, 12), lengths=(3, 5), seed=1)
    assert cases != draw_cases(texts, 100, list(map(str, range(280))), words=(8, 12), lengths=(3, 5), seed=2)
    assert len({case.label for case in cases}) == 100
    assert {len(case.text.split()) for case in cases} == set(range(8, 13))
    assert {case.segment[1] - case.segment[0] for case in cases} == {3, 5}
    assert any(case.segment[0] == 0 for case in cases) and any(case.segment[1] == len(case.text.split()) for case in cases)
    assert all(texts[int(case.label)] == case.text for case in cases)
    with pytest.raises(ConfigError, match="none of 4 sentences has 20 to 30 words"):
        draw_cases(TEXTS, 1, words=(20, 30))
    with pytest.raises(ConfigError, match=r"segments of \[3, 9\] words do not fit into sentences of 8 to 12"):
        draw_cases(TEXTS, 1, lengths=(3, 9))


def test_rows_are_those_of_each_sentence_alone(toy_encoder, tmp_path):
    frame = layer_interactions(toy_encoder, CASES, tmp_path, "mean", "delete")
    assert len(frame) == 9 and list(frame.column[:3]) == ["0 toy 0", "1 toy 1", "2 toy 2"]
    for case, rows in zip(CASES, np.split(frame.index, 3), strict=True):
        found = segment_interactions(TextGame(toy_encoder, case.text, "mean", "delete"), case.segment)
        for i, one in zip(rows, found, strict=True):
            row = frame.loc[i]
            assert (row.text, (row.start, row.stop)) == (case.text, case.segment)
            np.testing.assert_allclose([row["B"], row["B_max"], row["B_min"], row["T"]], [one.B, one.B_max, one.B_min, one.T])
            assert row.T_relative == pytest.approx(row["T"] / abs(row.v_whole - row.v_empty)) and row.v_whole == pytest.approx(1)
            m, k = case.segment[1] - case.segment[0], 6 - (case.segment[1] - case.segment[0])
            assert 2**k * (m * (m + 1) // 2 + 1) <= row.model_rows <= 2**k * (m * (m + 1) // 2 + 1) + 1
            assert row.T_stderr == 0 and row.method == "exact" and row.masking == "delete"


def test_a_killed_run_goes_on_and_changes_nothing(toy_encoder, tmp_path, capsys):
    whole = layer_interactions(toy_encoder, CASES, tmp_path / "whole", "mean", "delete")
    layer_interactions(toy_encoder, CASES[:2], tmp_path / "killed", "mean", "delete")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").iterdir()}
    assert len(files) == 2
    next(iter(files)).write_text('{"key": ')  # cut short
    capsys.readouterr()
    before = toy_encoder.sentences
    frame = layer_interactions(toy_encoder, CASES, tmp_path / "killed", "mean", "delete")
    assert "3 segments, 1 done; about" in capsys.readouterr().err
    pd.testing.assert_frame_equal(frame, whole)
    assert sum(path.stat().st_mtime_ns == time for path, time in files.items()) == 1
    after = toy_encoder.sentences
    assert after > before
    pd.testing.assert_frame_equal(layer_interactions(toy_encoder, CASES, tmp_path / "killed", "mean", "delete"), whole)
    assert toy_encoder.sentences == after and "3 segments, 3 done\n" in capsys.readouterr().err


def test_another_setting_is_another_measurement(toy_encoder, tmp_path):
    settings = [{}, {"masking": "replace", "replacement": "x"}, {"value": "max"}, {"layers": (1,)}]
    settings += [{"method": "sampled"}, {"method": "sampled", "seed": 1}, {"method": "permutation", "budget": 60}]
    for n, options in enumerate(settings, start=1):
        frame = layer_interactions(toy_encoder, CASES[:1], tmp_path, **{"value": "mean", "masking": "delete", **options})
        assert len(list(tmp_path.iterdir())) == n
    assert (frame.T_stderr > 0).any()


def test_classes_are_the_true_or_the_predicted_one(toy_encoder, tmp_path):
    head = LinearHead(np.eye(2, 12), np.zeros(2), ("no", "yes"), 1, "mean")
    cases = [case._replace(label=label) for case, label in zip(CASES, ("no", "yes", "no"), strict=True)]
    true = layer_interactions(toy_encoder, cases, tmp_path, "logit", "delete", target="true", head=head)
    assert list(true.column) == list(true.label) == ["no", "yes", "no"]
    predicted = layer_interactions(toy_encoder, cases, tmp_path, "logit", "delete", head=head)
    assert list(predicted.column) == list(predicted.predicted)
    with pytest.raises(ConfigError, match=": target=true needs a label"):
        layer_interactions(toy_encoder, CASES, tmp_path, "logit", "delete", target="true", head=head)


def test_the_planned_rows_are_the_most_that_are_spent(toy_encoder):
    game = TextGame(toy_encoder, "a b c d e f g h", "mean", "delete", layers=(2,))
    for method, budget in (("exact", None), ("sampled", 90), ("regression", 200), ("permutation", 40), ("sampled", None)):
        planned = planned_rows(3, 5, method, budget)
        spent = segment_interactions(game, (2, 5), method, budget)[0].n_evaluations
        assert spent <= planned <= (budget or 224) and spent > planned / 2


def test_a_case_that_cannot_be_measured_is_named(toy_encoder, tmp_path):
    with pytest.raises(ConfigError, match=r"segment=\(4, 9\) is out of range"):
        layer_interactions(toy_encoder, [Case("a b c d e f", (4, 9))], tmp_path, "mean", "delete")
    long = " ".join("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(ConfigError, match=r"'a b c .*': method=exact takes 2\^23 x 7 = .* model rows .* use method=regression"):
        layer_interactions(toy_encoder, [Case(long, (0, 3))], tmp_path, "mean", "delete")
