"""The builders: laws of each task, leaks that must not be there (and are found when they are), and bad input."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import leaks
import nltk
import numpy as np
import pandas as pd
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.data import builders, loading
from probing.data import card as cards
from probing.data.builders import clause, make, semantic, surface, syntactic, ud
from probing.data.builders.coordination import Clause, Coordination, coordination
from probing.data.builders.sampling import LeftOut, Options, Row, by_form, decorrelated, held_out, shares_of
from probing.data.grammar import grammar
from probing.data.readers import treebank
from probing.data.readers.files import read_text
from probing.data.readers.parsed import Dependencies, Node, Sentence
from probing.data.readers.treebank import converted, from_tree
from probing.errors import DataError

BINARY = ("bigram_shift", "past_present", "subj_number", "obj_number", "odd_man_out", "coordination_inversion")
BY_FORM = ("past_present", "subj_number", "obj_number", "odd_man_out")
TARGETS = {"past_present": clause.finite_verb, "subj_number": clause.subject_head, "obj_number": clause.object_head}


def parsed(brackets: str) -> Sentence:
    return from_tree(converted(nltk.Tree.fromstring(brackets), "here"))


@pytest.fixture(scope="module")
def corpus():
    return grammar.sentences(5000, seed=1)


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    cards = builders.make_tasks(corpus, folder, seed=2, source="grammar")
    return folder, cards


@pytest.fixture(scope="module")
def rows(made):
    return {name: leaks.read_rows(made[0] / f"{name}.txt") for name in builders.PENN}


# what is written


def test_ten_tasks_with_cards_that_say_what_the_files_hold(made, rows):
    folder, cards = made
    assert [name for name, card in cards.items() if isinstance(card, dict)] == list(builders.PENN)
    written = [f"{name}.{ending}" for name in cards for ending in ("txt", "card.json")] + [f"{name}.groups.txt" for name in BY_FORM]
    assert sorted(path.name for path in folder.iterdir()) == sorted(written)
    for name, card in cards.items():
        assert json.loads((folder / f"{name}.card.json").read_text()) == card
        assert hashlib.sha256((folder / f"{name}.txt").read_bytes()).hexdigest() == card["file_sha256"]
        assert card["n"] == Counter(row.split for row in rows[name])
        assert [row.split for row in rows[name]] == sorted((row.split for row in rows[name]), key=["tr", "va", "te"].index)
        if card["n_classes"] <= 30:
            assert card["counts"]["te"] == Counter(row.label for row in rows[name] if row.split == "te")
        assert card["seed"] == 2 and card["source"] == "grammar" and card["definition"].endswith(".")


@pytest.mark.parametrize("name", builders.PENN)
def test_what_was_made_is_read_like_the_official_files(made, name):
    loaded = loading.load(name, made[0])
    texts = Counter(text for split in loaded.splits.values() for text in split.texts)
    assert max(texts.values()) == 1
    train, dev, test = (len(split) / sum(map(len, loaded.splits.values())) for split in loaded.splits.values())
    assert train >= 0.5 and dev == pytest.approx(test, abs=0.03)
    if name not in ("tree_depth", "top_constituents"):  # the others have classes so large that a tenth suffices
        assert train == pytest.approx(0.8, abs=0.03)


def test_cards_of_all_builders_are_there():
    for name in builders.BUILDERS:
        assert cards.load_card(name)["file"] == f"{name}.txt"
    assert len(builders.PENN) == len(builders.UD) == 10
    assert set(builders.PENN) & set(builders.UD) == {"sentence_length", "word_content", "bigram_shift"}


def test_same_seed_same_bytes_and_other_seed_other(corpus, made, tmp_path):
    names = ["bigram_shift", "odd_man_out", "tree_depth"]
    builders.make_tasks(corpus, tmp_path / "a", seed=2, source="grammar", tasks=names)
    builders.make_tasks(corpus, tmp_path / "b", seed=3, source="grammar", tasks=names)
    for name in (f"{n}.{e}" for n in names for e in ("txt", "card.json")):
        assert (tmp_path / "a" / name).read_bytes() == (made[0] / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() != (made[0] / name).read_bytes()


@pytest.mark.parametrize("name", builders.PENN)
def test_text_is_unchanged_where_the_task_promises_so(corpus, rows, name):
    known = {s.tokens for s in corpus}
    changed = {"bigram_shift": "I", "odd_man_out": "C", "coordination_inversion": "I"}.get(name)
    for row in rows[name]:
        assert (row.tokens in known) == (row.label != changed)


@pytest.mark.parametrize("name", builders.PENN)
def test_every_class_has_its_least_number_in_every_split(made, rows, name):
    counts = Counter((row.split, row.label) for row in rows[name])
    if name == "word_content":  # one of each word, and as many in all as a task of two classes
        assert min(made[1][name]["n"].values()) >= 60 and min(counts.values()) == 1
    else:
        assert len(counts) == 3 * made[1][name]["n_classes"] and min(counts.values()) >= 30


def test_a_task_below_the_least_number_is_left_out_with_class_and_split(corpus, tmp_path):
    names = ["coordination_inversion", "past_present", "odd_man_out", "word_content", "bigram_shift"]
    cards = builders.make_tasks(corpus, tmp_path, seed=2, tasks=names, min_per_split=300)
    assert [name for name in names if isinstance(cards[name], dict)] == ["bigram_shift"]
    for name in names[:3]:
        n, label, split = re.search(r"too small: (\d+) sentences of class '(\w+)' in the split (\w\w) ", cards[name]).groups()
        assert int(n) < 300 and split in ("tr", "va", "te") and "at least 300 are needed" in cards[name] and label


def test_groups_name_the_target_form_line_by_line(corpus, made, rows):
    trees = {s.tokens: s.tree for s in corpus}
    for name in BY_FORM:
        lines = [(made[0] / f"{name}.{ending}").read_text().count("\n") for ending in ("txt", "groups.txt")]
        assert lines == [len(rows[name])] * 2
        members = {split: {row.group for row in rows[name] if row.split == split} for split in ("tr", "va", "te")}
        assert sum(map(len, members.values())) == len(set().union(*members.values())), "a group is in one split"
        assert {split: len(groups) for split, groups in members.items()}.items() <= made[1][name]["groups"].items()
        if name in TARGETS:
            assert all(row.group == TARGETS[name](trees[row.tokens]).word.lower() for row in rows[name])
    assert made[1]["bigram_shift"]["groups"] is None


def test_groups_are_documents_where_the_corpus_names_them(corpus, tmp_path):
    def words(tokens):  # what shifted and inverted sentences share with their originals
        return tuple(sorted(token.lower() for token in tokens))

    with_documents = [replace(s, document=f"d{i // 40}") for i, s in enumerate(corpus[:1500])]
    documents: dict = {}
    for s in with_documents:
        documents.setdefault(words(s.tokens), set()).add(s.document)
    names = ["bigram_shift", "coordination_inversion", "word_content", "sentence_length", "tree_depth", "top_constituents"]
    cards = builders.make_tasks(with_documents, tmp_path, tasks=names, min_per_split=5)
    for name in names:
        assert cards[name]["groups"]["by"] == "document"
        assert all(row.group in documents[words(row.tokens)] for row in leaks.read_rows(tmp_path / f"{name}.txt"))
    builders.make_tasks(corpus[:1500], tmp_path, tasks=names, min_per_split=5)
    assert not list(tmp_path.glob("*.groups.txt")), "no groups of an earlier run stay"
    one = builders.make_tasks([replace(s, document="d") for s in corpus[:1500]], tmp_path, tasks=names[:1])
    assert one["bigram_shift"]["groups"] is None, "a single document says nothing"


def test_a_run_cut_short_leaves_no_task_beside_other_groups(corpus, tmp_path, monkeypatch):
    builders.make_tasks(corpus, tmp_path, tasks=["past_present"])
    whole = make.replace_file

    def cut(path, content):
        if path.name.endswith("groups.txt"):
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(make, "replace_file", cut)
    with pytest.raises(OSError):
        builders.make_tasks(corpus, tmp_path, tasks=["past_present"], seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["past_present.card.json"]


# laws of the tasks


@given(st.lists(st.sampled_from(["a", "b", "c", ",", "A", '"', "."]), min_size=2, max_size=12), st.data())
def test_a_bigram_swapped_back_is_the_original(tokens, data):
    positions = syntactic.shift_positions(tokens)
    if '"' in tokens:
        assert not positions
    if positions:
        i = data.draw(st.sampled_from(positions))
        changed = syntactic.shifted(tokens, i)
        assert changed != tuple(tokens) and changed[0] == tokens[0] and syntactic.shifted(changed, i) == tuple(tokens)
        assert not {tokens[i], tokens[i + 1]} & {",", "."}


def test_every_shifted_sentence_is_one_swap_from_an_original(corpus, rows):
    known = {s.tokens for s in corpus}
    for row in rows["bigram_shift"]:
        if row.label == "I":
            swaps = {syntactic.shifted(row.tokens, i) for i in syntactic.shift_positions(row.tokens)}
            assert len(swaps & known) >= 1


word = st.text("abcXYZ'I", min_size=1, max_size=4)
clauses = st.builds(lambda tokens, fixed: Clause(tuple(tokens), fixed), st.lists(word, min_size=1, max_size=5), st.booleans())


@given(clauses, clauses, st.sampled_from([("and",), (",", "but")]), st.sampled_from([(), (".",)]))
def test_inverting_twice_is_the_identity(first, second, joint, end):
    whole = Coordination(first, joint, second, end)
    if whole.restorable:
        again = whole.inverted()
        assert again.inverted().tokens == whole.tokens
        assert Counter(t.lower() for t in again.tokens) == Counter(t.lower() for t in whole.tokens)
        assert again.longer == -whole.longer and again.tokens[len(again.tokens) - len(end) :] == end


def test_inversion_by_hand():
    left = "(S (NP (PRP {})) (VP (VBD left)))"
    he = parsed(f"(ROOT (S {left.format('He')} (, ,) (CC but) (S (NP (NNP Ann)) (VP (VBD sat))) (. .)))")
    assert " ".join(coordination(he).inverted().tokens) == "Ann sat , but he left ."
    me = parsed(f"(ROOT (S {left.format('I')} (CC and) (S (NP (PRP she)) (VP (VBD sat))) (. .)))")
    assert " ".join(coordination(me).inverted().tokens) == "She sat and I left ."
    two = "(ROOT (S (S (NP (NN a) (CC and) (NN b)) (VP (VBD c))) (CC and) (S (NP (NN d)) (VP (VBD e))) (. .)))"
    assert coordination(parsed(two)) is None, "two conjunctions"
    assert coordination(parsed("(ROOT (S (NP (PRP I)) (VP (VP (VBD a)) (CC and) (VP (VBD b))) (. .)))")) is None


def test_coordination_is_balanced_by_the_longer_clause(corpus, made):
    by_tokens = {c.tokens: c for s in corpus if (c := coordination(s))}
    by_tokens |= {c.inverted().tokens: c.inverted() for c in list(by_tokens.values())}
    counts = Counter()
    originals = Counter()
    for row in leaks.read_rows(made[0] / "coordination_inversion.txt"):
        shown = by_tokens[row.tokens]
        counts[row.split, row.label, shown.longer] += 1
        originals[frozenset((shown.tokens, shown.inverted().tokens))] += 1
    for split in ("tr", "va", "te"):
        assert len({counts[split, label, sign] for label in "IO" for sign in (1, -1)}) == 1
        assert counts[split, "I", 0] == counts[split, "O", 0]
    assert max(originals.values()) == 1, "a sentence in both orders"


def test_word_content_has_one_target_once(rows, made):
    targets = {row.label for row in rows["word_content"]}
    for row in rows["word_content"]:
        assert [t.lower() for t in row.tokens if t.lower() in targets] == [row.label]
    assert all(len(t) >= 4 for t in targets)
    assert len(set(Counter((r.split, r.label) for r in rows["word_content"] if r.split == "tr").values())) == 1


def test_length_bins(rows):
    for row in rows["sentence_length"]:
        low, high = surface.BINS[int(row.label)]
        assert low <= len(row.tokens) <= high


def test_depth_and_top_constituents_are_those_of_the_tree(corpus, rows):
    trees = {s.tokens: s.tree for s in corpus}
    assert {row.label for row in rows["tree_depth"]} <= {str(d) for d in range(5, 13)}
    assert all(trees[row.tokens].depth == int(row.label) for row in rows["tree_depth"])
    for row in rows["top_constituents"]:
        name = "_".join(syntactic.top_sequence(trees[row.tokens]))
        assert row.label in (name, "OTHER") and name.endswith("_.") and "," not in name


def test_replacements_are_of_like_frequency_and_in_one_split(corpus, rows):
    holes = {(*s.tokens[:i], None, *s.tokens[i + 1 :]): (s, i) for s in corpus for i in range(len(s.tokens))}
    low, high = semantic.scaled(40, 400, len(corpus))
    frequency = Counter((t, k) for s in corpus for t, k in zip(s.tokens, s.tags, strict=True))
    used, forms = Counter(), set()
    for row in rows["odd_man_out"]:
        if row.label == "C":
            origin, i = next(
                holes[h] for k in range(len(row.tokens)) if (h := (*row.tokens[:k], None, *row.tokens[k + 1 :])) in holes
            )
            assert origin.tags[i] in semantic.REPLACED and low <= frequency[row.tokens[i], origin.tags[i]] <= high
            used[origin.tokens] += 1
            forms.add((row.split, row.tokens[i]))
        else:
            used[row.tokens] += 1
    assert max(used.values()) == 1, "a sentence in both versions"
    assert forms and not leaks.shared(forms)


def test_forms_are_put_in_as_often_as_taken_out(corpus, rows):
    known = {s.tokens for s in corpus}
    put_in, taken_out, groups = Counter(), Counter(), set()
    for row in rows["odd_man_out"]:
        if row.label == "C":
            x, y = row.group.split(" ")
            other = {x: y, y: x}
            back = [
                (i, token)
                for i, token in enumerate(row.tokens)
                if token in other and (*row.tokens[:i], other[token], *row.tokens[i + 1 :]) in known
            ]
            assert len(back) >= 1, "one exchange from a sentence of the corpus"
            put_in[row.split, back[0][1]] += 1
            taken_out[row.split, other[back[0][1]]] += 1
        groups.add((row.split, row.group))
    assert put_in == taken_out and not leaks.shared(groups)
    assert {split for split, _ in put_in} == {"tr", "va", "te"}
    assert max(Counter(form for _, group in groups for form in group.split(" ")).values()) == 1, "a form has one partner"


BY_HAND = """
(NP (NP (DT the) (NNS dogs)) (PP (IN of) (NP (NN war)))) (VP (VBD bit) (NP (DT a) (JJ fat) (NN cat))) | bit dogs cat
(NP (NN man)) (VP (VBZ has) (VP (VBN given) (NP (PRP her)) (NP (NNS books)))) | has man books
(NP (NN man)) (VP (VBD was) (VP (VBN given) (NP (NNS books)))) | was man -
(NP (NN man)) (VP (VBD was) (NP (DT a) (NN spy))) | was man -
(NP (NN man)) (VP (VBD slept) (NP (DT all) (NN night))) | slept man -
(NP-TMP (NN today)) (NP-SBJ (NN man)) (VP (VBD ate) (NP-ADV (NN fish))) | ate man -
(NP (NN a) (CC and) (NN b)) (VP (VP (VBP eat) (NP (NN c))) (CC and) (VP (VBP drink))) | eat - c
(NP (NP (NN man) (POS 's)) (NNS dogs)) (VP (MD can) (VP (VB bark))) | can dogs -
(S (NP (NN a)) (VP (VBD b))) (CC and) (S (NP (NN c)) (VP (VBD d))) | - - -
"""


@pytest.mark.parametrize("line", BY_HAND.strip().split("\n"))
def test_main_clause_by_hand(line):
    inside, _, expected = line.partition(" | ")
    tree = parsed(f"(ROOT (S {inside} (. .)))").tree
    found = [clause.finite_verb(tree), clause.subject_head(tree), clause.object_head(tree)]
    assert [node.word if node else "-" for node in found] == expected.split()


def test_main_clause_of_questions_and_fragments():
    why = "(SBARQ (WHADVP (WRB why)) (SQ (VBD did) (NP (NN man)) (VP (VB eat) (NP (NNS eggs)))) (. ?))"
    for brackets, expected in ((why, ["did", "man", "eggs"]), ("(NP (NN end))", [None] * 3)):
        tree = parsed(f"(ROOT {brackets})").tree
        found = [clause.finite_verb(tree), clause.subject_head(tree), clause.object_head(tree)]
        assert [node and node.word for node in found] == expected


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_heads_are_words_of_the_tree(seed):
    drawn = grammar.Grammar(np.random.default_rng(seed)).tree(5 + seed % 24)
    leaves = drawn.leaves()
    for find in TARGETS.values():
        assert (found := find(drawn)) is None or found in leaves


labels = st.sampled_from("S SBARQ SQ NP NP-SBJ VP CC , .".split())
leaves = st.builds(
    lambda tag, token: Node(tag, word=token),
    st.sampled_from("NN NNS VBD VBZ MD CC , . NNP PRP POS".split()),
    st.sampled_from("He a B and I , .".split()),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(lambda label, parts: Node(label, tuple(parts)), labels, st.lists(inner, min_size=1, max_size=5)),
    max_leaves=25,
)


@given(trees)
def test_any_tree_keeps_its_words(node):
    sentence = from_tree(Node("ROOT", (node,)))
    words = sentence.tree.leaves()
    assert sentence.tokens == tuple(leaf.word for leaf in node.leaves())
    for find in TARGETS.values():
        assert (found := find(sentence.tree)) is None or found in words
    if (whole := coordination(sentence)) is not None:
        assert whole.tokens == sentence.tokens
        assert not whole.restorable or whole.inverted().inverted().tokens == sentence.tokens
    assert len(syntactic.top_sequence(sentence.tree)) == len(node.children)


# leaks, and the proof that they would be seen


@pytest.mark.parametrize("name", builders.PENN)
def test_no_sentence_in_two_splits(rows, name):
    assert not leaks.shared((row.split, " ".join(row.tokens)) for row in rows[name])


@pytest.mark.parametrize("name", TARGETS)
def test_target_forms_are_in_one_split(corpus, rows, name):
    trees = {s.tokens: s.tree for s in corpus}
    forms = [(row.split, TARGETS[name](trees[row.tokens]).word.lower()) for row in rows[name]]
    assert not leaks.shared(forms)
    assert {split for split, _ in forms} == {"tr", "va", "te"}


@pytest.mark.parametrize("name", ["bigram_shift", "coordination_inversion", "odd_man_out"])
def test_bag_of_words_is_at_chance(rows, name):
    found = leaks.bag_of_words(rows[name])
    assert found.lower <= 0.5 <= found.upper


def test_length_alone_is_no_better_than_the_largest_depth(rows):
    assert leaks.length_alone(rows["tree_depth"]).value <= leaks.majority(rows["tree_depth"]).value + 0.03


@pytest.mark.parametrize("name", BINARY)
def test_binary_tasks_have_a_majority_of_one_half(rows, name):
    assert leaks.majority(rows[name]).value == 0.5


def test_leaks_that_are_there_are_found(corpus, rows):
    marked = [replace(row, tokens=(*row.tokens, "zq")) if row.label == "I" else row for row in rows["bigram_shift"]]
    assert leaks.bag_of_words(marked).lower > 0.5
    long = [Row("tr" if i % 3 else "te", "IO"[len(s.tokens) > 14], s.tokens) for i, s in enumerate(corpus)]
    assert leaks.length_alone(long).lower > leaks.majority(long).upper
    assert leaks.shared([("tr", "a"), ("te", "b"), ("va", "a"), ("te", "b")]) == {"a"}


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["X", "Y"])), max_size=60), st.integers(0, 99))
def test_split_by_form_keeps_forms_together(pairs, seed):
    candidates = [Row(None, label, (form, str(i)), form) for i, (form, label) in enumerate(pairs)]
    split = by_form(candidates, Options(3, False), np.random.default_rng(seed))
    assert not leaks.shared((row.split, row.tokens[0]) for row in split)
    assert [row.tokens for row in split] == [c.tokens for c in candidates]
    assert [row.group for row in split] == [c.group for c in candidates]


@given(st.integers(0, 2000), st.integers(1, 60), st.integers(0, 9))
def test_small_classes_give_dev_and_test_what_they_need_and_train_half(n, least, seed):
    counts = Counter(shares_of(n, np.random.default_rng(seed), least))
    assert counts.total() == n and counts["va"] == counts["te"] == held_out(n, least)
    assert counts["tr"] >= n / 2 or n == 3
    assert counts["te"] == round(n / 10) or round(n / 10) < counts["te"] <= max(least, 1)
    options = Options(least, False)
    assert options.suffices(Counter({None: n})) == (counts["te"] >= least)
    assert Options(least, True).suffices(Counter(counts)) == (min(counts[s] for s in ("tr", "va", "te")) >= least)


def test_decorrelation_takes_length_out_of_depth():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 29, 60_000)
    depths = np.clip(np.rint(lengths / 4 + rng.normal(3, 2, 60_000)), 1, 20).astype(int)
    counts, target = decorrelated(depths.tolist(), lengths.tolist(), range(5, 13), 50)
    assert np.corrcoef(depths, lengths)[0, 1] > 0.5
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    assert np.abs(counts - expected).sum() / counts.sum() < 0.1
    assert target["values"] == list(range(5, 13))


# official splits, dependencies, plain text


def test_official_splits_are_kept_where_the_definition_allows(corpus, tmp_path):
    given = [replace(s, split=("tr", "tr", "va", "te")[i % 4]) for i, s in enumerate(corpus)]
    own = {s.tokens: s.split for s in given}
    cards = builders.make_tasks(given, tmp_path)
    for name in ("sentence_length", "tree_depth", "top_constituents", "bigram_shift", "coordination_inversion"):
        assert cards[name]["split"] == "the corpus' own"
        kept = [own[row.tokens] == row.split for row in leaks.read_rows(tmp_path / f"{name}.txt") if row.tokens in own]
        assert kept and all(kept)
    assert "form" in cards["past_present"]["split"] and "form" in cards["odd_man_out"]["split"]
    without = [replace(s, split="tr" if s.split == "te" else s.split) for s in given]
    assert builders.make_tasks(without, tmp_path, tasks=["bigram_shift"])["bigram_shift"]["split"].startswith("seeded")


def dependency_sentence(rng: np.random.Generator, tense: bool = True) -> Sentence:
    """det nsubj root det obj [cc nsubj conj] punct, from a made-up language."""
    tags, forms, heads, names, features = [], [], [], [], []

    def add(form, tag, head, name, **marks):
        forms.append(form), tags.append(tag), heads.append(head), names.append(name), features.append(marks)
        return len(forms) - 1

    def noun(head, name):
        number = rng.choice(["Sing", "Plur"])
        form = f"n{rng.integers(400)}" + ("s" if number == "Plur" else "")
        at = len(forms)
        add(f"d{rng.integers(9)}", "DET", at + 1, "det")
        return add(form, "NOUN", head, name, Number=str(number))

    def verb(head, name):
        time = str(rng.choice(["Past", "Pres"]))
        marks = {"VerbForm": "Fin"} | ({"Tense": time} if tense else {})
        return add(f"v{rng.integers(300)}" + ("ed" if time == "Past" else ""), "VERB", head, name, **marks)

    noun(2, "nsubj")
    root = verb(-1, "root")
    for _ in range(int(rng.integers(0, 3))):
        noun(root, str(rng.choice(["obj", "obl"])))
    if rng.random() < 0.5:
        second = len(forms) + 3
        add("and", "CCONJ", second, "cc")
        noun(second, "nsubj")
        verb(root, "conj")
        if rng.random() < 0.5:
            noun(second, "obj")
    add(".", "PUNCT", root, "punct")
    forms[0] = forms[0].capitalize()
    tree = Dependencies(tuple(heads), tuple(names), tuple(tags), tuple(features), tuple(forms), tuple(range(len(forms))))
    return Sentence(tuple(forms), tuple(tags), dependencies=tree)


@pytest.fixture(scope="module")
def dependencies():
    rng = np.random.default_rng(0)
    return [dependency_sentence(rng) for _ in range(3000)]


def test_dependencies_give_substitutes_under_their_own_names(dependencies, tmp_path):
    cards = builders.make_tasks(dependencies, tmp_path, language="xx", min_per_split=5)
    assert tuple(cards) == builders.UD
    reasons = {name: card for name, card in cards.items() if isinstance(card, str)}
    assert set(reasons) <= {"ud_tree_depth"}, "a flat language has no three depths"
    assert "no three values" in reasons["ud_tree_depth"]
    for name, card in cards.items():
        if name not in reasons:
            found = leaks.read_rows(tmp_path / f"{name}.txt")
            assert not leaks.shared((row.split, " ".join(row.tokens)) for row in found)
            assert card["language"] == "xx"
    trees = {s.tokens: s.dependencies for s in dependencies}
    for name, target in (("ud_past_present", ud.finite_word), ("ud_subj_number", ud.subject), ("ud_obj_number", ud.direct_object)):
        for row in leaks.read_rows(tmp_path / f"{name}.txt"):
            assert row.group == trees[row.tokens].forms[target(trees[row.tokens])].lower()


def test_language_without_tense_is_told_so(dependencies, tmp_path):
    rng = np.random.default_rng(1)
    cards = builders.make_tasks([dependency_sentence(rng, tense=False) for _ in range(800)], tmp_path, min_per_split=5)
    assert "Tense=Past or Tense=Imp" in cards["ud_past_present"] and "does not mark" in cards["ud_past_present"]
    assert isinstance(cards["ud_subj_number"], dict)
    assert not (tmp_path / "ud_past_present.txt").exists()


def test_a_corpus_that_marks_tense_and_is_too_small_is_not_told_that_it_has_none(dependencies, tmp_path):
    """Both values occur, one of them not at a main verb."""

    def without(sentence):
        tree = sentence.dependencies
        return tree.features[tree.root].get("Tense") == "Pres"

    few = [sentence for sentence in dependencies if without(sentence)][:15]
    clause = next(s for s in dependencies if any(f.get("Tense") == "Past" for f in s.dependencies.features) and without(s))
    cards = builders.make_tasks([*few, clause], tmp_path, min_per_split=5)
    assert "too small" in cards["ud_past_present"] and "larger corpus" in cards["ud_past_present"]
    assert "does not mark" not in cards["ud_past_present"]


def test_dependency_labels_by_hand():
    forms = "Heute las der Mann Bücher und sie schlief .".split()
    tree = Dependencies(
        heads=(1, -1, 3, 1, 1, 7, 7, 1, 1),
        relations=("advmod", "root", "det", "nsubj", "obj", "cc", "nsubj:pass", "conj", "punct"),
        upos=("ADV", "VERB", "DET", "NOUN", "NOUN", "CCONJ", "PRON", "VERB", "PUNCT"),
        features=({}, {"Tense": "Past", "VerbForm": "Fin"}, {}, {"Number": "Sing"}, {"Number": "Plur"}, {}, {}, {}, {}),
        forms=tuple(forms),
        token=tuple(range(9)),
    )
    sentence = Sentence(tuple(forms), dependencies=tree)
    assert [ud.finite_word(tree), ud.subject(tree), ud.direct_object(tree), ud.depth(tree)] == [1, 3, 4, 3]
    assert ud.top_relations(tree) == "advmod_ROOT_nsubj_obj_conj"
    found = ud.ud_coordination(sentence, tree, Counter())
    assert " ".join(found.inverted().tokens) == "Sie schlief und heute las der Mann Bücher ."
    kept = ud.ud_coordination(sentence, tree, Counter({"Heute": 2, "heute": 1}))
    assert " ".join(kept.inverted().tokens) == "Sie schlief und Heute las der Mann Bücher ."


ENGLISH = """
She sang . | 1 nsubj, 0 root Fin Past, 1 punct | PAST
She sings . | 1 nsubj, 0 root Fin Pres, 1 punct | PRES
She has sung . | 3 nsubj, 3 aux Fin Pres, 0 root Part Past, 3 punct | -
She had sung . | 3 nsubj, 3 aux Fin Past, 0 root Part Past, 3 punct | -
She is singing . | 3 nsubj, 3 aux Fin Pres, 0 root Part Pres, 3 punct | -
It is sung . | 3 nsubj:pass, 3 aux:pass Fin Pres, 0 root Part Past, 3 punct | PRES
It was sung . | 3 nsubj:pass, 3 aux:pass Fin Past, 0 root Part Past, 3 punct | PAST
It has been sung . | 4 nsubj:pass, 4 aux Fin Pres, 4 aux:pass Part Past, 0 root Part Past, 4 punct | -
She was ill . | 3 nsubj, 3 cop Fin Past, 0 root, 3 punct | PAST
She has been ill . | 4 nsubj, 4 aux Fin Pres, 4 cop Part Past, 0 root, 4 punct | -
She were ill . | 3 nsubj, 3 cop Fin Past Sub, 0 root, 3 punct | -
What is is gone . | 2 nsubj, 4 csubj Fin Pres, 4 cop Fin Pres, 0 root Fin Past, 4 punct | -
"""


@pytest.mark.parametrize("line", ENGLISH.strip().split("\n"))
def test_tense_is_that_of_the_verb_itself(line):
    text, words, expected = line.split(" | ")
    rows = [word.split() for word in words.split(", ")]
    names = [dict(zip(("VerbForm", "Tense", "Mood"), row[2:], strict=False)) for row in rows]
    heads = [int(row[0]) - 1 for row in rows]
    forms = tuple(text.split())
    tree = Dependencies(
        tuple(heads), tuple(row[1] for row in rows), ("X",) * len(rows), tuple(names), forms, tuple(range(len(rows)))
    )
    word = ud.finite_word(tree)
    assert (ud.TENSES[tree.features[word]["Tense"]] if word is not None else "-") == expected


LABELS = Path(__file__).parent / "labels"
TASKS = (
    ("tense", ud.finite_word, "Tense", ud.TENSES),
    ("subject", ud.subject, "Number", ud.NUMBERS),
    ("object", ud.direct_object, "Number", ud.NUMBERS),
)


def against_a_reader(labelled):
    """Compares the labels that the builders give with a reader's, of pairs (name and three labels, dependencies).

    Returns the disagreements, and of the labels of a reader how many the builders give, per task. A builder may give none.
    """
    wrong, given_by_both = set(), Counter()
    for (name, *labels), tree in labelled:
        for (task_name, target, feature, values), label in zip(TASKS, labels, strict=True):
            word = target(tree)
            given = values.get(tree.features[word].get(feature, "")) if word is not None else None
            if given not in (None, label):
                wrong.add((name, task_name, label, given))
            given_by_both[task_name] += given == label
    return wrong, given_by_both


def test_french_labels_are_a_readers():
    path = LABELS / "french.conllu"
    blocks = [dict(re.findall(r"^# (sent_id|label) = (.*)$", block, re.M)) for block in path.read_text("utf-8").split("\n\n")]
    labels = [(block["sent_id"], *block["label"].split()) for block in blocks if "sent_id" in block]
    trees = [s.dependencies for s in treebank.read_conllu(path)]
    wrong, both = against_a_reader(zip(labels, trees, strict=True))
    assert len(labels) == 50 and both == {"tense": 33, "subject": 41, "object": 22}
    assert wrong == {("fr-42", "tense", "FUT", "PRES")}, "vont arriver: aller governs the infinitive, it is no auxiliary"


@pytest.mark.shared
def test_german_labels_are_a_readers(shared):
    rows = [line.split("\t") for line in (LABELS / "german_gsd.tsv").read_text().splitlines()[1:]]
    labels = {row[0]: row for row in rows}
    labelled = []
    for path in sorted((shared / "data" / "ud_de_gsd").iterdir()):
        names = re.findall(r"^# sent_id = (\S+)$", read_text(path), re.M)
        trees = [s.dependencies for s in treebank.read_conllu(path)]
        labelled += [(labels[name], tree) for name, tree in zip(names, trees, strict=True) if name in labels]
    wrong, both = against_a_reader(labelled)
    assert len(labelled) == 50 and both == {"tense": 28, "subject": 35, "object": 15}
    assert wrong == {
        ("dev-s484", "object", "Plur", "Sing"),  # bildet Jugndliche aus: the treebank has the misspelt word as singular
        ("test-s490", "subject", "-", "Sing"),  # Parteichef Scharping: a title before a name is a common noun to the treebank
    }


def test_plain_sentences_give_the_tasks_that_need_no_parse(corpus, tmp_path):
    cards = builders.make_tasks([Sentence(s.tokens) for s in corpus], tmp_path)
    assert {name for name, card in cards.items() if isinstance(card, dict)} == {
        "sentence_length", "word_content", "bigram_shift",
    }  # fmt: skip
    assert all("ud_" in card for card in cards.values() if isinstance(card, str))


# bad input, and files


def test_small_corpus_leaves_tasks_out_with_the_reason_and_makes_the_others(corpus, made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    cards = builders.make_tasks(corpus[:250], tmp_path)
    assert isinstance(cards["bigram_shift"], dict) and "2 × min_per_split" in cards["word_content"]
    assert "too small" in cards["coordination_inversion"] and "give a larger corpus" in cards["coordination_inversion"]
    for name, card in cards.items():
        left = {path.name for path in tmp_path.glob(f"{name}.*")}
        assert bool(left) == isinstance(card, dict), "no file of an earlier run stays"
    reasons = {name: card for name, card in cards.items() if isinstance(card, str)}
    assert json.loads((tmp_path / "left_out.json").read_text()) == reasons
    builders.make_tasks(corpus[:250], tmp_path, tasks=["bigram_shift"])
    assert not (tmp_path / "left_out.json").exists()


@pytest.mark.parametrize("name", builders.BUILDERS)
def test_no_sentence_at_all_is_a_reason(name):
    with pytest.raises(LeftOut):
        builders.BUILDERS[name]([], np.random.default_rng(0), Options(30, False))


def test_files_not_made_here_are_never_replaced(corpus, tmp_path):
    (tmp_path / "bigram_shift.txt").write_text("tr\tO\tofficial\n")
    with pytest.raises(DataError, match="not made here; choose another folder"):
        builders.make_tasks(corpus[:50], tmp_path)
    assert (tmp_path / "bigram_shift.txt").read_text() == "tr\tO\tofficial\n"


def test_wrong_arguments(tmp_path):
    with pytest.raises(DataError, match="did you mean 'tree_depth'"):
        builders.make_tasks([], tmp_path, tasks=["tree_dept"])
    with pytest.raises(DataError, match="min_per_split=0"):
        builders.make_tasks([], tmp_path, min_per_split=0)


def test_length_duplicates_and_blanks_are_filtered_and_counted(tmp_path):
    five = tuple("A b c d .".split())
    sentences = [Sentence(five), Sentence(tuple(t.lower() for t in five)), Sentence(five[:4]), Sentence((*five, "e f"))]
    kept, counts = make.prepared(sentences)
    assert [s.tokens for s in kept] == [five]
    assert counts == {"sentences": 4, "duplicates": 1, "not of 5-28 tokens": 1, "blank inside a token": 1, "used": 1}


def test_grammar_folder_is_made_once_and_mended(tmp_path):
    folder = builders.grammar_tasks(tmp_path, seed=1, n=300)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert builders.grammar_tasks(tmp_path, seed=1, n=300) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp, "nothing was made anew"
    (folder / "bigram_shift.txt").write_bytes(b"cut")
    builders.grammar_tasks(tmp_path, seed=1, n=300)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no temporary folder stays"
    assert json.loads(content["manifest.json"])["source"] == "grammar"


def test_report_runs_on_a_small_grammar(tmp_path):
    script = Path(__file__).parent.parent / "scripts" / "results" / "make_tasks_report.py"
    done = processes.run(script, "--out", tmp_path, *"--n 1000 --only grammar --min-per-split 2 --seeds 2".split())
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "leaks.csv")
    assert list(table["task"]) == list(builders.PENN) and set(table["corpus"]) == {"grammar"}
    assert table["sentences in two splits"].sum() == table["target forms in two splits"].sum() == 0
    assert json.loads((tmp_path / "manifest.json").read_text())["sources"]["grammar"]["sentences"] == 1000
    assert list(pd.read_csv(tmp_path / "odd_man_out.csv")["seed"]) == [0, 1]
    assert (tmp_path / "README.md").read_text().count("| grammar |") == 11


# GUM and German, where the shared folder is


@pytest.fixture(scope="module")
def gum(tmp_path_factory):
    source = Path(os.environ["PROBING_SHARED"]) / "data" / "gum_const" / "gum_const.tsv.xz"
    corpus, folder = builders.read_source(source), tmp_path_factory.mktemp("gum")
    cards = builders.make_tasks(corpus.sentences, folder, source=corpus.name, source_sha256=corpus.sha256)
    return (
        corpus,
        cards,
        {name: leaks.read_rows(folder / f"{name}.txt") for name, c in cards.items() if isinstance(c, dict)},
    )


@pytest.mark.shared
def test_gum_gives_nine_without_leaks(gum):
    corpus, cards, rows = gum
    assert set(rows) == set(builders.PENN) - {"coordination_inversion"}
    assert "11 sentences of class 'I' in the split va" in cards["coordination_inversion"]
    trees = {s.tokens: s.tree for s in corpus.sentences}
    for name, found in rows.items():
        assert not leaks.shared((row.split, " ".join(row.tokens).lower()) for row in found)
        if name in TARGETS:
            assert not leaks.shared((row.split, TARGETS[name](trees[row.tokens]).word.lower()) for row in found)
        if name in BINARY:
            assert leaks.majority(found).value == 0.5
    for name in ("bigram_shift", "odd_man_out"):
        estimate = leaks.bag_of_words(rows[name])
        assert estimate.lower <= 0.5 <= estimate.upper
    assert leaks.length_alone(rows["tree_depth"]).value <= leaks.majority(rows["tree_depth"]).value + 0.03


@pytest.mark.shared
def test_german_gives_what_its_size_allows(tmp_path):
    corpus = builders.read_source(Path(os.environ["PROBING_SHARED"]) / "data" / "ud_de_gsd")
    cards = builders.make_tasks(corpus.sentences, tmp_path, language="de", source=corpus.name)
    made = {name for name, card in cards.items() if isinstance(card, dict)}
    assert made == {"sentence_length", "bigram_shift", "ud_past_present"}
    assert all("too small" in card for card in cards.values() if isinstance(card, str))
