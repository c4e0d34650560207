"""Sources with gold words: hand-made files of every format, laws of splits, messages for broken rows, the released files."""

from __future__ import annotations

import json
import lzma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.data.rationales import Eraser, ESnli, FairRationales, Geco, SstTrees
from probing.data.readers.rationales import read_eraser, read_esnli, read_fair, read_geco, read_trees
from probing.errors import ConfigError, DataError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def twin(number, noun=("man", "woman")):
    pair = zip(("male", "female"), noun, strict=True)
    return [
        {"sentence": ["the", word, f"no{number}"], "ground_truth": [0, 1, 0], "gender": gender, "target": 0, "sentence_idx": number}
        for gender, word in pair
    ]


@pytest.fixture
def geco(tmp_path):
    torn = [{**row, "ground_truth": [0, 0, 0]} for row in twin(99, ("cat", "cat"))]
    jsonl(tmp_path / "binary_gender_all_train.jsonl", [*(row for k in range(20) for row in twin(k)), *torn])
    jsonl(tmp_path / "binary_gender_all_test.jsonl", [row for k in range(20, 26) for row in twin(k)])
    return Geco(str(tmp_path))


def test_twins_share_a_split_and_a_text_with_two_labels_is_out(geco):
    [task] = geco.tasks(None)
    assert task.classes == ("female", "male") and [len(split) for split in task.splits.values()] == [36, 4, 12]
    groups = [set(split.groups) for split in task.splits.values()]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2] and "99" not in set.union(*groups)
    assert all(len(split) == 2 * split.n_groups for split in task.splits.values())
    row = geco.gold("the  woman no3")
    assert row.marks.tolist() == [[False, True, False]] and (row.label, row.group) == ("female", "3")


