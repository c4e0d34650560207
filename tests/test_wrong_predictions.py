"""Wrong predictions that hang on one coalition flip without it; those that hang on single words have no coalition."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from planted import PlantedEncoder
from statsmodels.stats.multitest import multipletests

from probing.data.loading import load
from probing.data.split import Split
from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.evaluation.paired_tests import mcnemar
from probing.interactions import TableGame
from probing.interactions.game import all_coalitions, shapley, shapley_values
from probing.interactions.text.heads import LinearHead, classifier
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.wrong_predictions import WrongPredictions, compared, masked, matched, nearest, scores, top


@pytest.fixture
def study(tmp_path):
    """Sentences of 8 words with "not bad …" within, labelled 0 (read wrongly) or 1 (read rightly), and a planted classifier."""

    def make(value, name, more=""):
        rng = np.random.default_rng(0)
        for split in ("train", "dev", "test"):
            drawn = enumerate(rng.integers(9, 999, (12, 6 - len(more.split()))).astype(str))
            lines = [f"{k % 2} " + " ".join([*w[:3], "not", "bad", *more.split(), *w[3:]]) for k, w in drawn]
            (tmp_path / f"stsa.binary.{split}").write_text("\n".join(lines) + "\n")
        encoder = PlantedEncoder(value, name)
        head = LinearHead(
            np.array([[0.0], [1.0]]), np.array([1.0, 0.0]), ("0", "1"), 0, "cls", {"fingerprint": fingerprint(encoder)}
        )
        head.save(tmp_path / name)
        asked = WrongPredictions(10, [8, 8], ["dev", "test"], str(tmp_path / name))
        return asked, Context(
            lambda: encoder, lambda: [load("sst2", tmp_path)], (0,), ResultStore(tmp_path / "kept"), Store(tmp_path / "s"), tmp_path
        )

    return make


def test_masking_the_coalition_always_flips_and_others_as_often_as_they_touch_it(study, tmp_path):
    asked, context = study(lambda words: 3.0 * ({"not", "bad"} <= words), "product")
    frame = asked.measure(context)
    assert len(frame) == 20 and frame.wrong.sum() == 10 and set(frame.words) == {"not bad"}
    assert set(zip(frame.start, frame.stop, strict=True)) == {(3, 5)} and (frame.flips == 1).all()
    assert np.allclose(frame.flips_others, 2 / 6)  # of the six other pairs of neighbours two share a word with it
    assert frame.same_words.all() and (frame.flips_words == 1).all()  # each word has half of the product in all contexts
    assert not frame.same_alone.any() and (frame.start_alone == 0).all() and (frame.flips_alone == 0).all()  # alone it has nothing
    table = scores(frame).set_index("predictions")
    for kind in ("wrong", "right"):
        row = table.loc[kind]
        assert row.difference_others == pytest.approx(2 / 3) and row.difference_others_low == pytest.approx(2 / 3)
        assert row.p_others == mcnemar([True] * 10, frame.flips_one[frame.wrong == (kind == "wrong")] == 1) < 0.2
        assert row.difference_words == row.drop_difference_words == 0 and row.p_words == 1
        assert row.difference_alone == 1 and row.p_alone == pytest.approx(2 / 2**10)
    tests = ["p_others", "p_alone", "p_words"]
    holm = multipletests(table[tests].to_numpy().ravel(), method="holm")[1]
    np.testing.assert_allclose(table[[f"{name}_holm" for name in tests]].to_numpy().ravel(), holm)
    before, kept = context.encoder.sentences, len(list((tmp_path / "kept").iterdir()))
    pd.testing.assert_frame_equal(asked.measure(context), frame)
    assert len(list((tmp_path / "kept").iterdir())) == kept == 60  # interactions, masked intervals and words of 20 sentences
    assert context.encoder.sentences - before == 24  # the predictions of all sentences, nothing masked
    frame.to_csv(tmp_path / "rows.csv", index=False)
    asked.report(pd.read_csv(tmp_path / "rows.csv"), tmp_path)
    said = (tmp_path / "table.md").read_text()
    assert "| sst2 | product | wrong | delete | 10 | 10 | 2.0 | 100.0 | 33.3 | 0.0 | 100.0 | 0 %, 100 % |" in said
    assert (
        "| sst2 | product | wrong | 66.7 [66.7, 66.7] |" in said and "| 100.0 [100.0, 100.0] | 0.012 | 0.0 [0.0, 0.0] | 1 |" in said
    )
    assert said.count("| product | 1 | not bad |") == 3
    assert "| sst2 | product | 10 | 2.000 | 2.000 | 0.0000 | 100.0 | 100.0 | 0.0 [0.0, 0.0] | 1 |" in said


def test_a_coalition_that_the_context_silences_flips_less_than_the_words_that_carry_the_prediction(study):
    """v = 2 [not bad] [no end] + 1.25 [fine] + 1.25 [film]: alone "not bad" is worth most, in the sentence it is worth nothing."""

    def value(words):
        return 2.0 * ({"not", "bad"} <= words and "end" not in words) + 1.25 * ("fine" in words) + 1.25 * ("film" in words)

    asked, context = study(value, "silenced", "end fine film")
    frame = asked.measure(context)
    assert set(frame.words) == {"not bad"} and not frame.same_words.any()
    assert set(frame.start_words - frame.start) == {3}  # not bad end fine film
    assert (frame.flips == 0).all() and (frame.flips_words == 1).all() and np.allclose(frame.drop_words, 2.5)
    assert (scores(frame).difference_words == -1).all() and (scores(frame).p_words_holm < 0.05).all()


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
    assert top(((0, 2), (2, 4), (4, 5)), phi) == (2, 4) and top(((0, 5),), phi) is None
    assert top(tuple((i, i + 1) for i in range(5)), phi) is None


def test_masked_rows_are_all_intervals_of_the_length():
    class Sums:
        n_players = 4

        def __call__(self, coalitions):
            return np.stack([coalitions @ [1.0, 2, 4, 8], np.full(len(coalitions), 10.0)], 1)

    rows = masked(Sums(), (1, 3))
    assert [row["start"] for row in rows] == [-1, 0, 1, 2]
    assert [row["logits"][0] for row in rows] == [15, 12, 9, 3]
    words = np.array([[1.0, 9], [2, 0], [4, 0], [8, 0]])
    found = compared(json.loads(json.dumps(rows)), (1, 3), np.array([7.0, 1, 1, 0]), words, 0)
    assert (found["start_alone"], found["flips_alone"], found["drop_alone"]) == (0, 0, 3)
    assert (found["flips"], found["flips_others"], found["drop"], found["drop_others"]) == (1, 0.5, 6, 7.5)
    assert (found["start_words"], found["flips_words"], found["drop_words"]) == (2, 1, 12)  # by the predicted class, the first


def test_values_of_words_are_shapleys_and_orders_with_their_reverses_are_exact_up_to_pairs_of_words():
    rng = np.random.default_rng(0)
    game = TableGame(rng.normal(size=(2**6, 2)))
    exact = shapley(game.v)
    np.testing.assert_allclose(shapley_values(game, 64, 0), exact)
    drawn = np.stack([shapley_values(game, 24, seed) for seed in range(400)])
    np.testing.assert_allclose(drawn.sum(1), np.tile(game.v[-1] - game.v[0], (400, 1)))
    error = drawn.std(0, ddof=1) / 20
    assert (error > 0.01).all() and (abs(drawn.mean(0) - exact) < 4 * error).all()
    present = all_coalitions(6).astype(float)
    pairwise = TableGame(present @ rng.normal(size=6) + np.einsum("ci,ij,cj->c", present, rng.normal(size=(6, 6)), present))
    np.testing.assert_allclose(shapley_values(pairwise, 12, 0)[:, 0], shapley(pairwise.v))


def test_pairs_have_the_smallest_sum_of_differences_of_margins():
    rng = np.random.default_rng(0)
    for _ in range(20):
        margins = rng.exponential(size=7)
        chosen, others = np.array([0, 1, 2]), np.array([3, 4, 5, 6])
        found = nearest(margins, chosen, others)
        sums = [abs(margins[chosen] - margins[list(some)]).sum() for some in permutations(others, 3)]
        assert len(set(found)) == 3 and abs(margins[chosen] - margins[found]).sum() == pytest.approx(min(sums))


def test_a_right_prediction_is_drawn_for_its_margin(study):
    """The sentence's number decides its margin; right ones have larger margins, and only those near the wrong ones are taken."""
    asked, context = study(lambda words: 2.0, "margins")
    [task] = context.tasks
    labels = np.array([1] * 20 + [0] * 10)
    task = replace(
        task, **{split: Split(tuple(f"{i} w w w w w w {split}" for i in range(30)), labels) for split in ("dev", "test")}
    )

    def value(words):  # dev: right ones 10, 11, …; test: right ones 10.5, 11.5, …; wrong ones 20, 21, … and 20.5, …
        return 10 + float(next(word for word in words if word.isdigit())) + 0.5 * ("test" in words)

    context.encoder.value = value
    head = LinearHead(np.array([[0.0], [1.0]]), np.array([1.0, 0.0]), ("0", "1"), 0, "cls")
    cases, drawn = asked._draw(context.encoder, task, head, 0)
    wrong, right = cases[::2], cases[1::2]
    assert [pair["pair"] for pair in drawn] == [i for i in range(10) for _ in range(2)]
    assert {case.label for case in wrong} == {"0"} and {case.label for case in right} == {"1"}
    margins = [pair["margin"] for pair in drawn]
    assert margins == [value(set(case.text.split())) - 1 for case in cases]
    assert sorted(margins[1::2]) == [24 + i / 2 for i in range(10)]  # the ten largest of the right ones: 9, 9.5, …, 28.5


