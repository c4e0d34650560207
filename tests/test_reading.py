"""Every reader of text takes the same text however the file is marked, packed and its lines are ended, and says what is no text."""

import gzip
import json
import lzma
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from probing.data import card as cards
from probing.data import expressions, loading
from probing.data.readers import files as reading
from probing.data.readers import formats, text
from probing.data.readers.files import MARK, read_lines, read_text
from probing.data.readers.formats import FORMATS
from probing.data.readers.treebank import read_gum, read_source
from probing.encoders.base import fingerprint
from probing.encoders.elmo.elmo_format import ELMoOptions, read_options, read_weights, shapes, write_elmo
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder, save
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.networks.vocabulary import train_vocabulary
from probing.encoders.static import StaticEncoder
from probing.encoders.vectors import VectorsEncoder
from probing.errors import ProbingError
from probing.interactions.text.heads import LinearHead, load_head

CONLLU = "".join(f"{k}\t{w}\t_\tX\tX\t_\t{(k > 1) * 1}\tdep\t_\t_\n" for k, w in enumerate(["the", "cat", "ran"], 1)) + "\n"
TREE = "(ROOT (S (NP (DT the) (NN cat)) (VP (VBD ran))))"
OPTIONS = {
    "char_cnn": {
        "activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 4]], "max_characters_per_token": 50, "n_characters": 262,
        "n_highway": 1,
    },
    "lstm": {"cell_clip": 3, "dim": 8, "n_layers": 1, "proj_clip": 3, "projection_dim": 4, "use_skip_connections": True},
}  # fmt: skip


