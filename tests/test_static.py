"""Static vectors: worked by hand, in every way a file may be written, and what is wrong in a file is named by its line."""

import gzip
import lzma
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from probing import load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.hf.embeddings import InputEmbeddings
from probing.encoders.static import StaticEncoder
from probing.errors import EncoderError
from probing.store.extraction import extract
from probing.types import Representation

LINES = ["the 1 0", "cat 3 -2", "Cat 5 6", "ran -1 4.5"]
TABLE = "\n".join(LINES) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="v.txt", **options):
        path = tmp_path / name
        opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
        with opener(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return StaticEncoder(str(path), **options)

    return write


def vectors(encoder, texts):
    columns = extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)
    return {column.pooling: rows.tolist() for column, rows in columns.items()}


def test_worked_by_hand(write):
    encoder = write(TABLE)
    assert isinstance(encoder, Encoder)
    assert (encoder.layer_names, encoder.dims, encoder.poolings) == (("vectors",), (2,), ("mean", "max", "last"))
    pooled = vectors(encoder, ["the cat ran", "The Cat", "cat"])
    assert pooled["mean"] == [[1, pytest.approx(2.5 / 3)], [3, 3], [3, -2]], "The is looked up as the, Cat stays Cat"
    assert pooled["max"] == [[3, 4.5], [5, 6], [3, -2]]
    assert pooled["last"] == [[-1, 4.5], [5, 6], [3, -2]]
    assert encoder.word_ids(["the  cat qqq"]) == [[0, 1, 2]]


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.gz", "v.txt.xz"])
@pytest.mark.parametrize("text", [TABLE, "4 2\n" + TABLE, TABLE.replace("\n", " \n"), TABLE.replace("\n", "\r\n"), TABLE[:-1]])
def test_however_it_is_written(write, name, text):
    assert vectors(write(text, name), ["the cat ran"])["max"] == [[3, 4.5]]


@pytest.mark.parametrize(
    ("unknown", "mean", "largest", "last", "alone"),
    [
        ("skip", [2, -1], [3, 0], [1, 0], [0, 0]),
        ("zero", [1, -0.5], [3, 0], [0, 0], [0, 0]),
        ("mean", [2, 0.5625], [3, 2.125], [2, 2.125], [2, 2.125]),
    ],
)
def test_unknown_words(write, unknown, mean, largest, last, alone):
    pooled = vectors(write(TABLE, unknown=unknown), ["cat qqq the zzz", "qqq"])
    assert pooled == {"mean": [mean, alone], "max": [largest, alone], "last": [last, alone]}


def test_unknown_words_drawn_from_a_hash(write):
    pooled = vectors(write(TABLE, unknown="random"), ["qqq zzz", "qqq", "zzz", "the"])["mean"]
    assert pooled[1] != pooled[2] and pooled[3] == [1, 0]
    assert pooled[0] == pytest.approx(np.mean([pooled[1], pooled[2]], axis=0))
    assert vectors(write(TABLE, unknown="random"), ["zzz"])["mean"] == [pooled[2]]


def test_without_lowercase_and_with_a_limit(write):
    assert vectors(write(TABLE, lowercase=False), ["The cat"])["mean"] == [[3, -2]]
    encoder = write(TABLE, limit=2)
    assert vectors(encoder, ["the Cat ran"])["mean"] == [[2, -1]] and encoder.name == "v.txt[limit=2]"


def test_the_share_of_unknown_words_is_said_once(write, capsys):
    encoder = write(TABLE)
    for _ in range(2):
        vectors(encoder, ["the qqq cat zzz", "qqq"])
    vectors(encoder.random_twin(0), ["qqq"])
    assert capsys.readouterr().err == "v.txt: 3 of 5 words of 2 sentences have no vector (unknown=skip): qqq, zzz\n"


def test_the_random_twin_has_the_same_words_and_the_tables_mean_and_deviation(write):
    rng = np.random.default_rng(0)
    rows = rng.normal([5, -1], [2, 0.1], size=(500, 2)).round(4)
    encoder = write("".join(f"w{i} {a} {b}\n" for i, (a, b) in enumerate(rows)))
    words = [f"w{i}" for i in range(500)]
    twin, again, other = (vectors(encoder.random_twin(seed), [*words, "qqq"])["last"] for seed in (0, 0, 1))
    assert twin == again != other and twin[-1] == [0, 0]
    drawn = np.array(twin[:-1])
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.3)
    np.testing.assert_allclose(drawn.std(0), rows.std(0), rtol=0.1)
    assert abs(np.corrcoef(drawn[:, 0], rows[:, 0])[0, 1]) < 0.2
    assert vectors(encoder.random_twin(0), ["W3 w3"])["mean"] == [twin[3]], "a word is drawn under the file's spelling"


def test_only_the_words_asked_for_are_kept(write):
    encoder = write(TABLE)
    vectors(encoder, ["the dog"])
    assert set(encoder._table.vectors) == {"the"}
    vectors(encoder, ["cat"])
    assert set(encoder._table.vectors) == {"the", "cat"}


