"""Every reader of text takes the same text however the file is marked, packed and its lines are ended, and says what is no text."""

import gzip
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from probing import expressions, task
from probing.corpora import classification, senteval, text
from probing.corpora.treebank import read_gum, read_source
from probing.encoders.elmo_format import read_options
from probing.encoders.static import StaticEncoder
from probing.encoders.textgenrnn import TextgenrnnEncoder
from probing.errors import ProbingError
from probing.reading import MARK, read_lines, read_text

CONLLU = "".join(f"{k}\t{w}\t_\tX\tX\t_\t{(k > 1) * 1}\tdep\t_\t_\n" for k, w in enumerate(["the", "cat", "ran"], 1)) + "\n"
TREE = "(ROOT (S (NP (DT the) (NN cat)) (VP (VBD ran))))"
OPTIONS = {
    "char_cnn": {
        "activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 4]], "max_characters_per_token": 50, "n_characters": 262,
        "n_highway": 1,
    },
    "lstm": {"cell_clip": 3, "dim": 8, "n_layers": 1, "proj_clip": 3, "projection_dim": 4, "use_skip_connections": True},
}  # fmt: skip


def static(path):
    encoder = StaticEncoder(str(path))
    encoder._table.look_up(["the", "cat", "ran"])
    return {word: vector.tolist() for word, vector in encoder._table.vectors.items()}


def classified(form):
    return lambda path: [
        (row.number, row.split, row.label, row.sentence) for row in classification.read({"train": path, "dev": path}, form)
    ]


def zipped(path):
    with zipfile.ZipFile(path.parent / "brown.zip", "w") as archive:
        archive.write(path, "ca01")
        archive.writestr("CONTENTS", b"\xff")
    return list(text.sentences(path.parent / "brown.zip"))


def trees(path):
    return read_source(path).sentences


READERS = {
    "vectors": ("v.txt", "the 1 0\ncat 3 -2\nran 1 1\n", static),
    "vectors with a header": ("v.vec", "3 2\nthe 1 0\ncat 3 -2\nran 1 1\n", static),
    "senteval": (
        "t.txt",
        "tr\tI\tone\nva\tO\ttwo\nte\tI\tthree\n",
        lambda path: [row.sentence for row in senteval.read_lines(path)],
    ),
    "label-sentence": ("t.txt", "1 good film\n0 bad film\n", classified("label-sentence")),
    "glue": ("t.tsv", "sentence\tlabel\ngood film\t1\nbad film\t0\n", classified("glue")),
    "cola": ("t.tsv", "gj\t1\t\tHe ran .\ngj\t0\t*\tHe run .\n", classified("cola")),
    "brackets": ("t.mrg", f"{TREE}\n{TREE}\n", trees),
    "brackets by content": ("t", f"{TREE}\n{TREE}\n", trees),
    "gum": ("t", f"GUM_a-1\t{TREE}\nGUM_b-1\t{TREE}\n", trees),
    "gum's splits": ("splits.md", "## train\n\n* GUM_a\n\n## dev\n* GUM_b\n", None),
    "conllu": ("t.conllu", CONLLU + CONLLU, trees),
    "conllu by content": ("t", CONLLU + CONLLU, trees),
    "plain": ("t.txt", "the cat\nit ran\n", trees),
    "conllu for a language model": ("t.conllu", CONLLU + CONLLU, lambda path: list(text.sentences(path))),
    "text for a language model": ("t.txt", "the cat\nit ran\n", lambda path: list(text.sentences(path))),
    "brown": ("ca01", "the/at cat/nn\nit/pps ran/vbd\n", zipped),
    "expressions": ("t.tsv", "own\tx1 * x2\t+x1,x2\ttie\tmax\t0.0\t0\n" * 2, lambda path: expressions.read(path)),
    "card": ("c.yaml", "name: own\nfile: own.txt\nclasses:\n- I\n- O\n", lambda path: task.load_card(str(path))),
    "elmo's options": ("o.json", json.dumps(OPTIONS, indent=1), read_options),
    "textgenrnn's vocabulary": ("v.json", '{"<s>": 1,\n"a": 2}', lambda path: TextgenrnnEncoder("w", str(path)).ids),
}