def test_matched_pairs_by_hand():
    rows = [(0, True, 1.0, 1, 0), (0, False, 1.1, 0, 0), (1, True, 2.0, 1, 1), (1, False, 2.0, 1, 0), (2, True, 3.0, None, None)]
    rows += [(2, False, 3.0, 0, 0)]  # without a coalition in the wrong one: no pair
    frame = pd.DataFrame(rows, columns=["pair", "wrong", "margin", "flips", "flips_words"]).assign(data="d", encoder="e", seed=0)
    [row] = matched(frame).to_dict("records")
    assert (row["pairs"], row["flips_wrong"], row["flips_right"], row["difference"]) == (2, 1.0, 0.5, 0.5)
    assert row["difference_words"] == (1 + 0) / 2 - (0 + 1) / 2 and row["margin_gap"] == pytest.approx(0.05)
    assert row["p"] == row["p_holm"] == 1
    assert matched(frame[frame.wrong]).empty


def test_bad_options_are_refused(study):
    for options, message in (
        ({"words": [2, 9]}, "3 at least"),
        ({"splits": ["validation"]}, "must be a list of train, dev, test"),
        ({"splits": []}, "must be a list"),
        ({"sentences": 0}, "at least 1"),
        ({"budget": 39}, "at least 40"),
    ):
        with pytest.raises(ConfigError, match=message):
            WrongPredictions(**options)
    asked, context = study(lambda words: 1.0, "short")
    with pytest.raises(ConfigError, match="dev, test of sst2 have no sentence of that length"):
        WrongPredictions(words=[30, 40], head=asked.head).measure(context)


def test_a_classifier_that_is_always_right_or_always_wrong_is_refused(study):
    asked, context = study(lambda words: 2.0, "all")
    [task] = context.tasks
    head = classifier(context.encoder, task, asked.head, context.home)
    for label, message in ((1, "gets all of 24"), (0, "gets none of 24")):
        labels = np.full(12, label)
        one_class = replace(task, dev=replace(task.dev, labels=labels), test=replace(task.test, labels=labels))
        with pytest.raises(ConfigError, match=message):
            asked._draw(context.encoder, one_class, head, 0)
