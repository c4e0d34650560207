"""Tests of preference: readers and their errors, the study from a source to its tables, what it keeps, and `probing score`."""

from __future__ import annotations

import json
import lzma
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import processes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_language_models import corpus, trained, with_heads  # noqa: F401

from probing.behaviour import command, counting
from probing.behaviour.base import LanguageModel
from probing.behaviour.items import Item, split_words
from probing.behaviour.readers import Blimp, Gulordava, Linzen, PairFile, released
from probing.behaviour.scores import Convention, score
from probing.behaviour.templates import Contrastive, Lakretz, MarvinLinzen
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.errors import ConfigError, DataError, EncoderError
from probing.evaluation.paired_tests import holm, mcnemar, sign_flip, sign_flip_mean
from probing.report import behaviour as report
from probing.report.terminal import first_table
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, pair_scores
from probing.studies.minimal_pairs import MinimalPairs


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


PAIRS = "the dogs are lost .\tthe dogs is lost .\tagreement\nthe cat is lost .\tthe cat are lost .\tagreement\n"
PAIRS += "the w1 w2\tw2 the w1\torder\nthe zzz .\tthe yyy .\tnames\nthe dogs\tthe dogs\torder\n"


# Readers.


def test_own_pairs_are_read_from_lines_and_from_json(tmp_path):
    lines = PairFile(str(written(tmp_path / "a.tsv", PAIRS))).items
    assert [(i.number, i.paradigm) for i in lines][:3] == [(0, "agreement"), (1, "agreement"), (2, "order")]
    assert lines[4].identical and not lines[0].identical
    row = {"right": "a b", "wrong": ["a c", "a d"], "group": "g", "target": 1, "facets": {"attractors": 2}}
    [item] = PairFile(str(written(tmp_path / "b.jsonl", json.dumps(row)))).items
    assert (item.paradigm, item.group, item.wrong, item.target) == ("b", "g", ("a c", "a d"), 1)
    assert len(PairFile(str(tmp_path)).items) == 6, "all files of a folder"
    assert len(PairFile(str(tmp_path / "a.tsv"), n=1).items) == 3, "the first of each paradigm"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "a b\tc\nonly one\n", r"a.tsv, line 2: 'only one' is no pair: give right<TAB>wrong"),
        ("a.jsonl", '{"right": "a"}', r"a.jsonl, line 1: a pair is"),
        ("a.jsonl", '{"right": "a", "wrong": "b", "wrogn": 1}', r"line 1: unknown keys wrogn \(allowed: facets, group"),
        ("a.jsonl", '{"right": "a b", "wrong": "b", "target": 1}', r"target=1 must be the place of a word in all texts \(0 to 0\)"),
        ("a.jsonl", "\n{", r"a.jsonl, line 2: no JSON"),
        ("a.tsv", "", r"holds no items for data=pairs"),
        ("a.tsv", "a\tb\tc\td", r"is no pair: .*; several wrong texts are JSON lines, \{\"right\": …, \"wrong\": \[…\]\}"),
        ("a.tsv", 100 * "word ", r"line 1: '(word ){16}…' is no pair"),
        ("a.csv", "a,b", r"a.csv holds no .tsv, .txt or .jsonl file of pairs"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        _ = PairFile(str(written(tmp_path / name, text))).items


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    row = {"right": "a\u2028b", "wrong": "a\u2028c", "paradigm": "p"}
    lines = "\n".join([json.dumps(row, ensure_ascii=False)] * 2)
    assert [item.right for item in PairFile(str(written(tmp_path / "a.jsonl", f"{lines}\r\n"))).items] == ["a\u2028b"] * 2
    blimp = {"sentence_good": "a\u2028b", "sentence_bad": "c", "UID": "u", "linguistics_term": "t"}
    [item] = Blimp(str(written(tmp_path / "b.jsonl", json.dumps(blimp, ensure_ascii=False)))).items
    assert item.right == "a\u2028b"


def test_blimp_is_read_from_files_of_paradigms(tmp_path):
    row = {"sentence_good": "A b.", "sentence_bad": "B a.", "UID": "animate_subject_trans", "linguistics_term": "s-selection"}
    (tmp_path / "p.jsonl.xz").write_bytes(lzma.compress((json.dumps(row | {"one_prefix_method": True}) + "\n").encode()))
    [item] = Blimp(str(tmp_path)).items
    assert (item.group, item.facets) == ("argument_structure", {"method": "one_prefix_method"})
    written(tmp_path / "q.jsonl", '{"sentence_good": "a"}')
    with pytest.raises(DataError, match=r"q.jsonl, line 1: a pair has sentence_good, .*; this one has sentence_good"):
        _ = Blimp(str(tmp_path)).items
    with pytest.raises(DataError, match="no such file or folder"):
        _ = Blimp(str(tmp_path / "absent")).items
    with pytest.raises(ConfigError, match=r"holds pairs of sentences, .* add \+experiment=minimal_pairs"):
        Blimp(str(tmp_path)).tasks(None)


def test_linzen_s_capitalised_forms_are_read_as_the_text_has_them(tmp_path):
    written(tmp_path / "x.text", "articles related to bands are old . <eos>\nthe cat near the dogs is old . <eos>\n")
    written(tmp_path / "x.gold", "4\tAre\tIs\t1\n5\tis\tare\t1\n")
    source = Linzen(str(tmp_path), file="x")
    first, second = (item.cut() for item in source.items)
    assert first.texts == ("articles related to bands are", "articles related to bands is") and first.target == 4
    assert second.right.endswith("dogs is") and source.notes[0].startswith("1 gold forms differ from the text in case")
    written(tmp_path / "x.gold", "4\tAre\tIs\t1\n99\tis\tare\t1\n")
    with pytest.raises(DataError, match="x.gold, line 2"):
        _ = Linzen(str(tmp_path), file="x").items


HEADER = "pattern constr_id sent_id correct_number form class type prefix n_attr punct freq len_context len_prefix sent hidden650"


def tab(rows):
    return "\n".join("\t".join(row) for row in [HEADER.split(), *rows]) + "\n"


def forms(key, right, wrong, scores, kind="original", attractors="0"):
    about = [kind, "the dogs near the cat", attractors, "False"]
    for form, cls, (freq, log_p) in ((right, "correct", scores[0]), (wrong, "wrong", scores[1])):
        yield ["P", *key, "plur", form, cls, *about[:2], *about[2:], freq, "4", "5", "the dogs near the cat are <eos>", log_p]


def test_gulordava_s_table_gives_items_and_its_released_scores(tmp_path):
    rows = [*forms(("1", "0"), "are", "is", (("90", "-2.5"), ("99", "-3.5")))]
    rows += [*forms(("1", "1"), "run", "runs", (("5", "-9.0"), ("4", "-8.0")), "generated", "1")]
    path = written(tmp_path / "generated.tab", tab(rows))
    one, other = Gulordava(str(tmp_path)).items
    assert one.texts == ("the dogs near the cat are", "the dogs near the cat is") and one.target == 5
    assert (one.paradigm, other.paradigm) == ("original", "nonce") and other.facets["attractors"] == 1
    scores = [by_model for _, by_model in released(path)]
    assert scores[0] == {"freq": (90.0, 99.0), "hidden650": (-2.5, -3.5)}
    right, wrong = np.array([one["hidden650"] for one in scores]).T
    assert counting.credits_of(right, wrong).tolist() == [1.0, 0.0]
    written(path, tab(rows[:3]))
    with pytest.raises(DataError, match="generated.tab, line 4: the item has no wrong form"):
        _ = Gulordava(str(tmp_path)).items
    written(path, "form\tclass\n")
    with pytest.raises(DataError, match="lacks the columns pattern, constr_id"):
        _ = Gulordava(str(tmp_path)).items


def test_templates_are_read_and_no_class_of_a_pickle_is(tmp_path):
    (tmp_path / "simple_agrmt.pickle").write_bytes(pickle.dumps({"sing": [("the author laughs", "the author laugh")]}))
    npi = {"x": [("no a has ever b", "the a that no c has ever b", "the a has ever b")]}
    (tmp_path / "npi_anim.pickle").write_bytes(pickle.dumps(npi))
    items = MarvinLinzen(str(tmp_path)).items
    assert [item.paradigm for item in items] == ["npi_anim g>i", "npi_anim g>u", "npi_anim i>u", "simple_agrmt"]
    assert items[2].texts == ("the a that no c has ever b .", "the a has ever b .")
    (tmp_path / "simple_agrmt.pickle").write_bytes(pickle.dumps({"a": [Item]}))
    with pytest.raises(DataError, match=r"it holds probing.behaviour.items.Item, and only plain lists of text are read"):
        _ = MarvinLinzen(str(tmp_path)).items
    (tmp_path / "simple_agrmt.pickle").unlink()
    written(tmp_path / "own.tsv", "c\tgood\tbad\nc\tone\n")
    with pytest.raises(DataError, match="own.tsv, line 2"):
        _ = MarvinLinzen(str(tmp_path)).items


def test_number_agreement_tasks_are_paired_by_their_id(tmp_path):
    lines = "The boy greets\tsingular\tcorrect\t1\nThe boys near it greet\tplural\tcorrect\t2\n"
    lines += "The boy greet\tsingular\twrong\t1\nThe boys near it greets\tplural\twrong\t2\n"
    one, other = Lakretz(str(written(tmp_path / "simple.txt", lines))).items
    assert one.texts == ("The boy greets", "The boy greet") and (one.target, other.target) == (2, 4)
    assert (other.paradigm, other.facets) == ("simple", {"condition": "plural"})
    for text, message in ((lines + "a\tb\n", "simple.txt, line 5"), (lines[: lines.index("The boys")], "line 1: the item 1 needs")):
        with pytest.raises(DataError, match=message):
            _ = Lakretz(str(written(tmp_path / "simple.txt", text))).items


def test_contrastive_items_have_all_their_variants(tmp_path):
    row = {"source": "s", "reference": "r", "errors": [{"type": "t", "contrastive": "x", "frequency": 30}, {"contrastive": "y"}]}
    written(tmp_path / "a.json", json.dumps([row]))
    [item] = Contrastive(str(tmp_path)).items
    assert item.texts == ("r", "x", "y") and item.facets == {"sense frequency": "20-50"} and item.source == "s"
    [alone] = Contrastive(str(tmp_path), target_only=True).items
    assert alone == replace(item, source=None)
    written(tmp_path / "a.json", '[{"source": "s"}]')
    with pytest.raises(DataError, match="is no list of items with source, reference and errors"):
        _ = Contrastive(str(tmp_path)).items


@pytest.mark.parametrize("text", ["Who didn't sleep?", "Ann's dog, she said, can't be 'old'.", "a well-known <unk> ."])
def test_split_words_adds_blanks_alone_and_is_stable(text):
    apart = split_words(text)
    assert apart.replace(" ", "") == text.replace(" ", "") and split_words(apart) == apart


# The study.


def context(encoder, source, home, **more):
    return Context(lambda: encoder, list, (0,), ResultStore(home / "cells"), Store(home / "store"), home, lambda: source, **more)


@pytest.fixture
def source(tmp_path):
    return PairFile(str(written(tmp_path / "pairs.tsv", PAIRS)))


def test_a_study_has_a_line_for_each_item_and_its_floors(trained, corpus, source, tmp_path):  # noqa: F811
    encoder = CheckpointEncoder(str(trained("lstm")))
    frame = MinimalPairs(text=str(corpus)).measure(context(encoder, source, tmp_path))
    assert frame.direction.value_counts().to_dict() == {"forward": 5, "backward": 5, "both": 5}
    own = frame[frame.direction == "forward"].set_index("item")
    assert own.identical.tolist() == [False, False, False, True, True], "two unknown words are one text for the model"
    assert own.credit[3] == own.credit[4] == 0.5 and not own.in_vocabulary[3]
    assert own.unigram[2] == 0.5, "the same words in another order"
    assert set(own["random"]) <= {0.0, 0.5, 1.0} and own.shorter.tolist()[0] == 0.0
    both = frame[frame.direction == "both"].set_index("item").difference
    back = frame[frame.direction == "backward"].set_index("item").difference
    assert (own.difference + back).to_numpy() == pytest.approx(both.to_numpy(), abs=1e-6)
    MinimalPairs().report(frame, tmp_path / "report")
    lines = pd.read_csv(tmp_path / "report" / "pairs.csv")
    line = lines[(lines.level == "paradigm") & (lines.name == "order") & lines.protocol.str.startswith("forward")].iloc[0]
    assert (line.n, line.ties, line.identical) == (2, 1 + (own.credit[2] == 0.5), 1)
    assert line.accuracy == pytest.approx(own.credit[own.paradigm == "order"].mean())
    text = (tmp_path / "report" / "table.md").read_text()
    assert "2 items are one text for the model, and tie." in text and "both is the sum of two directions" in text


def test_what_is_scored_once_is_kept_for_other_rules(trained, source, tmp_path, monkeypatch):  # noqa: F811
    encoder = CheckpointEncoder(str(trained("transformer")))
    first = MinimalPairs(floors=[]).measure(context(encoder, source, tmp_path))
    calls = []
    monkeypatch.setattr(pair_scores, "score", lambda *args: calls.append(args))
    again = MinimalPairs(floors=[], normalise="token", tolerance=0.5).measure(context(encoder, source, tmp_path))
    assert not calls and len(again) == len(first) and again.protocol[0].endswith("by token")
    with pytest.raises(AttributeError):  # mutant: another convention is another score
        MinimalPairs(floors=[], end="score").measure(context(encoder, source, tmp_path))


def test_the_random_twin_is_scored_as_the_model_is(trained, tmp_path):  # noqa: F811
    """Of a model that is its own twin the credits are the same, whatever a score is divided by."""
    text = "the dogs are lost .\tthe dogs\nthe cat\tthe cat is lost .\nthe dogs are\tthe cat is lost .\n"
    source, encoder = PairFile(str(written(tmp_path / "a.tsv", text))), CheckpointEncoder(str(trained("transformer")))
    encoder.random_twin = lambda seed: encoder
    credits = {}
    for how in ("sum", "token"):
        frame = MinimalPairs(floors=["random"], normalise=how).measure(context(encoder, source, tmp_path))
        assert frame["random"].tolist() == frame.credit.tolist()
        credits[how] = frame.credit.tolist()
    assert credits["sum"] != credits["token"]


def test_a_killed_study_goes_on_at_the_next_paradigm(trained, source, tmp_path, monkeypatch):  # noqa: F811
    encoder, real, calls = CheckpointEncoder(str(trained("transformer"))), pair_scores.score, []

    def dies(model, texts, convention):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, texts, convention)

    monkeypatch.setattr(pair_scores, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        MinimalPairs(floors=[]).measure(context(encoder, source, tmp_path))
    MinimalPairs(floors=[]).measure(context(encoder, source, tmp_path))
    assert calls == [4, 4, 4, 2], "agreement is not scored again"


class Constant(LanguageModel):
    """Gives every token the same probability."""

    starts = True

    def tokenize(self, texts):
        return [[hash(word) % 1000 for word in text.split()] for text in texts], 0

    def word_ids(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def picked(self, items, places, targets):
        return [torch.zeros(len(some)) for some in places]

    @property
    def description(self):
        return {"constant": 1}

    @property
    def name(self):
        return "constant"


def test_a_constant_model_is_right_half_of_the_time_with_ties_alone(source, tmp_path, monkeypatch, toy_encoder):
    monkeypatch.setattr("probing.studies.minimal_pairs.language_models", lambda encoder, sources: [Constant(encoder)])
    frame = MinimalPairs(floors=["shorter"]).measure(context(toy_encoder, source, tmp_path))
    line = report.pairs(frame).iloc[-1]
    assert (line.accuracy, line.ties, line.n) == (0.5, 5, 5)


def test_a_text_that_is_too_long_is_counted_and_left_out(trained, source, tmp_path):  # noqa: F811
    encoder = CheckpointEncoder(str(trained("transformer")), max_length=5)
    frame = MinimalPairs(floors=[]).measure(context(encoder, source, tmp_path))
    assert frame.unscored.tolist()[:2] == ["longer than the model can read"] * 2 and frame.credit.isna().tolist()[:3] == [
        True,
        True,
        False,
    ]
    assert report.pairs(frame).iloc[-1].unscored == 2
    short = CheckpointEncoder(str(trained("transformer")), max_length=3)
    with pytest.raises(ConfigError, match="none of 5 items of data=pairs could be scored"):
        MinimalPairs(floors=[]).measure(context(short, source, tmp_path))


def test_a_word_in_context_is_scored_alone(trained, tmp_path):  # noqa: F811
    row = {"right": "the dogs near the cat are lost .", "wrong": "the dogs near the cat is lost .", "target": 5}
    source = PairFile(str(written(tmp_path / "a.jsonl", json.dumps(row))))
    forward = MinimalPairs(floors=[]).measure(context(CheckpointEncoder(str(trained("transformer"))), source, tmp_path))
    encoder = CheckpointEncoder(str(trained("masked")))
    prefix, sentence = (
        MinimalPairs(floors=[], context=how).measure(context(encoder, source, tmp_path)) for how in ("prefix", "sentence")
    )
    assert len(forward) == 1 and prefix.difference[0] != sentence.difference[0]
    assert sentence.protocol[0].endswith("both sides of the word")
    [tokens] = [command.ranked(command.language_models(CheckpointEncoder(str(trained("transformer"))))[0], row[k], Convention())
                for k in ("right",)]  # fmt: skip
    other = command.ranked(command.language_models(CheckpointEncoder(str(trained("transformer"))))[0], row["wrong"], Convention())
    assert forward.difference[0] == pytest.approx(tokens[5].log_p - other[5].log_p, abs=1e-5)


def test_one_unknown_word_takes_a_pair_out_of_the_vocabulary(trained, tmp_path):  # noqa: F811
    source = PairFile(str(written(tmp_path / "a.tsv", "the dogs\tthe zzz\nthe cat\tthe dogs\n")))
    frame = MinimalPairs(floors=[]).measure(context(CheckpointEncoder(str(trained("transformer"))), source, tmp_path))
    assert frame.in_vocabulary.tolist() == [False, True] and not frame.identical.any()


def rows_of(paradigms, encoder="e", floor="unigram"):
    """Rows of a run: of each paradigm the credits of the model and of a floor."""
    parts = [pd.DataFrame({"paradigm": name, "group": "g", "credit": a, floor: b}) for name, (a, b) in paradigms.items()]
    frame = pd.concat(parts, ignore_index=True).reset_index(names="item")
    absent = {name: np.nan for name in counting.FLOORS if name != floor}
    about = {"data": "d", "kind": "PairFile", "encoder": encoder, "protocol": "forward, start=mark", "direction": "forward"}
    return frame.assign(**about, **absent, chance=0.5, in_vocabulary=True, identical=False, unscored="", lost=False, difference=0.0)


def test_the_difference_that_is_shown_is_the_one_that_is_tested():
    """Far worse on 300 items of one paradigm, better on both items of another: better in the mean, and no evidence of it."""
    uneven = {"long": ([0.0] * 60 + [1.0] * 240, [1.0] * 300), "short": ([1.0, 1.0], [0.0, 0.0])}
    line = report.pairs(rows_of(uneven)).iloc[-1]
    assert line.accuracy > line.unigram and not line.beats_floor and line.p_floor == pytest.approx(0.5, abs=0.01)
    turned = {name: (b, a) for name, (a, b) in uneven.items()}
    frame = pd.concat([rows_of(uneven, "a"), rows_of(turned, "b")])
    whole = report.comparisons(frame).query("level == 'all'").iloc[0]
    assert whole.difference == pytest.approx(0.4) == whole.accuracy_a - whole.accuracy_b and whole.p > 0.4
    alike = {name: ([1.0] * 9, [0.0] * 8 + [1.0]) for name in "pq"}
    line = report.pairs(rows_of(alike)).iloc[-1]
    assert line.beats_floor and line.p_floor == pytest.approx(2 / 2**16)


def test_half_credits_count_in_the_test_against_the_floor():
    """Nine ties against nine errors of the floor: nine halves of one sign."""
    verdict = report.pairs(rows_of({"p": ([0.5] * 9, [0.0] * 9)})).iloc[-1]
    assert (verdict.floor, verdict.beats_floor) == ("unigram", True) and verdict.p_floor == pytest.approx(2 / 2**9)


@pytest.mark.shared
def test_a_character_model_reads_a_word_to_its_end(shared, tmp_path):
    """Without the blank behind it the beginning of a word would always win."""
    folder = shared / "data" / "weights" / "textgenrnn"
    encoder = TextgenrnnEncoder(*(str(folder / name) for name in ("textgenrnn_weights.hdf5", "textgenrnn_vocab.json")))
    row = {"right": "What the best man wants", "wrong": "What the best man want", "target": 4}
    source = PairFile(str(written(tmp_path / "a.jsonl", json.dumps(row))))
    frame = MinimalPairs(floors=[]).measure(context(encoder, source, tmp_path))
    assert frame.credit[0] == 1.0, "wants is more probable than want"
    [open_] = score(command.language_models(encoder)[0], [(row["wrong"], 4)], Convention()).log_p
    [whole] = score(command.language_models(encoder)[0], [(row["right"], 4)], Convention()).log_p
    assert open_.sum() > whole.sum()


def test_slor_takes_what_words_give_away(trained, corpus, source, tmp_path):  # noqa: F811
    encoder = CheckpointEncoder(str(trained("transformer")))
    frame = MinimalPairs(normalise="slor", text=str(corpus), floors=[]).measure(context(encoder, source, tmp_path))
    plain = MinimalPairs(normalise="token", floors=[]).measure(context(encoder, source, tmp_path))
    assert frame.difference[2] == pytest.approx(plain.difference[2], abs=1e-5), "the same words have the same unigram scores"
    assert abs(frame.difference[0] - plain.difference[0]) > 1e-3
    with pytest.raises(ConfigError, match="slor needs study.text"):
        MinimalPairs(normalise="slor")


def test_encoders_are_compared_on_the_same_items(trained, source, tmp_path):  # noqa: F811
    frames = [MinimalPairs(floors=["shorter"]).measure(context(CheckpointEncoder(str(trained(kind))), source, tmp_path))
              for kind in ("transformer", "masked", "lstm")]  # fmt: skip
    compared = report.comparisons(pd.concat(frames))
    whole = compared[compared.level == "all"]
    assert len(whole) == 3 and (whole.differs == "protocol").sum() == 2, "masked against forward is marked"
    one = whole.iloc[0]
    a, b = (frame.set_index("item").credit for frame in frames[:2])
    wanted = (a - b).groupby(frames[0].set_index("item").paradigm).mean().mean()
    assert one.difference == pytest.approx(wanted) == one.accuracy_a - one.accuracy_b
    assert whole.p_holm.tolist() == pytest.approx(holm(whole.p).tolist())


def test_the_sign_flip_test_of_right_and_wrong_is_mcnemar_s():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 40)) < [[0.7], [0.5]]
    assert sign_flip(a.astype(int) - b) == mcnemar(a, b) < 1
    patterns = np.array(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1).T @ [2, 1, 1, 2]
    assert sign_flip([2, 1, 1, 2]) == pytest.approx(np.mean(np.abs(patterns) >= 6))


