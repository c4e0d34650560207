"""Cards, checks, data cards and subsets of tasks."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probing.data import card as cards
from probing.data import loading, task
from probing.errors import DataError
from probing.paths import TASKS

PAPER = {
    "sentence_length": ("SentLen", 6),
    "word_content": ("WC", 1000),
    "tree_depth": ("TreeDepth", 8),
    "top_constituents": ("TopConst", 20),
    "bigram_shift": ("BShift", 2),
    "past_present": ("Tense", 2),
    "subj_number": ("SubjNum", 2),
    "obj_number": ("ObjNum", 2),
    "odd_man_out": ("SOMO", 2),
    "coordination_inversion": ("CoordInv", 2),
}
"""Names and numbers of classes as the paper and SentEval's README print them (the README's tree depths: 5 to 12)."""

GOOD = "tr\tI\tone\ntr\tO\ttwo\nva\tO\tthree\nte\tI\tfour\n"


def write(folder: Path, content: str = GOOD, name: str = "bigram_shift.txt") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def card(folder: Path, content: str | bytes, name: str = "mine.yaml") -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


def said(function, *args, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*args, **options)
    return str(caught.value)


def made(labels: list[int], name: str = "toy") -> task.Task:
    """A task whose train labels are these; dev and test hold one sentence a class."""
    k = max(labels) + 1
    part = task.Split(tuple(f"other {c}" for c in range(k)), np.arange(k))
    train = task.Split(tuple(f"s{i}" for i in range(len(labels))), np.array(labels, dtype=np.int64))
    return task.Task(name, tuple(f"c{c:03}" for c in range(k)), train, part, part, {"name": name}, "here", "0", "0")


# Cards.


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_card_loads_and_says_what_it_is(path):
    """By name and by path alike; the name is the file's, and SentEval's ten say which file is the official one."""
    found = cards.load_card(path.stem)
    assert found == cards.load_card(str(path))
    assert found["name"] == path.stem and set(found) <= set(cards.CARD_FIELDS)
    assert found["about"].endswith(".") and found["licence"]
    if "files" in found:
        assert found["group"] == "classification" and found["source"].startswith("https://") and found["classes"]
        return
    assert found["file"] == f"{path.stem}.txt" and found["group"] in ("surface", "syntactic", "semantic", "classification")
    assert ("git_blob" in found) == ("source" in found) == (path.stem in cards.SENTEVAL)
    if path.stem in cards.SENTEVAL:
        assert len(bytes.fromhex(found["git_blob"])) == 20
        assert found["source"].startswith("https://") and found["source"].endswith(f"/{found['file']}")


def test_the_ten_tasks_are_the_papers():
    assert {
        name: (c["paper_name"], c.get("n_classes") or len(c["classes"])) for name in PAPER if (c := cards.load_card(name))
    } == PAPER
    assert cards.SENTEVAL == list(PAPER) == cards.names()[:10]
    assert len({cards.load_card(name)["git_blob"] for name in PAPER}) == 10


def test_an_unknown_task_gets_the_nearest_name_and_all_of_them():
    message = said(cards.load_card, "tree_dept")
    assert "unknown task 'tree_dept'" in message and "did you mean 'tree_depth'?" in message
    assert all(name in message for name in cards.names()) and "card.yaml" in message
    assert "did you mean" not in said(cards.load_card, "zzzzzz")


def test_a_card_of_ones_own_works_by_path(tmp_path):
    """Relative file names are found in the data folder, and the labels come from the file."""
    path = card(tmp_path, "name: mine\nfile: own.txt\n")
    write(tmp_path, GOOD.replace("\tI\t", "\tyes\t").replace("\tO\t", "\tno\t"), "own.txt")
    loaded = loading.load(path, tmp_path)
    assert (loaded.name, loaded.paper_name, loaded.classes) == ("mine", "mine", ("no", "yes"))
    assert loaded.train.texts == ("one", "two") and loaded.train.labels.tolist() == [1, 0]
    assert (loaded.dev.texts, loaded.dev.labels.tolist()) == (("three",), [0])
    assert (loaded.test.texts, loaded.test.labels.tolist()) == (("four",), [1])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("name: mine\nfile: f.txt\nmetrics: accuracy\n", ["unknown field 'metrics'", "did you mean 'metric'?"]),
        ("name: mine\nfile: f.txt\n7: x\n", ["unknown field 7"]),
        ("name: mine\n", ["the field 'file' is missing", cards.CARD_FIELDS["file"]]),
        ("file: f.txt\n", ["the field 'name' is missing"]),
        ("name: mine\nfile:\n", ["the field 'file' is missing"]),
        ("name: mine\nfile: f.txt\nmetric: bleu\n", ["'bleu'", "allowed: accuracy"]),
        ("name: [mine\nfile: f.txt\n", ["not valid YAML", "line"]),
        ("name: a: b\n", ["not valid YAML"]),
        ("- name\n- file\n", ["must be a mapping", *cards.CARD_FIELDS]),
        ("", ["must be a mapping"]),
        (b"name: mine\nfile: caf\xe9.txt\n", ["UTF-8"]),
    ],
)
def test_a_wrong_card_is_named_with_what_is_allowed(tmp_path, content, parts):
    path = card(tmp_path, content)
    message = said(cards.load_card, path)
    for part in (path, *parts):
        assert part in message


def test_a_missing_card_file_is_named(tmp_path):
    path = str(tmp_path / "nothing.yaml")
    assert said(cards.load_card, path) == f"no card {path}"


# Loading.


def test_a_missing_folder_and_a_missing_file_are_named(tmp_path):
    message = said(loading.load, "bigram_shift", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message and "data.root" in message and "bigram_shift.txt" in message
    message = said(loading.load, "bigram_shift", tmp_path)
    for part in ("task bigram_shift", "no bigram_shift.txt", ".gz, .xz", str(tmp_path), "data.root"):
        assert part in message


@pytest.mark.parametrize("code,name", [("tr", "train"), ("va", "dev"), ("te", "test")])
def test_a_missing_split_is_named(tmp_path, code, name):
    path = write(tmp_path, "".join(line for line in GOOD.splitlines(True) if not line.startswith(code)))
    message = said(loading.load, "bigram_shift", tmp_path)
    for part in (str(path), f"the {name} split ({code})", "bigram_shift", "tr, va and te"):
        assert part in message


@pytest.mark.parametrize("code,name", [("va", "dev"), ("te", "test")])
def test_a_label_that_train_does_not_know_is_named_with_line_and_nearest(tmp_path, code, name):
    path = write(tmp_path, f"tr\tPAST\tone\ntr\tPRES\ttwo\nva\tPAST\t3\nte\tPRES\t4\n{code}\tPASTT\t5\n", "past_present.txt")
    message = said(loading.load, "past_present", tmp_path)
    for part in (f"{path}, line 5", "'PASTT'", f"of the {name} split", "does not occur in train", "did you mean 'PAST'?"):
        assert part in message


def test_a_label_that_only_train_has_is_allowed_and_noted(tmp_path):
    """The negative control: the other direction is no error, but the data card says so."""
    write(tmp_path, GOOD)
    loaded = loading.load("bigram_shift", tmp_path)
    assert "1 of 2 classes have no sentence in dev" in loaded.data_card["notes"]
    assert not any("in train" in note for note in loaded.data_card["notes"])


def test_one_label_only_is_refused(tmp_path):
    path = write(tmp_path, "tr\tI\tone\nva\tI\ttwo\nte\tI\tthree\n")
    message = said(loading.load, "bigram_shift", tmp_path)
    assert str(path) in message and "'I'" in message and "one label only" in message


def test_rows_of_other_tasks_are_left_out(tmp_path):
    """In a file with a task column each card reads its own rows, and the labels of the others do not leak in."""
    mine, other = ("".join(f"{name}\t{row}" for row in GOOD.splitlines(True)) for name in ("bigram_shift", "other"))
    write(tmp_path, other.replace("\tI\t", "\tZ\t") + mine)
    loaded = loading.load("bigram_shift", tmp_path)
    assert loaded.classes == ("I", "O") and loaded.train.texts == ("one", "two")


def test_labels_are_the_sorted_strings_of_train(tmp_path):
    """As strings, as in SentEval: '10' stands before '5'."""
    write(tmp_path, "tr\t5\ta\ntr\t10\tb\ntr\t9\tc\nva\t9\td\nte\t10\te\n", "tree_depth.txt")
    loaded = loading.load("tree_depth", tmp_path)
    assert loaded.classes == ("10", "5", "9") and loaded.train.labels.tolist() == [1, 0, 2]
    assert [loaded.classes[k] for k in (*loaded.dev.labels, *loaded.test.labels)] == ["9", "10"]


# Identity and data card.


def test_the_hash_tells_every_change_a_probe_can_see(tmp_path):
    """Sentence, label, order, split and class name change it; packing, in-between fields and the file's place do not."""
    base = loading.load("bigram_shift", write(tmp_path).parent)
    hashes = {base.sha256}
    for k, other in enumerate(
        [
            GOOD.replace("one", "onE"),
            GOOD.replace("tr\tI\tone", "tr\tO\tone").replace("tr\tO\ttwo", "tr\tI\ttwo"),
            "tr\tO\ttwo\ntr\tI\tone\nva\tO\tthree\nte\tI\tfour\n",
            GOOD.replace("three", "x").replace("four", "three").replace("x", "four"),
            GOOD.replace("\tI\t", "\tJ\t"),
            GOOD + "tr\tI\tfive\n",
        ]
    ):
        folder = tmp_path / str(k)
        folder.mkdir()
        hashes.add(loading.load("bigram_shift", write(folder, other).parent).sha256)
    assert len(hashes) == 7
    same = tmp_path / "same"
    same.mkdir()
    (same / "bigram_shift.txt.xz").write_bytes(lzma.compress(GOOD.replace("\tI\t", "\tI\tx\t").encode()))
    again = loading.load("bigram_shift", same)
    assert again.sha256 == base.sha256 and again.file_sha256 != base.file_sha256