def test_the_first_line_of_a_word_counts_and_words_may_be_any_text(write):
    text = "a 1 2\na 3 4\n\u00a0 5 6\n. . . 7 8\n\u2028x 9 9\n"
    assert vectors(write(text), ["a", "\u2028x a"])["last"] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (TABLE + "1 000 5 5\n", "1 of 5 words of the file hold blanks and are left out (the first in line 5, '1 000')"),
        (
            "6 2\n1 000 5 5\nNew York 5 5\n" + TABLE,
            "2 of 6 words of the file hold blanks and are left out (the first in line 2, '1 000')",
        ),
        (". . . 5 5\n" + TABLE, "1 of 5 words of the file hold blanks and are left out (the first in line 1, '. . .')"),
        (TABLE + "area 51 5 5\n", "1 of 5 words of the file hold blanks and are left out (the first in line 5, 'area 51')"),
        ("1 000 5 5\nthe 1 0\n", "1 of 2 words of the file hold blanks and are left out (the first in line 1, '1 000')"),
    ],
)
def test_words_with_blanks_are_left_out_and_counted(write, text, note, capsys):
    encoder = write(text)
    assert vectors(encoder, ["the 1 . York area"])["last"] == [[1, 0]] and encoder.dims == (2,)
    assert capsys.readouterr().err.splitlines()[1:] == [f"v.txt: {note}"]


def test_a_mark_at_the_head_of_a_later_line_gives_way_to_the_bare_word(write, capsys):
    encoder = write("a 1 1\n\ufeffthe 2 2\n\ufeffcat 3 3\nthe 4 4\n")
    assert vectors(encoder, ["the", "cat", "\ufeffthe"])["last"] == [[4, 4], [3, 3], [2, 2]]
    assert capsys.readouterr().err.splitlines()[1:] == ["v.txt: line 3: a byte order mark before 'cat' was taken off"]


def test_a_limit_counts_words_with_blanks_too(write):
    assert vectors(write("the 1 0\nNew York 5 5\ncat 2 2\n", limit=2), ["the cat"])["mean"] == [[1, 0]]


WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\t\v\f\x1c\x1d\x1e\x1f\ufeff"), min_size=1, max_size=5
)
NUMBER = st.floats(-1e6, 1e6, width=32).map(lambda x: repr(float(x))) | st.integers(-9, 9).map(str)
PIECE = st.one_of(WORD.map(lambda word: word.replace(" ", "_")), NUMBER, st.sampled_from([".", "1", "000", "nan", "%", "1e5", "é"]))
WORDS = st.lists(st.lists(PIECE, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=8, unique=True)


@settings(deadline=None, max_examples=80)
@given(
    words=WORDS, dim=st.integers(2, 4), data=st.data(), header=st.booleans(), mark=st.booleans(), packed=st.booleans(),
    end=st.sampled_from(["\n", " \n", "\r\n"]),
)  # fmt: skip
def test_any_words_are_read_as_a_simple_parser_reads_them(tmp_path_factory, words, dim, data, header, mark, end, packed):
    """Words of any letters, numbers and with blanks, among ten plain ones; the parser splits at the last d blanks of a line."""
    words = data.draw(st.permutations([*words, *(f"plain{k}" for k in range(10))]))
    rows = [[*data.draw(st.lists(NUMBER, min_size=dim, max_size=dim))] for _ in words]
    lines = [" ".join([word, *row]) for word, row in zip(words, rows, strict=True)]
    text = "".join(line + end for line in ([f"{len(lines)} {dim}"] if header else []) + lines)
    path = tmp_path_factory.mktemp("any") / ("v.txt.gz" if packed else "v.txt")
    content = ("\ufeff" * mark + text).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    table = StaticEncoder(str(path))._table
    table.look_up([*words, *(piece for word in words for piece in word.split(" "))])
    expected = {}
    for line in lines:
        word, *row = line.rsplit(" ", dim)
        if " " not in word:
            expected.setdefault(word, np.array([float(x) for x in row], np.float32).tolist())
    assert {word: vector.tolist() for word, vector in table.vectors.items()} == expected
    assert table.dim == dim and bool(table.notes) == any(" " in word for word in words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"2 2\nthe " + struct.pack("<2f", 1, 0) + b"\ncat " + struct.pack("<2f", 0.1, 0.7) + b"\n",
            "word2vec's binary format.*gensim",
        ),
        (b"2 2\nthe " + struct.pack("<2f", 0.1, 0.7) + b"cat " + struct.pack("<2f", 0.1, 0.7), "word2vec's binary format.*gensim"),
        (struct.pack("<2i", 793712314, 12) + bytes(40), "fastText's binary model; give the .vec"),
        (b"\x80\x04\x95\x10\x00\x00gensim", "a Python pickle.*save_word2vec_format"),
        (b"PK\x03\x04glove", "a zip archive; unpack it"),
        (gzip.compress(TABLE.encode(), mtime=0), "a file packed by gzip; give its name the ending .gz"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a":1}', "a binary file; vectors are read from text"),
    ],
)
@pytest.mark.parametrize("name", ["v.bin", "v.bin.gz"])
def test_binary_files_are_refused_by_their_kind(write, content, message, name):
    with pytest.raises(EncoderError, match=rf"{name} is {message}"):
        write(content, name).dims  # noqa: B018