@given(st.lists(st.tuples(st.sampled_from([-1, -0.5, 0, 1 / 3, 1]), st.sampled_from("abc")), min_size=1, max_size=9))
def test_the_sign_flip_test_of_a_mean_over_strata_is_the_share_of_all_patterns(items):
    d, strata = np.array([x for x, _ in items]), np.array([name for _, name in items])
    weights = d / [(strata == name).sum() for name in strata] / len(set(strata))
    signs = np.array(np.meshgrid(*[[1, -1]] * len(d))).reshape(len(d), -1)
    mean, p = sign_flip_mean(d, strata)
    assert mean == pytest.approx(weights.sum())
    assert p == pytest.approx(np.mean(np.abs(weights @ signs) >= abs(mean) - 1e-12))


def test_the_sign_flip_test_of_many_uneven_strata_rejects_as_often_as_it_says():
    """Sizes without a small common multiple: rounded weights of few items, the normal approximation of many."""
    rng = np.random.default_rng(2)
    for sizes in ([7, 11, 13, 17, 19], [701, 997, 1201, 1303]):
        strata = np.repeat(np.arange(len(sizes)), sizes)
        p = np.array([sign_flip_mean(rng.choice([-1, 0, 1], len(strata)), strata)[1] for _ in range(200)])
        assert 0.01 < (p < 0.05).mean() < 0.1 and 0.4 < (p < 0.5).mean() < 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalise": "mean"}, r"study.normalise='mean' is unknown \(allowed: sum, token, character, byte, word, slor\)"),
        ({"floors": ["bigram"]}, r"study.floors: bigram unknown \(allowed: unigram, trigram, shorter, random\)"),
        ({"floors": ["unigram"]}, "n-gram floors need study.text"),
        ({"words": "cut"}, r"study.words='cut' is unknown \(allowed: null, as_is, split\)"),
        ({"masking": "none"}, "masking='none' is unknown"),
        ({"tolerance": -1}, "study.tolerance=-1 must be at least 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MinimalPairs(**options)


# Commands.


def test_the_first_table_of_a_report_is_short_on_the_terminal():
    lines = [f"| {k} |  | x |" for k in range(40)]
    text = first_table("\n".join(["# T", "", "| n | b | c |", "|---|---|---|", *lines, "prose | and", "", "| other |"]))
    assert text.splitlines()[:2] == ["n   b  c", "0      x"] and text.splitlines()[-1] == "… 12 more lines in table.md"
    assert len(text.splitlines()) == 30 and first_table("no table\n") == first_table("") == ""


def probing(*words, verb="run"):
    return processes.run("-m", "probing", verb, *map(str, words))


def test_the_command_writes_its_tables_or_says_what_is_missing(trained, source, tmp_path):  # noqa: F811
    words = ["data=pairs", f"data.root={source.root}", f"run.dir={tmp_path / 'out'}"]
    study = ["+experiment=minimal_pairs", "study.directions=forward", "study.floors=[shorter]"]
    done = probing(*words, *study, "encoder=checkpoint", f"encoder.path={trained('lstm')}")
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "out" / "runs").iterdir()
    assert {"pairs.csv", "compare.csv", "facets.csv", "table.md", "rows.csv", "manifest.json"} <= {x.name for x in folder.iterdir()}
    head, line, *_ = done.stdout.splitlines()
    assert head.split()[:4] == ["encoder", "protocol", "n", "accuracy"] and " 5 " in line, "the table of all items"
    done = probing(*words, *study, "encoder=lstm")
    assert done.returncode == 2 and "has no language-model head: behaviour needs" in done.stderr
    done = probing(*words, "encoder=lstm")
    assert done.returncode == 2 and "add +experiment=minimal_pairs" in done.stderr and "Traceback" not in done.stderr