TEXT = st.text('a\t\n\r#0"\\,é\ud800', max_size=4)
SPLIT = st.lists(st.tuples(st.integers(0, 1), TEXT), max_size=3)
CONTENT = st.tuples(st.lists(TEXT, min_size=2, max_size=3), SPLIT, SPLIT, SPLIT)


def filled(content, folds=()):
    classes, *splits = content
    parts = [task.Split(tuple(text for _, text in rows), np.array([k for k, _ in rows], np.int64)) for rows in splits]
    return task.Task("own", tuple(classes), *parts, {}, "", "", "", folds=tuple(map(filled, folds)))


@settings(deadline=None, max_examples=150)
@given(one=CONTENT, other=CONTENT)
@example(one=(["a", "b"], [(0, "x\n1\ty")], [], []), other=(["a", "b"], [(0, "x"), (1, "y")], [], []))
@example(one=(["a\tb", "c"], [], [], []), other=(["a", "b\tc"], [], [], []))
@example(one=(["a", "b"], [(0, "x\n#dev\n0\ty")], [], []), other=(["a", "b"], [(0, "x")], [(0, "y")], []))
@example(one=(["a", "b", "0\tx"], [], [], []), other=(["a", "b"], [], [], [(0, "x")]))
def test_no_two_contents_have_one_hash(one, other):
    """Whatever the texts hold: tabs, line ends, what stands between splits."""
    assert (filled(one).sha256 == filled(other).sha256) == (one == other)
    same_test = one[0] == other[0] and one[3] == other[3]
    assert (filled(one).test_sha256 == filled(other).test_sha256) == same_test
    assert len({filled(one, folds).sha256 for folds in ([], [one], [one, one])}) == 3