def test_gold_of_another_text_and_another_task_are_refused(geco):
    with pytest.raises(DataError, match="no marked words for 'a dog'"):
        geco.gold("a dog")
    with pytest.raises(ConfigError, match="has the task geco_all alone"):
        geco.tasks(["tense"])
    assert geco.tasks(["geco_all"]) == geco.tasks(None)
    with pytest.raises(ConfigError, match="allowed: all, subj"):
        Geco("x", variant="both")
    with pytest.raises(DataError, match="no folder x"):
        Geco("x").tasks(None)
    with pytest.raises(DataError, match="holds no binary_gender_subj_train.jsonl, binary_gender_subj_test.jsonl"):
        Geco(geco.root, variant="subj").tasks(None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab \u00a0", max_size=5), st.booleans()), min_size=1, max_size=6))
def test_a_word_is_what_split_gives_and_keeps_the_mark_of_its_token(tmp_path_factory, tokens):
    row = {"sentence": [token for token, _ in tokens], "ground_truth": [int(mark) for _, mark in tokens]}
    path = jsonl(tmp_path_factory.mktemp("one") / "f.jsonl", [row | {"gender": "male", "sentence_idx": 1}])
    words = [(word, mark) for token, mark in tokens for word in token.split()]
    if not words:
        with pytest.raises(DataError, match="no word"):
            list(read_geco(path))
        return
    [one] = read_geco(path)
    assert list(zip(one.words, one.marks[0].tolist(), strict=True)) == words and one.text.split() == list(one.words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ground_truth": [0, 1]}, "line 1: 3 words need as many marks"),
        ({"ground_truth": [0, 2, 0]}, "each 0 or 1"),
        ({"sentence": "the man x"}, "the words must be a list of texts"),
        ({"gender": None, "sentence": None}, "the words must be a list"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path, change, message):
    path = jsonl(tmp_path / "f.jsonl", [twin(1)[0] | change])
    with pytest.raises(DataError, match=message) as problem:
        list(read_geco(path))
    assert str(path) in str(problem.value)


def test_a_missing_key_and_a_line_that_is_no_object_are_named(tmp_path):
    path = jsonl(tmp_path / "f.jsonl", [{"sentence": ["a"]}])
    with pytest.raises(DataError, match="line 1: no key 'ground_truth' \\(there are sentence\\)"):
        list(read_geco(path))
    row = json.dumps(twin(1)[0])
    path.write_text(f"{row}\n\n")
    assert len(list(read_geco(path))) == 1  # a blank line at the end is none
    path.write_text('{"sentence": [')
    with pytest.raises(DataError, match="line 1: not JSON"):
        list(read_geco(path))
    path.write_text("[1]")
    with pytest.raises(DataError, match="line 1: a row is a JSON object"):
        list(read_geco(path))


def fair_row(number, words, label):
    notes = [{"annotator": k, "label": label, "rationale": [int(k == j) for j in range(len(words))]} for k in range(2)]
    return {"id": number, "words": words, "original_label": label, "annotations": notes, "sst2_split": "train"}


def test_marked_sentences_leave_train_where_sst2_gives_it(tmp_path):
    sst = [("1", f"good thing {k} , really") for k in range(8)] + [("0", f"bad thing {k} , really") for k in range(8)]
    for name in ("train", "dev", "test"):
        (tmp_path / f"stsa.binary.{name}").write_text("".join(f"{label} {text}\n" for label, text in sst))
    rows = [fair_row(0, "Good thing 3, really".split(), "positive"), fair_row(1, "An other one".split(), "negative")]
    jsonl(tmp_path / "sst.jsonl", rows)
    source = FairRationales(str(tmp_path), train=str(tmp_path))
    [task] = source.tasks(None)
    assert (task.name, task.classes, task.test.labels.tolist()) == ("sst2", ("0", "1"), [1, 0])
    assert [len(split) for split in task.splits.values()] == [15, 15, 2] and "good thing 3 , really" not in task.train.texts
    one = source.gold("Good thing 3, really")
    assert one.marks.tolist() == [[True, False, False, False], [False, True, False, False]]
    assert (one.votes, one.label, one.origin) == (("positive", "positive"), "1", "train")


def test_without_sst2_half_of_the_sentences_are_test(tmp_path):
    rows = [fair_row(k, ["w", str(k)], label) for k in range(40) for label in [("negative", "positive")[k % 2]]]
    jsonl(tmp_path / "dynasent.jsonl", rows)
    [task] = FairRationales(str(tmp_path), corpus="dynasent").tasks(None)
    assert len(task.test) == 20 and sum(map(len, task.splits.values())) == 40 and np.bincount(task.test.labels).tolist() == [10, 10]


HEADER = "pairID,gold_label,Sentence1,Sentence2,Sentence1_Highlighted_1,Sentence2_Highlighted_1\n"


def test_esnli_marks_words_of_both_sentences(tmp_path):
    path = tmp_path / "esnli_dev.csv"
    path.write_text(HEADER + '7.jpg#2r1n,neutral,"Two men, here",A dog ran.,{},"2,0"\n')
    [row] = read_esnli(path, "[SEP]")
    assert row.text == "Two men, here [SEP] A dog ran." and row.group == "7.jpg"
    assert np.flatnonzero(row.marks[0]).tolist() == [4, 6]
    [row] = read_esnli(path, "")
    assert np.flatnonzero(row.marks[0]).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "7.jpg#1,neutral,A dog,A cat,{},2\n", "line 2, Sentence2_Highlighted_1: '2' must be numbers of words below 2"),
        (HEADER + "7.jpg#1,neutral,A dog,A cat,{},one\n", "'one' must be numbers"),
        (HEADER + "7.jpg#1,maybe,A dog,A cat,{},1\n", "the label 'maybe'"),
        (HEADER + "7.jpg#1,neutral,A dog,A cat\n", "line 2: another number of columns"),
        ("a,b\n1,2\n", "line 1: e-SNLI's file has a column"),
    ],
)
def test_broken_rows_of_esnli_are_named(tmp_path, content, message):
    path = tmp_path / "esnli_dev.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_esnli(path, "[SEP]"))


def eraser(folder, evidences, **more):
    row = {"annotation_id": "d1", "classification": "POS", "query": "?", "docids": None, "evidences": evidences} | more
    return jsonl(folder / "train.jsonl", [row])


def span(start, stop, name="d1"):
    return {"docid": name, "start_token": start, "end_token": stop, "text": ""}


def test_eraser_reads_documents_of_a_folder_and_of_one_file(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "d1").write_text("a fine film .\nI liked it\n")
    [row] = read_eraser(eraser(tmp_path, [[span(0, 2)], [span(4, 6)]]))
    assert row.text == "a fine film . I liked it" and np.flatnonzero(row.marks[0]).tolist() == [0, 1, 4, 5]
    two = tmp_path / "two"
    two.mkdir()
    jsonl(two / "docs.jsonl", [{"docid": "p", "document": "A dog"}, {"docid": "h", "document": "a cat"}])
    [row] = read_eraser(eraser(two, [[span(1, 2, "h"), span(1, 2, "p")]], docids=["p", "h"]))
    assert row.text == "A dog a cat" and np.flatnonzero(row.marks[0]).tolist() == [1, 3]
    with pytest.raises(DataError, match="an evidence of tokens 1 to 3 of document h, which has 2"):
        list(read_eraser(eraser(two, [[span(1, 3, "h")]])))
    with pytest.raises(DataError, match="no document 'q'"):
        list(read_eraser(eraser(two, [[span(1, 3, "q")]])))