def test_probing_score_prints_tokens_with_their_ranks(trained, tmp_path):  # noqa: F811
    path = f"encoder.path={trained('transformer')}"
    done = probing("encoder=checkpoint", path, "text=The dogs, zzz aren't lost.", verb="score")
    assert done.returncode == 0, done.stderr
    head, _, names, *lines = done.stdout.splitlines()
    assert "forward, start=mark, end=leave, punctuation and clitics apart" in head and names.split() == [
        "piece",
        "log",
        "p",
        "rank",
    ]
    pieces = [line.split() for line in lines]
    assert [row[0] for row in pieces] == ["the", "dogs", "<unk>", "<unk>", "are", "<unk>", "lost", ".", "sum"]
    assert sum(float(row[1]) for row in pieces[:-1]) == pytest.approx(float(pieces[-1][1]), abs=1e-3)
    assert all(int(row[2]) >= 1 for row in pieces[:-1]) and pieces[2][-1] == "unknown"
    done = probing("encoder=checkpoint", path, "text=a", "tokns=true", verb="score")
    assert done.returncode == 2 and "unknown key 'tokns'; did you mean 'tokens'?" in done.stderr


def test_scores_of_a_file_and_mistakes_of_the_command(trained, tmp_path):  # noqa: F811
    encoder = CheckpointEncoder(str(trained("transformer")))
    texts = written(tmp_path / "a.txt", "the dogs\n\nthe cat is lost .\n")
    lines = command.Score(file=str(texts)).run(encoder).splitlines()
    assert [line.split()[1] for line in lines[3:]] == ["2", "5"]
    with pytest.raises(EncoderError, match="encoder.path='/nowhere': no such folder"):
        command.Score(text="a").run(CheckpointEncoder("/nowhere"))
    with pytest.raises(EncoderError, match="holds no config.json"):
        command.language_models(CheckpointEncoder(str(tmp_path)))
    for options, message in (
        ({}, "give one of text"),
        ({"text": "a", "end": "x"}, r"end='x' is unknown \(allowed: leave, score\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            command.Score(**options).run(encoder)
    with pytest.raises(DataError, match=r"is longer than .* can read \(3 tokens\)"):
        command.Score(text="the dogs are lost").run(CheckpointEncoder(str(trained("transformer")), max_length=3))


def test_texts_that_are_too_long_are_named_in_short(trained, tmp_path):  # noqa: F811
    encoder, long = CheckpointEncoder(str(trained("transformer")), max_length=4), "the dogs " * 9000
    one = command.Score(file=str(written(tmp_path / "a.txt", f"the dogs\n{long}\n"))).run(encoder)
    assert "too long" in one and len(one) < 600
    with pytest.raises(DataError, match=r"no sentence can be scored: each is longer than .* can read \(4 tokens\)"):
        command.Score(file=str(written(tmp_path / "a.txt", long))).run(encoder)
    with pytest.raises(DataError, match=r"'(the dogs ?)+…' is longer than") as error:
        command.Score(text=long).run(encoder)
    assert len(str(error.value)) < 300


def test_a_masking_that_has_no_effect_is_named(trained, tmp_path, monkeypatch):  # noqa: F811
    lines = []
    monkeypatch.setattr(command, "info", lines.append)
    for kind in ("transformer", "masked"):
        command.Score(text="the dogs", masking="original").run(CheckpointEncoder(str(trained(kind))))
        command.Score(text="the dogs").run(CheckpointEncoder(str(trained(kind))))
    assert len(lines) == 1 and lines[0].startswith("masking=original has no effect: ")
    monkeypatch.setattr("probing.studies.minimal_pairs.info", lines.append)
    source = PairFile(str(written(tmp_path / "a.tsv", "the dogs\tdogs the\n")))
    encoder = CheckpointEncoder(str(trained("lstm")))
    MinimalPairs(floors=[], masking="original").measure(context(encoder, source, tmp_path))
    assert sum("has no effect" in line for line in lines) == 2 and "1 item of data=pairs, 2 texts" in lines


def test_ranks_count_from_the_most_probable(tiny, tmp_path):
    for encoder, _ in with_heads(tiny, tmp_path):
        [model] = command.language_models(encoder)
        items, _ = model.tokenize(["the dog sees a cat"])
        tokens = command.ranked(model, "the dog sees a cat", Convention())
        assert len(tokens) == len([w for w in model.word_ids(["the dog sees a cat"])[0] if w is not None]) - (
            model.kind == "causal" and model.begin is None
        )
        size = model.log_probabilities(items)[0].shape[1]
        assert all(1 <= token.rank <= size for token in tokens)