def test_the_data_card_counts(tmp_path):
    """A file whose duplicates, contradictions and balance were counted by hand."""
    write(
        tmp_path,
        "tr\tI\ta a a\ntr\tI\ta a a\ntr\tO\tb\ntr\tO\tc c\nva\tI\tb\nva\tO\td\nva\tO\te\nte\tI\tb\nte\tI\tx\nte\tI\ty\nte\tO\tz\n",
    )
    found = loading.load("bigram_shift", tmp_path).data_card
    assert found["n"] == {"train": 4, "dev": 3, "test": 4} and found["n_classes"] == 2
    assert found["classes"] == {"train": {"I": 2, "O": 2}, "dev": {"I": 1, "O": 2}, "test": {"I": 3, "O": 1}}
    assert found["majority"] == {"train": 0.5, "dev": 2 / 3, "test": 0.75}
    assert found["tokens"]["train"] == {"min": 1, "median": 2, "max": 3}
    assert found["duplicates"]["within"] == {"train": 1, "dev": 0, "test": 0}
    assert found["duplicates"]["across"] == {"train/dev": 1, "train/test": 1, "dev/test": 1}
    assert found["duplicates"]["two_labels"] == 1
    assert found["official"] is False
    notes = " | ".join(found["notes"])
    for part in ("not the official file", "1 sentence(s) occur in both train/test", "1 sentence(s) carry two labels"):
        assert part in notes
    assert "classes" not in notes  # all are there, in every split, and they are the card's


