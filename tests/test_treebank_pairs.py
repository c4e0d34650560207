"""Pairs from a treebank: each property by hand, what is no pair, and draws that the seed fixes."""

import pytest

from probing.behaviour.treebank_pairs import PROPERTIES, TreebankPairs
from probing.errors import ConfigError, DataError

PRESENT, PAST = "Mood=Ind|Number={}|Person=3|Tense=Pres|VerbForm=Fin", "Mood=Ind|Number={}|Person=3|Tense=Past|VerbForm=Fin"


def sentence(*rows):
    """Lines of CoNLL-U from (form, lemma, upos, features, head, relation)."""
    lines = [
        f"{k}\t{form}\t{lemma}\t{upos}\t_\t{feats}\t{head}\t{rel}\t_\t_"
        for k, (form, lemma, upos, feats, head, rel) in enumerate(rows, 1)
    ]
    return "\n".join(lines) + "\n\n"


KEYS = sentence(
    ("The", "the", "DET", "Definite=Def|PronType=Art", 2, "det"),
    ("keys", "key", "NOUN", "Number=Plur", 6, "nsubj"),
    ("to", "to", "ADP", "_", 5, "case"),
    ("the", "the", "DET", "Definite=Def|PronType=Art", 5, "det"),
    ("cabinet", "cabinet", "NOUN", "Number=Sing", 2, "nmod"),
    ("open", "open", "VERB", PRESENT.format("Plur"), 0, "root"),
    ("a", "a", "DET", "Definite=Ind|PronType=Art", 8, "det"),
    ("door", "door", "NOUN", "Number=Sing", 6, "obj"),
    (".", ".", "PUNCT", "_", 6, "punct"),
)
DOG = sentence(
    ("Dogs", "dog", "NOUN", "Number=Plur", 2, "nsubj"),
    ("barked", "bark", "VERB", PAST.format("Plur"), 0, "root"),
    ("and", "and", "CCONJ", "_", 5, "cc"),
    ("she", "she", "PRON", "Number=Sing|Person=3", 5, "nsubj"),
    ("opened", "open", "VERB", PAST.format("Sing"), 2, "conj"),
    ("two", "two", "NUM", "NumType=Card", 7, "nummod"),
    ("doors", "door", "NOUN", "Number=Plur", 5, "obj"),
)
OPENS = sentence(
    ("It", "it", "PRON", "Number=Sing|Person=3", 2, "nsubj"),
    ("opens", "open", "VERB", PRESENT.format("Sing"), 0, "root"),
    ("and", "and", "CCONJ", "_", 5, "cc"),
    ("nobody", "nobody", "PRON", "Number=Sing", 5, "nsubj"),
    ("barks", "bark", "VERB", PRESENT.format("Sing"), 2, "conj"),
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "x-test.conllu").write_text(KEYS + DOG)
    (tmp_path / "x-train.conllu").write_text(OPENS)
    return tmp_path


def test_a_verb_behind_its_noun_subject_changes_number(root):
    [item] = TreebankPairs(str(root)).items
    assert item.right == "The keys to the cabinet open a door ." and item.wrong == ("The keys to the cabinet opens a door .",)
    assert item.target == 5 and item.facets == {"attractors": 1, "distance": 4} and item.paradigm == "number"


def test_files_of_test2_are_left_out_as_of_tasks_of_words_and_no_other_form_is_from_them(root, capsys):
    before = {name: TreebankPairs(str(root), name).items for name in PROPERTIES}
    (root / "x-test2.conllu").write_text(3 * DOG + OPENS.replace("barks", "barkt"))
    assert {name: TreebankPairs(str(root), name).items for name in PROPERTIES} == before
    assert "x-test2.conllu: left out" in capsys.readouterr().err
    assert len(TreebankPairs(str(root / "x-test2.conllu"), "tense").items) == 3  # what is named is read
    for name in ("x-test", "x-train"):
        (root / f"{name}.conllu").unlink()
    with pytest.raises(DataError, match="holds no .conllu file"):
        assert TreebankPairs(str(root)).items


def test_an_object_changes_number_where_its_determiner_decides_it(root):
    items = TreebankPairs(str(root), "object_number").items
    assert [(item.right.split()[item.target], item.wrong[0].split()[item.target]) for item in items] == [
        ("door", "doors"),
        ("doors", "door"),
    ]
    assert [item.facets["number"] for item in items] == ["Sing", "Plur"]


def test_a_verb_changes_tense_behind_one_of_its_tense(root):
    [item] = TreebankPairs(str(root), "tense").items
    assert item.right.split()[4] == "opened" and item.wrong[0].split()[4] == "opens" and item.facets == {"tense": "Past"}
    with pytest.raises(DataError, match="holds no items"):  # "barked" is known in the plural alone
        assert TreebankPairs(str(root), "tense", splits=["train"]).items


def test_neighbours_change_places_and_nothing_else(root):
    for seed in range(20):
        items = TreebankPairs(str(root), "word_order", seed=seed).items
        assert len(items) == 2
        for item in items:
            right, wrong = item.right.split(), item.wrong[0].split()
            at = [k for k, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
            assert len(at) == 2 and at[1] == at[0] + 1 == item.facets["place"] + 1 and item.target is None
            assert [right[k].lower() for k in at] == [wrong[k].lower() for k in at[::-1]] and "." not in (
                right[at[0]],
                right[at[1]],
            )
    texts = {TreebankPairs(str(root), "word_order", seed=seed).items[0].wrong for seed in range(20)}
    assert len(texts) > 3
    assert TreebankPairs(str(root), "word_order", seed=3).sha256 == TreebankPairs(str(root), "word_order", seed=3).sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"property": "nmber"}, "data.property='nmber' is unknown.*number"),
        ({"splits": ["dev"]}, "has no sentence of dev"),
        ({"splits": ["tset"]}, "data.splits"),
        ({"property": "tense", "splits": ["test"], "root": "no"}, "no such file or folder"),
    ],
)
def test_what_is_refused(root, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        assert TreebankPairs(**{"root": str(root), **options}).items