def test_an_eraser_data_set_is_a_task(tmp_path):
    jsonl(tmp_path / "docs.jsonl", [{"docid": f"d{k}", "document": f"text {k}"} for k in range(12)])
    for k, name in enumerate(("train", "val", "test")):
        rows = [
            {"annotation_id": f"d{j}", "classification": ("NEG", "POS")[j % 2], "evidences": [[span(0, 1, f"d{j}")]]}
            for j in range(4 * k, 4 * k + 4)
        ]
        jsonl(tmp_path / f"{name}.jsonl", rows)
    source = Eraser(str(tmp_path), name="movies")
    [task] = source.tasks(["movies"])
    assert task.classes == ("NEG", "POS") and source.gold("text 5").marks.tolist() == [[True, False]]


def test_phrases_of_a_tree_and_words_of_its_side(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("(3 (1 (1 not) (1 bad)) (4 (2 8 1\\/2) (4 great)))\n")
    [row] = read_trees(path)
    assert row.words == ("not", "bad", "8", "1\\/2", "great") and row.label == "3"
    assert row.phrases == ((0, 1, 1), (1, 2, 1), (0, 2, 1), (2, 4, 2), (4, 5, 4), (2, 5, 4), (0, 5, 3))
    assert row.marks.tolist() == [[False, False, False, False, True]]


@pytest.mark.parametrize("line", ["(3 (2 a) (2 b)", "(3 (2 a)) (2 b)", "(7 a)", "a b", "(3 )", "(3 (2 a) b)", "(3 (2 a)))"])
def test_a_line_that_is_no_labelled_tree_is_named(tmp_path, line):
    path = tmp_path / "train.txt"
    path.write_text(f"(3 (2 a) (2 b))\n{line}\n")
    with pytest.raises(DataError, match="line 2: (no labelled tree|the phrase label '7')"):
        list(read_trees(path))


@pytest.mark.shared
def test_the_released_files(shared, tmp_path):
    [task] = (geco := Geco(str(shared / "data/geco"))).tasks(None)
    gold = [geco.gold(text) for text in task.test.texts]
    assert (len(task.test), task.test.n_groups) == (644, 322)  # counts of the reference, §10
    assert sum(len(row.words) <= 10 for row in gold) == 56 and sum(len(row.words) <= 12 for row in gold) == 96
    assert np.median([len(row.words) for row in gold]) >= 18 and round(np.mean([row.marks.sum() for row in gold]), 1) == 3.0
    folder = shared / "data/fair_rationales"
    rows = list(read_fair(folder / "sst.jsonl.xz"))
    kept = sum(vote == row.label for row in rows for vote in row.votes)
    assert len(rows) == 263 and kept == 1401 and {len(row.marks) for row in rows} == {6}
    [task] = (source := FairRationales(str(folder), train=str(shared / "data/sst_sentences"))).tasks(None)
    assert len(task.test) == 263 and 6920 - len(task.train) == sum(source.gold(text).origin == "train" for text in task.test.texts)
    marks = [row.marks for row in read_esnli(shared / "data/esnli/highlight_rows.csv", "[SEP]")]
    assert len(marks) == 4 and not any(one[:, :10].any() for one in marks[:1])  # neutral: the hypothesis alone
    [task] = SstTrees(str(shared / "data/sst_trees_labelled")).tasks(None)
    with lzma.open(shared / "data/sst_sentences/stsa.binary.test.xz", "rt") as file:
        labels = sorted(line[0] for line in file)
    assert [len(split) for split in task.splits.values()] == [6920, 872, 1821] and sorted(map(str, task.test.labels)) == labels


def test_an_esnli_folder_needs_its_three_files(tmp_path):
    with pytest.raises(DataError, match="holds no esnli_train.csv, esnli_dev.csv, esnli_test.csv"):
        ESnli(str(tmp_path)).tasks(None)