def test_the_official_file_is_known_by_its_blob(tmp_path):
    """With the id of this very file on the card it is official, without notes; with another it is not."""
    from probing.data.readers.download import git_blob_id

    content = GOOD + "va\tI\tfive\nte\tO\tsix\n"
    write(tmp_path, content, "own.txt")
    for blob, official in ((git_blob_id(content.encode()), True), ("0" * 40, False)):
        path = card(tmp_path, f"name: mine\nfile: own.txt\ngit_blob: '{blob}'\n")
        found = loading.load(path, tmp_path).data_card
        assert found["official"] is official
        assert bool(found["notes"]) is not official


@pytest.mark.parametrize("said_classes", ["classes: [a, b]", "n_classes: 3"])
def test_other_classes_than_the_cards_are_noted(tmp_path, said_classes):
    write(tmp_path, GOOD, "own.txt")
    notes = loading.load(card(tmp_path, f"name: mine\nfile: own.txt\n{said_classes}\n"), tmp_path).data_card["notes"]
    assert any("classes" in note and "card" in note for note in notes)
    right = "classes: [O, I]" if "[" in said_classes else "n_classes: 2"
    notes = loading.load(card(tmp_path, f"name: mine\nfile: own.txt\n{right}\n"), tmp_path).data_card["notes"]
    assert not any("card" in note for note in notes)


# Subsets.

train_labels = st.lists(st.integers(0, 4), min_size=12, max_size=200).map(lambda x: [*range(max(x) + 1), *x])


@settings(deadline=None, max_examples=60)
@given(labels=train_labels, share=st.floats(0.1, 0.95), seed=st.integers(0, 5))
def test_a_subset_keeps_the_share_of_every_class(labels, share, seed):
    """Every class keeps its share to the sentence (and one at least); rows stay rows, in order; dev and test stay whole."""
    whole = made(labels)
    size = max(len(whole.classes), int(share * len(labels)))
    small = whole.subset(size, seed)
    if size >= len(labels):
        assert small is whole
        return
    count, kept = np.bincount(labels), np.bincount(small.train.labels, minlength=len(whole.classes))
    exact = count * size / len(labels)
    assert np.all((np.abs(kept - exact) <= 0.5 + 1e-9) | ((kept == 1) & (exact < 1)))
    assert np.all(kept >= 1)
    index = [int(text[1:]) for text in small.train.texts]
    assert index == sorted(set(index))
    assert small.train.labels.tolist() == [labels[i] for i in index]
    assert small.dev is whole.dev and small.test is whole.test
    assert (small.train_size, small.seed) == (size, seed)
    again = whole.subset(size, seed)
    assert again.train.texts == small.train.texts and again.sha256 == small.sha256
    assert (small.sha256 != whole.sha256) == (small.train.texts != whole.train.texts)


