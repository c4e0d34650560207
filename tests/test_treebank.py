"""Readers of treebanks: what is read, and what a broken file is told."""

import gzip
import lzma
import os
import sys
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.data.readers import treebank
from probing.data.readers.parsed import Node
from probing.errors import DataError, ProbingError

DO_THIS = "(ROOT (S (NP (PRP You)) (VP (MD can) (RB 't) (VP (VB do) (NP (DT this)))) (. .)))"
WHO_KNEW = (
    "(ROOT (SBARQ (WHNP (WP Who)) (SQ (VP (VBD knew) (SBAR (WHNP (WP who)) (S (VP (MD would) (VP (VB be) "
    "(ADVP (RB there)))))))) (. ?)))"
)
GERMAN = """# text = Er ging zum Haus.
1\tEr\ter\tPRON\tPPER\tNumber=Sing\t2\tnsubj\t_\t_
2\tging\tgehen\tVERB\tVVFIN\tTense=Past|VerbForm=Fin\t0\troot\t_\t_
3-4\tzum\t_\t_\t_\t_\t_\t_\t_\t_
3\tzu\tzu\tADP\tAPPR\t_\t5\tcase\t_\t_
4\tdem\tder\tDET\tART\t_\t5\tdet\t_\t_
4.1\tleer\t_\t_\t_\t_\t_\t_\t_\t_
5\tHaus\tHaus\tNOUN\tNN\tNumber=Sing\t2\tobl\t_\tSpaceAfter=No
6\t.\t.\tPUNCT\t$.\t_\t2\tpunct\t_\t_

"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("tree", "text", "depth"), [
    (DO_THIS, "You can 't do this .", 6),
    (WHO_KNEW, "Who knew who would be there ?", 10),
])  # fmt: skip
def test_hand_checkable_depths(tmp_path, tree, text, depth):
    (sentence,) = treebank.read_penn(written(tmp_path / "a.mrg", tree))
    assert sentence.text == text
    assert sentence.tree.depth == depth


tags = st.builds(lambda tag, word: Node(tag, word=word), st.sampled_from(["NN", "DT", ","]), st.sampled_from(["a", "bé"]))
phrases = st.sampled_from(["NP", "S-SBJ"])
nodes = st.recursive(
    tags,
    lambda inner: st.builds(lambda label, parts: Node(label, tuple(parts)), phrases, st.lists(inner, min_size=1, max_size=4)),
    max_leaves=20,
)


@settings(deadline=None)
@given(node=nodes)
def test_bracket_reader_and_depth_agree_with_nltk(tmp_path_factory, node):
    tree = Node("ROOT", (node,))
    path = written(tmp_path_factory.getbasetemp() / "drawn.mrg", "\n\n" + str(tree).replace(" (", "\n  ("))
    (sentence,) = treebank.read_penn(path)
    theirs = nltk.Tree.fromstring(str(tree))
    assert sentence.tree == tree
    assert sentence.tree.depth == theirs.height() - 1
    assert list(sentence.tokens) == theirs.leaves()


def test_traces_brackets_and_missing_root(tmp_path):
    tree = "( (S (NP-SBJ-1 (-NONE- *)) (NP (-LRB- -LRB-) (NN a\\/b) (`` ``)) (VP (VB go) (SBAR (-NONE- 0)))))"
    (sentence,) = treebank.read_penn(written(tmp_path / "a.ptb", tree))
    assert sentence.tokens == ("(", "a/b", '"', "go")
    assert str(sentence.tree) == '(ROOT (S (NP (-LRB- () (NN a/b) (`` ")) (VP (VB go))))'
    assert [Node("NP-SBJ-1").category, Node("-LRB-").category, Node("NP=2").category] == ["NP", "-LRB-", "NP"]
    assert Node("NP-SBJ-1").functions >= {"SBJ"}


@pytest.mark.parametrize(("text", "line", "says"), [
    (f"{DO_THIS}\n(ROOT (S (NP (NN a))\n{DO_THIS}\n", 2, "unbalanced"),
    (f"{DO_THIS}\n\n{DO_THIS})\n", 3, "outside of brackets"),
    (f"{DO_THIS}\nstray {DO_THIS}\n", 2, "outside of brackets"),
    ("(ROOT (NP the (NN cat)))\n", 1, "neither a phrase"),
    ("(ROOT ())\n", 1, "neither a phrase"),
])  # fmt: skip
def test_broken_brackets_name_file_and_line(tmp_path, text, line, says):
    path = written(tmp_path / "bad.mrg", text)
    with pytest.raises(DataError, match=says) as error:
        list(treebank.read_penn(path))
    assert f"{path}, line {line}:" in str(error.value)


def test_conllu_multiword_token_and_empty_node(tmp_path):
    (sentence,) = treebank.read_conllu(written(tmp_path / "x-ud-dev.conllu", GERMAN))
    assert sentence.tokens == ("Er", "ging", "zum", "Haus", ".")
    assert sentence.tags == ("PPER", "VVFIN", "APPR+ART", "NN", "$.")
    tree = sentence.dependencies
    assert tree.forms == ("Er", "ging", "zu", "dem", "Haus", ".")
    assert tree.token == (0, 1, 2, 2, 3, 4)
    assert tree.heads == (1, -1, 4, 4, 1, 1)
    assert tree.features[1] == {"Tense": "Past", "VerbForm": "Fin"}
    assert sentence.split == "va"


@pytest.mark.parametrize(("broken", "says"), [
    (GERMAN.replace("\t2\tnsubj\t_\t_", "\t2\tnsubj\t_", 1), "line 2: 9 columns"),
    (GERMAN.replace("\t0\troot", "\t5\troot"), "line 2: the heads"),
    (GERMAN.replace("\t2\tobl", "\t0\tobl"), "line 2: the heads"),
    (GERMAN.replace("\t2\tobl", "\t9\tobl"), "line 2: the heads"),
    (GERMAN.replace("\t5\tdet", "\t4\tdet"), "line 2: the heads"),
    (GERMAN.replace("2\tging", "b\tging"), "not CoNLL-U"),
])  # fmt: skip
def test_broken_conllu_names_file_and_line(tmp_path, broken, says):
    path = written(tmp_path / "bad.conllu", broken)
    with pytest.raises(DataError, match=says) as error:
        list(treebank.read_conllu(path))
    assert str(path) in str(error.value)


GUM = f"GUM_a_one-1\t{DO_THIS}\nGUM_a_two-1\t{WHO_KNEW}\nGENTLE_b-1\t(ROOT (NP (NN end)))\n"
SPLITS = "# Splits\n\ntext\n\n## dev\n  * GUM_a_two\n\n## test2\n  * GENTLE_b\n\n## train\n  * GUM_a_one\n"


def test_gum_table_with_document_splits(tmp_path):
    path = written(tmp_path / "gum.tsv", GUM)
    assert [s.split for s in treebank.read_gum(path)] == [None, None, None]
    assert [s.document for s in treebank.read_gum(path)] == ["GUM_a_one", "GUM_a_two", "GENTLE_b"]
    splits = written(tmp_path / "splits.md", SPLITS)
    assert [s.split for s in treebank.read_gum(path, splits)] == ["tr", "va", "te"]
    assert [s.split for s in treebank.read_source(path).sentences] == ["tr", "va", "te"], "splits.md beside is found"
    written(splits, SPLITS.replace("GUM_a_two", "GUM_a_2"))
    with pytest.raises(DataError, match=r"line 2: .*no split for the document 'GUM_a_two'"):
        list(treebank.read_gum(path, splits))
    written(splits, "nothing\n")
    with pytest.raises(DataError, match="lists no documents"):
        list(treebank.read_gum(path, splits))
    with pytest.raises(DataError, match="line 1: unbalanced"):
        list(treebank.read_gum(written(path, GUM.replace("this)", "this", 1))))
    with pytest.raises(DataError, match="line 1: .*TAB"):
        list(treebank.read_gum(written(path, "no table\n")))


def test_reader_is_picked_by_name_or_content(tmp_path):
    content = {
        "a.mrg": DO_THIS,
        "a.conllu": GERMAN,
        "gum.tsv": GUM,
        "p.txt": DO_THIS,
        "c.txt": GERMAN,
        "s.txt": "A b .\n\nC d\n",
    }
    kinds = {}
    for name, text in content.items():
        kinds[name] = treebank.kind_of(written(tmp_path / name, text))
    assert kinds == {
        "a.mrg": "penn",
        "a.conllu": "conllu",
        "gum.tsv": "gum",
        "p.txt": "penn",
        "c.txt": "conllu",
        "s.txt": "plain",
    }
    assert [s.tokens for s in treebank.read_source(tmp_path / "s.txt").sentences] == [("A", "b", "."), ("C", "d")]


@pytest.mark.parametrize(("name", "text", "line", "says"), [
    ("a.txt", "It ran .\nIt\tran .\n", 2, "2 columns .* a table, not a plain sentence.*cut -f2"),
    ("a.txt", "tr\t3\tHe is .\nva\t3\tHe was .\n", 1, "3 columns .* the format of a finished task.*data=senteval.*cut -f3"),
    ("a.txt", "word_content\ttr\tman\tA man .\n", 1, "finished task.*cut -f4"),
    ("a.txt.gz", "good film\t1\n", 1, "2 columns"),
    ("a.csv", "text,label\nHe is .,1\n", None, r"a\.csv: \.csv is a table, not plain sentences; give a \.txt"),
    ("a.jsonl", '{"text": "He is ."}\n', None, r"\.jsonl is a table"),
    ("a.TSV", "He is .\n", None, r"\.tsv is a table"),
])  # fmt: skip
def test_a_table_is_no_plain_text(tmp_path, name, text, line, says):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with pytest.raises(DataError, match=says) as error:
        treebank.read_source(path)
    if line:
        assert str(error.value).startswith(f"{path}, line {line}: ")


def test_documents_of_conllu(tmp_path):
    named = GERMAN + "# newdoc id = a b\n" + GERMAN + GERMAN + "# newdoc\n" + GERMAN
    path = written(tmp_path / "x.conllu", named)
    assert [s.document for s in treebank.read_conllu(path)] == [None, "a b", "a b", None]


def test_compressed_is_read_alike_and_hashed_unpacked(tmp_path):
    plain = treebank.read_source(written(tmp_path / "a.mrg", DO_THIS))
    (tmp_path / "b.mrg.gz").write_bytes(gzip.compress(DO_THIS.encode()))
    (tmp_path / "c.mrg.xz").write_bytes(lzma.compress(DO_THIS.encode()))
    for name in ("b.mrg.gz", "c.mrg.xz"):
        other = treebank.read_source(tmp_path / name)
        assert (other.sentences, other.sha256, other.name) == (plain.sentences, plain.sha256, name)


def test_folder_of_one_kind(tmp_path):
    written(tmp_path / "x-ud-train.conllu", GERMAN)
    written(tmp_path / "x-ud-test.conllu", GERMAN)
    assert [s.split for s in treebank.read_source(tmp_path).sentences] == ["te", "tr"]
    written(tmp_path / "y.mrg", DO_THIS)
    with pytest.raises(DataError, match="one kind"):
        treebank.read_source(tmp_path)


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="no file"):
        treebank.read_source(tmp_path / "absent.mrg")
    with pytest.raises(DataError, match="holds no sentence"):
        treebank.read_source(written(tmp_path / "empty.txt", "\n"))
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        treebank.read_source(tmp_path / "bad.txt")


def test_absent_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(ProbingError, match=r"pip install 'probing-bench\[treebank\]'"):
        treebank.read_source(written(tmp_path / "a.mrg", DO_THIS))


@pytest.mark.shared
def test_gum_is_read_whole():
    folder = Path(os.environ["PROBING_SHARED"]) / "data" / "gum_const"
    corpus = treebank.read_source(folder / "gum_const.tsv.xz")
    assert len(corpus.sentences) == 14_597
    assert sum(5 <= len(s.tokens) <= 28 for s in corpus.sentences) == 9_815
    assert {s.split for s in corpus.sentences} == {"tr", "va", "te"}