def test_the_key_tells_the_file_and_the_options(write):
    keys = [fingerprint(write(TABLE)), fingerprint(write(TABLE, "w.txt", label="other"))]
    assert len(set(keys)) == 1
    options = [{"lowercase": False}, {"unknown": "zero"}, {"limit": 3}, {"init_seed": 0}, {"init_seed": 1}]
    keys += [fingerprint(write(TABLE, **option)) for option in options] + [fingerprint(write(TABLE.replace("4.5", "4.6")))]
    assert len(set(keys)) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE + "dog 1\n", r"v.txt, line 5: 1 numbers after the word, expected 2"),
        (TABLE + "dog 1 2 x\n", r"v.txt, line 5: 3 fields after the first, of which the last 2 are not all numbers: 'dog 1 2 x'"),
        (TABLE + "dog\t1 2\n", r"v.txt, line 5: 1 numbers after the word, expected 2"),
        ("the 1 0\rcat 0 1\nran 1 1\nthe 2 3\n", r"v.txt, line 1: a tab or a carriage return before the last 2 numbers"),
        ("the\t1\t0\ncat\t0\t1\n", r"v.txt, line 1: 0 numbers after the word, expected 2: 'the.*separated by single blanks"),
        ("the\t1 0\ncat\t0 1\n", r"v.txt, line 1: 1 numbers after the word, expected 2"),
        ("the  1  0\ncat  0  1\n", r"v.txt, line 1: 4 numbers after the word, expected 1: 'the  1  0'"),
        ("2 300\nthe 1 0\ncat 0 1\n", r"v.txt, line 2: 2 numbers after the word, expected 300: 'the 1 0'"),
        ("4 2\nthe 1\n", r"v.txt, line 2: 1 numbers after the word, expected 2"),
        ("the 1 0\n\ncat 1 2\n", r"v.txt, line 2: 0 numbers after the word"),
        ("word\n", r"v.txt, line 1: 0 numbers after the word, expected some"),
        ("the 1 0\ncat 1 x\n", r"v.txt, line 2: not all fields after the word are numbers"),
        ("the 1 0\ncat 1 nan\n", r"v.txt, line 2: a number is NaN or infinite"),
        ("the 1,0 0,5\ncat 0,1 0,2\n", r"v.txt, line 1: 0 numbers after the word, expected some: 'the 1,0 0,5'"),
        ("2 2\nthe x y\ncat x y\n", r"v.txt, line 2: 0 numbers after the word, expected 2: 'the x y'"),
        ("5 2\n" + TABLE, r"v.txt: its first line says 5 words, but it has 4; it may be cut short"),
        ("", r"v.txt: no line with a word and its numbers"),
        ("4 2\n", r"v.txt: no line with a word and its numbers"),
    ],
)
def test_a_bad_file_is_named_by_its_line(write, text, message):
    with pytest.raises(EncoderError, match=message):
        vectors(write(text), ["the cat"])


@pytest.mark.parametrize("name", ["v.gz", "v.xz"])
def test_a_compressed_file_cut_short_is_refused(write, name, tmp_path):
    encoder = write(TABLE * 50, name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(EncoderError, match=rf"{name}: cannot be read, it may be cut short"):
        vectors(encoder, ["the cat"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unknown": "skp"}, r"'skp' is unknown; did you mean 'skip'\?"),
        ({"limit": 0}, "at least 1"),
        ({"path": "no"}, "no such file"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    (tmp_path / "v.txt").write_text(TABLE)
    with pytest.raises(EncoderError, match=message):
        load_encoder("static", **{"path": str(tmp_path / "v.txt")} | options)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_input_embeddings_are_the_matrix_row_by_row(tiny, kind):
    encoder = load_encoder("embeddings", name=str(tiny(kind)))
    assert isinstance(encoder, Encoder) and isinstance(encoder, InputEmbeddings)
    assert (encoder.name, encoder.dims, len(encoder.layer_names)) == (f"embeddings of tiny-{kind}", (16,), 1)
    matrix = AutoModel.from_pretrained(tiny(kind)).get_input_embeddings().weight.detach().numpy()
    texts = ["the cat runs .", "dogs"]
    columns = extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)
    for i, text in enumerate(texts):
        rows = matrix[AutoTokenizer.from_pretrained(tiny(kind))(text, add_special_tokens=False)["input_ids"]]
        for pooling, expected in (("mean", rows.mean(0)), ("max", rows.max(0)), ("last", rows[-1])):
            np.testing.assert_allclose(columns[Representation(0, pooling)][i], expected, atol=1e-6)
    twin = encoder.random_twin(0)
    assert twin.name == f"embeddings of tiny-{kind} (random 0)" and twin.dims == (16,)
    assert len({fingerprint(e) for e in (encoder, twin, load_encoder("hf", name=str(tiny(kind))))}) == 3