def test_a_subset_is_drawn_by_its_seed_and_not_a_prefix():
    whole = made([k % 3 for k in range(600)])
    draws = [whole.subset(90, seed) for seed in range(6)]
    texts = [draw.train.texts for draw in draws]
    assert len(set(texts)) == len({draw.sha256 for draw in draws}) == 6
    places = np.concatenate([[int(t[1:]) for t in part] for part in texts])
    assert places.max() > 500 and 250 < places.mean() < 350  # drawn from the whole file: expected mean 299.5
    assert all(Counter(draw.train.labels.tolist()) == {0: 30, 1: 30, 2: 30} for draw in draws)


def test_a_subset_of_everything_is_the_task_itself():
    whole = made([0, 1, 0, 1])
    assert all(whole.subset(size, 3) is whole for size in (None, 4, 5, 10**9))
    assert replace(whole, seed=1).sha256 == whole.sha256


@pytest.mark.parametrize("size", [2, 1, 0, -5])
def test_a_subset_below_the_classes_is_refused(size):
    message = said(made([0, 1, 2] * 5, "tense").subset, size, 0)
    for part in (f"train_size={size}", "3 classes", "tense"):
        assert part in message
    assert len(made([0, 1, 2] * 5).subset(3, 0).train) == 3


@settings(deadline=None, max_examples=60)
@given(labels=train_labels, sizes=st.tuples(st.integers(1, 220), st.integers(1, 220)), seed=st.integers(0, 5))
def test_dev_and_test_are_drawn_to_the_sentence_nested_and_spread(labels, sizes, seed):
    whole = made(labels)
    whole = replace(whole, dev=whole.train, test=whole.train)
    small, large = (whole.subset(None, seed, size, size) for size in sorted(sizes))
    for name in ("dev", "test"):
        parts = [task_.splits[name] for task_ in (small, large)]
        assert [len(part) for part in parts] == [min(size, len(labels)) for size in sorted(sizes)]
        assert set(parts[0].texts) <= set(parts[1].texts) and small.train is whole.train
        for part, size in zip(parts, sorted(sizes), strict=True):
            index = [int(text[1:]) for text in part.texts]
            assert index == sorted(set(index)) and part.labels.tolist() == [labels[i] for i in index]
            count, kept = np.bincount(labels), np.bincount(part.labels, minlength=len(whole.classes))
            exact = count * min(1, size / len(labels))
            assert np.all(np.abs(kept - exact) <= 1 + len(count) * count / len(labels))
    assert small.seed == (seed if min(sizes) < len(labels) else None)


def test_many_small_classes_are_drawn_in_proportion():
    """Three sentences of each of 1,000 classes: a fifth is 600 sentences of 600 classes, other ones for another seed."""
    whole = made([k % 1000 for k in range(3000)])
    whole = replace(whole, test=whole.train)
    first, second = (whole.subset(None, seed, test_size=600).test for seed in (0, 1))
    assert len(first) == 600 and np.bincount(first.labels).max() == 1 and first.texts != second.texts
    assert np.bincount(whole.subset(None, 0, test_size=1000).test.labels, minlength=1000).max() <= 2
    assert "test_size=0" in said(whole.subset, None, 0, None, 0)


def test_classes_are_drawn_with_all_their_sentences():
    whole = made([k % 20 for k in range(200)])
    few, more = whole.with_classes(5, 1), whole.with_classes(9, 1)
    assert set(few.classes) < set(more.classes) < set(whole.classes) and (len(few.classes), len(more.classes)) == (5, 9)
    assert few.classes == tuple(sorted(few.classes)) and len(few.train) == 50 and len(few.test) == 5
    for split in few.train, few.dev, few.test:
        before = {text: whole.classes[k] for part in whole.splits.values() for text, k in zip(part.texts, part.labels, strict=True)}
        assert all(before[text] == few.classes[k] for text, k in zip(split.texts, split.labels, strict=True))
    assert few.seed == 1 and whole.with_classes(20, 1) is whole and whole.with_classes(5, 2).classes != few.classes
    assert "at least 2" in said(whole.with_classes, 1, 0)


