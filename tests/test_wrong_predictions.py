"""Wrong predictions that hang on one coalition flip without it; those that hang on single words have no coalition."""

import json

import numpy as np
import pandas as pd
import pytest
from planted import PlantedEncoder

from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.heads import LinearHead
from probing.kept import Kept
from probing.statistics import mcnemar
from probing.store import Store
from probing.studies import Context
from probing.studies.wrong_predictions import WrongPredictions, compared, masked, scores, top
from probing.task import load


@pytest.fixture
def study(tmp_path):
    """Sentences of 8 words with "not bad" within, labelled 0 (read wrongly) or 1 (read rightly), and a planted classifier."""
    rng = np.random.default_rng(0)
    for split in ("train", "dev", "test"):
        lines = [
            f"{k % 2} " + " ".join([*w[:3], "not", "bad", *w[3:]]) for k, w in enumerate(rng.integers(9, 999, (12, 6)).astype(str))
        ]
        (tmp_path / f"stsa.binary.{split}").write_text("\n".join(lines) + "\n")

    def make(value, name):
        encoder = PlantedEncoder(value, name)
        head = LinearHead(
            np.array([[0.0], [1.0]]), np.array([1.0, 0.0]), ("0", "1"), 0, "cls", {"fingerprint": fingerprint(encoder)}
        )
        head.save(tmp_path / name)
        asked = WrongPredictions(10, [8, 8], ["dev", "test"], str(tmp_path / name))
        return asked, Context(
            lambda: encoder, lambda: [load("sst2", tmp_path)], (0,), Kept(tmp_path / "kept"), Store(tmp_path / "s"), tmp_path
        )

    return make


def test_masking_the_coalition_always_flips_and_others_as_often_as_they_touch_it(study, tmp_path):
    asked, context = study(lambda words: 3.0 * ({"not", "bad"} <= words), "product")
    frame = asked.measure(context)
    assert len(frame) == 20 and frame.wrong.sum() == 10 and set(frame.words) == {"not bad"}
    assert set(zip(frame.start, frame.stop, strict=True)) == {(3, 5)} and (frame.flips == 1).all()
    assert np.allclose(frame.control, 2 / 6)  # of the six other pairs of neighbours two share a word with it
    table = scores(frame).set_index("predictions")
    for kind in ("wrong", "right"):
        row = table.loc[kind]
        assert row.difference == pytest.approx(2 / 3) and row.difference_low == pytest.approx(2 / 3)
        assert row.p_mcnemar == mcnemar([True] * 10, frame.flips_one[frame.wrong == (kind == "wrong")] == 1) < 0.2
    before, kept = context.encoder.sentences, len(list((tmp_path / "kept").iterdir()))
    pd.testing.assert_frame_equal(asked.measure(context), frame)
    assert len(list((tmp_path / "kept").iterdir())) == kept == 40
    assert context.encoder.sentences - before == 24  # the predictions of all sentences, nothing masked
    frame.to_csv(tmp_path / "rows.csv", index=False)
    asked.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    said = (tmp_path / "table.md").read_text()
    assert "| sst2 | product | wrong | delete | 10 | 10 | 2.0 | 100.0 | 33.3 | 66.7 [66.7, 66.7] | 2.00 " in said
    assert said.count("| product | 1 | not bad |") == 3


def test_single_words_make_no_coalition(study, tmp_path):
    asked, context = study(lambda words: 1.5 * ("not" in words) + 1.5 * ("bad" in words), "sum")
    frame = asked.measure(context)
    assert scores(frame).with_coalition.tolist() == [0, 0]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    asked.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    assert "No sentence has a coalition" in (tmp_path / "table.md").read_text()


def test_the_top_part_has_the_largest_value_and_is_neither_a_word_nor_all():
    phi = np.zeros((5, 5))
    phi[0, 1], phi[2, 3], phi[4, 4], phi[0, 4] = 1, 2, 9, 99
    values = phi[np.triu_indices(5)].tolist()
    assert top(((0, 2), (2, 4), (4, 5)), values) == (2, 4) and top(((0, 5),), values) is None
    assert top(tuple((i, i + 1) for i in range(5)), values) is None


def test_masked_rows_are_all_intervals_of_the_length():
    class Sums:
        n_players = 4

        def __call__(self, coalitions):
            return np.stack([coalitions @ [1.0, 2, 4, 8], np.full(len(coalitions), 10.0)], 1)

    rows = masked(Sums(), (1, 3))
    assert [row["start"] for row in rows] == [-1, 0, 1, 2]
    assert [row["logits"][0] for row in rows] == [15, 12, 9, 3]
    found = compared(json.loads(json.dumps(rows)), (1, 3), 0)
    assert (found["flips"], found["control"], found["drop"], found["drop_control"]) == (1, 0.5, 6, 7.5)


def test_bad_options_are_refused(study):
    for options, message in (
        ({"words": [2, 9]}, "3 at least"),
        ({"splits": ["validation"]}, "must be a list of train, dev, test"),
        ({"splits": []}, "must be a list"),
        ({"sentences": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            WrongPredictions(**options)
    asked, context = study(lambda words: 1.0, "short")
    with pytest.raises(ConfigError, match="dev, test of sst2 have no sentence of that length"):
        WrongPredictions(words=[30, 40], head=asked.head).measure(context)