def read_splits(path):
    (path.parent / "table").write_text(f"GUM_a-1\t{TREE}\nGUM_b-1\t{TREE}\n")
    return list(read_gum(path.parent / "table", path))


@pytest.fixture
def read(tmp_path):
    """What a reader makes of these bytes, as plain text for comparison; packed where a suffix is given."""

    def read(kind, content, suffix=""):
        name, _, reader = READERS[kind]
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](content))
        return str((reader or read_splits)(path))

    return read


@pytest.mark.parametrize("kind", READERS)
def test_marks_line_ends_and_packing_change_nothing(read, kind):
    content = READERS[kind][1].encode()
    expected = read(kind, content)
    suffixes = [""] if kind in ("card", "brown") else ["", ".gz", ".xz"]
    for suffix in suffixes:
        for written in (content, content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r\r\n"), content.replace(b"\n", b"\r")):
            for marks in (b"", MARK, MARK * 2):
                assert read(kind, marks + written, suffix) == expected


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_refused_in_words(read, kind, coding):
    with pytest.raises(ProbingError, match="iconv -f UTF-(16|32)(LE|BE)? -t UTF-8"):
        read(kind, READERS[kind][1].encode(coding))


@pytest.mark.parametrize("kind", [kind for kind in READERS if not kind.startswith("vectors")])
def test_a_mark_at_the_head_of_a_later_line_is_refused_with_the_line(read, kind):
    first, _, rest = READERS[kind][1].partition("\n")
    with pytest.raises(ProbingError, match=r"line 2: it begins with a byte order mark .* sed"):
        read(kind, f"{first}\n\ufeff{rest}".encode())


@pytest.mark.parametrize("kind", READERS)
def test_archives_and_other_files_are_named_by_their_kind(read, kind):
    content = READERS[kind][1].encode()
    for packed, says in (
        (gzip.compress(content), "gzip"),
        (lzma.compress(content), "xz"),
        (b"PK\x03\x04" + content, "a zip archive"),
    ):
        with pytest.raises(ProbingError, match=says):
            read(kind, packed)


def test_a_mark_within_a_line_and_line_separators_are_characters(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("a\ufeffb \ufeff\u2028c\x85\x0cd\re\nf\n".encode())
    assert read_text(path) == "a\ufeffb \ufeff\u2028c\x85\x0cd\re\nf\n"
    assert b"".join(read_lines(path)) == path.read_bytes()


@pytest.mark.parametrize("content", [b"", MARK, b"\n", b"\r\n", b"\r"])
def test_files_of_nothing(tmp_path, content):
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    assert read_text(path) in ("", "\n") and list(text.sentences(path)) == []


def test_a_python_file_with_a_mark_is_run(tmp_path):
    from probing.encoders.usercode import find

    path = tmp_path / "marked.py"
    path.write_bytes(MARK + b"def f(texts):\r\n    return 1\r\n")
    assert find(f"{path}:f").thing([]) == 1


def test_one_file_opens_text():
    """Whoever opens a text file of the user's by another way would have to know all of this again."""
    root = Path(senteval.__file__).parents[1]
    by_itself = []
    for path in [*sorted((root / "corpora").glob("*.py")), *sorted((root / "expressions").glob("*.py")), root / "task.py"]:
        by_itself += [path.name for word in (".read_text(", "gzip", "lzma.open", '.decode("') if word in path.read_text()]
    assert by_itself == ["tasks.py"], "but the card that make_task wrote itself"


def test_vectors_need_no_decoding(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(b"caf\xe9 5 5\nthe 1 0\n\xef\xbb\xbfcat 2 2\n")
    encoder = StaticEncoder(str(path))
    encoder._table.look_up(["the", "\ufeffcat"])
    assert np.array_equal(encoder._table.vectors["the"], [1, 0]) and np.array_equal(encoder._table.vectors["\ufeffcat"], [2, 2])