def test_load_draws_the_subset(tmp_path):
    write(tmp_path, "".join(f"tr\t{'IO'[k % 2]}\tw{k}\n" for k in range(40)) + "va\tI\tx\nte\tO\ty\n")
    small = loading.load("bigram_shift", tmp_path, train_size=10, seed=3)
    assert np.bincount(small.train.labels).tolist() == [5, 5]
    assert small.train.texts == loading.load("bigram_shift", tmp_path).subset(10, 3).train.texts


@pytest.mark.shared
def test_eight_real_files_load_with_independent_counts():
    """The English part of X-Probe: rows and labels per split as counted by lzma and a split at tabs."""
    root = Path(os.environ["PROBING_SHARED"]) / "data" / "probing" / "xprobe-en"
    files = sorted(root.glob("*.txt.xz"))
    assert len(files) == 8
    for path in files:
        counts: dict[str, Counter] = {"tr": Counter(), "va": Counter(), "te": Counter()}
        for line in lzma.decompress(path.read_bytes()).split(b"\n"):
            if line:
                split, label, *_ = line.split(b"\t")
                counts[split.decode()][label.decode()] += 1
        loaded = loading.load(path.name.removesuffix(".txt.xz"), root)
        assert loaded.classes == tuple(sorted(counts["tr"]))
        for code, part in zip(counts, loaded.splits.values(), strict=True):
            assert Counter(loaded.classes[k] for k in part.labels) == counts[code]
            assert len(part) == sum(counts[code].values()) > 0
        assert loaded.data_card["official"] is False and loaded.data_card["notes"]  # not SentEval's own files: said so


# Groups.


def test_a_file_of_groups_names_the_group_of_every_line(tmp_path):
    """Line i for line i, whatever split and task it is of; plain, .gz or .xz, of a plain or packed task."""
    content = "tr\tI\tone\nte\tI\tfour\ntr\tO\ttwo\nva\tO\tthree\nte\tO\tfive\nte\tO\tsix\n"
    groups = "a\nb\nb\nc\nb\nd\n"
    write(tmp_path, content)
    write(tmp_path, groups, "bigram_shift.groups.txt")
    loaded = loading.load("bigram_shift", tmp_path)
    assert (loaded.train.groups, loaded.dev.groups, loaded.test.groups) == (None, None, ("b", "b", "d"))
    assert loaded.test.clusters.tolist() == [0, 0, 1] and (loaded.train.n_groups, loaded.test.n_groups) == (2, 2)
    found = loaded.data_card
    assert found["n_groups"] == {"train": 2, "dev": 1, "test": 2} and found["groups_from"] == "bigram_shift.groups.txt"
    said_so = "the 3 test sentences are of 2 groups (bigram_shift.groups.txt): intervals and tests go over groups"
    assert said_so in found["notes"]
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "bigram_shift.txt.gz").write_bytes(gzip.compress(content.encode()))
    (packed / "bigram_shift.groups.txt.xz").write_bytes(lzma.compress(groups.encode()))
    again = loading.load("bigram_shift", packed)
    assert again.test.groups == loaded.test.groups and again.sha256 == loaded.sha256
    several = tmp_path / "several"
    several.mkdir()
    write(several, "".join(f"{name}\t{line}\n" for line in content.splitlines() for name in ("bigram_shift", "tree_depth")))
    write(several, "".join(f"{g}\nother\n" for g in groups.split()), "bigram_shift.groups.txt")
    assert loading.load("bigram_shift", several).test.groups == ("b", "b", "d")


def test_groups_that_do_not_fit_the_file_are_refused(tmp_path):
    write(tmp_path)
    write(tmp_path, "a\nb\nc\n", "bigram_shift.groups.txt")
    message = said(loading.load, "bigram_shift", tmp_path)
    for part in ("bigram_shift.groups.txt holds 3 lines", "bigram_shift.txt 4", "line i names the group of line i"):
        assert part in message
    write(tmp_path, "a\nb\n \nd\n", "bigram_shift.groups.txt")
    assert "bigram_shift.groups.txt, line 3: empty" in said(loading.load, "bigram_shift", tmp_path)