POINTER = (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS")


def static(path):
    encoder = StaticEncoder(str(path))
    encoder._table.look_up(["the", "cat", "ran"])
    return {word: vector.tolist() for word, vector in encoder._table.vectors.items()}


def classified(form):
    return lambda path: [(row.number, row.split, row.label, row.sentence) for row in FORMATS[form](path)]


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
        lambda path: [row.sentence for row in formats.read_senteval(path)],
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
    "card": ("c.yaml", "name: own\nfile: own.txt\nclasses:\n- I\n- O\n", lambda path: cards.load_card(str(path))),
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
        (gzip.compress(content, mtime=0), "gzip"),
        (lzma.compress(content), "xz"),
        (b"PK\x03\x04" + content, "a zip archive"),
        POINTER,
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


@pytest.mark.parametrize("row", ["tr\tI\tone\n", "past_present\tte\tPAST\tone\n"])
def test_rows_of_a_task_are_no_text_for_a_language_model(tmp_path, row):
    path = tmp_path / "t.txt"
    path.write_text(f"the cat\tran\n{row}")
    with pytest.raises(ProbingError, match=r"t\.txt, line 2: .* split and label; .*cut -f[34] FILE"):
        list(text.sentences(path))
    path.write_text("the cat\tran\n")
    assert list(text.sentences(path)) == ["the cat ran"]


def test_a_python_file_with_a_mark_is_run(tmp_path):
    from probing.encoders.user.usercode import find

    path = tmp_path / "marked.py"
    path.write_bytes(MARK + b"def f(texts):\r\n    return 1\r\n")
    assert find(f"{path}:f").thing([]) == 1


def test_one_file_opens_text():
    """Whoever opens a text file of the user's by another way would have to know all of this again."""
    root = Path(formats.__file__).parents[2]
    globs = ("data/*.py", "data/readers/*.py", "data/expressions/*.py", "encoders/**/*.py")
    files = [path for pattern in globs for path in sorted(root.glob(pattern)) if path.name not in ("files.py", "onednn.py")]
    words = (".read_text(", "gzip", "lzma.open", '.decode("')
    by_itself = [path.name for path in files if any(word in path.read_text() for word in words)]
    assert by_itself == ["tasks.py"], "but the card that make_task wrote itself"


def test_vectors_need_no_decoding(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(b"caf\xe9 5 5\nthe 1 0\n\xef\xbb\xbfcat 2 2\n")
    encoder = StaticEncoder(str(path))
    encoder._table.look_up(["the", "\ufeffcat"])
    assert np.array_equal(encoder._table.vectors["the"], [1, 0]) and np.array_equal(encoder._table.vectors["\ufeffcat"], [2, 2])


# Whatever the bytes are: read, or refused in words.

PIECES = [
    MARK, b"\0", b"\xff", b"\n", b"\r", b"\t", b" ", b"(", b")", b"[", b"{", b'"', b":", b"- ", b"nan", b"1e999", b"9" * 30,
    b"null", b"{}", b"2020-99-99", b"!!python/x ", b"&a *a", "\U0001f600".encode(), b"1_0", b"= =", b"#", b"**",
]  # fmt: skip


def mutated(content, rng):
    """The bytes with up to four changes: a byte, a piece put in, a piece taken out or repeated, an end cut off."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, how = rng.randrange(len(content) + 1), rng.randrange(5)
        if how == 0 and content:
            content[at - 1] = rng.randrange(256)
        elif how == 1:
            content[at:at] = rng.choice(PIECES)
        elif how == 2:
            del content[at : at + rng.randint(1, 20)]
        elif how == 3:
            begin = rng.randrange(len(content) + 1)
            content[at:at] = content[begin : begin + rng.randint(1, 30)]
        elif rng.randrange(3) == 0:
            del content[at:]
    return bytes(content)


def vectors_of_sentences(path):
    encoder = VectorsEncoder(str(path))
    return encoder.forward(encoder.tokenize(["a b", "c d"])[0])


def carded(path):
    (path.parent / "f").write_text("tr\tI\tone\ntr\tO\tx\nva\tO\ttwo\nte\tI\tthree\n")
    (path.parent / "g").write_text("sentence\tlabel\n" + "".join(f"s{k}\t{k % 2}\n" for k in range(90)))
    return loading.load(str(path), path.parent).data_card


def whole_files(folder):
    """Of formats that are no text: file name, bytes of a small file, and its reader; and cards that name files."""
    rows = {"l0": np.ones((2, 3), np.float32), "l1": np.ones((2, 4), np.float16)}
    by_sentence = {"a b": np.ones((2, 3)), "c d": np.ones((2, 3))}
    np.savez(folder / "layers.npz", sentences=np.array(["a b", "c d"]), **rows)
    np.savez_compressed(folder / "sentences.npz", **by_sentence)
    save_file(rows, folder / "layers.safetensors", metadata={"sentences": '["a b", "c d"]'})
    save_file(by_sentence, folder / "sentences.safetensors")
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(folder / f"{packing}.zip", "w", packing) as archive:
            archive.writestr("ca01", "the/at cat/nn\n" * 20)
    options = ELMoOptions(4, ((1, 4),), 8, 4, 1, 1)
    write_elmo(folder / "elmo", options, {name: np.ones(shape, np.float32) for name, shape in shapes(options).items()})
    (folder / "one.yaml").write_text("name: own\nfile: f\nclasses: [I, O]\nn_classes: 2\ngit_blob: 0f\n")
    (folder / "two.yaml").write_text("name: own\nfiles: {train: g, dev: g, test: g}\nformat: glue\nfolders: [., x]\n")
    readers = {".npz": vectors_of_sentences, ".safetensors": vectors_of_sentences, ".zip": lambda path: list(text.sentences(path))}
    readers |= {".yaml": carded, ".hdf5": lambda path: read_weights(path, options)}
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in readers]
    return [(path.name, path.read_bytes(), readers[path.suffix]) for path in files]


def checkpoint_files(folder):
    """A checkpoint and a fitted head: name of a file and its bytes, and the reader of all."""
    vocabulary = train_vocabulary(["the cat ran", "it ran"], min_count=1)
    architecture = LSTM(embedding_dim=4, hidden=4)
    folder.mkdir()
    save(folder, architecture, architecture.network_of(vocabulary.size, 0), vocabulary)
    encoder = CheckpointEncoder(str(folder))
    LinearHead(np.ones((2, 4)), np.ones(2), ("a", "b"), 1, "mean", {"fingerprint": fingerprint(encoder)}).save(folder)

    def read(path):
        encoder = CheckpointEncoder(str(folder))
        encoder.forward(encoder.tokenize(["the cat"])[0])
        return load_head(folder, encoder).logits(np.ones((1, 4)))

    return [(path.name, path.read_bytes(), read) for path in sorted(folder.iterdir())]


def test_any_bytes_are_read_or_refused_in_words(tmp_path):
    rng = random.Random(0)
    texts = [(name, text.encode(), reader or read_splits) for name, text, reader in READERS.values()]
    packed = [
        (f"{name}.gz", gzip.compress(content, mtime=0), reader) for name, content, reader in texts if name not in ("c.yaml", "ca01")
    ]
    (tmp_path / "whole").mkdir()
    several = [(tmp_path, 25, texts), (tmp_path, 5, packed), (tmp_path, 25, whole_files(tmp_path / "whole"))]
    several.append((tmp_path / "checkpoint", 8, checkpoint_files(tmp_path / "checkpoint")))
    outcomes = set()
    for folder, times, files in several:
        for name, content, reader in files:
            for _ in range(times):
                changed = mutated(content, rng)
                (folder / name).write_bytes(changed)
                try:
                    reader(folder / name)
                    outcomes.add((name, "read"))
                except ProbingError as error:
                    assert str(error).strip()
                    outcomes.add((name, "refused"))
                except Exception as error:
                    raise AssertionError(f"{name}: {changed!r}") from error
            (folder / name).write_bytes(content)
            reader(folder / name)
    assert len(outcomes) > len(READERS) * 1.5, "both happen"


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_a_folder_and_a_closed_file_are_named(tmp_path, monkeypatch, kind):
    name, content, reader = READERS[kind]
    path = tmp_path / name
    if kind == "brown":
        return  # its file is the zip
    with pytest.raises(ProbingError, match=name):
        (reader or read_splits)(path)
    path.mkdir()
    with pytest.raises(ProbingError, match="folder|directory|no card|holds"):
        (reader or read_splits)(path)
    path.rmdir()
    path.write_text(content)

    def closed(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(reading, "_OPEN", dict.fromkeys(reading.SUFFIXES, closed))
    with pytest.raises(ProbingError, match="Permission denied"):
        (reader or read_splits)(path)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("brackets", "(A " * 3000 + "b" + ")" * 3000),
        ("gum", "GUM_a-1\t" + "(A " * 3000 + "b" + ")" * 3000),
        ("elmo's options", "[" * 100_000),
        ("textgenrnn's vocabulary", "[" * 100_000),
        ("card", "[" * 600),
        ("card", "name: own\nfile: f\nabout: 2020-13-45\n"),
        ("card", "name: 1\nfile: f\n"),
        ("card", "name: a\nfile: f\nclasses: [yes, N]\n"),
        ("card", "name: a\nfiles: {train: 1, test: [2]}\nformat: glue\n"),
        ("card", "name: a\nfiles: {train: a, test: b}\nformat: glue\nfolders: 3\n"),
        ("expressions", f"own\tx1 * x2\t+x1,x2\ttie\tmax\t0\t{'9' * 5000}\n"),
    ],
)
def test_deep_and_odd_files_are_refused(read, kind, content):
    with pytest.raises(ProbingError):
        read(kind, content.encode())