def test_without_a_file_sentences_of_the_same_words_are_a_group(tmp_path):
    """In another order or letter case, in one split; a word more makes another sentence."""
    rows = ["tr\tI\ta b c", "tr\tO\tc B a", "va\tO\tb a", "te\tI\tone two", "te\tO\ttwo One", "te\tO\tone two two", "te\tI\tx"]
    write(tmp_path, "\n".join(rows) + "\n")
    loaded = loading.load("bigram_shift", tmp_path)
    assert loaded.train.clusters.tolist() == [0, 0] and loaded.dev.groups is None
    assert loaded.test.n_groups == 3 and loaded.test.clusters[0] == loaded.test.clusters[1]
    assert "(sentences of the same words)" in " ".join(loaded.data_card["notes"])
    write(tmp_path)
    assert all(split.groups is None for split in loading.load("bigram_shift", tmp_path).splits.values())


def grouped(labels, groups) -> task.Task:
    """A task whose three splits hold these labels and groups."""
    whole = made(labels)
    split = replace(whole.train, groups=tuple(groups))
    return replace(whole, train=split, dev=split, test=split)


def test_groups_go_with_their_sentences():
    whole = grouped([k % 4 for k in range(80)], [f"g{k // 8}" for k in range(80)])
    for part in (whole.subset(20, 0, 20, 20), whole.with_classes(2, 0)):
        for split in part.splits.values():
            assert split.groups == tuple(f"g{int(text[1:]) // 8}" for text in split.texts)
    assert whole.test.take([0, 8, 16]).groups is None, "where each has its own there are none"


def test_the_hash_tells_groups_of_test_and_is_the_old_one_without():
    plain = made([0, 1] * 4)
    plain = replace(plain, test=plain.train)
    hashes = {replace(plain, test=replace(plain.test, groups=groups)).sha256 for groups in (None, ("a",) * 8, ("a", *"bcdefgg"))}
    assert len(hashes) == 3 and plain.sha256 in hashes
    splits = {name: [split.labels.tolist(), split.texts] for name, split in plain.splits.items()}
    before = json.dumps({"classes": plain.classes, "splits": splits}, ensure_ascii=False)
    assert plain.sha256 == hashlib.sha256(before.encode()).hexdigest()
    assert replace(plain, train=replace(plain.train, groups=("a",) * 8)).sha256 == plain.sha256, "no interval depends on these"


@settings(deadline=None, max_examples=40)
@given(labels=train_labels, number=st.integers(0, 50))
def test_a_half_has_half_of_every_class(labels, number):
    split = made(labels).train
    rows = split.half(number)
    assert len(rows) == len(labels) // 2 == len(set(rows)) and rows.tolist() == sorted(rows)
    assert np.array_equal(rows, split.half(number))
    count, kept = np.bincount(labels), np.bincount(split.labels[rows], minlength=max(labels) + 1)
    assert np.all(np.abs(kept - count / 2) <= 1 + len(count) / 2)


def test_halves_are_drawn_anew_and_every_sentence_as_often():
    split = made([k % 2 for k in range(40)]).train
    halves = np.array([np.isin(np.arange(40), split.half(number)) for number in range(400)])
    assert len({half.tobytes() for half in halves}) == 400
    assert np.abs(halves[:, ::2].sum(1) - 10).max() <= 1, "half of each class, to the sentence"
    assert np.all(np.abs(halves.mean(0) - 0.5) < 0.125), "five standard errors"
    together = np.corrcoef(halves.T)[np.triu_indices(40, 1)]
    assert np.abs(together).max() < 0.35 and abs(together.mean() + 1 / 39) < 0.01, "pairs as in a draw without replacement"


def test_a_half_keeps_groups_whole():
    split = grouped([k // 6 % 2 for k in range(120)], [f"g{k // 6}" for k in range(120)]).train
    for number in range(30):
        rows = split.half(number)
        assert len(rows) == 60 and set(np.bincount(split.clusters[rows], minlength=20)) == {0, 6}
        assert 24 <= split.labels[rows].sum() <= 36
    uneven = grouped([0, 1] * 20, ["big"] * 30 + [f"s{k}" for k in range(10)]).train
    assert all(len(uneven.half(number)) in (*range(5, 11), *range(30, 36)) for number in range(20))
